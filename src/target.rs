//! Every form of target becomes one normal form before the kernel sees it:
//!
//! ```text
//! q' = spike·δ_y + β·w                                    Q = Σ_k β·w_k
//! label y                     spike = 1 − ε               β·w = ε·u
//! probabilities q, one k ≠ 0  spike = (1 − ε)·q_y         β·w = ε·u    (the same bits as a label)
//! probabilities q, others     spike = 0                   w = (1 − ε)·q + ε·u, β = 1   (without ε: β a power of two near Q)
//! uniform prior               w = 1, β = ε/K
//! ```
//!
//! With class weights c, each q_k and u_k is multiplied by c_k.
//!
//! All of it was checked before: see `ops::inputs`. What is here deals with a
//! part of the rows or of the classes: who has which part, and when, is up to
//! the layers above.

mod normal;
mod prior;
mod weight_values;

pub use normal::LossTerms;
pub(crate) use normal::{RowTarget, SmoothedTargets, Weights, fill_masked, mass_of, positive};
pub use prior::{Prior, prior_tolerance};
pub use weight_values::WeightValues;

use crate::math::count;
use crate::simd::Rows;

/// An ignored row, and "more than one class" in [`ProbabilityRow`].
pub(crate) const NO_CLASS: u32 = u32::MAX;

/// The target q, before smoothing.
pub enum Targets<'a> {
    /// One class per row.
    Labels(Labels),
    /// One distribution per row.
    Probabilities(Probabilities<'a>),
}

impl Targets<'_> {
    /// None yet: to be read where they stay, since they are large.
    #[must_use]
    pub fn none() -> Self {
        Targets::Labels(Labels::default())
    }

    /// Σ_k q_k c_k of one row, weights in their units: 0 if it is ignored.
    pub(crate) fn mass(&self, row: usize, class_weight: Option<&WeightValues>) -> f64 {
        match self {
            _ if self.is_ignored(row) => 0.0,
            Targets::Labels(labels) => class_weight.map_or(1.0, |c| c.get(labels.class(row))),
            Targets::Probabilities(targets) => targets.summary[row].mass,
        }
    }

    pub(crate) fn is_ignored(&self, row: usize) -> bool {
        match self {
            Targets::Labels(labels) => labels.classes()[row] == NO_CLASS,
            Targets::Probabilities(_) => false,
        }
    }

    /// The number of labels that are not ignored, where that is known.
    pub(crate) fn counted_labels(&self) -> Option<f64> {
        match self {
            Targets::Labels(labels) => Some(count(labels.counted)),
            Targets::Probabilities(_) => None,
        }
    }

    /// Number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        match self {
            Targets::Labels(labels) => labels.rows,
            Targets::Probabilities(targets) => targets.summary.len(),
        }
    }
}

/// Of so few labels each call has its own memory.
pub(crate) const FEW_LABELS: usize = 8;

/// Validated labels.
#[derive(Default)]
pub struct Labels {
    /// Of few rows they take no memory of their own.
    pub(crate) few: [u32; FEW_LABELS],
    pub(crate) many: Vec<u32>,
    pub(crate) rows: usize,
    /// Those that are not ignored.
    pub(crate) counted: usize,
}

impl Labels {
    /// The class of each row, or [`NO_CLASS`].
    #[inline(always)]
    pub(crate) fn classes(&self) -> &[u32] {
        self.few.get(..self.rows).unwrap_or(&self.many)
    }

    /// The class of a label that is not ignored.
    pub(crate) fn class(&self, label: usize) -> usize {
        self.classes()[label] as usize
    }
}

/// Validated probability targets.
pub struct Probabilities<'a> {
    pub(crate) rows: Rows<'a>,
    pub(crate) summary: Vec<ProbabilityRow>,
}

#[derive(Clone, Copy, Default)]
pub(crate) struct ProbabilityRow {
    /// The only class with a probability other than 0, or [`NO_CLASS`].
    pub(crate) only: u32,
    /// Σ_k q_k c_k
    pub(crate) mass: f64,
}
