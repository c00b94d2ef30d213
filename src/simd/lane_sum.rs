//! Where block sums go: one wide accumulator per lane, and a fixed tree at the end.
//!
//! The tree joins lane i with lane i + 8 (f32 only), then i + 4, i + 2, i + 1.

use super::lanes::{DoubleVector, Doubles};
use super::{MOST_LANES, Vector};
use crate::element::Float;
use crate::wide::{DoubleDouble, Real};
use std::ops::Add;

/// Sums of blocks, kept wider than the block itself.
pub trait LaneSum<V: Vector>: Copy {
    fn zero(token: V::Token) -> Self;
    fn add(&mut self, block: V);
    /// Adds `a * b`, which is not rounded before.
    fn add_product(&mut self, a: V, b: V);
    /// The sum of each lane.
    fn lanes(self) -> V::Wide;

    /// The sum of all lanes.
    #[inline(always)]
    fn total(self) -> <V::Scalar as Float>::Wide {
        use super::lanes::WideLanes;
        tree::<V, _>(&mut self.lanes().to_scalars())
    }
}

/// The sum of the first LANES of `lanes`.
#[inline(always)]
pub fn tree<V: Vector, W: Copy + Add<Output = W>>(lanes: &mut [W; MOST_LANES]) -> W {
    let mut half = V::LANES / 2;
    while half > 0 {
        for i in 0..half {
            lanes[i] = lanes[i] + lanes[i + half];
        }
        half /= 2;
    }
    lanes[0]
}

/// f32 block sums are accumulated in doubles.
impl<V, X> LaneSum<V> for Doubles<X, 2>
where
    X: DoubleVector<Token = V::Token>,
    V: Vector<Scalar = f32, Doubles = Self, Wide = Self>,
{
    #[inline(always)]
    fn zero(token: V::Token) -> Self {
        Self([X::splat(token, 0.0); 2])
    }
    #[inline(always)]
    fn add(&mut self, block: V) {
        *self = *self + block.to_doubles();
    }
    #[inline(always)]
    fn add_product(&mut self, a: V, b: V) {
        *self = a.to_doubles().mul_add(b.to_doubles(), *self);
    }
    #[inline(always)]
    fn lanes(self) -> Self {
        self
    }
    #[inline(always)]
    fn total(self) -> f64 {
        let Self([low, high]) = self;
        low.add(high).joined()
    }
}

/// f64 block sums, each with the sum of the roundings it lost.
#[derive(Clone, Copy)]
pub struct CompensatedSum<V> {
    high: V,
    low: V,
}

impl<V> LaneSum<V> for CompensatedSum<V>
where
    V: DoubleVector<Doubles = Doubles<V, 1>, Wide = DoubleDouble<Doubles<V, 1>>>,
    Doubles<V, 1>: Real,
{
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
    fn add_product(&mut self, a: V, b: V) {
        let product = a.mul(b);
        self.add(product);
        self.low = self.low.add(a.mul_sub(b, product));
    }
    #[inline(always)]
    fn lanes(self) -> V::Wide {
        DoubleDouble::renormalised(Doubles([self.high]), Doubles([self.low]))
    }
}

#[cfg(test)]
mod tests;
