//! What a mask leaves of the rows: those without a class leave the loss and every divisor.

use super::{KeptRow, LossTerms, Prior, Targets};
use crate::error::Error;
use crate::math::ExactSum;

/// What a mask keeps of a row, as far as it was read.
#[derive(Default)]
pub(crate) struct PartlyKept {
    has_classes: bool,
    mass: ExactSum,
}

impl PartlyKept {
    /// Reads the mask of row `row` from class `start` on. Without smoothing, the prior is not read.
    pub(crate) fn read(&mut self, row: usize, start: usize, mask: &[f64], terms: &LossTerms<'_>) {
        self.has_classes |= mask.iter().any(|is_kept| *is_kept != 0.0);
        if terms.label_smoothing > 0.0 {
            self.mass.add_terms(mask, |k, is_kept| {
                if *is_kept == 0.0 { 0.0 } else { terms.prior.get(row, start + k) }
            });
        }
    }

    /// With smoothing, the prior of a row that counts must have mass on the classes that are kept.
    pub(crate) fn finish(
        self,
        row: usize,
        targets: &Targets<'_>,
        terms: &LossTerms<'_>,
    ) -> Result<KeptRow, Error> {
        let (has_classes, mass) = (self.has_classes, self.mass.value());
        let has_weight = terms.sample_weight.is_none_or(|weights| weights.get(row) != 0.0);
        let counts = has_classes && has_weight && !targets.is_ignored(row);
        let is_uniform = matches!(terms.prior, Prior::Uniform);
        if counts && terms.label_smoothing > 0.0 && !is_uniform && mass == 0.0 {
            return Err(Error::MaskedPrior { index: vec![row] });
        }
        Ok(KeptRow { has_classes, mass })
    }
}
