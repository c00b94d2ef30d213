//! Arithmetic wider than the rows: what a row's few scalars are combined in.
//!
//! [`Real`] is double precision, of one row or of several side by side. [`Wide`] is what the
//! formulas of the epilogues are written in: plain doubles for `f32` rows, [`DoubleDouble`] for
//! `f64` rows, so that each result is rounded once. Every operation is that of IEEE 754 in each
//! lane, so a row's scalars are the same alone and among others.

use crate::math;
use std::ops::{Add, Div, Mul, Sub};

/// Doubles: one, or one for each of several rows.
pub trait Real:
    Copy + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> + Div<Output = Self>
{
    /// Which lanes.
    type Mask: Copy;

    /// `value` in as many lanes as `self`.
    #[must_use]
    fn like(self, value: f64) -> Self;
    /// `self * b + c`, rounded once.
    #[must_use]
    fn mul_add(self, b: Self, c: Self) -> Self;
    /// |self|
    #[must_use]
    fn abs(self) -> Self;
    /// `self >= other`, false for NaN.
    fn ge(self, other: Self) -> Self::Mask;
    /// `self == other`
    fn eq(self, other: Self) -> Self::Mask;
    /// Is the mask true in every lane?
    fn all(mask: Self::Mask) -> bool;
    /// `a` where the mask is true, else `b`.
    #[must_use]
    fn pick(mask: Self::Mask, a: Self, b: Self) -> Self;
    /// The bits as integers, and `mask`.
    #[must_use]
    fn bits_and(self, mask: u64) -> Self;
    /// The bits as integers, plus `term`, wrapping.
    #[must_use]
    fn bits_plus(self, term: u64) -> Self;
    /// The bits as integers, minus those of `other`, wrapping.
    #[must_use]
    fn bits_minus(self, other: Self) -> Self;
    /// The bits as integers, shifted right by those of a significand.
    #[must_use]
    fn bits_after_significand(self) -> Self;
}

/// Bits of the significand of a double.
pub(crate) const SIGNIFICAND: u32 = 52;

impl Real for f64 {
    type Mask = bool;

    #[inline(always)]
    fn like(self, value: f64) -> f64 {
        value
    }
    #[inline(always)]
    fn mul_add(self, b: f64, c: f64) -> f64 {
        f64::mul_add(self, b, c)
    }
    #[inline(always)]
    fn abs(self) -> f64 {
        f64::abs(self)
    }
    #[inline(always)]
    fn ge(self, other: f64) -> bool {
        self >= other
    }
    #[inline(always)]
    fn eq(self, other: f64) -> bool {
        self == other
    }
    #[inline(always)]
    fn all(mask: bool) -> bool {
        mask
    }
    #[inline(always)]
    fn pick(mask: bool, a: f64, b: f64) -> f64 {
        if mask { a } else { b }
    }
    #[inline(always)]
    fn bits_and(self, mask: u64) -> f64 {
        f64::from_bits(self.to_bits() & mask)
    }
    #[inline(always)]
    fn bits_plus(self, term: u64) -> f64 {
        f64::from_bits(self.to_bits().wrapping_add(term))
    }
    #[inline(always)]
    fn bits_minus(self, other: f64) -> f64 {
        f64::from_bits(self.to_bits().wrapping_sub(other.to_bits()))
    }
    #[inline(always)]
    fn bits_after_significand(self) -> f64 {
        f64::from_bits(self.to_bits() >> SIGNIFICAND)
    }
}

/// Scalars of rows, wider than the rows' elements. Infinities and NaN behave as in `f64`.
pub trait Wide: Copy + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> {
    /// The doubles in it.
    type Real: Real;

    /// Exact.
    fn new(value: Self::Real) -> Self;
    /// Rounded to nearest.
    fn value(self) -> Self::Real;
    /// `self / divisor`, for a finite divisor other than zero.
    #[must_use]
    fn over(self, divisor: Self) -> Self;
    /// log(1 + self) for self ≥ 0.
    #[must_use]
    fn log1p(self) -> Self;
    /// The natural logarithm of a count ≥ 1.
    fn log_count(count: Self::Real) -> Self;
    /// `a` where the mask is true, else `b`.
    #[must_use]
    fn select(mask: <Self::Real as Real>::Mask, a: Self, b: Self) -> Self;

    /// `value` in as many lanes as `self`.
    #[must_use]
    #[inline(always)]
    fn constant(self, value: f64) -> Self {
        Self::new(self.value().like(value))
    }
}

impl<T: Real> Wide for T {
    type Real = T;

    #[inline(always)]
    fn new(value: T) -> T {
        value
    }
    #[inline(always)]
    fn value(self) -> T {
        self
    }
    #[inline(always)]
    fn over(self, divisor: T) -> T {
        self / divisor
    }
    #[inline(always)]
    fn log1p(self) -> T {
        math::log1p(self, self.like(0.0)).0
    }
    #[inline(always)]
    fn log_count(count: T) -> T {
        math::log_count(count).0
    }
    #[inline(always)]
    fn select(mask: T::Mask, a: T, b: T) -> T {
        T::pick(mask, a, b)
    }
}

/// The unevaluated sum `high + low`, |low| ≤ ulp(high)/2: about 106 bits.
///
/// Error-free transformations: TwoSum (Knuth) and the FMA product (Ogita,
/// Rump and Oishi 2005, "Accurate sum and dot product", section 2).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct DoubleDouble<T = f64> {
    pub(crate) high: T,
    pub(crate) low: T,
}

impl<T: Real> DoubleDouble<T> {
    /// `high + low` for |high| ≥ |low| or high = 0; a `high` that is not finite swallows `low`.
    #[inline(always)]
    #[must_use]
    pub fn renormalised(high: T, low: T) -> Self {
        let sum = high + low;
        // inf − inf inside the error terms is no NaN of the operands.
        let is_finite = sum.like(f64::MAX).ge(sum.abs());
        let low = low - (sum - high);
        Self { high: T::pick(is_finite, sum, high), low: T::pick(is_finite, low, sum.like(0.0)) }
    }
}

impl<T: Real> Add for DoubleDouble<T> {
    type Output = Self;
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        let sum = self.high + other.high;
        let from_other = sum - self.high;
        let lost = (self.high - (sum - from_other)) + (other.high - from_other);
        Self::renormalised(sum, lost + (self.low + other.low))
    }
}

impl<T: Real> Sub for DoubleDouble<T> {
    type Output = Self;
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        let minus_zero = self.high.like(-0.0);
        // −x, also of 0.
        self + Self { high: minus_zero - other.high, low: minus_zero - other.low }
    }
}

impl<T: Real> Mul for DoubleDouble<T> {
    type Output = Self;
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        let product = self.high * other.high;
        let lost = self.high.mul_add(other.high, product.like(-0.0) - product);
        Self::renormalised(product, lost + (self.high * other.low + self.low * other.high))
    }
}

impl<T: Real> Wide for DoubleDouble<T> {
    type Real = T;

    #[inline(always)]
    fn new(value: T) -> Self {
        Self { high: value, low: value.like(0.0) }
    }
    #[inline(always)]
    fn value(self) -> T {
        self.high
    }
    #[inline(always)]
    fn over(self, divisor: Self) -> Self {
        // One Newton correction of the plain quotient.
        let quotient = self.high / divisor.high;
        let rest = self - divisor * Self::new(quotient);
        Self::renormalised(quotient, rest.high / divisor.high)
    }
    #[inline(always)]
    fn log1p(self) -> Self {
        let (high, low) = math::log1p(self.high, self.low);
        Self::renormalised(high, low)
    }
    #[inline(always)]
    fn log_count(count: T) -> Self {
        let (high, low) = math::log_count(count);
        Self::renormalised(high, low)
    }
    #[inline(always)]
    fn select(mask: T::Mask, a: Self, b: Self) -> Self {
        Self { high: T::pick(mask, a.high, b.high), low: T::pick(mask, a.low, b.low) }
    }
}

#[cfg(test)]
mod tests;
