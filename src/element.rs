//! Compute types: a row is swept in `f32` or `f64`, and its sums, logarithm and loss are a
//! handful of scalars in a wider type.

use crate::math;
use crate::simd::memory::Storage;
use crate::simd::{Level, VectorJob};
use crate::wide::{DoubleDouble, Wide};

/// A type that rows are computed in.
pub trait Float: Copy + PartialOrd + Default + Send + Sync + sealed::Sealed + 'static {
    /// What a row's scalars are combined in.
    type Wide: Wide<Real = f64> + Send + Sync;
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
    /// The slice itself, if this type is `f32`.
    #[doc(hidden)]
    fn as_floats(values: &[Self]) -> Option<&[f32]>;
    #[doc(hidden)]
    fn as_floats_mut(values: &mut [Self]) -> Option<&mut [f32]>;
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
    fn as_floats(values: &[f32]) -> Option<&[f32]> {
        Some(values)
    }
    #[inline(always)]
    fn as_floats_mut(values: &mut [f32]) -> Option<&mut [f32]> {
        Some(values)
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
    fn as_floats(_values: &[f64]) -> Option<&[f32]> {
        None
    }
    #[inline(always)]
    fn as_floats_mut(_values: &mut [f64]) -> Option<&mut [f32]> {
        None
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
