//! Compute types, and the wider arithmetic in which a row's few scalars are combined.
//!
//! A row is swept in `f32` or `f64` ([`Float`]); its sums, logarithm and loss
//! are a handful of scalars, combined in [`Wide`]: `f64` for `f32` rows and
//! [`DoubleDouble`] for `f64` rows, so that each result is rounded once.

use crate::math;
use crate::simd::memory::Storage;
use crate::simd::{Level, VectorJob};
use std::ops::{Add, Mul, Sub};

/// A type that rows are computed in.
pub trait Float: Copy + PartialOrd + Default + Send + Sync + sealed::Sealed + 'static {
    /// What a row's scalars are combined in.
    type Wide: Wide;
    /// How this type lies in memory.
    const STORAGE: Storage;
    /// −∞
    const NEG_INFINITY: Self;
    /// Not a number
    const NAN: Self;
    /// The smallest positive number.
    const SMALLEST: Self;
    /// The smallest positive normal number: smaller probabilities are flushed to zero.
    const MIN_POSITIVE: f64;
    /// Rows of at most so many classes have their weighted sums formed in the wide type.
    #[doc(hidden)]
    const SHORT_ROW: usize;
    /// Probabilities are formed 2^GUARD_BITS too large, so that their low parts stay normal.
    #[doc(hidden)]
    const GUARD_BITS: i32;
    /// Constants of the exponential core.
    #[doc(hidden)]
    const EXP: math::ExpCore<Self>;

    /// Rounds to nearest.
    fn from_f64(value: f64) -> Self;
    /// Exact.
    fn to_f64(self) -> f64;
    /// Rounded to the wide type.
    fn wide_of(value: DoubleDouble) -> Self::Wide;
    /// `value` as the nearest number of this type plus the rest.
    fn split(value: Self::Wide) -> (Self, Self);
    #[doc(hidden)]
    fn dispatch<J: VectorJob<Self>>(level: Level, job: J) -> J::Output;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}

impl Float for f32 {
    type Wide = f64;
    const STORAGE: Storage = Storage::F32;
    const NEG_INFINITY: f32 = f32::NEG_INFINITY;
    const NAN: f32 = f32::NAN;
    const SMALLEST: f32 = f32::from_bits(1);
    const MIN_POSITIVE: f64 = f32::MIN_POSITIVE as f64;
    const SHORT_ROW: usize = 32;
    const GUARD_BITS: i32 = 32;
    const EXP: math::ExpCore<f32> = math::EXP_F32;

    #[inline(always)]
    #[allow(clippy::cast_possible_truncation, reason = "the one place where f64 rounds to f32")]
    fn from_f64(value: f64) -> f32 {
        value as f32
    }
    #[inline(always)]
    fn to_f64(self) -> f64 {
        f64::from(self)
    }
    #[inline(always)]
    fn wide_of(value: DoubleDouble) -> f64 {
        value.high
    }
    #[inline(always)]
    fn split(value: f64) -> (f32, f32) {
        let high = Self::from_f64(value);
        (high, Self::from_f64(value - high.to_f64()))
    }
    #[inline(always)]
    fn dispatch<J: VectorJob<f32>>(level: Level, job: J) -> J::Output {
        crate::simd::run_f32(level, job)
    }
}

impl Float for f64 {
    type Wide = DoubleDouble;
    const STORAGE: Storage = Storage::F64;
    const NEG_INFINITY: f64 = f64::NEG_INFINITY;
    const NAN: f64 = f64::NAN;
    const SMALLEST: f64 = f64::from_bits(1);
    const MIN_POSITIVE: f64 = f64::MIN_POSITIVE;
    // Double-double terms would cost more than they are worth: the loss is within 2 ulp without.
    const SHORT_ROW: usize = 0;
    const GUARD_BITS: i32 = 60;
    const EXP: math::ExpCore<f64> = math::EXP_F64;

    #[inline(always)]
    fn from_f64(value: f64) -> f64 {
        value
    }
    #[inline(always)]
    fn to_f64(self) -> f64 {
        self
    }
    #[inline(always)]
    fn wide_of(value: DoubleDouble) -> DoubleDouble {
        value
    }
    #[inline(always)]
    fn split(value: DoubleDouble) -> (f64, f64) {
        (value.high, value.low)
    }
    #[inline(always)]
    fn dispatch<J: VectorJob<f64>>(level: Level, job: J) -> J::Output {
        crate::simd::run_f64(level, job)
    }
}

/// Scalars of a row, wider than the row's elements. Infinities and NaN behave as in `f64`.
pub trait Wide:
    Copy + Send + Sync + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self>
{
    /// Exact.
    fn new(value: f64) -> Self;
    /// Rounded to nearest.
    fn value(self) -> f64;
    /// `self / divisor`, for a finite divisor other than zero.
    #[must_use]
    fn over(self, divisor: Self) -> Self;
    /// log(1 + self) for self ≥ 0.
    #[must_use]
    fn log1p(self) -> Self;
    /// The natural logarithm of a count ≥ 1.
    fn log_count(count: f64) -> Self;
}

impl Wide for f64 {
    #[inline(always)]
    fn new(value: f64) -> f64 {
        value
    }
    #[inline(always)]
    fn value(self) -> f64 {
        self
    }
    #[inline(always)]
    fn over(self, divisor: f64) -> f64 {
        self / divisor
    }
    #[inline(always)]
    fn log1p(self) -> f64 {
        math::log1p(self, 0.0).0
    }
    #[inline(always)]
    fn log_count(count: f64) -> f64 {
        math::log_count(count).0
    }
}

/// The unevaluated sum `high + low`, |low| ≤ ulp(high)/2: about 106 bits.
///
/// Error-free transformations: TwoSum (Knuth) and the FMA product (Ogita,
/// Rump and Oishi 2005, "Accurate sum and dot product", section 2).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DoubleDouble {
    high: f64,
    low: f64,
}

impl DoubleDouble {
    /// `high + low` for |high| ≥ |low| or high = 0; a `high` that is not finite swallows `low`.
    #[inline(always)]
    #[must_use]
    pub fn renormalised(high: f64, low: f64) -> Self {
        let sum = high + low;
        if sum.is_finite() {
            Self { high: sum, low: low - (sum - high) }
        } else {
            // inf − inf inside the error terms is no NaN of the operands.
            Self { high, low: 0.0 }
        }
    }
}

impl Add for DoubleDouble {
    type Output = Self;
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        let sum = self.high + other.high;
        let from_other = sum - self.high;
        let lost = (self.high - (sum - from_other)) + (other.high - from_other);
        Self::renormalised(sum, lost + (self.low + other.low))
    }
}

impl Sub for DoubleDouble {
    type Output = Self;
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        self + Self { high: -other.high, low: -other.low }
    }
}

impl Mul for DoubleDouble {
    type Output = Self;
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        let product = self.high * other.high;
        let lost = self.high.mul_add(other.high, -product);
        Self::renormalised(product, lost + (self.high * other.low + self.low * other.high))
    }
}

impl Wide for DoubleDouble {
    #[inline(always)]
    fn new(value: f64) -> Self {
        Self { high: value, low: 0.0 }
    }
    #[inline(always)]
    fn value(self) -> f64 {
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
    fn log_count(count: f64) -> Self {
        let (high, low) = math::log_count(count);
        Self::renormalised(high, low)
    }
}

#[cfg(test)]
mod tests;
