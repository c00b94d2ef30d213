//! Scalars of several rows side by side: a lane for each row.

use super::{MOST_LANES, Vector};
use crate::wide::{DoubleDouble, Real, Wide};
use std::ops::{Add, Div, Mul, Sub};

/// Vectors of doubles, and their bits.
pub trait DoubleVector: Vector<Scalar = f64> {
    fn abs(self) -> Self;
    fn bits_and(self, mask: u64) -> Self;
    fn bits_plus(self, term: u64) -> Self;
    fn bits_minus(self, other: Self) -> Self;
    fn bits_after_significand(self) -> Self;
    /// The sum of all lanes: lane i and i + 4 first, then i + 2, then i + 1.
    fn joined(self) -> f64;
}

/// `N` vectors of doubles.
#[derive(Clone, Copy)]
pub struct Doubles<X, const N: usize>(pub(super) [X; N]);

/// Lane by lane. Loops written out, here and below: a closure is compiled without the instruction
/// set of the vectors it calls, unless it is inlined, which nothing guarantees.
macro_rules! each {
    ($first:ident, |$i:ident| $value:expr) => {{
        let mut result = $first.0;
        let mut $i = 0;
        while $i < N {
            result[$i] = $value;
            $i += 1;
        }
        Self(result)
    }};
}

macro_rules! operator {
    ($operator:ident, $name:ident) => {
        impl<X: DoubleVector, const N: usize> $operator for Doubles<X, N> {
            type Output = Self;
            #[inline(always)]
            fn $name(self, other: Self) -> Self {
                each!(self, |i| self.0[i].$name(other.0[i]))
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
        each!(self, |i| X::splat(self.0[i].token(), value))
    }
    #[inline(always)]
    fn mul_add(self, b: Self, c: Self) -> Self {
        each!(self, |i| self.0[i].mul_add(b.0[i], c.0[i]))
    }
    #[inline(always)]
    fn abs(self) -> Self {
        each!(self, |i| self.0[i].abs())
    }
    #[inline(always)]
    fn ge(self, other: Self) -> Self::Mask {
        let mut mask = [self.0[0].ge(other.0[0]); N];
        for i in 1..N {
            mask[i] = self.0[i].ge(other.0[i]);
        }
        mask
    }
    #[inline(always)]
    fn eq(self, other: Self) -> Self::Mask {
        let mut mask = [self.0[0].eq(other.0[0]); N];
        for i in 1..N {
            mask[i] = self.0[i].eq(other.0[i]);
        }
        mask
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
        each!(a, |i| X::select(mask[i], a.0[i], b.0[i]))
    }
    #[inline(always)]
    fn bits_and(self, mask: u64) -> Self {
        each!(self, |i| self.0[i].bits_and(mask))
    }
    #[inline(always)]
    fn bits_plus(self, term: u64) -> Self {
        each!(self, |i| self.0[i].bits_plus(term))
    }
    #[inline(always)]
    fn bits_minus(self, other: Self) -> Self {
        each!(self, |i| self.0[i].bits_minus(other.0[i]))
    }
    #[inline(always)]
    fn bits_after_significand(self) -> Self {
        each!(self, |i| self.0[i].bits_after_significand())
    }
}

/// Wide scalars of several rows.
pub trait WideLanes: Wide {
    type Token: Copy;
    /// The scalar of one row.
    type Scalar: Wide<Real = f64>;
    fn splat(token: Self::Token, value: Self::Scalar) -> Self;
    /// The first lanes of `values`.
    fn from_scalars(token: Self::Token, values: &[Self::Scalar; MOST_LANES]) -> Self;
    /// One scalar a lane, and anything after the last.
    fn to_scalars(self) -> [Self::Scalar; MOST_LANES];
}

impl<X: DoubleVector, const N: usize> WideLanes for Doubles<X, N> {
    type Token = X::Token;
    type Scalar = f64;

    #[inline(always)]
    fn splat(token: X::Token, value: f64) -> Self {
        Self([X::splat(token, value); N])
    }
    #[inline(always)]
    fn from_scalars(token: X::Token, values: &[f64; MOST_LANES]) -> Self {
        let mut vectors = [X::splat(token, 0.0); N];
        for (i, vector) in vectors.iter_mut().enumerate() {
            *vector = X::from_slice(token, &values[i * X::LANES..]);
        }
        Self(vectors)
    }
    #[inline(always)]
    fn to_scalars(self) -> [f64; MOST_LANES] {
        let mut scalars = [0.0; MOST_LANES];
        for (i, vector) in self.0.iter().enumerate() {
            vector.to_slice(&mut scalars[i * X::LANES..]);
        }
        scalars
    }
}

impl<T: WideLanes<Scalar = f64> + Real> WideLanes for DoubleDouble<T> {
    type Token = T::Token;
    type Scalar = DoubleDouble;

    #[inline(always)]
    fn splat(token: T::Token, value: DoubleDouble) -> Self {
        Self { high: T::splat(token, value.high), low: T::splat(token, value.low) }
    }
    #[inline(always)]
    fn from_scalars(token: T::Token, values: &[DoubleDouble; MOST_LANES]) -> Self {
        let (mut high, mut low) = ([0.0; MOST_LANES], [0.0; MOST_LANES]);
        for (i, value) in values.iter().enumerate() {
            (high[i], low[i]) = (value.high, value.low);
        }
        Self { high: T::from_scalars(token, &high), low: T::from_scalars(token, &low) }
    }
    #[inline(always)]
    fn to_scalars(self) -> [DoubleDouble; MOST_LANES] {
        let (high, low) = (self.high.to_scalars(), self.low.to_scalars());
        let mut scalars = [DoubleDouble { high: 0.0, low: 0.0 }; MOST_LANES];
        for (i, scalar) in scalars.iter_mut().enumerate() {
            *scalar = DoubleDouble { high: high[i], low: low[i] };
        }
        scalars
    }
}
