//! Exponentials to probabilities: p = w·e / S with e and 1/S in two parts.
//!
//! The product is formed 2^GUARD_BITS too large and scaled down last, so no
//! intermediate value is subnormal; probabilities below the smallest normal
//! number are 0, by comparison and not by the processor's mode.

use super::exp::Kept;
use super::stats::Stats;
use crate::element::Float;
use crate::simd::{MOST_LANES, Vector};
use crate::wide::{Real, Wide};

/// `w / S` of rows: a lane holds that of its own row, or all lanes that of one.
#[derive(Clone, Copy)]
pub(super) struct Scale<V: Vector> {
    high: V,
    low: V,
    /// The exponential whose scaled probability is the smallest normal number.
    least: V,
    unguard: V,
}

/// Weights up to this can be multiplied by 2^GUARD_BITS.
const LARGEST_GUARDED: f64 = 18_446_744_073_709_551_616.0;

impl<V: Vector> Scale<V> {
    /// For probabilities times `weight`, from which `q` times a weight of at most 1 is taken.
    #[inline(always)]
    pub(super) fn new(stats: &Stats<V>, weight: V::Wide, q: V::Wide) -> (Self, Guarded<V>) {
        let sum = stats.sum();
        // z_loss makes a negative weight where lse is.
        let size = weight.value().abs();
        let largest = V::Doubles::pick(size.ge(q.value()), size, q.value());
        let is_guarded = size.like(LARGEST_GUARDED).ge(largest);
        let one = size.like(1.0);
        let guard = size.like(2f64.powi(V::Scalar::GUARD_BITS));
        let guard = V::Doubles::pick(is_guarded, guard, one);
        let unguard = size.like(2f64.powi(-V::Scalar::GUARD_BITS));
        let unguard = V::from_doubles(V::Doubles::pick(is_guarded, unguard, one));
        let guard = V::Wide::new(guard);
        let guarded = weight * guard;
        let (high, low) = V::split(guarded.over(sum));
        // In this order: S / size may be beyond all numbers.
        let least = size.like(V::Scalar::MIN_POSITIVE) * sum.value() / size;
        let scale = Self { high, low, least: V::from_doubles(least), unguard };
        let minus_one = q.constant(-1.0);
        let (minus_high, minus_low) = V::split(q * (guard * minus_one));
        (scale, Guarded { minus_high, minus_low })
    }

    /// The constants of the row in one lane, in all lanes.
    #[inline(always)]
    pub(super) fn each_row(self) -> impl Fn(usize) -> Self {
        let row = each_row([self.high, self.low, self.least, self.unguard]);
        #[inline(always)]
        move |lane| {
            let [high, low, least, unguard] = row(lane);
            Self { high, low, least, unguard }
        }
    }

    /// w·e/S, rounded from 2^-47 of itself: in float32 equal logits give 1/K, rounded, up to
    /// K = 2^22, for 1/K is at least 2^-25/K of itself from where the rounding would change; in
    /// float64, from 2^-104 of itself, for any K.
    #[inline(always)]
    pub(super) fn probability(&self, exps: Kept<V>) -> V {
        let low = exps.value.mul_add(self.low, exps.lost.mul(self.high));
        let scaled = exps.value.mul_add(self.high, low).only_where(exps.value.ge(self.least));
        scaled.mul(self.unguard)
    }

    /// w·e/S − q.
    ///
    /// q goes in with the low part of w·e/S, and what that addition rounds off is added last:
    /// where p and q cancel nothing of q is lost, elsewhere the last addition changes nothing.
    #[inline(always)]
    pub(super) fn probability_less(&self, exps: Kept<V>, q: Guarded<V>) -> V {
        let is_normal = exps.value.ge(self.least);
        let (value, lost) = (exps.value.only_where(is_normal), exps.lost.only_where(is_normal));
        let low = value.mul_add(self.low, lost.mul_add(self.high, q.minus_low));
        let joined = low.add(q.minus_high);
        let lost = low.sub(joined.sub(q.minus_high));
        value.mul_add(self.high, joined).add(lost).mul(self.unguard)
    }
}

/// −q·2^GUARD_BITS in two parts.
#[derive(Clone, Copy)]
pub(super) struct Guarded<V> {
    minus_high: V,
    minus_low: V,
}

/// Of each vector the scalar in one lane, in all lanes.
#[inline(always)]
pub(super) fn each_row<V: Vector, const N: usize>(vectors: [V; N]) -> impl Fn(usize) -> [V; N] {
    let token = vectors[0].token();
    let mut scalars = [[V::Scalar::default(); MOST_LANES]; N];
    for (scalars, vector) in scalars.iter_mut().zip(&vectors) {
        vector.to_slice(scalars);
    }
    #[inline(always)]
    move |lane: usize| {
        let mut row = vectors;
        for (vector, scalars) in row.iter_mut().zip(&scalars) {
            *vector = V::splat(token, scalars[lane]);
        }
        row
    }
}

impl<V: Vector> Guarded<V> {
    /// The constants of the row in one lane, in all lanes.
    #[inline(always)]
    pub(super) fn each_row(self) -> impl Fn(usize) -> Self {
        let row = each_row([self.minus_high, self.minus_low]);
        #[inline(always)]
        move |lane| {
            let [minus_high, minus_low] = row(lane);
            Self { minus_high, minus_low }
        }
    }

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
