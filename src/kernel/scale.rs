//! Exponentials to probabilities: p = w·e / S with 1/S in two parts.
//!
//! The product is formed 2^GUARD_BITS too large and scaled down last, so no
//! intermediate value is subnormal; probabilities below the smallest normal
//! number are 0, by comparison and not by the processor's mode.

use super::stats::RowStats;
use crate::element::{Float, Wide};
use crate::simd::Vector;

/// `w / S` of one row, in registers.
pub(super) struct Scale<V: Vector> {
    high: V,
    low: V,
    /// The exponential whose scaled probability is the smallest normal number.
    least: V,
    unguard: V,
}

impl<V: Vector> Scale<V> {
    #[inline(always)]
    pub(super) fn new(
        token: V::Token,
        stats: &RowStats<<V::Scalar as Float>::Wide>,
        weight: <V::Scalar as Float>::Wide,
    ) -> Self {
        let guard = 2f64.powi(V::Scalar::GUARD_BITS);
        let sum = stats.sum();
        let (high, low) = V::Scalar::split((weight * Wide::new(guard)).over(sum));
        let least = V::Scalar::MIN_POSITIVE * (sum.value() / weight.value());
        let splat = |value| V::splat(token, value);
        Self {
            high: splat(high),
            low: splat(low),
            least: splat(V::Scalar::from_f64(least)),
            unguard: splat(V::Scalar::from_f64(1.0 / guard)),
        }
    }

    /// w·e/S
    #[inline(always)]
    pub(super) fn probability(&self, exps: V) -> V {
        let exps = exps.only_where(exps.ge(self.least));
        exps.mul_add(self.high, exps.mul(self.low)).mul(self.unguard)
    }

    /// w·e/S + a, where `guarded` is a·2^GUARD_BITS.
    #[inline(always)]
    pub(super) fn probability_plus(&self, exps: V, guarded: V) -> V {
        let exps = exps.only_where(exps.ge(self.least));
        let low = exps.mul_add(self.low, guarded);
        exps.mul_add(self.high, low).mul(self.unguard)
    }
}
