//! Doubles, one or several side by side: the numbers with which the scalars of rows are computed.

use std::ops::{Add, Div, Mul, Sub};

/// Doubles: one, or one for each of several rows. Every operation is that of IEEE 754 in each lane, so
/// the scalars of a row are the same alone and among others.
pub trait Real:
    Copy + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> + Div<Output = Self>
{
    /// Required for creating lanes; empty for one double.
    type Token: Copy;
    /// A truth value for each lane.
    type Mask: Copy;

    /// `value` in every lane.
    fn splat(token: Self::Token, value: f64) -> Self;
    /// Loads the lanes from the beginning of `values`.
    fn from_slice(token: Self::Token, values: &[f64]) -> Self;
    /// Stores the lanes to the beginning of `values`.
    fn to_slice(self, values: &mut [f64]);
    /// `value` in as many lanes as `self`.
    fn like(self, value: f64) -> Self;
    /// `self * b + c`, rounded once.
    fn mul_add(self, b: Self, c: Self) -> Self;
    /// `self >= other`, false for NaN.
    fn ge(self, other: Self) -> Self::Mask;
    /// `self == other`
    fn eq(self, other: Self) -> Self::Mask;
    /// Is the mask true in every lane?
    fn all(mask: Self::Mask) -> bool;
    /// `a` where the mask is true, else `b`.
    fn pick(mask: Self::Mask, a: Self, b: Self) -> Self;
    /// The largest power of two ≤ `self`, which is a normal number > 0.
    fn power(self) -> Self;
    /// k, 2^k·start and 2^k for the k with self/(2^k·start) in [2/3, 3/2]; both numbers are normal and > 0.
    fn powers_from(self, start: Self) -> [Self; 3];
}

/// The parts of a double: the bits of its significand, those of its exponent.
pub const SIGNIFICAND: u32 = 52;
pub const EXPONENT: u64 = 0x7ff0_0000_0000_0000;
/// Half a power of two, as a difference of bits.
pub const HALF: u64 = 0x0008_0000_0000_0000;
/// 2^52: the last bit of its significand is worth 1.
pub const UNIT: f64 = 4_503_599_627_370_496.0;

impl Real for f64 {
    type Token = ();
    type Mask = bool;

    fn splat((): (), value: f64) -> f64 {
        value
    }
    fn from_slice((): (), values: &[f64]) -> f64 {
        values[0]
    }
    fn to_slice(self, values: &mut [f64]) {
        values[0] = self;
    }
    fn like(self, value: f64) -> f64 {
        value
    }
    fn mul_add(self, b: f64, c: f64) -> f64 {
        f64::mul_add(self, b, c)
    }
    fn ge(self, other: f64) -> bool {
        self >= other
    }
    fn eq(self, other: f64) -> bool {
        self == other
    }
    fn all(mask: bool) -> bool {
        mask
    }
    fn pick(mask: bool, a: f64, b: f64) -> f64 {
        if mask { a } else { b }
    }
    fn power(self) -> f64 {
        f64::from_bits(self.to_bits() & EXPONENT)
    }
    fn powers_from(self, start: f64) -> [f64; 3] {
        // As integers, the bits of numbers > 0 have the same order, and a factor of two is 1 in the exponent field.
        let steps = self.to_bits().wrapping_sub(start.to_bits()).wrapping_add(HALF);
        let exponent = steps & EXPONENT;
        let k = f64::from_bits((steps >> SIGNIFICAND) + UNIT.to_bits()) - UNIT;
        let nearest = start.to_bits().wrapping_add(exponent);
        [k, f64::from_bits(nearest), f64::from_bits(exponent + 1f64.to_bits())]
    }
}
