//! What a mask leaves of the rows: those without a class leave the loss and every divisor.

use super::parts::sum_in_parts;
use super::prior::surprise;
use super::read::read_rows;
use super::{KeptRow, LossTerms, NO_CLASS, Prior, Targets};
use crate::error::Error;
use crate::executor::Executor;
use crate::math::{self, ExactSum};
use crate::simd::Rows;
use std::ops::Range;

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
    let read = |row: usize, start: usize, values: &[f64], kept: &mut (bool, ExactSum)| {
        kept.0 |= values.iter().any(|is_kept| *is_kept != 0.0);
        if needs_mass {
            for (index, chunk) in values.chunks(64).enumerate() {
                let mut masses = [0.0; 64];
                for (k, (mass, is_kept)) in masses.iter_mut().zip(chunk).enumerate() {
                    if *is_kept != 0.0 {
                        *mass = prior.get(row, start + index * 64 + k);
                    }
                }
                kept.1.add(&masses[..chunk.len()]);
            }
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
        executor: &mut dyn Executor,
    ) -> f64 {
        let mut sum = |term: &(dyn Fn(usize) -> f64 + Sync)| {
            let terms = |classes: Range<usize>| {
                let mut sum = ExactSum::default();
                let mut values = [0.0; 64];
                for start in classes.clone().step_by(64) {
                    let len = (classes.end - start).min(64);
                    for (k, value) in values[..len].iter_mut().enumerate() {
                        *value = if is_kept(start + k) { term(start + k) } else { 0.0 };
                    }
                    sum.add(&values[..len]);
                }
                sum.value()
            };
            sum_in_parts(executor, classes, terms)
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
