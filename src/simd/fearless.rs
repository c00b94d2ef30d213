//! [`Vector`] over the `fearless_simd` crate: one line per operation.

use super::lanes::{CompensatedSum, DoubleVector, Doubles, Widened};
use super::partial::Partial;
#[cfg(target_arch = "x86_64")]
use super::transpose::{
    Block,
    x86::{block_with_avx2, with_avx512},
};
use super::{LINE, MOST_LANES, Vector};
use crate::math::{EXPONENT, HALF, SIGNIFICAND, UNIT};
#[cfg(target_arch = "x86_64")]
use fearless_simd::{Avx2, Avx512};
use fearless_simd::{
    Bytes, Fallback, Simd, SimdBase, SimdFloat, SimdFrom, SimdMask, f32x16, f64x8, u64x8,
};
use std::array::from_fn;

/// The bits of floats, and those of masks.
type Bits<V, S> = <V as SimdFloat<S>>::Bits;
type Ints<V, S> = <<V as SimdBase<S>>::Mask as SimdMask<S>>::Ints;

/// A vector at a level, and what it does by instructions of its own.
macro_rules! vector {
    ($level:ty, $inline:ident, $vector:ident, $scalar:ty, $lanes:literal, $doubles:ty, $sum:ty, $($own:item)*) => {
        impl Vector for $vector<$level> {
            type Token = $level;
            type Scalar = $scalar;
            type Mask = <Self as SimdBase<$level>>::Mask;
            type Doubles = $doubles;
            type Eight = Doubles<f64x8<$level>, 1>;
            type Sum = $sum;
            const LANES: usize = $lanes;
            const IS_COMPACT: bool = <$level>::IS_COMPACT;
            const IS_ONE_REGISTER: bool = size_of::<<$level as Simd>::f32s>() == LINE;

            #[inline($inline)]
            fn outlined<R>(token: $level, job: impl FnOnce() -> R) -> R {
                token.vectorize(job)
            }
            #[inline(always)]
            fn splat(token: $level, value: $scalar) -> Self {
                <Self as SimdBase<$level>>::splat(token, value)
            }
            #[inline(always)]
            unsafe fn load(token: $level, source: *const $scalar) -> Self {
                // SAFETY: the caller vouches for LANES readable scalars; read by value, unaligned.
                let lanes = unsafe { source.cast::<[$scalar; $lanes]>().read_unaligned() };
                Self::simd_from(token, lanes)
            }
            #[inline(always)]
            unsafe fn store(self, target: *mut $scalar) {
                let lanes: [$scalar; $lanes] = self.into();
                // SAFETY: the caller vouches for LANES writable scalars; written unaligned.
                unsafe { target.cast::<[$scalar; $lanes]>().write_unaligned(lanes) };
            }
            #[inline(always)]
            unsafe fn stream(self, target: *mut $scalar) {
                // SAFETY: the caller vouches for LANES writable scalars, 64 bytes at their own multiple.
                unsafe { self.simd.stream(self.bitcast(), target.cast()) };
            }
            #[inline($inline)]
            unsafe fn load_head(pad: Self, source: *const $scalar, count: usize) -> Self {
                let words = count * (size_of::<$scalar>() / size_of::<f32>());
                // SAFETY: the caller vouches for `count` readable scalars.
                unsafe { pad.simd.load_head(pad.bitcast(), source.cast(), words) }.bitcast()
            }
            #[inline($inline)]
            unsafe fn store_head(self, target: *mut $scalar, count: usize) {
                let words = count * (size_of::<$scalar>() / size_of::<f32>());
                // SAFETY: the caller vouches for `count` writable scalars.
                unsafe { self.simd.store_head(self.bitcast(), target.cast(), words) };
            }
            #[inline(always)]
            fn token(self) -> $level {
                self.simd
            }
            #[inline($inline)]
            fn mul_add(self, b: Self, c: Self) -> Self {
                // The library is slow with doubles: slower than a call of `fma` for each lane.
                if Self::IS_COMPACT && Self::LANES < MOST_LANES {
                    return Self::simd_from(self.simd, from_fn(|i| self[i].mul_add(b[i], c[i])));
                }
                self.mul_add_precise(b, c)
            }
            #[inline($inline)]
            fn max(self, other: Self) -> Self {
                // The portable one of the library loses NaN.
                if Self::IS_COMPACT {
                    return fearless_simd::Select::select(self.simd_gt(other), self, other);
                }
                <Self as SimdBase<$level>>::max(self, other)
            }
            #[inline($inline)]
            fn le(self, other: Self) -> Self::Mask {
                self.simd_le(other)
            }
            #[inline($inline)]
            fn ge(self, other: Self) -> Self::Mask {
                self.simd_ge(other)
            }
            #[inline($inline)]
            fn eq(self, other: Self) -> Self::Mask {
                self.simd_eq(other)
            }
            #[inline($inline)]
            fn zero_where(self, mask: Self::Mask) -> Self {
                (!mask.to_vector() & self.bitcast::<Ints<Self, $level>>()).bitcast()
            }
            #[inline($inline)]
            fn only_where(self, mask: Self::Mask) -> Self {
                (mask.to_vector() & self.bitcast::<Ints<Self, $level>>()).bitcast()
            }
            #[inline($inline)]
            fn both(mask: Self::Mask, other: Self::Mask) -> Self::Mask {
                mask & other
            }
            #[inline($inline)]
            fn bits(mask: Self::Mask) -> u64 {
                mask.to_bitmask()
            }
            #[inline($inline)]
            fn any(mask: Self::Mask) -> bool {
                mask.any_true()
            }
            #[inline($inline)]
            fn all(mask: Self::Mask) -> bool {
                mask.all_true()
            }
            #[inline($inline)]
            fn select(mask: Self::Mask, a: Self, b: Self) -> Self {
                fearless_simd::Select::select(mask, a, b)
            }
            #[inline($inline)]
            fn zip(self, other: Self) -> (Self, Self) {
                self.interleave(other)
            }
            #[inline($inline)]
            fn exponent_from_low_bits(self) -> Self {
                let bits: Bits<Self, $level> = self.bitcast();
                (bits << (<$scalar>::MANTISSA_DIGITS - 1)).bitcast()
            }
            $($own)*
        }
    };
}

/// The vectors of a level. Operations of the portable level are not inlined, which would only make it large and slow
/// to compile.
macro_rules! level {
    ($level:ty, $inline:ident, $($own:item)*) => {
        vector!(
            $level, $inline, f32x16, f32, 16,
            Doubles<f64x8<$level>, 2>,
            Doubles<f64x8<$level>, 2>,
            $($own)*
        );
        vector!($level, $inline, f64x8, f64, 8, Doubles<Self, 1>, CompensatedSum<Self>,);

        impl Widened<f32x16<$level>> for Doubles<f64x8<$level>, 2> {
            #[inline($inline)]
            fn widen(vector: f32x16<$level>) -> Self {
                let (low, high) = vector.simd.widen_f32x16(vector);
                Self([low, high])
            }
            #[inline($inline)]
            fn narrow(self) -> f32x16<$level> {
                let Self([low, high]) = self;
                low.simd.narrow_f64x8(low, high)
            }
        }
        impl Widened<f32x16<$level>> for Doubles<f64x8<$level>, 1> {
            #[inline($inline)]
            fn widen(vector: f32x16<$level>) -> Self {
                Self([vector.simd.widen_f32x16(vector).0])
            }
            #[inline($inline)]
            fn narrow(self) -> f32x16<$level> {
                let zero = <f64x8<$level> as Vector>::splat(self.0[0].simd, 0.0);
                self.0[0].simd.narrow_f64x8(self.0[0], zero)
            }
        }

        impl DoubleVector for f64x8<$level> {
            #[inline($inline)]
            fn abs(self) -> Self {
                self.simd.abs_f64x8(self)
            }
            #[inline($inline)]
            fn power(self) -> Self {
                let bits: u64x8<$level> = self.bitcast();
                (bits & EXPONENT).bitcast()
            }
            #[inline($inline)]
            fn powers_from(self, start: Self) -> [Self; 3] {
                // As for one number: see `math::real`.
                let (bits, from): (u64x8<$level>, u64x8<$level>) = (self.bitcast(), start.bitcast());
                let steps = bits - from + HALF;
                let exponent = steps & EXPONENT;
                let k: Self = ((steps >> SIGNIFICAND) + UNIT.to_bits()).bitcast();
                [k - UNIT, (from + exponent).bitcast(), (exponent + 1f64.to_bits()).bitcast()]
            }
            #[inline($inline)]
            fn joined(self) -> f64 {
                let (low, high) = self.simd.split_f64x8(self);
                let (low, high) = self.simd.split_f64x4(low + high);
                let pair = low + high;
                pair[0] + pair[1]
            }
        }
    };
}

level!(Fallback, never,);
#[cfg(target_arch = "aarch64")]
level!(fearless_simd::Neon, always,);
#[cfg(target_arch = "x86_64")]
level!(
    Avx2,
    always,
    /// # Safety
    /// - As [`Vector::transpose_block`].
    #[inline(always)]
    unsafe fn transpose_block(token: Avx2, block: Block<f32>) {
        // SAFETY: as the caller says.
        unsafe { block_with_avx2(token, block) };
    }
);
#[cfg(target_arch = "x86_64")]
level!(
    Avx512,
    always,
    #[inline(always)]
    fn transpose(vectors: &mut [Self; MOST_LANES]) {
        with_avx512(vectors);
    }
);
