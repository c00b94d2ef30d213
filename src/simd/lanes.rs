//! Several doubles side by side: the scalars of several rows, and accumulators for sums of vectors.

use super::Vector;
use super::instruction_set::InstructionSet;
use crate::math::{EXPONENT, HALF, Real, RunningSum, SIGNIFICAND, UNIT};
use fearless_simd::{Bytes, SimdSplit, f32x16, f64x8, mask64x8, u64x8};
use std::ops::{Add, Div, Mul, Sub};

/// `N` vectors of doubles.
#[derive(Clone, Copy)]
pub struct Doubles<S: InstructionSet, const N: usize>(pub(super) [f64x8<S>; N]);

macro_rules! operator {
    ($operator:ident, $name:ident) => {
        impl<S: InstructionSet, const N: usize> $operator for Doubles<S, N> {
            type Output = Self;
            #[inline(always)]
            fn $name(self, other: Self) -> Self {
                Self(each!(N, |i| self.0[i].$name(other.0[i])))
            }
        }
    };
}

operator!(Add, add);
operator!(Sub, sub);
operator!(Mul, mul);
operator!(Div, div);

impl<S: InstructionSet, const N: usize> Real for Doubles<S, N> {
    type Token = S;
    type Mask = [mask64x8<S>; N];

    #[inline(always)]
    fn splat(token: S, value: f64) -> Self {
        Self([f64x8::splat(token, value); N])
    }
    #[inline(always)]
    fn from_slice(token: S, values: &[f64]) -> Self {
        Self(each!(N, |i| Vector::from_slice(token, &values[i * f64x8::<S>::LANES..])))
    }
    #[inline(always)]
    fn to_slice(self, values: &mut [f64]) {
        for (i, vector) in self.0.iter().enumerate() {
            vector.to_slice(&mut values[i * f64x8::<S>::LANES..]);
        }
    }
    #[inline(always)]
    fn like(self, value: f64) -> Self {
        Self(each!(N, |i| f64x8::splat(self.0[i].simd, value)))
    }
    #[inline(always)]
    fn mul_add(self, b: Self, c: Self) -> Self {
        Self(each!(N, |i| Vector::mul_add(self.0[i], b.0[i], c.0[i])))
    }
    #[inline(always)]
    fn abs(self) -> Self {
        Self(each!(N, |i| self.0[i].simd.abs_f64x8(self.0[i])))
    }
    #[inline(always)]
    fn ge(self, other: Self) -> Self::Mask {
        each!(N, |i| self.0[i].ge(other.0[i]))
    }
    #[inline(always)]
    fn eq(self, other: Self) -> Self::Mask {
        each!(N, |i| self.0[i].eq(other.0[i]))
    }
    #[inline(always)]
    fn all(mask: Self::Mask) -> bool {
        let mut all = true;
        for lanes in mask {
            all &= f64x8::<S>::all(lanes);
        }
        all
    }
    #[inline(always)]
    fn pick(mask: Self::Mask, a: Self, b: Self) -> Self {
        Self(each!(N, |i| f64x8::<S>::select(mask[i], a.0[i], b.0[i])))
    }
    #[inline(always)]
    fn power(self) -> Self {
        Self(each!(N, |i| {
            let bits: u64x8<S> = self.0[i].bitcast();
            (bits & EXPONENT).bitcast()
        }))
    }
    #[inline(always)]
    fn powers_from(self, start: Self) -> [Self; 3] {
        let mut powers = [self; 3];
        for i in 0..N {
            // As for one number: see `math::real`.
            let (bits, from): (u64x8<S>, u64x8<S>) = (self.0[i].bitcast(), start.0[i].bitcast());
            let steps = bits - from + HALF;
            let exponent = steps & EXPONENT;
            let k: f64x8<S> = ((steps >> SIGNIFICAND) + UNIT.to_bits()).bitcast();
            powers[0].0[i] = k - UNIT;
            powers[1].0[i] = (from + exponent).bitcast();
            powers[2].0[i] = (exponent + 1f64.to_bits()).bitcast();
        }
        powers
    }
}

/// The lanes of a vector as doubles, all lanes or the first eight.
pub trait Widened<V: Vector>: Real<Token = V::Token> {
    /// Converts lanes to doubles, exactly.
    fn widen(vector: V) -> Self;
    /// Converts doubles to lanes, rounded to nearest; 0 in lanes that have no double.
    fn narrow(self) -> V;
}

impl<S: InstructionSet> Widened<f64x8<S>> for Doubles<S, 1> {
    #[inline(always)]
    fn widen(vector: f64x8<S>) -> Self {
        Self([vector])
    }
    #[inline(always)]
    fn narrow(self) -> f64x8<S> {
        self.0[0]
    }
}

impl<S: InstructionSet> Widened<f32x16<S>> for Doubles<S, 2> {
    #[inline(always)]
    fn widen(vector: f32x16<S>) -> Self {
        let (low, high) = vector.simd.widen_f32x16(vector);
        Self([low, high])
    }
    #[inline(always)]
    fn narrow(self) -> f32x16<S> {
        let Self([low, high]) = self;
        low.simd.narrow_f64x8(low, high)
    }
}
impl<S: InstructionSet> Widened<f32x16<S>> for Doubles<S, 1> {
    #[inline(always)]
    fn widen(vector: f32x16<S>) -> Self {
        Self([vector.simd.widen_f32x16(vector).0])
    }
    #[inline(always)]
    fn narrow(self) -> f32x16<S> {
        let zero = f64x8::splat(self.0[0].simd, 0.0);
        self.0[0].simd.narrow_f64x8(self.0[0], zero)
    }
}

/// Sums of vectors in a wider type, one sum for each lane.
pub trait LaneSum<V: Vector>: Copy {
    fn zero(token: V::Token) -> Self;
    fn add(&mut self, vector: V);
    /// Adds two terms. For f32 their sum is rounded to f32 first; for f64 they are added one by one.
    fn add_pair(&mut self, terms: [V; 2]);
    /// Adds two products. For f32 the first product is rounded, and the second is added to it by a fused multiply-add;
    /// the rounding error of the first is added to `lost`, which is added at the end. For f64 they are added one by
    /// one, unrounded.
    fn add_products(&mut self, a: [V; 2], b: [V; 2], lost: &mut V);
    /// The sum of each lane, and its rounding errors.
    fn lanes(self) -> (V::Doubles, V::Doubles);
    /// The sum of all lanes, in a fixed order, and its rounding errors.
    fn total(self) -> (f64, f64);
}

/// Vectors of f32 are added in doubles. At the end, lanes i and i + 8 are added first.
impl<S: InstructionSet> LaneSum<f32x16<S>> for Doubles<S, 2> {
    #[inline(always)]
    fn zero(token: S) -> Self {
        Self::splat(token, 0.0)
    }
    #[inline(always)]
    fn add(&mut self, vector: f32x16<S>) {
        *self = *self + Self::widen(vector);
    }
    #[inline(always)]
    fn add_pair(&mut self, [first, second]: [f32x16<S>; 2]) {
        LaneSum::add(self, first + second);
    }
    #[inline(always)]
    fn add_products(&mut self, a: [f32x16<S>; 2], b: [f32x16<S>; 2], lost: &mut f32x16<S>) {
        let product = a[0] * b[0];
        *lost += a[0].mul_sub(b[0], product);
        LaneSum::add(self, a[1].mul_add(b[1], product));
    }
    #[inline(always)]
    fn lanes(self) -> (Self, Self) {
        (self, self.like(0.0))
    }
    #[inline(always)]
    fn total(self) -> (f64, f64) {
        // Lane i and i + 4 first, then i + 2, then i + 1.
        let (low, high) = (self.0[0] + self.0[1]).split();
        let (low, high) = (low + high).split();
        let pair = low + high;
        (pair[0] + pair[1], 0.0)
    }
}

/// Vectors of doubles are added by compensated summation: each lane has a sum and the sum of its rounding errors.
impl<S: InstructionSet> LaneSum<f64x8<S>> for RunningSum<Doubles<S, 1>> {
    #[inline(always)]
    fn zero(token: S) -> Self {
        let zero = Doubles::splat(token, 0.0);
        Self { sum: zero, lost: zero }
    }
    #[inline(always)]
    fn add(&mut self, vector: f64x8<S>) {
        self.add(Doubles([vector]));
    }
    #[inline(always)]
    fn add_pair(&mut self, [first, second]: [f64x8<S>; 2]) {
        LaneSum::add(self, first);
        LaneSum::add(self, second);
    }
    #[inline(always)]
    fn add_products(&mut self, a: [f64x8<S>; 2], b: [f64x8<S>; 2], _lost: &mut f64x8<S>) {
        for i in 0..2 {
            let product = a[i] * b[i];
            LaneSum::add(self, product);
            self.lost = self.lost + Doubles([a[i].mul_sub(b[i], product)]);
        }
    }
    #[inline(always)]
    fn lanes(self) -> (Doubles<S, 1>, Doubles<S, 1>) {
        self.parts()
    }
    #[inline(always)]
    fn total(self) -> (f64, f64) {
        let (mut terms, mut sum) = ([0.0; 16], RunningSum::default());
        self.sum.to_slice(&mut terms);
        self.lost.to_slice(&mut terms[8..]);
        for term in &terms {
            sum.add(*term);
        }
        sum.parts()
    }
}

#[cfg(test)]
mod tests;
