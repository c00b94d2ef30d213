//! Several doubles side by side: the scalars of several rows, and accumulators for sums of vectors.

use super::instruction_set::InstructionSet;
use super::{Float, MOST_LANES, Source, Vector};
use crate::math::{EXPONENT, HALF, Real, RunningSum, SIGNIFICAND, UNIT, in_halves};
use fearless_simd::{Bytes, f32x16, f64x8, mask64x8, u64x8};
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

/// Vectors of eight doubles.
pub trait Eights: Real {
    /// One such vector.
    type Eight: Real;
    /// The doubles from number `at` of a row on, 0 after its last.
    fn load(token: Self::Token, row: Source<'_, f64>, at: usize) -> Self;
    /// The same from floats.
    fn load_floats(token: Self::Token, row: Source<'_, f32>, at: usize) -> Self;
    /// Adds each eight lanes to `sum`, one after another.
    fn add_to(self, sum: &mut RunningSum<Self::Eight>);
    /// The sums of lanes i and i + 8, if there are so many.
    fn folded(self) -> Self::Eight;
}

/// `N` is 1 or 2.
impl<S: InstructionSet, const N: usize> Eights for Doubles<S, N> {
    type Eight = Doubles<S, 1>;

    #[inline(always)]
    fn load(token: S, row: Source<'_, f64>, at: usize) -> Self {
        let eight = inlined!(|i: usize| (at + i * f64x8::<S>::LANES).min(row.len()));
        Self(each!(N, |i| row.vector(token, eight(i), 0.0)))
    }

    #[inline(always)]
    fn load_floats(token: S, row: Source<'_, f32>, at: usize) -> Self {
        <Self as Widened<f32x16<S>>>::widen(row.vector(token, at, 0.0))
    }

    #[inline(always)]
    fn add_to(self, sum: &mut RunningSum<Doubles<S, 1>>) {
        for i in 0..N {
            sum.add(Doubles([self.0[i]]));
        }
    }

    #[inline(always)]
    fn folded(self) -> Doubles<S, 1> {
        Doubles([if N == 1 { self.0[0] } else { self.0[0] + self.0[N - 1] }])
    }
}

/// The lanes of a vector as doubles, all lanes or the first eight.
pub trait Widened<V: Vector>: Eights<Token = V::Token, Eight = V::Eight> {
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

/// `N` is 2, or 1 for the first eight lanes.
impl<S: InstructionSet, const N: usize> Widened<f32x16<S>> for Doubles<S, N> {
    #[inline(always)]
    fn widen(vector: f32x16<S>) -> Self {
        let (low, high) = vector.simd.widen_f32x16(vector);
        Self(each!(N, |i| [low, high][i]))
    }
    #[inline(always)]
    fn narrow(self) -> f32x16<S> {
        let (low, zero) = (self.0[0], f64x8::splat(self.0[0].simd, 0.0));
        low.simd.narrow_f64x8(low, if N == 1 { zero } else { self.0[N - 1] })
    }
}

/// Sums of vectors in doubles, one for each lane; for f64 with the sums of their rounding errors. Doubles have digits to
/// spare for f32 only.
#[derive(Clone, Copy)]
pub struct LaneSum<V: Vector>(RunningSum<V::Doubles>);

impl<V: Vector> LaneSum<V> {
    #[inline(always)]
    pub fn zero(token: V::Token) -> Self {
        let zero = V::Doubles::splat(token, 0.0);
        Self(RunningSum { sum: zero, lost: zero })
    }
    #[inline(always)]
    pub fn add(&mut self, vector: V) {
        outlined_if_compact!(V, vector.token(), {
            let term = V::Doubles::widen(vector);
            if V::Scalar::IS_DOUBLE {
                self.0.add(term);
            } else {
                self.0.sum = self.0.sum + term;
            }
        });
    }
    /// Adds two terms. For f32 their sum is rounded to f32 first; for f64 they are added one by one.
    #[inline(always)]
    pub fn add_pair(&mut self, [first, second]: [V; 2]) {
        if V::Scalar::IS_DOUBLE {
            self.add(first);
            self.add(second);
        } else {
            self.add(first + second);
        }
    }
    /// Adds two products. For f32 the first product is rounded, and the second is added to it by a fused multiply-add;
    /// the rounding error of the first is added to `lost`, which is added at the end. For f64 they are added one by
    /// one, unrounded.
    #[inline(always)]
    pub fn add_products(&mut self, a: [V; 2], b: [V; 2], lost: &mut V) {
        if !V::Scalar::IS_DOUBLE {
            let product = a[0] * b[0];
            *lost = *lost + a[0].mul_add(b[0], -product);
            return self.add(a[1].mul_add(b[1], product));
        }
        for i in 0..2 {
            let (a, b) = (V::Doubles::widen(a[i]), V::Doubles::widen(b[i]));
            outlined_if_compact!(V, lost.token(), self.0.add_product(a, b));
        }
    }
    /// The sum of each lane, and its rounding errors.
    #[inline(always)]
    pub fn lanes(self) -> (V::Doubles, V::Doubles) {
        if V::Scalar::IS_DOUBLE { self.0.parts() } else { (self.0.sum, self.0.lost) }
    }
    /// The sum of all lanes, and its rounding errors. For f32 lanes i and i + 8 are added first, then i and i + 4, then
    /// i + 2 and i + 1; for f64 the sums and the errors of all lanes one after another, compensated.
    #[inline(always)]
    pub fn total(self) -> (f64, f64) {
        let (mut terms, mut sum) = ([0.0; MOST_LANES], RunningSum::default());
        self.0.sum.to_slice(&mut terms);
        if V::Scalar::IS_DOUBLE {
            self.0.lost.to_slice(&mut terms[V::LANES..]);
            for term in &terms {
                sum.add(*term);
            }
            return sum.parts();
        }
        (in_halves(&mut terms, |a, b| a + b), 0.0)
    }
}

#[cfg(test)]
mod tests;
