//! What a mask leaves of the rows: those without a class leave the loss and every divisor.

use super::parts::sum_of_terms;
use super::prior::surprise;
use super::read::read_rows;
use super::{KeptRow, LossTerms, NO_CLASS, Prior, Targets};
use crate::error::Error;
use crate::executor::Executor;
use crate::math::{self, ExactSum};
use crate::simd::Rows;

/// What `mask` keeps of each row. With smoothing, the prior of every row that counts must have mass on
/// the classes that are kept.
///
/// # Errors
/// [`Error::MaskedPrior`] for the first row whose prior has none; [`Error::OutOfMemory`], or that of
/// the executor.
pub(crate) fn kept_rows(
    mask: &Rows<'_>,
    targets: &Targets<'_>,
    terms: &LossTerms<'_>,
    executor: &mut dyn Executor,
) -> Result<Vec<KeptRow>, Error> {
    let LossTerms { label_smoothing, prior, sample_weight, .. } = *terms;
    let is_uniform = matches!(prior, Prior::Uniform);
    let needs_mass = label_smoothing > 0.0;
    let read =
        |row: usize, start: usize, values: &[f64], kept: &mut (bool, ExactSum)| {
            kept.0 |= values.iter().any(|is_kept| *is_kept != 0.0);
            if needs_mass {
                kept.1.add_terms(values, |k, is_kept| {
                    if *is_kept == 0.0 { 0.0 } else { prior.get(row, start + k) }
                });
            }
            Ok(())
        };
    let finish = |row: usize, (has_classes, sum): (bool, ExactSum)| {
        let mass = sum.value();
        let has_weight = sample_weight.is_none_or(|weights| weights.get(row) != 0.0);
        let counts = has_classes && has_weight && !targets.is_ignored(row);
        if counts && needs_mass && !is_uniform && mass == 0.0 {
            return Err(Error::MaskedPrior { index: vec![row] });
        }
        Ok(KeptRow { has_classes, mass })
    };
    read_rows(mask, executor, (false, ExactSum::default()), read, finish)
}

impl Targets<'_> {
    pub(crate) fn is_ignored(&self, row: usize) -> bool {
        match self {
            Targets::Labels(labels) => labels.classes()[row] == NO_CLASS,
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
        executor: &mut dyn Executor,
    ) -> f64 {
        let mut sum = |term: &(dyn Fn(usize) -> f64 + Sync)| {
            sum_of_terms(classes, &|k| if is_kept(k) { term(k) } else { 0.0 }, executor)
        };
        if matches!(self, Prior::Uniform) {
            return math::log(sum(&|_| 1.0));
        }
        let mass = sum(&|k| self.get(row, k));
        sum(&|k| surprise(self.get(row, k) / mass))
    }
}

#[cfg(test)]
mod tests;
