//! Rows that leave the fast path: NaN, infinities, huge logits, a weighted sum that overflows.

use super::exp::Temperature;
use super::stats::{RowClass, RowStats, Weights, Workspace};
use super::sweep::weighted;
use crate::element::{Float, Wide};
use crate::simd::Vector;
use crate::simd::row::Source;

/// `dot` is kept in units of 2^64 here: no sum of finite terms overflows.
const UNIT: f64 = 18_446_744_073_709_551_616.0;

/// As [`super::stats::reduce`], for any row.
#[inline(never)]
pub(super) fn reduce<V: Vector, const STORE: bool>(
    token: V::Token,
    z: Source<'_, V::Scalar>,
    max: V::Scalar,
    weights: Weights<'_, V::Scalar>,
    temperature: &Temperature<V::Scalar>,
    workspace: &mut Workspace<'_, V::Scalar>,
) -> RowStats<V::Scalar> {
    let class = classify(z);
    if class != RowClass::Finite {
        let max = if class == RowClass::PlusInfinity { f64::INFINITY } else { f64::NEG_INFINITY };
        return RowStats::of_class(class, max);
    }
    let absent = Weights::Absent;
    let mut stats = if temperature.divide(max.to_f64().abs()) <= temperature.largest_max() {
        weighted::<V, STORE>(token, z, max, absent, temperature, workspace.exps)
    } else {
        // Exact wherever exp(z − M) is not 0: such z are within a factor 2 of M.
        let shifted = &mut workspace.shifted[..z.len()];
        for (k, target) in shifted.iter_mut().enumerate() {
            *target = V::Scalar::from_f64(z.get(k).to_f64() - max.to_f64());
        }
        let (shifted, zero) = (Source::from_slice(&*shifted), V::Scalar::default());
        weighted::<V, STORE>(token, shifted, zero, absent, temperature, workspace.exps)
    };
    stats.max = max.to_f64();
    stats.dot = wide_dot(z, max, weights, UNIT);
    stats.unit = UNIT;
    stats
}

/// Σ w_k (M − z_k) / unit, one class after the other, every term wide.
#[inline(always)]
pub(super) fn wide_dot<F: Float>(
    z: Source<'_, F>,
    max: F,
    weights: Weights<'_, F>,
    unit: f64,
) -> F::Wide {
    let max = F::Wide::new(max.to_f64() / unit);
    let gap = |k: usize| max - F::Wide::new(z.get(k).to_f64() / unit);
    (0..z.len())
        .filter(|&k| weights.get(k).value() != 0.0)
        .fold(F::Wide::new(0.0), |sum, k| sum + weights.get(k) * gap(k))
}

fn classify<F: Float>(z: Source<'_, F>) -> RowClass {
    let mut nan = false;
    let mut plus_infinity = false;
    let mut minus_infinity = 0;
    for k in 0..z.len() {
        let value = z.get(k).to_f64();
        nan |= value.is_nan();
        plus_infinity |= value == f64::INFINITY;
        minus_infinity += usize::from(value == f64::NEG_INFINITY);
    }
    if nan {
        RowClass::NaN
    } else if plus_infinity {
        RowClass::PlusInfinity
    } else if minus_infinity == z.len() {
        RowClass::AllMinusInfinity
    } else {
        RowClass::Finite
    }
}
