//! What a mask leaves of the rows: those without a class leave the loss and every divisor.

use super::{NO_CLASS, Prior, Targets};
use crate::alloc::{with_capacity, zeros};
use crate::error::Error;
use crate::kernel::stats::count_to_f64;
use crate::math;
use crate::simd::memory::Rows;
use crate::wide::{DoubleDouble, Wide};

/// The weight of each row: `sample_weight`, and 0 where `mask` keeps no class. With smoothing,
/// the prior of every row that counts must have mass on the classes that are kept.
///
/// # Errors
/// [`Error::MaskedPrior`] for the first row whose prior has none; [`Error::OutOfMemory`].
pub(crate) fn kept_row_weights(
    mask: &Rows<'_>,
    targets: &Targets<'_>,
    label_smoothing: f64,
    prior: &Prior<'_>,
    sample_weight: Option<&[f64]>,
) -> Result<Vec<f64>, Error> {
    let mut kept: Vec<f64> = zeros(mask.classes())?;
    let mut weights = with_capacity(mask.rows())?;
    for row in 0..mask.rows() {
        mask.gather(row, &mut kept);
        let is_empty = kept.iter().all(|is_kept| *is_kept == 0.0);
        let weight = if is_empty { 0.0 } else { sample_weight.map_or(1.0, |given| given[row]) };
        let counts = weight != 0.0 && !targets.is_ignored(row);
        if counts && label_smoothing > 0.0 {
            let has_mass = |k: usize| kept[k] != 0.0 && prior.get(row, k) > 0.0;
            if !matches!(prior, Prior::Uniform) && !(0..kept.len()).any(has_mass) {
                return Err(Error::MaskedPrior { index: vec![row] });
            }
        }
        weights.push(weight);
    }
    Ok(weights)
}

impl Targets<'_> {
    pub(crate) fn is_ignored(&self, row: usize) -> bool {
        match self {
            Targets::Labels(labels) => labels.classes[row] == NO_CLASS,
            Targets::Probabilities(_) => false,
        }
    }
}

impl Prior<'_> {
    /// H(u) of row `row` with u renormalised over the classes that are kept.
    pub(crate) fn kept_entropy(
        &self,
        row: usize,
        is_kept: impl Fn(usize) -> bool,
        classes: usize,
    ) -> f64 {
        let kept = || (0..classes).filter(|&k| is_kept(k));
        if matches!(self, Prior::Uniform) {
            return math::log_count(count_to_f64(kept().count())).0;
        }
        let sum = |terms: &mut dyn Iterator<Item = f64>| {
            let add = |sum: DoubleDouble, term| sum + DoubleDouble::new(term);
            terms.fold(DoubleDouble::new(0.0), add).value()
        };
        let mass = sum(&mut kept().map(|k| self.get(row, k)));
        let surprise = |u: f64| if u == 0.0 { 0.0 } else { -u * math::log(u) };
        sum(&mut kept().map(|k| surprise(self.get(row, k) / mass)))
    }
}

#[cfg(test)]
mod tests;
