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

use crate::element::{DoubleDouble, Float, Wide};
use crate::error::Error;
use crate::kernel::stats::{Weights, count_to_f64};
use crate::math;
use crate::simd::memory::Rows;

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
    /// Σ of the unsmoothed target mass: the divisor of a mean.
    #[must_use]
    pub fn mass(&self) -> f64 {
        match self {
            Targets::Labels(labels) => count_to_f64(labels.counted),
            Targets::Probabilities(targets) => {
                targets.summary.iter().fold(DoubleDouble::new(0.0), |sum, row| sum + row.mass).value()
            }
        }
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
    ) -> Result<Self, Error> {
        let mut classes = with_capacity(values.len())?;
        let mut counted = 0;
        for (row, value) in values.enumerate() {
            if Some(value) == ignore_index {
                classes.push(NO_CLASS);
                continue;
            }
            match u32::try_from(value) {
                Ok(class) if (class as usize) < num_classes && class != NO_CLASS => classes.push(class),
                _ => return Err(Error::Label { index: vec![row], value, num_classes, ignore_index }),
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
    /// Reads every row once: all entries must be finite and ≥ 0.
    ///
    /// # Errors
    /// [`Error::Probability`] for the first that is not; [`Error::OutOfMemory`].
    pub fn new(rows: Rows<'a>) -> Result<Self, Error> {
        let mut row_values: Vec<f64> = zeros(rows.classes())?;
        let mut summary = with_capacity(rows.rows())?;
        for row in 0..rows.rows() {
            rows.gather(row, &mut row_values);
            if let Some(class) = row_values.iter().position(|q| !(*q >= 0.0 && q.is_finite())) {
                return Err(Error::Probability { index: vec![row, class], value: row_values[class] });
            }
            let first = row_values.iter().position(|q| *q != 0.0);
            let others = first.is_none_or(|k| row_values[k + 1..].iter().any(|q| *q != 0.0));
            let only = match first {
                Some(class) if !others => u32::try_from(class).unwrap_or(NO_CLASS),
                _ => NO_CLASS,
            };
            summary.push(ProbabilityRow { only, mass: exact_sum(&row_values) });
        }
        Ok(Self { rows, summary })
    }
}

/// The prior u.
pub enum Prior<'a> {
    /// 1/K
    Uniform,
    /// The same distribution for every row.
    Shared {
        /// u, in double precision.
        values: Vec<f64>,
        /// Σ u
        mass: DoubleDouble,
    },
    /// One distribution per row.
    PerRow {
        /// u
        rows: Rows<'a>,
        /// Σ u of each row.
        masses: Vec<DoubleDouble>,
    },
}

/// How far the sum of a prior of K classes may be from 1: 1e-6·max(1, √K), room for float32.
#[must_use]
pub fn prior_tolerance(classes: usize) -> f64 {
    1e-6 * count_to_f64(classes).sqrt().max(1.0)
}

impl<'a> Prior<'a> {
    /// Reads and checks every row: finite, ≥ 0, summing to 1 within [`prior_tolerance`].
    ///
    /// # Errors
    /// [`Error::Prior`], [`Error::PriorSum`] for the first bad row; [`Error::OutOfMemory`].
    pub fn new(rows: Rows<'a>) -> Result<Self, Error> {
        let mut values: Vec<f64> = zeros(rows.classes())?;
        if rows.is_one_row() {
            rows.gather(0, &mut values);
            let mass = check_prior(&values, None)?;
            return Ok(Prior::Shared { values, mass });
        }
        let mut masses = with_capacity(rows.rows())?;
        for row in 0..rows.rows() {
            rows.gather(row, &mut values);
            masses.push(check_prior(&values, Some(row))?);
        }
        Ok(Prior::PerRow { rows, masses })
    }

    /// H(u), with 0·log 0 = 0: one number, or one for each row of a per-row prior.
    pub(crate) fn entropies(&self, classes: usize) -> Result<Vec<f64>, Error> {
        let Prior::PerRow { rows, .. } = self else {
            return Ok(vec![match self {
                Prior::Shared { values, .. } => entropy(values),
                _ => math::log_count(count_to_f64(classes)).0,
            }]);
        };
        let mut values: Vec<f64> = zeros(classes)?;
        let mut entropies = with_capacity(rows.rows())?;
        for row in 0..rows.rows() {
            rows.gather(row, &mut values);
            entropies.push(entropy(&values));
        }
        Ok(entropies)
    }
}

fn check_prior(values: &[f64], row: Option<usize>) -> Result<DoubleDouble, Error> {
    if let Some(class) = values.iter().position(|u| !(*u >= 0.0 && u.is_finite())) {
        let index = row.into_iter().chain([class]).collect();
        return Err(Error::Prior { index, value: values[class] });
    }
    let mass = exact_sum(values);
    let sum = mass.value();
    let tolerance = prior_tolerance(values.len());
    if (sum - 1.0).abs() <= tolerance {
        Ok(mass)
    } else {
        let index: Vec<usize> = row.into_iter().collect();
        Err(Error::PriorSum { class_axis: index.len(), index, sum, tolerance })
    }
}

fn entropy(values: &[f64]) -> f64 {
    let surprise = |u: &f64| if *u == 0.0 { 0.0 } else { -*u * math::log(*u) };
    values.iter().map(surprise).fold(DoubleSum::default(), DoubleSum::plus).value()
}

/// The target of one row in normal form: q' = spike·δ_class + factor·weights.
pub(crate) struct RowTarget<'r, F: Float> {
    pub(crate) class: usize,
    pub(crate) spike: F::Wide,
    pub(crate) weights: Weights<'r, F>,
    /// β
    pub(crate) factor: F::Wide,
    /// β·scale
    pub(crate) grad_factor: F::Wide,
    /// What the gradient is multiplied by.
    pub(crate) scale: f64,
    /// Q
    pub(crate) smooth_mass: F::Wide,
}

impl<F: Float> RowTarget<'_, F> {
    #[inline(always)]
    pub(crate) fn has_spike(&self) -> bool {
        self.spike.value() != 0.0
    }
}

/// Memory of one row for [`SmoothedTargets::row`]: each twice as long as a row, or empty where
/// no row needs it.
pub(crate) struct TargetScratch<'s, F> {
    pub(crate) prior: &'s mut [F],
    pub(crate) mixture: &'s mut [F],
}

/// q' of every row: targets, ε and u.
pub(crate) struct SmoothedTargets<'a, F: Float> {
    targets: &'a Targets<'a>,
    prior: &'a Prior<'a>,
    /// A shared prior in the compute type, and after it what that rounding lost.
    shared: Vec<F>,
    label_smoothing: f64,
    scale: f64,
    classes: usize,
}

impl<'a, F: Float> SmoothedTargets<'a, F> {
    /// Of targets whose gradient is multiplied by `scale`.
    pub(crate) fn new(
        targets: &'a Targets<'a>,
        label_smoothing: f64,
        prior: &'a Prior<'a>,
        scale: f64,
        classes: usize,
    ) -> Result<Self, Error> {
        let mut shared = Vec::new();
        // ε = 0: the prior is not read.
        if let (Prior::Shared { values, .. }, true) = (prior, label_smoothing > 0.0) {
            shared = zeros(2 * classes)?;
            let (high, low) = shared.split_at_mut(classes);
            for ((high, low), u) in high.iter_mut().zip(low).zip(values) {
                (*high, *low) = split_probability(*u);
            }
        }
        Ok(Self { targets, prior, shared, label_smoothing, scale, classes })
    }

    /// Elements of [`TargetScratch::prior`] and [`TargetScratch::mixture`].
    pub(crate) fn scratch_lens(&self) -> (usize, usize) {
        let prior = matches!(self.prior, Prior::PerRow { .. }) && self.label_smoothing > 0.0;
        let mixture = matches!(self.targets, Targets::Probabilities(_));
        let row = self.classes.saturating_mul(2);
        (if prior { row } else { 0 }, if mixture { row } else { 0 })
    }

    /// The normal form of row `row`; `None` where the row is ignored.
    #[inline(always)]
    pub(crate) fn row<'s>(
        &'s self,
        row: usize,
        scratch: &'s mut TargetScratch<'_, F>,
    ) -> Option<RowTarget<'s, F>> {
        let label_weight = F::Wide::new(1.0) - F::Wide::new(self.label_smoothing);
        match self.targets {
            Targets::Labels(labels) => {
                let class = labels.classes[row];
                (class != NO_CLASS)
                    .then(|| self.with_spike(row, class, label_weight, scratch.prior))
            }
            Targets::Probabilities(targets) => {
                let ProbabilityRow { only, mass } = targets.summary[row];
                let no_spike = F::Wide::new(0.0);
                if self.label_smoothing == 1.0 {
                    // q' = u: the target is not read.
                    return Some(self.with_spike(row, 0, no_spike, scratch.prior));
                }
                let mass = F::wide_of(mass);
                if only != NO_CLASS {
                    return Some(self.with_spike(row, only, label_weight * mass, scratch.prior));
                }
                let smooth = self.with_spike(row, 0, no_spike, scratch.prior);
                Some(RowTarget {
                    smooth_mass: smooth.smooth_mass + label_weight * mass,
                    factor: F::Wide::new(1.0),
                    grad_factor: F::Wide::new(self.scale),
                    weights: match smooth.weights {
                        Weights::Absent => row_weights(&targets.rows, row, scratch.mixture),
                        _ => mixed(&targets.rows, row, label_weight, &smooth, scratch.mixture),
                    },
                    ..smooth
                })
            }
        }
    }

    /// spike·δ_class + ε·u
    #[inline(always)]
    fn with_spike<'s>(
        &'s self,
        row: usize,
        class: u32,
        spike: F::Wide,
        scratch: &'s mut [F],
    ) -> RowTarget<'s, F> {
        let (zero, one) = (F::Wide::new(0.0), F::Wide::new(1.0));
        let smoothing = F::Wide::new(self.label_smoothing);
        let (weights, factor, mass) = if self.label_smoothing == 0.0 {
            (Weights::Absent, zero, zero)
        } else {
            match self.prior {
                Prior::Uniform => {
                    let classes = F::Wide::new(count_to_f64(self.classes));
                    (Weights::Ones, smoothing.over(classes), one)
                }
                Prior::Shared { mass, .. } => {
                    let (high, low) = self.shared.split_at(self.classes);
                    (Weights::in_two_parts(high, low), smoothing, F::wide_of(*mass))
                }
                Prior::PerRow { rows, masses } => {
                    (row_weights(rows, row, scratch), smoothing, F::wide_of(masses[row]))
                }
            }
        };
        RowTarget {
            class: class as usize,
            spike,
            weights,
            factor,
            grad_factor: factor * F::Wide::new(self.scale),
            scale: self.scale,
            smooth_mass: smoothing * mass,
        }
    }
}

/// Row `row` of `rows` as weights: as it lies if it is in the compute type, else in two parts.
#[inline(always)]
fn row_weights<'s, F: Float>(rows: &Rows<'s>, row: usize, scratch: &'s mut [F]) -> Weights<'s, F> {
    if rows.storage() == F::STORAGE {
        return Weights::Row { high: rows.source(row, scratch), low: None };
    }
    gather_in_two_parts(rows, row, scratch)
}

fn gather_in_two_parts<'s, F: Float>(rows: &Rows<'_>, row: usize, scratch: &'s mut [F]) -> Weights<'s, F> {
    let (high, low) = scratch.split_at_mut(rows.classes());
    rows.gather_with(row, high, |u| split_probability(u).0);
    rows.gather_with(row, low, |u| split_probability(u).1);
    Weights::in_two_parts(high, low)
}

/// (1 − ε)·q + β·w in two parts.
fn mixed<'s, F: Float>(
    rows: &Rows<'_>,
    row: usize,
    label_weight: F::Wide,
    smooth: &RowTarget<'_, F>,
    scratch: &'s mut [F],
) -> Weights<'s, F> {
    gather_in_two_parts(rows, row, scratch);
    let (high, low) = scratch.split_at_mut(rows.classes());
    for (k, (high, low)) in high.iter_mut().zip(&mut *low).enumerate() {
        let q = F::Wide::new(high.to_f64()) + F::Wide::new(low.to_f64());
        let mixed = label_weight * q + smooth.factor * smooth.weights.get(k);
        (*high, *low) = F::split(mixed);
    }
    Weights::in_two_parts(high, low)
}

/// `u` in the compute type and what that rounding lost; a positive probability stays positive.
fn split_probability<F: Float>(u: f64) -> (F, F) {
    let high = F::from_f64(u);
    if u > 0.0 && high.to_f64() == 0.0 {
        return (F::SMALLEST, F::default());
    }
    (high, F::from_f64(u - high.to_f64()))
}

/// Neumaier's compensated sum, in the order given.
#[derive(Clone, Copy, Default)]
pub(crate) struct DoubleSum {
    sum: f64,
    lost: f64,
}

impl DoubleSum {
    #[inline(always)]
    pub(crate) fn plus(self, value: f64) -> Self {
        let sum = self.sum + value;
        let lost = if self.sum.abs() >= value.abs() {
            (self.sum - sum) + value
        } else {
            (value - sum) + self.sum
        };
        Self { sum, lost: self.lost + lost }
    }

    #[inline(always)]
    pub(crate) fn value(self) -> f64 {
        // An infinite sum has no rest: inf − inf above is not a NaN of the values.
        if self.sum.is_finite() { self.sum + self.lost } else { self.sum }
    }
}

/// Σ of finite values ≥ 0, to some 100 bits.
fn exact_sum(values: &[f64]) -> DoubleDouble {
    values.iter().fold(DoubleDouble::new(0.0), |sum, value| sum + DoubleDouble::new(*value))
}

/// An empty vector with room for `len` elements.
pub(crate) fn with_capacity<T>(len: usize) -> Result<Vec<T>, Error> {
    let mut vector = Vec::new();
    vector.try_reserve_exact(len).map_err(|_| Error::OutOfMemory { bytes: len.saturating_mul(size_of::<T>()) })?;
    Ok(vector)
}

/// `len` zeros.
pub(crate) fn zeros<F: Float>(len: usize) -> Result<Vec<F>, Error> {
    let mut vector = with_capacity(len)?;
    vector.resize(len, F::default());
    Ok(vector)
}
