//! Rows that leave the fast path: those with NaN, infinities or huge logits, or with an infinite weighted sum. NaN is
//! detected in the sum of the exponentials, since the maximum ignores it.

use crate::math::RunningSum;
use crate::simd::Float;

/// The unit of gaps and `dot` here, 2^64, with which no sum of finite terms overflows.
pub(crate) const GAP_UNIT: f64 = 18_446_744_073_709_551_616.0;

/// The maximum of these logits as they are in memory: NaN if one of them is, −inf if there are none. If it is not
/// finite, it is the lse of the row, and the other results are NaN.
pub(crate) fn exact_max<F: Float>(z: &[F]) -> f64 {
    z.iter().fold(f64::NEG_INFINITY, |max, z| larger(max, z.to_f64()))
}

/// The larger of two such maxima.
pub(crate) fn larger(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) }
}

/// M − z, in units of [`GAP_UNIT`].
pub(crate) fn gap(max: f64, z: f64) -> f64 {
    max / GAP_UNIT - z / GAP_UNIT
}

/// (z − M)·scale. Exact wherever its exponential is not 0: if M is huge, such z are within a factor of 2 of M.
pub(crate) fn shift<F: Float>(z: &mut [F], max: f64, scale: f64) {
    for value in z {
        *value = F::from_f64((value.to_f64() - max) * scale);
    }
}

/// Σ w_k (M − z_k) in [`GAP_UNIT`]s. A class of weight 0 adds nothing, even if its gap is infinite.
#[inline(always)]
pub(crate) fn weighted_gaps<F: Float>(z: &[F], max: f64, weight: impl Fn(usize) -> f64) -> f64 {
    let mut sum = RunningSum::default();
    for (class, value) in z.iter().enumerate() {
        let weight = weight(class);
        if weight != 0.0 {
            sum.add(weight * gap(max, value.to_f64()));
        }
    }
    sum.value()
}

/// log p of a logit as it is in memory, in a row with a finite maximum, given [`Temperature::of_memory`]. z − M is
/// computed from halves, so that it does not overflow.
///
/// [`Temperature::of_memory`]: super::exp::Temperature::of_memory
pub(crate) fn shifted_log_probability<F: Float>(z: F, max: f64, inverse: f64, excess: f64) -> F {
    F::from_f64((z.to_f64() / 2.0 - max / 2.0) * (2.0 * inverse) - excess)
}
