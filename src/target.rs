//! Every form of target becomes one normal form before the kernel sees it:
//!
//! ```text
//! q' = spike·δ_y + β·w                                    Q = Σ_k β·w_k
//! label y                     spike = 1 − ε               β·w = ε·u
//! probabilities q, one k ≠ 0  spike = (1 − ε)·q_y         β·w = ε·u    (the same bits as a label)
//! probabilities q, others     spike = 0                   w = (1 − ε)·q + ε·u, β = 1
//! uniform prior               w = 1, β = ε/K
//! ```
//!
//! Labels and priors are validated here, once, before anything is written; a
//! label is copied on the way, so the value that was checked is the value used.

mod kept;
mod mixed;
mod normal;
mod prior;

pub(crate) use kept::kept_row_weights;
pub use normal::LossTerms;
pub(crate) use normal::{GroupTarget, SmoothedTargets, TargetScratch};
pub use prior::{Prior, prior_tolerance};

use crate::alloc::{with_capacity, zeros};
use crate::error::Error;
use crate::kernel::stats::count_to_f64;
use crate::simd::memory::Rows;
use crate::wide::{DoubleDouble, Wide};

/// An ignored row, and "more than one class" in [`ProbabilityRow`].
const NO_CLASS: u32 = u32::MAX;

/// The target q, before smoothing.
pub enum Targets<'a> {
    /// One class per row.
    Labels(Labels),
    /// One distribution per row.
    Probabilities(Probabilities<'a>),
}

impl Targets<'_> {
    /// Σ_i s_i Σ_k q_ik c_k over the rows that are not ignored: the divisor of a mean.
    #[must_use]
    pub fn mass(&self, class_weight: Option<&[f64]>, sample_weight: Option<&[f64]>) -> f64 {
        let row_weight = |row: usize| sample_weight.map_or(1.0, |weights| weights[row]);
        let sum = |sum: DoubleDouble, term: DoubleDouble| sum + term;
        let zero = DoubleDouble::new(0.0);
        match self {
            Targets::Labels(labels) if class_weight.is_none() && sample_weight.is_none() => {
                count_to_f64(labels.counted)
            }
            Targets::Labels(labels) => {
                let counted = labels.classes.iter().enumerate().filter(|row| *row.1 != NO_CLASS);
                let mass = counted.map(|(row, class)| {
                    let weight = class_weight.map_or(1.0, |weights| weights[*class as usize]);
                    DoubleDouble::new(weight) * DoubleDouble::new(row_weight(row))
                });
                mass.fold(zero, sum).value()
            }
            Targets::Probabilities(targets) => {
                let rows = targets.summary.iter().enumerate();
                let mass = rows.map(|(row, q)| q.mass * DoubleDouble::new(row_weight(row)));
                mass.fold(zero, sum).value()
            }
        }
    }

    /// Number of rows that are not ignored and have a weight other than 0.
    #[must_use]
    pub fn counted(&self, sample_weight: Option<&[f64]>) -> f64 {
        let has_weight = |row: usize| sample_weight.is_none_or(|weights| weights[row] != 0.0);
        let counts = |row: &usize| !self.is_ignored(*row) && has_weight(*row);
        count_to_f64((0..self.rows()).filter(counts).count())
    }

    /// Number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        match self {
            Targets::Labels(labels) => labels.classes.len(),
            Targets::Probabilities(targets) => targets.summary.len(),
        }
    }
}

/// Validated labels.
pub struct Labels {
    classes: Vec<u32>,
    counted: usize,
}

impl Labels {
    /// Copies and checks labels: each in `0..num_classes` or equal to `ignore_index`.
    ///
    /// # Errors
    /// [`Error::Label`] for the first that is neither; [`Error::OutOfMemory`].
    pub fn new(
        values: impl ExactSizeIterator<Item = i128>,
        num_classes: usize,
        ignore_index: Option<i128>,
        checkpoint: &mut dyn FnMut() -> Result<(), Error>,
    ) -> Result<Self, Error> {
        let mut classes = with_capacity(values.len())?;
        let mut counted = 0;
        for (row, value) in values.enumerate() {
            if row % NUMBERS_PER_LOOK == NUMBERS_PER_LOOK - 1 {
                checkpoint()?;
            }
            if Some(value) == ignore_index {
                classes.push(NO_CLASS);
                continue;
            }
            match u32::try_from(value) {
                Ok(class) if (class as usize) < num_classes && class != NO_CLASS => {
                    classes.push(class);
                }
                _ => {
                    return Err(Error::Label {
                        index: vec![row],
                        value,
                        num_classes,
                        ignore_index,
                    });
                }
            }
            counted += 1;
        }
        Ok(Self { classes, counted })
    }
}

/// Validated probability targets.
pub struct Probabilities<'a> {
    rows: Rows<'a>,
    summary: Vec<ProbabilityRow>,
}

#[derive(Clone, Copy)]
struct ProbabilityRow {
    /// The only class with a probability other than 0, or [`NO_CLASS`].
    only: u32,
    mass: DoubleDouble,
}

impl<'a> Probabilities<'a> {
    /// Reads every row once: all entries must be finite and ≥ 0. A row's mass is Σ_k q_k c_k.
    ///
    /// # Errors
    /// [`Error::Probability`] for the first that is not; [`Error::OutOfMemory`].
    pub fn new(
        rows: Rows<'a>,
        class_weight: Option<&[f64]>,
        checkpoint: &mut dyn FnMut() -> Result<(), Error>,
    ) -> Result<Self, Error> {
        let mut row_values: Vec<f64> = zeros(rows.classes())?;
        let mut summary = with_capacity(rows.rows())?;
        let rows_per_look = (NUMBERS_PER_LOOK / rows.classes().max(1)).max(1);
        for row in 0..rows.rows() {
            if row % rows_per_look == rows_per_look - 1 {
                checkpoint()?;
            }
            rows.gather(row, &mut row_values);
            // Without an early end, which would keep the loop from being vectorised.
            let is_bad = |q: &f64| !(*q >= 0.0 && *q <= f64::MAX);
            if row_values.iter().fold(false, |any, q| any | is_bad(q))
                && let Some(class) = row_values.iter().position(is_bad)
            {
                return Err(Error::Probability {
                    index: vec![row, class],
                    value: row_values[class],
                });
            }
            let first = row_values.iter().position(|q| *q != 0.0);
            let others = first.is_none_or(|k| row_values[k + 1..].iter().any(|q| *q != 0.0));
            let only = match first {
                Some(class) if !others => u32::try_from(class).unwrap_or(NO_CLASS),
                _ => NO_CLASS,
            };
            summary.push(ProbabilityRow { only, mass: weighted_sum(&row_values, class_weight) });
        }
        Ok(Self { rows, summary })
    }
}

/// Σ of finite values ≥ 0, each times its weight, to some 100 bits.
fn weighted_sum(values: &[f64], weights: Option<&[f64]>) -> DoubleDouble {
    let Some(weights) = weights else { return exact_sum(values) };
    let terms = values.iter().zip(weights);
    terms.fold(DoubleDouble::new(0.0), |sum, (value, weight)| {
        sum + DoubleDouble::new(*value) * DoubleDouble::new(*weight)
    })
}

/// Numbers validated between two looks for Ctrl-C: some 10 ms.
const NUMBERS_PER_LOOK: usize = 1 << 22;

/// Σ of values ≥ 0, or NaN, to some 100 bits: eight sums side by side, each with what its
/// additions lost.
pub(crate) fn exact_sum(values: &[f64]) -> DoubleDouble {
    const LANES: usize = 8;
    let (mut high, mut low) = ([0.0; LANES], [0.0; LANES]);
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            let sum = high[lane] + chunk[lane];
            let from_value = sum - high[lane];
            low[lane] += (high[lane] - (sum - from_value)) + (chunk[lane] - from_value);
            high[lane] = sum;
        }
    }
    let lanes = if chunks.is_empty() { 0 } else { LANES };
    let lanes = (0..lanes).map(|lane| DoubleDouble::renormalised(high[lane], low[lane]));
    let rest = rest.iter().map(|value| DoubleDouble::new(*value));
    lanes.chain(rest).fold(DoubleDouble::new(0.0), |sum, term| sum + term)
}

#[cfg(test)]
mod tests;
