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
    /// The exponential of the maxima as it is stored, and their scaled probability.
    stored_peak: V,
    peak: V,
    unguard: V,
    guard: f64,
}

/// Weights up to this can be multiplied by 2^GUARD_BITS.
const LARGEST_GUARDED: f64 = 18_446_744_073_709_551_616.0;

impl<V: Vector> Scale<V> {
    /// For probabilities times `weight`, from which at most `q_factor` times a weight is taken.
    #[inline(always)]
    pub(super) fn new(
        token: V::Token,
        stats: &RowStats<V::Scalar>,
        weight: <V::Scalar as Float>::Wide,
        q_factor: f64,
    ) -> Self {
        // z_loss makes a negative weight where lse is.
        let size = weight.value().abs();
        let is_large = size.max(q_factor) > LARGEST_GUARDED;
        let guard = if is_large { 1.0 } else { 2f64.powi(V::Scalar::GUARD_BITS) };
        let sum = stats.sum();
        let guarded = weight * Wide::new(guard);
        let (high, low) = V::Scalar::split(guarded.over(sum));
        let least = V::Scalar::MIN_POSITIVE * (sum.value() / size);
        let peak = (guarded * stats.peak).over(sum).value();
        let splat = |value| V::splat(token, value);
        Self {
            high: splat(high),
            low: splat(low),
            least: splat(V::Scalar::from_f64(least)),
            stored_peak: splat(stats.stored_peak),
            peak: splat(V::Scalar::from_f64(peak)),
            unguard: splat(V::Scalar::from_f64(1.0 / guard)),
            guard,
        }
    }

    /// −q in two parts, for [`Scale::probability_less`].
    #[inline(always)]
    pub(super) fn guarded(&self, token: V::Token, q: <V::Scalar as Float>::Wide) -> Guarded<V> {
        let (high, low) = V::Scalar::split(q * Wide::new(-self.guard));
        Guarded { minus_high: V::splat(token, high), minus_low: V::splat(token, low) }
    }

    /// w·e/S. The maxima have theirs from the unrounded exp(M): equal logits give 1/K.
    #[inline(always)]
    pub(super) fn probability(&self, exps: V) -> V {
        let is_peak = exps.ge(self.stored_peak);
        let exps = exps.only_where(exps.ge(self.least));
        let scaled = exps.mul_add(self.high, exps.mul(self.low));
        scaled.zero_where(is_peak).add(self.peak.only_where(is_peak)).mul(self.unguard)
    }

    /// w·e/S − q.
    ///
    /// q goes in with the low part of w·e/S, and what that addition rounds off is added last:
    /// where p and q cancel nothing of q is lost, elsewhere the last addition changes nothing.
    #[inline(always)]
    pub(super) fn probability_less(&self, exps: V, q: Guarded<V>) -> V {
        let exps = exps.only_where(exps.ge(self.least));
        let low = exps.mul_add(self.low, q.minus_low);
        let joined = low.add(q.minus_high);
        let lost = low.sub(joined.sub(q.minus_high));
        exps.mul_add(self.high, joined).add(lost).mul(self.unguard)
    }
}

/// −q·2^GUARD_BITS in two parts.
#[derive(Clone, Copy)]
pub(super) struct Guarded<V> {
    minus_high: V,
    minus_low: V,
}

impl<V: Vector> Guarded<V> {
    /// q·weights
    #[inline(always)]
    pub(super) fn times(self, weights: V) -> Self {
        let minus_high = weights.mul(self.minus_high);
        let lost = weights.mul_sub(self.minus_high, minus_high);
        Self { minus_high, minus_low: weights.mul_add(self.minus_low, lost) }
    }

    /// q·(high + low)
    #[inline(always)]
    pub(super) fn times_two(self, high: V, low: V) -> Self {
        let Self { minus_high, minus_low } = self.times(high);
        Self { minus_high, minus_low: low.mul_add(self.minus_high, minus_low) }
    }
}

#[cfg(test)]
mod tests;
