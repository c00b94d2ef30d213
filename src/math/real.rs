//! Double precision, of one row or of several side by side: what the scalars of rows are combined in.

use std::ops::{Add, Div, Mul, Sub};

/// Doubles: one, or one for each of several rows. Every operation is that of IEEE 754 in each lane, so
/// the scalars of a row are the same alone and among others.
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
pub const SIGNIFICAND: u32 = 52;

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
