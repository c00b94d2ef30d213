//! [`Vector`] over the `fearless_simd` crate: one line per operation.

use super::lanes::{CompensatedSum, DoubleVector, Doubles, Widened};
use super::partial::Partial;
use super::{Cache, MOST_LANES, Vector};
use crate::math::SIGNIFICAND;
use fearless_simd::{
    Bytes, SimdBase, SimdFloat, SimdFrom, SimdMask, f32x16, f64x8, mask32x16, mask64x8, u32x16,
    u64x8,
};

macro_rules! vector {
    ($vector:ident, $scalar:ty, $lanes:literal, $bits:ident, $mantissa:literal, $mask:ident, $stream:ident, $load_head:ident, $store_head:ident, $transpose:ident, $block:ident, $doubles:ty, $sum:ty) => {
        impl<S: Partial> Vector for $vector<S> {
            type Token = S;
            type Scalar = $scalar;
            type Mask = $mask<S>;
            type Doubles = $doubles;
            type Eight = Doubles<f64x8<S>, 1>;
            type Sum = $sum;
            const LANES: usize = $lanes;
            const IS_ONE_REGISTER: bool = S::HAS_MASKS;

            #[inline(always)]
            fn outlined<R>(token: S, job: impl FnOnce() -> R) -> R {
                token.vectorize(job)
            }
            #[inline(always)]
            fn splat(token: S, value: $scalar) -> Self {
                <Self as SimdBase<S>>::splat(token, value)
            }
            #[inline(always)]
            unsafe fn load(token: S, source: *const $scalar) -> Self {
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
                unsafe { self.simd.$stream(self, target) };
            }
            #[inline(always)]
            fn fence(token: S) {
                token.fence();
            }
            #[inline(always)]
            fn prefetch(token: S, cache: Cache, source: *const $scalar) {
                token.prefetch(cache, source.cast());
            }
            #[inline(always)]
            unsafe fn load_head(pad: Self, source: *const $scalar, count: usize) -> Self {
                // SAFETY: the caller vouches for `count` readable scalars.
                unsafe { pad.simd.$load_head(pad, source, count) }
            }
            #[inline(always)]
            unsafe fn store_head(self, target: *mut $scalar, count: usize) {
                // SAFETY: the caller vouches for `count` writable scalars.
                unsafe { self.simd.$store_head(self, target, count) };
            }
            #[inline(always)]
            fn token(self) -> S {
                self.simd
            }
            #[inline(always)]
            fn add(self, other: Self) -> Self {
                self + other
            }
            #[inline(always)]
            fn sub(self, other: Self) -> Self {
                self - other
            }
            #[inline(always)]
            fn mul(self, other: Self) -> Self {
                self * other
            }
            #[inline(always)]
            fn div(self, other: Self) -> Self {
                self / other
            }
            #[inline(always)]
            fn mul_add(self, b: Self, c: Self) -> Self {
                self.mul_add_precise(b, c)
            }
            #[inline(always)]
            fn mul_sub(self, b: Self, c: Self) -> Self {
                self.mul_add_precise(b, -c)
            }
            #[inline(always)]
            fn neg_mul_add(self, b: Self, c: Self) -> Self {
                (-self).mul_add_precise(b, c)
            }
            #[inline(always)]
            fn max(self, other: Self) -> Self {
                <Self as SimdBase<S>>::max(self, other)
            }
            #[inline(always)]
            fn le(self, other: Self) -> Self::Mask {
                self.simd_le(other)
            }
            #[inline(always)]
            fn ge(self, other: Self) -> Self::Mask {
                self.simd_ge(other)
            }
            #[inline(always)]
            fn eq(self, other: Self) -> Self::Mask {
                self.simd_eq(other)
            }
            #[inline(always)]
            fn zero_where(self, mask: Self::Mask) -> Self {
                (!mask.to_vector() & self.bitcast::<<$mask<S> as SimdMask<S>>::Ints>()).bitcast()
            }
            #[inline(always)]
            fn only_where(self, mask: Self::Mask) -> Self {
                (mask.to_vector() & self.bitcast::<<$mask<S> as SimdMask<S>>::Ints>()).bitcast()
            }
            #[inline(always)]
            fn both(mask: Self::Mask, other: Self::Mask) -> Self::Mask {
                mask & other
            }
            #[inline(always)]
            fn bits(mask: Self::Mask) -> u64 {
                mask.to_bitmask()
            }
            #[inline(always)]
            fn any(mask: Self::Mask) -> bool {
                mask.any_true()
            }
            #[inline(always)]
            fn all(mask: Self::Mask) -> bool {
                mask.all_true()
            }
            #[inline(always)]
            fn select(mask: Self::Mask, a: Self, b: Self) -> Self {
                fearless_simd::Select::select(mask, a, b)
            }
            #[inline(always)]
            fn zip(self, other: Self) -> (Self, Self) {
                self.interleave(other)
            }
            #[inline(always)]
            fn transpose(vectors: &mut [Self; MOST_LANES]) {
                vectors[0].simd.$transpose(vectors);
            }
            #[inline(always)]
            unsafe fn transpose_block(
                token: S,
                source: *const $scalar,
                stride: usize,
                target: *mut $scalar,
                target_stride: usize,
                len: usize,
            ) {
                // SAFETY: as the caller says.
                unsafe { token.$block(source, stride, target, target_stride, len) };
            }
            #[inline(always)]
            fn exponent_from_low_bits(self) -> Self {
                let bits: $bits<S> = self.bitcast();
                (bits << $mantissa).bitcast()
            }
        }
    };
}

vector!(
    f32x16,
    f32,
    16,
    u32x16,
    23,
    mask32x16,
    stream_floats,
    load_floats,
    store_floats,
    transpose_floats,
    transpose_float_block,
    Doubles<f64x8<S>, 2>,
    Doubles<f64x8<S>, 2>
);
vector!(
    f64x8, f64, 8, u64x8, 52, mask64x8,
    stream_doubles,
    load_doubles,
    store_doubles,
    transpose_doubles,
    transpose_double_block,
    Doubles<Self, 1>,
    CompensatedSum<Self>
);

impl<S: Partial> Widened<f32x16<S>> for Doubles<f64x8<S>, 2> {
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
impl<S: Partial> Widened<f32x16<S>> for Doubles<f64x8<S>, 1> {
    #[inline(always)]
    fn widen(vector: f32x16<S>) -> Self {
        Self([vector.simd.widen_f32x16(vector).0])
    }
    #[inline(always)]
    fn narrow(self) -> f32x16<S> {
        let zero = <f64x8<S> as Vector>::splat(self.0[0].simd, 0.0);
        self.0[0].simd.narrow_f64x8(self.0[0], zero)
    }
}

impl<S: Partial> DoubleVector for f64x8<S> {
    #[inline(always)]
    fn abs(self) -> Self {
        self.simd.abs_f64x8(self)
    }
    #[inline(always)]
    fn bits_and(self, mask: u64) -> Self {
        let bits: u64x8<S> = self.bitcast();
        (bits & mask).bitcast()
    }
    #[inline(always)]
    fn bits_plus(self, term: u64) -> Self {
        let bits: u64x8<S> = self.bitcast();
        (bits + term).bitcast()
    }
    #[inline(always)]
    fn bits_minus(self, other: Self) -> Self {
        let (bits, others): (u64x8<S>, u64x8<S>) = (self.bitcast(), other.bitcast());
        (bits - others).bitcast()
    }
    #[inline(always)]
    fn bits_after_significand(self) -> Self {
        let bits: u64x8<S> = self.bitcast();
        (bits >> SIGNIFICAND).bitcast()
    }
    #[inline(always)]
    fn joined(self) -> f64 {
        let (low, high) = self.simd.split_f64x8(self);
        let (low, high) = self.simd.split_f64x4(low + high);
        let pair = low + high;
        pair[0] + pair[1]
    }
}
