//! The normal form of a row's target, and how it is made from targets, ε and prior.

use super::{NO_CLASS, Prior, ProbabilityRow, Targets};
use crate::alloc::zeros;
use crate::element::{Float, Wide};
use crate::error::Error;
use crate::kernel::stats::{Weights, count_to_f64};
use crate::simd::memory::Rows;

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
                // Without smoothing, probabilities may be of any size.
                let unit = if self.label_smoothing == 0.0 { unit_of(mass.value()) } else { 1.0 };
                Some(RowTarget {
                    smooth_mass: smooth.smooth_mass + label_weight * mass,
                    factor: F::Wide::new(unit),
                    grad_factor: F::Wide::new(self.scale * unit),
                    weights: match smooth.weights {
                        Weights::Absent => row_weights(&targets.rows, row, unit, scratch.mixture),
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
                    let factor = smoothing.over(classes);
                    // ε/K may underflow, but not to 0: a logit of −inf still costs +inf.
                    let is_lost = factor.value() == 0.0;
                    let factor = if is_lost { F::Wide::new(f64::from_bits(1)) } else { factor };
                    (Weights::Ones, factor, one)
                }
                Prior::Shared { mass, .. } => {
                    let (high, low) = self.shared.split_at(self.classes);
                    (Weights::in_two_parts(high, low), smoothing, F::wide_of(*mass))
                }
                Prior::PerRow { rows, masses } => {
                    (row_weights(rows, row, 1.0, scratch), smoothing, F::wide_of(masses[row]))
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

/// The power of two that weights of this mass are divided by, to stay far from the ends of f32.
fn unit_of(mass: f64) -> f64 {
    let is_ordinary = (1e-18..1e18).contains(&mass) || mass == 0.0;
    if is_ordinary { 1.0 } else { f64::from_bits(mass.to_bits() & f64::INFINITY.to_bits()) }
}

/// Row `row` of `rows` over `unit` as weights: as it lies if it is in the compute type, else in
/// two parts.
#[inline(always)]
fn row_weights<'s, F: Float>(
    rows: &Rows<'s>,
    row: usize,
    unit: f64,
    scratch: &'s mut [F],
) -> Weights<'s, F> {
    if rows.storage() == F::STORAGE && unit == 1.0 {
        return Weights::Row { high: rows.source(row, scratch), low: None };
    }
    gather_in_two_parts(rows, row, unit, scratch)
}

fn gather_in_two_parts<'s, F: Float>(
    rows: &Rows<'_>,
    row: usize,
    unit: f64,
    scratch: &'s mut [F],
) -> Weights<'s, F> {
    let (high, low) = scratch.split_at_mut(rows.classes());
    rows.gather_with(row, high, |u| split_probability(u / unit).0);
    rows.gather_with(row, low, |u| split_probability(u / unit).1);
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
    gather_in_two_parts(rows, row, 1.0, scratch);
    let (high, low) = scratch.split_at_mut(rows.classes());
    for (k, (high, low)) in high.iter_mut().zip(&mut *low).enumerate() {
        let q = F::Wide::new(high.to_f64()) + F::Wide::new(low.to_f64());
        let mixed = label_weight * q + smooth.factor * smooth.weights.get(k);
        (*high, *low) = F::split(mixed);
        if mixed.value() > 0.0 && high.to_f64() == 0.0 {
            *high = F::SMALLEST;
        }
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
