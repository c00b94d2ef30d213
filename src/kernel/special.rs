//! Rows that leave the fast path: NaN, infinities, huge logits, a weighted sum that overflows. NaN is
//! found in the sum of the exponentials: the maximum ignores it.

use crate::math::RunningSum;
use crate::simd::Float;

/// `dot` is formed in units of 2^64 here: no sum of finite terms overflows.
pub(crate) const UNIT: f64 = 18_446_744_073_709_551_616.0;

/// What kind of numbers a row has; of all but `Finite` the results are fixed: NaN, and [`RowClass::lse`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum RowClass {
    /// Nothing but −inf, or no class at all.
    AllMinusInfinity,
    /// A finite maximum and no NaN; there may be −inf.
    #[default]
    Finite,
    /// +inf and no NaN.
    PlusInfinity,
    /// At least one NaN.
    NaN,
}

impl RowClass {
    /// The kind of these logits, and the largest.
    pub(crate) fn of<F: Float>(z: &[F]) -> (Self, f64) {
        let (mut class, mut max) = (RowClass::AllMinusInfinity, f64::NEG_INFINITY);
        for value in z {
            let value = value.to_f64();
            let kind = if value.is_nan() {
                RowClass::NaN
            } else if value == f64::INFINITY {
                RowClass::PlusInfinity
            } else if value == f64::NEG_INFINITY {
                RowClass::AllMinusInfinity
            } else {
                RowClass::Finite
            };
            class = class.with(kind);
            max = max.max(value);
        }
        (class, max)
    }

    /// The kind of a row of two parts.
    pub(crate) fn with(self, other: Self) -> Self {
        if self as u8 > other as u8 { self } else { other }
    }

    /// The lse of a row of this kind.
    pub(crate) fn lse(self) -> f64 {
        match self {
            RowClass::AllMinusInfinity => f64::NEG_INFINITY,
            RowClass::PlusInfinity => f64::INFINITY,
            RowClass::Finite | RowClass::NaN => f64::NAN,
        }
    }
}

/// M − z, times `shift`, in units of [`UNIT`].
pub(crate) fn gap(max: f64, z: f64, shift: f64) -> f64 {
    (max / UNIT - z / UNIT) * shift
}

/// (z − M)·scale. Exact wherever exp of it is not 0: of a row with a huge M, such z are within a factor
/// of 2 of M.
pub(crate) fn shift<F: Float>(z: &mut [F], max: f64, scale: f64) {
    for value in z {
        *value = F::from_f64((value.to_f64() - max) * scale);
    }
}

/// Σ w_k (M − z_k) in [`UNIT`]s. A class without weight adds nothing, not even inf·0.
#[inline(always)]
pub(crate) fn weighted_gaps<F: Float>(z: &[F], max: f64, weight: impl Fn(usize) -> f64) -> f64 {
    let mut sum = RunningSum::default();
    for (class, value) in z.iter().enumerate() {
        let weight = weight(class);
        if weight != 0.0 {
            sum.add(weight * (max / UNIT - value.to_f64() / UNIT));
        }
    }
    sum.value()
}

/// log p of a finite row, from (z − M)/T in halves, which do not overflow.
pub(crate) fn log_probabilities<F: Float>(z: &mut [F], max: f64, inverse: f64, excess: f64) {
    for value in z {
        let gap = (value.to_f64() / 2.0 - max / 2.0) * (2.0 * inverse);
        *value = F::from_f64(gap - excess);
    }
}
