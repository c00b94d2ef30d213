//! Doubles side by side: the scalars of several rows, and what sums of few vectors are flushed into.

use super::{MOST_LANES, QUAD, Vector};
use crate::math::{Real, RunningSum};
use std::ops::{Add, Div, Mul, Sub};

/// Vectors of doubles, and those operations of [`Real`] that others lack.
pub trait DoubleVector: Vector<Scalar = f64> {
    fn abs(self) -> Self;
    fn power(self) -> Self;
    fn powers_from(self, start: Self) -> [Self; 3];
    /// The sum of all lanes: lane i and i + 4 first, then i + 2, then i + 1.
    fn joined(self) -> f64;
}

/// `N` vectors of doubles.
#[derive(Clone, Copy)]
pub struct Doubles<X, const N: usize>(pub(super) [X; N]);

/// Lane by lane. Loops written out, here and below: a closure is compiled without the instruction
/// set of the vectors it calls, unless it is inlined, which nothing guarantees.
macro_rules! each {
    (|$i:ident| $value:expr) => {{
        let mut $i = 0;
        let mut result = [$value; N];
        while $i + 1 < N {
            $i += 1;
            result[$i] = $value;
        }
        result
    }};
}

macro_rules! operator {
    ($operator:ident, $name:ident) => {
        impl<X: DoubleVector, const N: usize> $operator for Doubles<X, N> {
            type Output = Self;
            #[inline(always)]
            fn $name(self, other: Self) -> Self {
                Self(each!(|i| self.0[i].$name(other.0[i])))
            }
        }
    };
}

operator!(Add, add);
operator!(Sub, sub);
operator!(Mul, mul);
operator!(Div, div);

impl<X: DoubleVector, const N: usize> Real for Doubles<X, N> {
    type Mask = [X::Mask; N];

    #[inline(always)]
    fn like(self, value: f64) -> Self {
        Self(each!(|i| X::splat(self.0[i].token(), value)))
    }
    #[inline(always)]
    fn mul_add(self, b: Self, c: Self) -> Self {
        Self(each!(|i| self.0[i].mul_add(b.0[i], c.0[i])))
    }
    #[inline(always)]
    fn abs(self) -> Self {
        Self(each!(|i| self.0[i].abs()))
    }
    #[inline(always)]
    fn ge(self, other: Self) -> Self::Mask {
        each!(|i| self.0[i].ge(other.0[i]))
    }
    #[inline(always)]
    fn eq(self, other: Self) -> Self::Mask {
        each!(|i| self.0[i].eq(other.0[i]))
    }
    #[inline(always)]
    fn all(mask: Self::Mask) -> bool {
        let mut all = true;
        for lanes in mask {
            all &= X::all(lanes);
        }
        all
    }
    #[inline(always)]
    fn pick(mask: Self::Mask, a: Self, b: Self) -> Self {
        Self(each!(|i| X::select(mask[i], a.0[i], b.0[i])))
    }
    #[inline(always)]
    fn power(self) -> Self {
        Self(each!(|i| self.0[i].power()))
    }
    #[inline(always)]
    fn powers_from(self, start: Self) -> [Self; 3] {
        let mut powers = [self; 3];
        for i in 0..N {
            let [k, nearest, power] = self.0[i].powers_from(start.0[i]);
            (powers[0].0[i], powers[1].0[i], powers[2].0[i]) = (k, nearest, power);
        }
        powers
    }
}

/// Doubles in lanes, from and to memory.
pub trait DoubleLanes: Real {
    type Token: Copy;
    fn splat(token: Self::Token, value: f64) -> Self;
    /// The first lanes of `values`.
    fn from_slice(token: Self::Token, values: &[f64]) -> Self;
    /// The lanes to the beginning of `values`.
    fn to_slice(self, values: &mut [f64]);
}

impl<X: DoubleVector, const N: usize> DoubleLanes for Doubles<X, N> {
    type Token = X::Token;

    #[inline(always)]
    fn splat(token: X::Token, value: f64) -> Self {
        Self([X::splat(token, value); N])
    }
    #[inline(always)]
    fn from_slice(token: X::Token, values: &[f64]) -> Self {
        Self(each!(|i| X::from_slice(token, &values[i * X::LANES..])))
    }
    #[inline(always)]
    fn to_slice(self, values: &mut [f64]) {
        for (i, vector) in self.0.iter().enumerate() {
            vector.to_slice(&mut values[i * X::LANES..]);
        }
    }
}

/// The lanes of a vector as doubles, all of them or the first.
pub trait Widened<V: Vector>: DoubleLanes<Token = V::Token> {
    /// Exact.
    fn widen(vector: V) -> Self;
    /// Rounded to nearest; 0 in lanes that are not here.
    fn narrow(self) -> V;
}

impl<X: DoubleVector<Doubles = Self>> Widened<X> for Doubles<X, 1> {
    #[inline(always)]
    fn widen(vector: X) -> Self {
        Self([vector])
    }
    #[inline(always)]
    fn narrow(self) -> X {
        self.0[0]
    }
}

/// Sums of vectors of few classes, kept wider than those: a lane for each lane of the vectors.
pub trait LaneSum<V: Vector>: Copy {
    fn zero(token: V::Token) -> Self;
    fn add(&mut self, vector: V);
    /// Adds both, together where their own sum is no loss.
    fn add_pair(&mut self, first: V, second: V);
    /// Adds a product, which f64 does not round before.
    fn add_product(&mut self, a: V, b: V);
    /// Adds the products of both; fused, or exactly.
    fn add_products(&mut self, a: [V; QUAD], b: [V; QUAD]);
    /// The sum of each lane, and what it lost.
    fn lanes(self) -> (V::Doubles, V::Doubles);
    /// The sum of all lanes, in a fixed order, and what it lost.
    fn total(self) -> (f64, f64);
}

/// Vectors of f32 are added in doubles. Their lanes i and i + 8 are joined first.
impl<V, X, const N: usize> LaneSum<V> for Doubles<X, N>
where
    X: DoubleVector<Token = V::Token>,
    V: Vector<Scalar = f32, Doubles = Self>,
    Self: Widened<V>,
{
    #[inline(always)]
    fn zero(token: V::Token) -> Self {
        Self([X::splat(token, 0.0); N])
    }
    #[inline(always)]
    fn add(&mut self, vector: V) {
        *self = *self + Self::widen(vector);
    }
    #[inline(always)]
    fn add_pair(&mut self, first: V, second: V) {
        self.add(first.add(second));
    }
    #[inline(always)]
    fn add_product(&mut self, a: V, b: V) {
        self.add(a.mul(b));
    }
    #[inline(always)]
    fn add_products(&mut self, a: [V; QUAD], b: [V; QUAD]) {
        let first = a[1].mul_add(b[1], a[0].mul(b[0]));
        self.add(first.add(a[3].mul_add(b[3], a[2].mul(b[2]))));
    }
    #[inline(always)]
    fn lanes(self) -> (Self, Self) {
        (self, self.like(0.0))
    }
    #[inline(always)]
    fn total(self) -> (f64, f64) {
        let mut all = self.0[0];
        for other in &self.0[1..] {
            all = all.add(*other);
        }
        (all.joined(), 0.0)
    }
}

/// Vectors of doubles, each lane with the sum of the roundings it lost.
#[derive(Clone, Copy)]
pub struct CompensatedSum<V> {
    high: V,
    low: V,
}

impl<V> LaneSum<V> for CompensatedSum<V>
where
    V: DoubleVector<Doubles = Doubles<V, 1>>,
{
    #[inline(always)]
    fn zero(token: V::Token) -> Self {
        let zero = V::splat(token, 0.0);
        Self { high: zero, low: zero }
    }
    #[inline(always)]
    fn add(&mut self, vector: V) {
        // Knuth's TwoSum: high + vector = sum + lost, exactly.
        let sum = self.high.add(vector);
        let from_vector = sum.sub(self.high);
        let lost = self.high.sub(sum.sub(from_vector)).add(vector.sub(from_vector));
        self.high = sum;
        self.low = self.low.add(lost);
    }
    #[inline(always)]
    fn add_pair(&mut self, first: V, second: V) {
        self.add(first);
        self.add(second);
    }
    #[inline(always)]
    fn add_products(&mut self, a: [V; QUAD], b: [V; QUAD]) {
        for i in 0..QUAD {
            self.add_product(a[i], b[i]);
        }
    }
    #[inline(always)]
    fn add_product(&mut self, a: V, b: V) {
        let product = a.mul(b);
        self.add(product);
        self.low = self.low.add(a.mul_sub(b, product));
    }
    #[inline(always)]
    fn lanes(self) -> (Doubles<V, 1>, Doubles<V, 1>) {
        let sum = self.high.add(self.low);
        // An infinite sum has lost inf − inf, which is no part of it.
        let is_finite = sum.eq(sum);
        let lost = self.low.sub(sum.sub(self.high));
        (
            Doubles([V::select(is_finite, sum, self.high)]),
            Doubles([V::select(is_finite, lost, V::splat(lost.token(), 0.0))]),
        )
    }
    #[inline(always)]
    fn total(self) -> (f64, f64) {
        let (mut high, mut low) = ([0.0; MOST_LANES], [0.0; MOST_LANES]);
        self.high.to_slice(&mut high);
        self.low.to_slice(&mut low);
        let mut sum = RunningSum::default();
        for lane in 0..V::LANES {
            sum.add(high[lane]);
        }
        for lane in 0..V::LANES {
            sum.add(low[lane]);
        }
        sum.parts()
    }
}

#[cfg(test)]
mod tests;
