//! [`Vector`] over the `fearless_simd` crate: one line per operation.

use super::Vector;
use super::lane_sum::CompensatedSum;
use super::lanes::{DoubleVector, Doubles};
use super::partial::Partial;
use crate::wide::{DoubleDouble, SIGNIFICAND};
use fearless_simd::{
    Bytes, SimdBase, SimdFloat, SimdFrom, SimdMask, f32x16, f64x8, mask32x16, mask64x8, u32x16,
    u64x8,
};

macro_rules! vector {
    ($vector:ident, $scalar:ty, $lanes:literal, $bits:ident, $mantissa:literal, $mask:ident, $stream:ident, $load_head:ident, $store_head:ident, $doubles:ty, $wide:ty, $sum:ty, $to_doubles:path, $from_doubles:path, $split:path) => {
        impl<S: Partial> Vector for $vector<S> {
            type Token = S;
            type Scalar = $scalar;
            type Mask = $mask<S>;
            type Doubles = $doubles;
            type Wide = $wide;
            type Sum = $sum;
            const LANES: usize = $lanes;

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
            fn prefetch<const NEAREST: bool>(token: S, source: *const $scalar) {
                token.prefetch::<NEAREST>(source.cast());
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
            fn to_doubles(self) -> Self::Doubles {
                $to_doubles(self)
            }
            #[inline(always)]
            fn from_doubles(doubles: Self::Doubles) -> Self {
                $from_doubles(doubles)
            }
            #[inline(always)]
            fn split(wide: Self::Wide) -> (Self, Self) {
                $split(wide)
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
    Doubles<f64x8<S>, 2>,
    Doubles<f64x8<S>, 2>,
    Doubles<f64x8<S>, 2>,
    widened,
    narrowed,
    two_floats
);
vector!(
    f64x8, f64, 8, u64x8, 52, mask64x8,
    stream_doubles,
    load_doubles,
    store_doubles,
    Doubles<Self, 1>, DoubleDouble<Doubles<Self, 1>>, CompensatedSum<Self>,
    alone, the_only, two_doubles
);

#[inline(always)]
fn widened<S: Partial>(vector: f32x16<S>) -> Doubles<f64x8<S>, 2> {
    let (low, high) = vector.simd.widen_f32x16(vector);
    Doubles([low, high])
}
#[inline(always)]
fn narrowed<S: Partial>(doubles: Doubles<f64x8<S>, 2>) -> f32x16<S> {
    let Doubles([low, high]) = doubles;
    low.simd.narrow_f64x8(low, high)
}
#[inline(always)]
fn two_floats<S: Partial>(wide: Doubles<f64x8<S>, 2>) -> (f32x16<S>, f32x16<S>) {
    let high = narrowed(wide);
    (high, narrowed(wide - widened(high)))
}
#[inline(always)]
fn alone<S: Partial>(vector: f64x8<S>) -> Doubles<f64x8<S>, 1> {
    Doubles([vector])
}
#[inline(always)]
fn the_only<S: Partial>(doubles: Doubles<f64x8<S>, 1>) -> f64x8<S> {
    doubles.0[0]
}
#[inline(always)]
fn two_doubles<S: Partial>(wide: DoubleDouble<Doubles<f64x8<S>, 1>>) -> (f64x8<S>, f64x8<S>) {
    (wide.high.0[0], wide.low.0[0])
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
