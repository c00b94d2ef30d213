//! Rows that leave the fast path: NaN, infinities, huge logits, a weighted sum that overflows.

use super::stats::{RowClass, Sums, Weights};
use super::sweep::{Row, wide_dot};
use crate::element::Float;
use crate::simd::Vector;
use crate::simd::row::Source;

/// `dot` is kept in units of 2^64 here: no sum of finite terms overflows.
pub(super) const UNIT: f64 = 18_446_744_073_709_551_616.0;

/// The sums of a row of any kind, `dot` in [`UNIT`]s.
///
/// `row` has the row itself where its maximum is in the kernel's range. Elsewhere it has a maximum
/// of 0, and the row is shifted by M first: exact wherever exp(z − M) is not 0, since such z are
/// within a factor 2 of M.
#[inline(never)]
pub(super) fn sums<V: Vector, const STORE: bool>(
    row: Row<'_, V>,
    max: V::Scalar,
    is_in_range: bool,
    weights: Weights<'_, V::Scalar>,
    exps: &mut [V::Scalar],
    shifted: &mut [V::Scalar],
) -> (RowClass, Sums<V::Scalar>) {
    let z = row.z;
    let class = classify(z);
    if class != RowClass::Finite {
        return (class, Sums::zero());
    }
    let mut sums = if is_in_range {
        row.sums::<STORE>(Weights::Absent, exps)
    } else {
        let shifted = &mut shifted[..z.len()];
        shift(z, max, shifted);
        let row = Row { z: Source::from_slice(&*shifted), ..row };
        row.sums::<STORE>(Weights::Absent, exps)
    };
    sums.dot = wide_dot(z, max, weights, UNIT);
    (class, sums)
}

/// z − M
pub(super) fn shift<F: Float>(z: Source<'_, F>, max: F, shifted: &mut [F]) {
    for (k, target) in shifted.iter_mut().enumerate() {
        *target = F::from_f64(z.get(k).to_f64() - max.to_f64());
    }
}

pub(super) fn classify<F: Float>(z: Source<'_, F>) -> RowClass {
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
