//! Every form of target is converted to one normal form, which the kernels use:
//!
//! ```text
//! q' = spike·δ_y + β·w                                    Q = Σ_k β·w_k
//! label y                     spike = 1 − ε               β·w = ε·u
//! probabilities q, one k ≠ 0  spike = (1 − ε)·q_y         β·w = ε·u    (the same bits as a label)
//! probabilities q, others     spike = 0                   w = (1 − ε)·q + ε·u, β = 1  (Q far from 1: w/β, β = 2^n ≈ Q)
//! uniform prior               w = 1, β = ε/K
//! ```
//!
//! With class weights c, each q_k and u_k is multiplied by c_k.
//!
//! All values have been checked before: see `ops::inputs`. The functions here handle a part of the rows or of the
//! classes. The layers above decide which thread handles which part.

mod normal;

pub(crate) use normal::{RowTarget, SmoothedTargets, Weights};

use crate::math::{Real, count};
use crate::simd::{AsDoubles, Copied, Float, Outer, Rows, Source, Vector, outlined};

/// An ignored row, and "no or more than one class" in [`ProbabilityRow`].
pub(crate) const NO_CLASS: u32 = u32::MAX;

/// The target q, before smoothing.
pub enum Targets<'a> {
    /// One class per row.
    Labels(Labels),
    /// One distribution per row.
    Probabilities(Probabilities<'a>),
}

impl Targets<'_> {
    /// No targets yet: they are read into this value in place, since it is large to move.
    #[must_use]
    pub fn none() -> Self {
        Targets::Labels(Labels::default())
    }

    /// Multiplies `terms` by Σ_k q_k c_k of the rows from `first` on, weights in their units: by 0 for those that are
    /// ignored.
    pub(crate) fn multiply_by_masses(
        &self,
        first: usize,
        class_weight: Option<&WeightValues>,
        terms: &mut [f64],
    ) {
        match self {
            Targets::Labels(labels) => {
                for (label, term) in labels.classes()[first..].iter().zip(terms) {
                    let of_class = || class_weight.map_or(1.0, |c| c.get(*label as usize));
                    *term *= if *label == NO_CLASS { 0.0 } else { of_class() };
                }
            }
            Targets::Probabilities(targets) => {
                let rows = targets.summary[first..].iter().zip(terms);
                rows.for_each(|(row, term)| *term *= row.mass);
            }
        }
    }

    pub(crate) fn is_ignored(&self, row: usize) -> bool {
        matches!(self, Targets::Labels(labels) if labels.classes()[row] == NO_CLASS)
    }

    /// Number of rows.
    pub(crate) fn rows(&self) -> usize {
        match self {
            Targets::Labels(labels) => labels.rows,
            Targets::Probabilities(targets) => targets.summary.len(),
        }
    }
}

/// At most so many labels are stored without allocating memory.
pub(crate) const FEW_LABELS: usize = 8;

/// Validated labels.
#[derive(Default)]
pub struct Labels {
    /// The labels if there are few rows, which needs no allocation.
    pub(crate) few: [u32; FEW_LABELS],
    pub(crate) many: Vec<u32>,
    pub(crate) rows: usize,
    /// The number of labels that are not ignored.
    pub(crate) counted: usize,
}

impl Labels {
    /// The class of each row, or [`NO_CLASS`].
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
pub struct ProbabilityRow {
    /// The only class with a probability other than 0, or [`NO_CLASS`].
    pub(crate) only: u32,
    /// Σ_k q_k c_k
    pub(crate) mass: f64,
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
        mass: f64,
    },
    /// One distribution per row.
    PerRow {
        /// u
        rows: Rows<'a>,
        /// The distinct row for each row, as an offset: see [`Rows::distinct`].
        places: Outer,
        /// What was read of each distinct row: its mass is Σ u.
        summary: Vec<ProbabilityRow>,
    },
}

/// How far the sum of a prior of K classes may be from 1: 1e-6·max(1, √K), room for float32.
pub(crate) fn prior_tolerance(classes: usize) -> f64 {
    1e-6 * count(classes).sqrt().max(1.0)
}

impl Prior<'_> {
    /// u of `len` classes from `start` on, not divided by K if it is uniform, as doubles: in place, or else copied to
    /// `copy`.
    #[inline(always)]
    pub(crate) fn part<'r, V: Vector>(
        &'r self,
        token: V::Token,
        (row, start): (usize, usize),
        (len, copy): (usize, &'r mut Copied),
    ) -> AsDoubles<'r> {
        match self {
            Prior::Uniform => AsDoubles::Same(1.0),
            Prior::Shared { values, .. } => {
                AsDoubles::Doubles(Source::from_slice(&values[start..][..len]))
            }
            Prior::PerRow { rows, .. } => {
                AsDoubles::of_row::<V>(token, rows, (row, start), (len, copy))
            }
        }
    }

    /// The number of the distinct row of [`Prior::PerRow`] for row `row`; 0 for other priors.
    pub(crate) fn place(&self, row: usize) -> usize {
        match self {
            Prior::Uniform | Prior::Shared { .. } => 0,
            Prior::PerRow { places, .. } => places.offset(row).cast_unsigned(),
        }
    }
}

/// Weights, all finite and ≥ 0.
#[derive(Clone, Debug)]
pub struct WeightValues {
    /// The weights as they were given.
    pub(crate) values: Vec<f64>,
    /// A power of two near the largest weight; 1 if that is ordinary.
    pub(crate) unit: f64,
}

/// Sizes within this and its inverse are ordinary: with such weights nothing over- or underflows.
const ORDINARY: f64 = 1e18;

/// Is this size ordinary or 0?
fn is_ordinary(size: f64) -> bool {
    (1.0 / ORDINARY..=ORDINARY).contains(&size) || size == 0.0
}

/// A power of two near a size, with an inverse that is a normal number; 1 if the size is ordinary or 0.
fn unit_of(size: f64) -> f64 {
    if is_ordinary(size) {
        return 1.0;
    }
    size.clamp(f64::MIN_POSITIVE, 2f64.powi(1022)).power()
}

impl WeightValues {
    /// From checked weights and the largest of them.
    pub(crate) fn new(values: Vec<f64>, largest: f64) -> Self {
        Self { values, unit: unit_of(largest) }
    }

    /// One weight, in units. A positive weight stays positive, since rows of weight 0 do not count.
    pub(crate) fn get(&self, index: usize) -> f64 {
        let weight = self.values[index];
        if self.unit == 1.0 { weight } else { self.in_units(weight) }
    }

    #[inline(always)]
    fn in_units<D: Real>(&self, weight: D) -> D {
        let (zero, smallest) = (weight.like(0.0), weight.like(f64::SMALLEST));
        let scaled = weight * weight.like(1.0 / self.unit);
        let tiny = D::pick(weight.eq(zero), zero, smallest);
        D::pick(scaled.ge(smallest), scaled, tiny)
    }

    /// The weights from `first` on, in units: 0 after the last.
    #[inline(always)]
    pub(crate) fn vector<V: Vector>(&self, token: V::Token, first: usize) -> V::Doubles {
        let weights = AsDoubles::Doubles(Source::from_slice(&self.values));
        let weights = weights.vector::<V>(token, first);
        if self.unit == 1.0 { weights } else { outlined!(V, token, self.in_units(weights)) }
    }
}

/// The parameters of the loss besides its targets; validated.
#[derive(Clone, Copy)]
pub struct LossTerms<'a> {
    /// ε in [0, 1]
    pub label_smoothing: f64,
    /// u
    pub prior: &'a Prior<'a>,
    /// c: a weight for each class, finite and ≥ 0.
    pub class_weight: Option<&'a WeightValues>,
    /// s: a weight for each row, finite and ≥ 0. A row of weight 0 is never read.
    pub sample_weight: Option<&'a WeightValues>,
    /// The weight of lse² in each row's loss.
    pub z_loss: f64,
}

impl<'a> LossTerms<'a> {
    /// Only smoothing: no weights, no z_loss.
    #[must_use]
    pub fn new(label_smoothing: f64, prior: &'a Prior<'a>) -> Self {
        Self { label_smoothing, prior, class_weight: None, sample_weight: None, z_loss: 0.0 }
    }

    /// Sets `weights` to the sample weights of the rows from `first` on, perhaps in their units; to 0 for rows of which a
    /// mask keeps no class.
    #[inline(always)]
    pub(crate) fn set_row_weights(
        &self,
        first: usize,
        kept: Option<&[Option<f64>]>,
        are_units: bool,
        weights: &mut [f64],
    ) {
        weights.fill(1.0);
        match self.sample_weight {
            Some(all) if are_units && all.unit != 1.0 => {
                (first..).zip(&mut *weights).for_each(|(row, weight)| *weight = all.get(row));
            }
            Some(all) => weights.copy_from_slice(&all.values[first..][..weights.len()]),
            None => {}
        }
        if let Some(kept) = kept {
            let all = weights.iter_mut().zip(&kept[first..]);
            all.filter(|(_, kept)| kept.is_none()).for_each(|(weight, _)| *weight = 0.0);
        }
    }
}
