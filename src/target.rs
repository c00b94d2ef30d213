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

mod kept;
mod loss_terms;
mod normal;
mod parts;
mod prior;
mod read;
mod weight_values;

pub(crate) use kept::kept_rows;
pub use loss_terms::LossTerms;
pub(crate) use normal::{KeptRow, RowTarget, SmoothedTargets, Weights, fill_masked, positive};
pub(crate) use parts::exact_sum;
pub use prior::{Prior, prior_tolerance};
pub use weight_values::WeightValues;

use crate::alloc::filled;
use crate::error::Error;
use crate::executor::{Executor, FirstError, in_parts};
use crate::math::{ExactSum, count};
use crate::simd::Rows;
use parts::sum_of_terms;
use read::{NUMBERS_PER_PART, read_rows};

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
    /// Σ_i s_i Σ_k q_ik c_k over the rows that count, weights in their units: the divisor of a mean.
    pub(crate) fn mass(
        &self,
        class_weight: Option<&WeightValues>,
        row_weight: &(dyn Fn(usize) -> f64 + Sync),
        executor: &mut dyn Executor,
    ) -> f64 {
        let mass = |row: usize| match self {
            Targets::Labels(labels) => {
                let class = labels.classes()[row];
                if class == NO_CLASS {
                    return 0.0;
                }
                class_weight.map_or(1.0, |weights| weights.get(class as usize)) * row_weight(row)
            }
            Targets::Probabilities(targets) => targets.summary[row].mass * row_weight(row),
        };
        sum_of_terms(self.rows(), &mass, executor)
    }

    /// Number of rows that count.
    pub(crate) fn counted(
        &self,
        row_weight: &(dyn Fn(usize) -> f64 + Sync),
        executor: &mut dyn Executor,
    ) -> f64 {
        let counts = |row: usize| !self.is_ignored(row) && row_weight(row) != 0.0;
        sum_of_terms(self.rows(), &|row| f64::from(u8::from(counts(row))), executor)
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

/// Labels that are read and checked at once.
const LABELS: usize = 32;

/// Are all `values` below `end`, and none the one to ignore? Then they are in `classes`. Without a branch, so
/// that the loop has vectors; false also of labels beyond 31 bits.
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

/// Validated labels.
pub struct Labels {
    /// Of few rows they take no memory of their own.
    few: [u32; 8],
    many: Vec<u32>,
    rows: usize,
    counted: usize,
}

impl Labels {
    /// `len` labels: each in `0..num_classes` or equal to `ignore_index`. `value` is asked once for each.
    ///
    /// # Errors
    /// [`Error::Label`] for the first that is neither; [`Error::OutOfMemory`], or that of the executor.
    pub fn new(
        len: usize,
        value: impl Fn(usize) -> i64 + Sync,
        num_classes: usize,
        ignore_index: Option<i128>,
        executor: &mut dyn Executor,
    ) -> Result<Self, Error> {
        let read = |first: usize, values: &mut [u64]| {
            (first..).zip(values).for_each(|(row, v)| *v = value(row).cast_unsigned());
        };
        Self::read(len, true, &read, num_classes, ignore_index, executor)
    }

    /// The same, copied by `read` from a row on, in 64 bits, with their sign if they are `signed`.
    pub(crate) fn read(
        len: usize,
        signed: bool,
        read: &(dyn Fn(usize, &mut [u64]) + Sync),
        num_classes: usize,
        ignore_index: Option<i128>,
        executor: &mut dyn Executor,
    ) -> Result<Self, Error> {
        let (mut few, mut many) = ([NO_CLASS; 8], Vec::new());
        let classes = match few.get_mut(..len) {
            Some(few) => few,
            None => {
                many = filled(len, &NO_CLASS, executor)?;
                &mut many
            }
        };
        let first_error = FirstError::default();
        let end = u32::try_from(num_classes).unwrap_or(NO_CLASS);
        let ignored_class = ignore_index.and_then(|ignored| u32::try_from(ignored).ok());
        let check = |part: usize, classes: &mut [u32]| {
            let (first, mut ignored) = (part * NUMBERS_PER_PART, 0);
            let mut values = [0; LABELS];
            for (index, classes) in classes.chunks_mut(LABELS).enumerate() {
                let first = first + index * LABELS;
                let values = &mut values[..classes.len()];
                read(first, values);
                if are_classes(values, end, ignored_class, classes) {
                    continue;
                }
                for ((row, value), class) in (first..).zip(&*values).zip(classes) {
                    let value = if signed { value.cast_signed().into() } else { (*value).into() };
                    *class = match u32::try_from(value) {
                        _ if Some(value) == ignore_index => {
                            ignored += 1;
                            NO_CLASS
                        }
                        Ok(label) if label < end => label,
                        _ => {
                            let (index, value) = (vec![row], Box::new(value));
                            let (name, ignore_index) = ("targets", ignore_index.map(Box::new));
                            let error =
                                Error::Label { name, index, value, num_classes, ignore_index };
                            first_error.report(row, error);
                            return ignored;
                        }
                    };
                }
            }
            ignored
        };
        let (parts, most) = (classes.chunks_mut(NUMBERS_PER_PART), NUMBERS_PER_PART.min(len));
        let mut counted = len;
        in_parts(executor, parts, most * size_of::<i64>(), check, |ignored| counted -= ignored);
        executor.outcome()?;
        first_error.outcome()?;
        Ok(Self { few, many, rows: len, counted })
    }

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
    rows: Rows<'a>,
    summary: Vec<ProbabilityRow>,
}

#[derive(Clone, Copy, Default)]
struct ProbabilityRow {
    /// The only class with a probability other than 0, or [`NO_CLASS`].
    only: u32,
    mass: f64,
}

/// A row of probabilities as far as it was read.
#[derive(Clone, Copy)]
struct PartialRow {
    /// The first class with a probability other than 0.
    first: Option<usize>,
    has_others: bool,
    sum: ExactSum,
}

impl<'a> Probabilities<'a> {
    /// Reads every row once: all entries must be finite and ≥ 0. A row's mass is Σ_k q_k c_k.
    ///
    /// # Errors
    /// [`Error::Probability`] for the first that is not; [`Error::OutOfMemory`], or that of the executor.
    pub fn new(
        rows: Rows<'a>,
        class_weight: Option<&WeightValues>,
        executor: &mut dyn Executor,
    ) -> Result<Self, Error> {
        let nothing = PartialRow { first: None, has_others: false, sum: ExactSum::default() };
        let read = |row: usize, start: usize, values: &[f64], partial: &mut PartialRow| {
            // Without an early end, which would keep the loop from being vectorised.
            let is_bad = |q: &f64| !(*q >= 0.0 && *q <= f64::MAX);
            if values.iter().fold(false, |any, q| any | is_bad(q))
                && let Some(k) = values.iter().position(is_bad)
            {
                return Err(Error::Probability { index: vec![row, start + k], value: values[k] });
            }
            let mut unread = values;
            if partial.first.is_none()
                && let Some(k) = values.iter().position(|q| *q != 0.0)
            {
                partial.first = Some(start + k);
                unread = &values[k + 1..];
            }
            partial.has_others |= partial.first.is_some() && unread.iter().any(|q| *q != 0.0);
            match class_weight {
                None => partial.sum.add(values),
                Some(weights) => partial.sum.add_terms(values, |k, q| q * weights.get(start + k)),
            }
            Ok(())
        };
        let finish = |_: usize, row: PartialRow| {
            let only = match row.first {
                Some(class) if !row.has_others => u32::try_from(class).unwrap_or(NO_CLASS),
                _ => NO_CLASS,
            };
            Ok(ProbabilityRow { only, mass: row.sum.value() })
        };
        let summary = read_rows(&rows, executor, nothing, read, finish)?;
        Ok(Self { rows, summary })
    }
}

#[cfg(test)]
mod tests;
