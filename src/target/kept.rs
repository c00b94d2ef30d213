//! What a mask leaves of the rows: those without a class leave the loss and every divisor.

use super::parts::sum_in_parts;
use super::prior::surprise;
use super::read::read_rows;
use super::{NO_CLASS, Prior, Targets};
use crate::crew::Crew;
use crate::error::Error;
use crate::math;
use crate::simd::memory::Rows;
use crate::wide::{DoubleDouble, Wide};
use std::ops::Range;

/// The weight of each row: `sample_weight`, and 0 where `mask` keeps no class. With smoothing,
/// the prior of every row that counts must have mass on the classes that are kept.
///
/// # Errors
/// [`Error::MaskedPrior`] for the first row whose prior has none; [`Error::OutOfMemory`], or that of
/// the crew.
pub(crate) fn kept_row_weights(
    mask: &Rows<'_>,
    targets: &Targets<'_>,
    label_smoothing: f64,
    prior: &Prior<'_>,
    sample_weight: Option<&[f64]>,
    crew: &mut dyn Crew,
) -> Result<Vec<f64>, Error> {
    let needs_mass = label_smoothing > 0.0 && !matches!(prior, Prior::Uniform);
    let read = |row: usize, start: usize, values: &[f64], kept: &mut KeptRow| {
        kept.has_classes |= values.iter().any(|is_kept| *is_kept != 0.0);
        let has_mass = |k: usize| values[k] != 0.0 && prior.get(row, start + k) > 0.0;
        kept.has_mass = kept.has_mass || (needs_mass && (0..values.len()).any(has_mass));
        Ok(())
    };
    let finish = |row: usize, kept: KeptRow| {
        let given = sample_weight.map_or(1.0, |given| given[row]);
        let weight = if kept.has_classes { given } else { 0.0 };
        let counts = weight != 0.0 && !targets.is_ignored(row);
        if counts && needs_mass && !kept.has_mass {
            return Err(Error::MaskedPrior { index: vec![row] });
        }
        Ok(weight)
    };
    read_rows(mask, crew, KeptRow::default(), read, finish)
}

/// What a mask keeps of a row, as far as it was read.
#[derive(Clone, Copy, Default)]
struct KeptRow {
    has_classes: bool,
    /// A class to which the prior gives mass.
    has_mass: bool,
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
        is_kept: impl Fn(usize) -> bool + Sync,
        classes: usize,
        crew: &mut dyn Crew,
    ) -> f64 {
        let mut sum = |term: &(dyn Fn(usize) -> f64 + Sync)| {
            let add = |sum: DoubleDouble, k| sum + DoubleDouble::new(term(k));
            let terms = |mut classes: Range<usize>| {
                let kept = classes.by_ref().filter(|k| is_kept(*k));
                kept.fold(DoubleDouble::new(0.0), add)
            };
            sum_in_parts(crew, classes, terms).value()
        };
        if matches!(self, Prior::Uniform) {
            return math::log_count(sum(&|_| 1.0)).0;
        }
        let mass = sum(&|k| self.get(row, k));
        sum(&|k| surprise(self.get(row, k) / mass))
    }
}

#[cfg(test)]
mod tests;
