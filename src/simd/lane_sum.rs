//! Where block sums go: one wide accumulator per lane, and a fixed tree at the end.
//!
//! The tree joins lane i with lane i + 8 (f32 only), then i + 4, i + 2, i + 1.

use super::{Vector, Widen};
use crate::element::{DoubleDouble, Float};

/// Sums of blocks, kept wider than the block itself.
pub trait LaneSum<V: Vector>: Copy {
    fn zero(token: V::Token) -> Self;
    fn add(&mut self, block: V);
    fn total(self) -> <V::Scalar as Float>::Wide;
}

/// 16 lanes of f32 block sums, accumulated in f64.
#[derive(Clone, Copy)]
pub struct WidenedSum<V: Widen> {
    low: V::Doubles,
    high: V::Doubles,
}

impl<V: Widen> LaneSum<V> for WidenedSum<V> {
    #[inline(always)]
    fn zero(token: V::Token) -> Self {
        let zero = V::Doubles::splat(token, 0.0);
        Self { low: zero, high: zero }
    }
    #[inline(always)]
    fn add(&mut self, block: V) {
        let (low, high) = block.widen();
        self.low = self.low.add(low);
        self.high = self.high.add(high);
    }
    #[inline(always)]
    fn total(self) -> f64 {
        let lanes = self.low.add(self.high);
        let [a, b, c, d] = std::array::from_fn(|i| lanes.lane(i) + lanes.lane(i + 4));
        (a + c) + (b + d)
    }
}

/// 8 lanes of f64 block sums, each with the sum of the roundings it lost.
#[derive(Clone, Copy)]
pub struct CompensatedSum<V> {
    high: V,
    low: V,
}

impl<V: Vector<Scalar = f64>> LaneSum<V> for CompensatedSum<V> {
    #[inline(always)]
    fn zero(token: V::Token) -> Self {
        let zero = V::splat(token, 0.0);
        Self { high: zero, low: zero }
    }
    #[inline(always)]
    fn add(&mut self, block: V) {
        // Knuth's TwoSum: high + block = sum + lost, exactly.
        let sum = self.high.add(block);
        let from_block = sum.sub(self.high);
        let lost = self.high.sub(sum.sub(from_block)).add(block.sub(from_block));
        self.high = sum;
        self.low = self.low.add(lost);
    }
    #[inline(always)]
    fn total(self) -> DoubleDouble {
        let lane = |i| DoubleDouble::renormalised(self.high.lane(i), self.low.lane(i));
        let [a, b, c, d] = std::array::from_fn(|i| lane(i) + lane(i + 4));
        (a + c) + (b + d)
    }
}

#[cfg(test)]
mod tests;
