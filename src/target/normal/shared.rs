//! What several rows have in common: their weights, or all of their targets but labels, weights or Q.

use super::{RowTarget, Smooth, SmoothedTargets, UniformSmoothing, Weights};
use crate::math::RunningSum;
use crate::simd::{Float, Rows};
use crate::target::{Labels, LossTerms, NO_CLASS, ORDINARY, Prior, Targets, is_ordinary};
use std::ops::Range;

/// The result of [`SmoothedTargets::weight_rows`].
type WeightRows<'r, F> = (&'r Rows<'r>, Option<UniformSmoothing<F>>, Option<RowTarget<'r, F>>);

impl<F: Float> SmoothedTargets<'_, F> {
    /// The weights of these rows where they lie in memory; how they are smoothed if they are not yet; and the target that
    /// all rows have, except for their weights, Q and the factor of the loss, if they differ in nothing else. None if
    /// some weights have to be computed in another way.
    pub(crate) fn weight_rows(&self, rows: Range<usize>) -> Option<WeightRows<'_, F>> {
        let targets = match (self.targets, &self.smooth) {
            (Targets::Labels(_), Smooth::Rows(rows)) => return Some((rows, None, None)),
            (Targets::Probabilities(targets), Smooth::Absent | Smooth::Uniform(_)) => targets,
            _ => return None,
        };
        if !self.are_plain() {
            return None;
        }
        let smoothing = self.smoothing();
        let (mut are_ordinary, mut have_many, smooths) = (true, true, smoothing.is_some());
        for row in &targets.summary[rows] {
            // Masses lie on both sides of 1, so a branch on that could not be predicted.
            are_ordinary &= if smooths { row.mass <= ORDINARY } else { is_ordinary(row.mass) };
            have_many &= row.only == NO_CLASS;
        }
        let row = RowTarget { beta: 1.0, ..RowTarget::none() };
        let row = have_many.then_some(row);
        (are_ordinary && (have_many || !smooths)).then_some((&targets.rows, smoothing, row))
    }

    /// May rows with [`SmoothedTargets::weight_rows`] be probabilities that differ in nothing else but their masses and the
    /// factors of their losses?
    pub(crate) fn have_masses(&self) -> bool {
        matches!(self.targets, Targets::Probabilities(_)) && self.are_plain()
    }

    /// Q of these rows, and its rounding error.
    #[inline(always)]
    pub(crate) fn masses(&self, rows: Range<usize>, masses: &mut [f64], lost: &mut [f64]) {
        let Targets::Probabilities(targets) = self.targets else { return };
        let smooth = RunningSum { sum: self.terms.label_smoothing, lost: 0.0 };
        for ((mass, lost), row) in masses.iter_mut().zip(lost).zip(&targets.summary[rows]) {
            (*mass, *lost) = self.mass(row.mass, smooth);
        }
    }

    /// The weights of rows, if they are the same for all.
    #[inline(always)]
    pub(crate) fn weights_of_all(&self) -> Option<Weights<'_, F>> {
        let differ = matches!(self.smooth, Smooth::Rows(_) | Smooth::Made);
        let are_same = matches!(self.targets, Targets::Labels(_)) && !differ;
        are_same.then(|| self.smooth(0).weights)
    }

    /// The labels, and the target that all rows have except for the label, if the rows differ in nothing else.
    #[inline(always)]
    pub(crate) fn labels_alone(&self) -> Option<(&Labels, RowTarget<'_, F>)> {
        let Targets::Labels(labels) = self.targets else { return None };
        if self.kept.is_some() || !self.is_unweighted() || self.weights_of_all().is_none() {
            return None;
        }
        Some((labels, self.with_spike(self.smooth(0), 1.0)))
    }

    /// The labels, and the target that all rows have except for the label and its weights, if the rows differ in nothing
    /// else. With a mask, β is [`SmoothedTargets::beta`]; if the prior is uniform, the weights w are the mask. With
    /// priors that are read in place, Q is added by [`SmoothedTargets::add_smooth_masses`].
    #[inline(never)]
    pub(crate) fn labels(&self) -> Option<(&Labels, RowTarget<'_, F>)> {
        let Targets::Labels(labels) = self.targets else { return None };
        let LossTerms { prior, class_weight, .. } = *self.terms;
        if let Smooth::Rows(_) = self.smooth {
            let row = RowTarget { smooth_mass: 0.0, mass_lost: 0.0, ..self.smooth(0) };
            return Some((labels, row));
        }
        let is_uniform = matches!(prior, Prior::Uniform) && class_weight.is_none();
        let are_masks = self.kept.is_some() && is_uniform;
        (are_masks || self.weights_of_all().is_some()).then(|| (labels, self.smooth(0)))
    }

    /// Adds Q of rows from `first` on, and its rounding errors, if they have priors that are read in place.
    #[inline(always)]
    pub(crate) fn add_smooth_masses(&self, first: usize, masses: &mut [f64], lost: &mut [f64]) {
        let (Smooth::Rows(_), Prior::PerRow { summary, .. }) = (&self.smooth, self.terms.prior)
        else {
            return;
        };
        for (row, (mass, lost)) in (first..).zip(masses.iter_mut().zip(lost)) {
            let of_prior = summary[self.terms.prior.place(row)].mass;
            if F::IS_DOUBLE {
                *lost += RunningSum::of_product(self.terms.label_smoothing, of_prior).lost;
            }
            *mass += self.terms.label_smoothing * of_prior;
        }
    }
}
