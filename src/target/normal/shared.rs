//! What several rows have in common: their weights, or all of their targets but labels, weights or Q.

use super::{RowTarget, Smooth, SmoothedTargets, Weights};
use crate::math::RunningSum;
use crate::simd::{Float, Rows, Storage};
use crate::target::{Labels, LossTerms, NO_CLASS, ORDINARY, Prior, Targets, is_ordinary};
use std::ops::Range;

impl<F: Float> SmoothedTargets<'_, F> {
    /// The probabilities, if [`SmoothedTargets::fill`] can make weights of them in the type of the rows. It makes those of
    /// floats from doubles, unless the weights are plain.
    pub(crate) fn probabilities(&self) -> Option<&Rows<'_>> {
        let Targets::Probabilities(targets) = self.targets else { return None };
        let is_exact = F::IS_DOUBLE || targets.rows.storage() != Storage::F64;
        let are_read = self.terms.label_smoothing < 1.0 && (is_exact || self.are_plain());
        are_read.then_some(&targets.rows)
    }

    /// Are targets probabilities that become weights in the same way in all rows whose masses are ordinary?
    pub(crate) fn have_masses(&self) -> bool {
        self.probabilities().is_some()
            && !matches!(self.smooth, Smooth::Rows(_) | Smooth::Made)
            && self.kept.is_none()
    }

    /// Where the weights of these rows lie in memory, or the probabilities of which [`SmoothedTargets::fill_lanes`] makes
    /// weights; and whether there is a row whose only class has all of them. None if some weights have to be computed in
    /// another way.
    pub(crate) fn weight_rows(&self, rows: Range<usize>) -> Option<(&Rows<'_>, bool)> {
        let targets = match (self.targets, &self.smooth) {
            (Targets::Labels(_), Smooth::Rows(rows)) => return Some((rows, false)),
            (Targets::Probabilities(targets), _) if self.have_masses() => targets,
            _ => return None,
        };
        let smooths = self.terms.label_smoothing > 0.0;
        let (mut are_ordinary, mut has_one_hot) = (true, false);
        for row in &targets.summary[rows] {
            // Masses lie on both sides of 1, so a branch on that could not be predicted.
            are_ordinary &= if smooths { row.mass <= ORDINARY } else { is_ordinary(row.mass) };
            has_one_hot |= row.only != NO_CLASS;
        }
        are_ordinary.then_some((&targets.rows, has_one_hot))
    }

    /// The normal form of a row whose only class has all of its probabilities, if it is such a row and counts.
    pub(crate) fn one_hot_row(&self, row: usize) -> Option<RowTarget<'_, F>> {
        let Targets::Probabilities(targets) = self.targets else { return None };
        if targets.summary[row].only == NO_CLASS { None } else { self.row(row) }
    }

    /// Q of these rows, and its rounding error.
    #[inline(always)]
    pub(crate) fn masses(&self, rows: Range<usize>, masses: &mut [f64], lost: &mut [f64]) {
        let Targets::Probabilities(targets) = self.targets else { return };
        let of_all = self.smooth(0);
        let smooth = RunningSum { sum: of_all.smooth_mass, lost: of_all.mass_lost };
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
