//! The vector over `fearless_simd`: its `f32x16` has 16 lanes on every instruction set.

use crate::kernel::{LANES, Token, Vector};
use fearless_simd::*;

pub fn tokens() -> (Option<Avx2>, Option<Avx512>) {
    let level = Level::new();
    (level.as_avx2(), level.as_avx512())
}

macro_rules! token {
    ($token:ty) => {
        impl Token for $token {
            #[inline(always)]
            fn outlined<R>(self, job: impl FnOnce() -> R) -> R {
                self.vectorize(job)
            }
        }
    };
}
token!(Avx2);
token!(Avx512);

#[rustfmt::skip]
impl<S: Simd + Token> Vector for f32x16<S> {
    type Token = S;
    type Mask = mask32x16<S>;
    type Sum = (f64x8<S>, f64x8<S>);

    #[inline(always)] fn splat(token: S, value: f32) -> Self { <Self as SimdBase<S>>::splat(token, value) }
    #[inline(always)] fn load(token: S, lanes: &[f32; LANES]) -> Self { Self::simd_from(token, *lanes) }
    #[inline(always)] fn store(self, lanes: &mut [f32; LANES]) { *lanes = self.into(); }
    #[inline(always)] fn add(self, other: Self) -> Self { self + other }
    #[inline(always)] fn sub(self, other: Self) -> Self { self - other }
    #[inline(always)] fn mul(self, other: Self) -> Self { self * other }
    #[inline(always)] fn mul_add(self, b: Self, c: Self) -> Self { self.mul_add_precise(b, c) }
    #[inline(always)] fn neg_mul_add(self, b: Self, c: Self) -> Self { (-self).mul_add_precise(b, c) }
    #[inline(always)] fn max(self, other: Self) -> Self { <Self as SimdBase<S>>::max(self, other) }
    #[inline(always)] fn le(self, other: Self) -> Self::Mask { self.simd_le(other) }
    // By bits: `select` costs an instruction more on AVX2, whose blend must not assume a mask of all ones.
    #[inline(always)] fn zero_where(self, mask: Self::Mask) -> Self { (!mask.to_vector() & self.bitcast::<i32x16<S>>()).bitcast() }
    #[inline(always)] fn only_where(self, mask: Self::Mask) -> Self { (mask.to_vector() & self.bitcast::<i32x16<S>>()).bitcast() }
    #[inline(always)] fn exponent_from_low_bits(self, bias: u32) -> Self {
        let bias = <u32x16<S> as SimdBase<S>>::splat(self.simd, bias);
        ((self.bitcast::<u32x16<S>>() + bias) << 23).bitcast()
    }
    #[inline(always)] fn no_sum(token: S) -> Self::Sum { (f64x8::splat(token, 0.0), f64x8::splat(token, 0.0)) }
    #[inline(always)] fn flush(self, (low, high): Self::Sum) -> Self::Sum {
        let (first, last) = self.simd.widen_f32x16(self);
        (low + first, high + last)
    }
    #[inline(always)] fn joined((low, high): Self::Sum) -> [f64; LANES / 2] { (low + high).into() }
}
