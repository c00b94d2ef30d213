//! [`Vector`] over the `fearless_simd` crate: one line per operation.

use super::{Vector, Widen, lane_sum::CompensatedSum, lane_sum::WidenedSum};
use fearless_simd::{
    Bytes, Simd, SimdBase, SimdFloat, SimdFrom, SimdMask, f32x16, f64x8, mask32x16, mask64x8,
    u32x16, u64x8,
};

macro_rules! vector {
    ($vector:ident, $scalar:ty, $lanes:literal, $bits:ident, $uint:ty, $mantissa:literal, $mask:ident, $sum:ident) => {
        impl<S: Simd> Vector for $vector<S> {
            type Token = S;
            type Scalar = $scalar;
            type Mask = $mask<S>;
            type Sum = $sum<Self>;
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
            fn lane(self, index: usize) -> $scalar {
                self[index]
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
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "wraps on purpose: two's complement"
            )]
            fn exponent_from_low_bits(self, bias: i64) -> Self {
                let bits: $bits<S> = self.bitcast();
                let bias = <$bits<S> as SimdBase<S>>::splat(self.simd, bias as $uint);
                ((bits + bias) << $mantissa).bitcast()
            }
        }
    };
}

vector!(f32x16, f32, 16, u32x16, u32, 23, mask32x16, WidenedSum);
vector!(f64x8, f64, 8, u64x8, u64, 52, mask64x8, CompensatedSum);

impl<S: Simd> Widen for f32x16<S> {
    type Doubles = f64x8<S>;
    #[inline(always)]
    fn widen(self) -> (f64x8<S>, f64x8<S>) {
        self.simd.widen_f32x16(self)
    }
}
