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
//! Labels and priors are validated here, once, before anything is written; a
//! label is copied on the way, so the value that was checked is the value used.
//! What is here deals with a part of the rows or of the classes: who has which
//! part, and when, is up to the layers above.

mod kept;
mod loss_terms;
mod normal;
mod prior;
mod weight_values;

pub(crate) use kept::PartlyKept;
pub use loss_terms::LossTerms;
pub(crate) use normal::{KeptRow, RowTarget, SmoothedTargets, Weights, fill_masked, positive};
pub use prior::{Prior, prior_tolerance};
pub(crate) use prior::{add_prior, check_sum, surprise};
pub use weight_values::WeightValues;
pub(crate) use weight_values::copy_weights;

use crate::error::Error;
use crate::math::{ExactSum, count};
use crate::simd::{Level, Rows};

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

/// Refuses the first of the values that is not finite and ≥ 0, at the index that `index` makes of its place.
fn check_entries(
    name: &'static str,
    values: &[f64],
    index: impl FnOnce(usize) -> Vec<usize>,
) -> Result<(), Error> {
    // Without an early end, which would keep the loop from being vectorised.
    let is_bad = |value: &f64| !(*value >= 0.0 && *value <= f64::MAX);
    if values.iter().fold(false, |any, value| any | is_bad(value))
        && let Some(k) = values.iter().position(is_bad)
    {
        return Err(Error::Entry { name, index: index(k), value: values[k] });
    }
    Ok(())
}

/// Of so few labels each call has its own memory.
const FEW_LABELS: usize = 8;

/// Labels that are read and checked at once. A vector of them would wait for the stores that have just copied
/// it: of so many, the first are in the cache when the last are copied.
const MANY_LABELS: usize = 256;

/// Are all `values` below `end`, and none the one to ignore? Then they are in `classes`. Without a branch, so
/// that the loop has vectors; false also of labels beyond 31 bits.
#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "all bits are looked at")]
fn are_classes(values: &[u64], end: u32, ignored: Option<u32>, classes: &mut [u32]) -> bool {
    const TOP: u32 = 1 << 31;
    let end = end.min(TOP);
    let ignored = ignored.unwrap_or(end); // which is no class
    let (mut all, mut outside) = (0, 0);
    for (value, class) in values.iter().zip(classes) {
        let low = *value as u32;
        *class = low;
        all |= value;
        // The top bit of each: not below `end`, or equal to `ignored`.
        outside |= !low.wrapping_sub(end) | (low ^ ignored).wrapping_sub(1);
    }
    (all | u64::from(outside)) < u64::from(TOP)
}

/// Labels as they are in memory, and what they must be.
pub struct UncheckedLabels<'a> {
    /// How many there are.
    pub len: usize,
    /// Copies those from a row on, in 64 bits, with their sign if they have one.
    pub read: &'a (dyn Fn(usize, &mut [u64]) + Sync),
    /// Is the top bit of the 64 a sign?
    pub signed: bool,
    /// Each must be below it, or equal to `ignore_index`.
    pub num_classes: usize,
    /// Marks rows that do not count.
    pub ignore_index: Option<i128>,
}

impl UncheckedLabels<'_> {
    /// The classes from row `first` on; how many of them are ignored.
    pub(crate) fn check(
        &self,
        level: Level,
        first: usize,
        classes: &mut [u32],
    ) -> Result<usize, Error> {
        if classes.len() <= FEW_LABELS {
            return self.check_by::<FEW_LABELS>(first, classes);
        }
        level.compiled(
            #[inline(always)]
            || self.check_by::<MANY_LABELS>(first, classes),
        )
    }

    /// The same, so many at once.
    #[inline(always)]
    fn check_by<const AT_ONCE: usize>(
        &self,
        first: usize,
        classes: &mut [u32],
    ) -> Result<usize, Error> {
        let Self { num_classes, ignore_index, .. } = *self;
        let end = u32::try_from(num_classes).unwrap_or(NO_CLASS);
        let ignored_class = ignore_index.and_then(|ignored| u32::try_from(ignored).ok());
        let (mut values, mut ignored) = ([0; AT_ONCE], 0);
        for (index, classes) in classes.chunks_mut(AT_ONCE).enumerate() {
            let first = first + index * AT_ONCE;
            let values = &mut values[..classes.len()];
            (self.read)(first, values);
            if are_classes(values, end, ignored_class, classes) {
                continue;
            }
            for ((row, value), class) in (first..).zip(&*values).zip(classes) {
                let value = if self.signed { value.cast_signed().into() } else { (*value).into() };
                *class = match u32::try_from(value) {
                    _ if Some(value) == ignore_index => {
                        ignored += 1;
                        NO_CLASS
                    }
                    Ok(label) if label < end => label,
                    _ => {
                        let (name, index, value) = ("targets", vec![row], Box::new(value));
                        let ignore_index = ignore_index.map(Box::new);
                        return Err(Error::Label { name, index, value, num_classes, ignore_index });
                    }
                };
            }
        }
        Ok(ignored)
    }
}

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

/// A row of probabilities as far as it was read.
#[derive(Default)]
pub(crate) struct PartialRow {
    /// The first class with a probability other than 0.
    first: Option<usize>,
    has_others: bool,
    sum: ExactSum,
}

impl PartialRow {
    /// Reads the probabilities of row `row` from class `start` on: all must be finite and ≥ 0.
    pub(crate) fn read(
        &mut self,
        row: usize,
        start: usize,
        values: &[f64],
        class_weight: Option<&WeightValues>,
    ) -> Result<(), Error> {
        check_entries("targets", values, |k| vec![row, start + k])?;
        let mut unread = values;
        if self.first.is_none()
            && let Some(k) = values.iter().position(|q| *q != 0.0)
        {
            self.first = Some(start + k);
            unread = &values[k + 1..];
        }
        self.has_others |= self.first.is_some() && unread.iter().any(|q| *q != 0.0);
        match class_weight {
            None => self.sum.add(values),
            Some(weights) => self.sum.add_terms(values, |k, q| q * weights.get(start + k)),
        }
        Ok(())
    }

    pub(crate) fn finish(self) -> ProbabilityRow {
        let only = match self.first {
            Some(class) if !self.has_others => u32::try_from(class).unwrap_or(NO_CLASS),
            _ => NO_CLASS,
        };
        ProbabilityRow { only, mass: self.sum.value() }
    }
}
