//! The vector over `std::arch`: two 256-bit registers or one of 512 bits.
//!
//! Why the intrinsics may be called: a vector is made from a token, and `tokens` makes one only
//! when the processor has the instructions.

use crate::kernel::{LANES, Token, Vector};
use std::arch::x86_64::*;

#[derive(Clone, Copy)]
pub struct Avx2Token(());
#[derive(Clone, Copy)]
pub struct Avx512Token(());

pub fn tokens() -> (Option<Avx2Token>, Option<Avx512Token>) {
    let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
    let avx512 =
        avx2 && is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512dq");
    (avx2.then_some(Avx2Token(())), avx512.then_some(Avx512Token(())))
}

macro_rules! token {
    ($token:ty, $features:literal) => {
        impl Token for $token {
            #[inline(always)]
            fn outlined<R>(self, job: impl FnOnce() -> R) -> R {
                #[target_feature(enable = $features)]
                fn compiled<R>(job: impl FnOnce() -> R) -> R {
                    job()
                }
                // SAFETY: the token proves that the processor has the features.
                unsafe { compiled(job) }
            }
        }
    };
}
token!(Avx2Token, "avx2,fma");
token!(Avx512Token, "avx2,fma,avx512f,avx512dq");

/// Calls intrinsics of an instruction set whose token was seen.
macro_rules! call {
    ($($call:tt)*) => {{
        // SAFETY: a token or a vector made from one is in scope; pointers are to all the lanes.
        unsafe { $($call)* }
    }};
}

/// `$intrinsic` of the two registers of each operand.
macro_rules! both {
    ($intrinsic:ident $(::<$constant:ident>)? ($($operand:ident),*)) => {
        Self(call!([
            $intrinsic $(::<$constant>)? ($($operand.0[0]),*),
            $intrinsic $(::<$constant>)? ($($operand.0[1]),*),
        ]))
    };
}

#[derive(Clone, Copy)]
pub struct Avx2([__m256; 2]);
#[derive(Clone, Copy)]
pub struct Avx512(__m512);

#[inline]
#[target_feature(enable = "avx2")]
fn shifted_sum(bits: __m256, bias: __m256) -> __m256 {
    let sum = _mm256_add_epi32(_mm256_castps_si256(bits), _mm256_castps_si256(bias));
    _mm256_castsi256_ps(_mm256_slli_epi32::<23>(sum))
}

#[rustfmt::skip]
impl Vector for Avx2 {
    type Token = Avx2Token;
    type Mask = Avx2;
    type Sum = [__m256d; 4];

    #[inline(always)] fn splat(_: Avx2Token, value: f32) -> Self { Self(call!([_mm256_set1_ps(value); 2])) }
    #[inline(always)] fn load(_: Avx2Token, lanes: &[f32; LANES]) -> Self {
        Self(call!([_mm256_loadu_ps(lanes.as_ptr()), _mm256_loadu_ps(lanes.as_ptr().add(8))]))
    }
    #[inline(always)] fn store(self, lanes: &mut [f32; LANES]) {
        call!(_mm256_storeu_ps(lanes.as_mut_ptr(), self.0[0]); _mm256_storeu_ps(lanes.as_mut_ptr().add(8), self.0[1]));
    }
    #[inline(always)] fn add(self, b: Self) -> Self { both!(_mm256_add_ps(self, b)) }
    #[inline(always)] fn sub(self, b: Self) -> Self { both!(_mm256_sub_ps(self, b)) }
    #[inline(always)] fn mul(self, b: Self) -> Self { both!(_mm256_mul_ps(self, b)) }
    #[inline(always)] fn mul_add(self, b: Self, c: Self) -> Self { both!(_mm256_fmadd_ps(self, b, c)) }
    #[inline(always)] fn neg_mul_add(self, b: Self, c: Self) -> Self { both!(_mm256_fnmadd_ps(self, b, c)) }
    #[inline(always)] fn max(self, b: Self) -> Self { both!(_mm256_max_ps(self, b)) }
    #[inline(always)] fn le(self, b: Self) -> Self { both!(_mm256_cmp_ps::<_CMP_LE_OQ>(self, b)) }
    #[inline(always)] fn zero_where(self, mask: Self) -> Self { both!(_mm256_andnot_ps(mask, self)) }
    #[inline(always)] fn only_where(self, mask: Self) -> Self { both!(_mm256_and_ps(mask, self)) }
    #[inline(always)] fn exponent_from_low_bits(self, bias: u32) -> Self {
        let bias = Self(call!([_mm256_castsi256_ps(_mm256_set1_epi32(bias.cast_signed())); 2]));
        both!(shifted_sum(self, bias))
    }
    #[inline(always)] fn no_sum(_: Avx2Token) -> Self::Sum { call!([_mm256_setzero_pd(); 4]) }
    #[inline(always)] fn flush(self, sum: Self::Sum) -> Self::Sum {
        let [a, b] = self.0;
        call!([
            _mm256_add_pd(sum[0], _mm256_cvtps_pd(_mm256_castps256_ps128(a))),
            _mm256_add_pd(sum[1], _mm256_cvtps_pd(_mm256_extractf128_ps::<1>(a))),
            _mm256_add_pd(sum[2], _mm256_cvtps_pd(_mm256_castps256_ps128(b))),
            _mm256_add_pd(sum[3], _mm256_cvtps_pd(_mm256_extractf128_ps::<1>(b))),
        ])
    }
    #[inline(always)] fn joined(sum: Self::Sum) -> [f64; LANES / 2] {
        let mut lanes = [0.0; LANES / 2];
        call!(_mm256_storeu_pd(lanes.as_mut_ptr(), _mm256_add_pd(sum[0], sum[2])));
        call!(_mm256_storeu_pd(lanes.as_mut_ptr().add(4), _mm256_add_pd(sum[1], sum[3])));
        lanes
    }
}

#[rustfmt::skip]
impl Vector for Avx512 {
    type Token = Avx512Token;
    type Mask = __mmask16;
    type Sum = [__m512d; 2];

    #[inline(always)] fn splat(_: Avx512Token, value: f32) -> Self { Self(call!(_mm512_set1_ps(value))) }
    #[inline(always)] fn load(_: Avx512Token, lanes: &[f32; LANES]) -> Self { Self(call!(_mm512_loadu_ps(lanes.as_ptr()))) }
    #[inline(always)] fn store(self, lanes: &mut [f32; LANES]) { call!(_mm512_storeu_ps(lanes.as_mut_ptr(), self.0)); }
    #[inline(always)] fn add(self, b: Self) -> Self { Self(call!(_mm512_add_ps(self.0, b.0))) }
    #[inline(always)] fn sub(self, b: Self) -> Self { Self(call!(_mm512_sub_ps(self.0, b.0))) }
    #[inline(always)] fn mul(self, b: Self) -> Self { Self(call!(_mm512_mul_ps(self.0, b.0))) }
    #[inline(always)] fn mul_add(self, b: Self, c: Self) -> Self { Self(call!(_mm512_fmadd_ps(self.0, b.0, c.0))) }
    #[inline(always)] fn neg_mul_add(self, b: Self, c: Self) -> Self { Self(call!(_mm512_fnmadd_ps(self.0, b.0, c.0))) }
    #[inline(always)] fn max(self, b: Self) -> Self { Self(call!(_mm512_max_ps(self.0, b.0))) }
    #[inline(always)] fn le(self, b: Self) -> __mmask16 { call!(_mm512_cmp_ps_mask::<_CMP_LE_OQ>(self.0, b.0)) }
    #[inline(always)] fn zero_where(self, mask: __mmask16) -> Self { self.only_where(!mask) }
    #[inline(always)] fn only_where(self, mask: __mmask16) -> Self { Self(call!(_mm512_maskz_mov_ps(mask, self.0))) }
    #[inline(always)] fn exponent_from_low_bits(self, bias: u32) -> Self {
        let sum = call!(_mm512_add_epi32(_mm512_castps_si512(self.0), _mm512_set1_epi32(bias.cast_signed())));
        Self(call!(_mm512_castsi512_ps(_mm512_slli_epi32::<23>(sum))))
    }
    #[inline(always)] fn no_sum(_: Avx512Token) -> Self::Sum { call!([_mm512_setzero_pd(); 2]) }
    #[inline(always)] fn flush(self, sum: Self::Sum) -> Self::Sum {
        let (low, high) = call!((_mm512_castps512_ps256(self.0), _mm512_extractf32x8_ps::<1>(self.0)));
        call!([_mm512_add_pd(sum[0], _mm512_cvtps_pd(low)), _mm512_add_pd(sum[1], _mm512_cvtps_pd(high))])
    }
    #[inline(always)] fn joined(sum: Self::Sum) -> [f64; LANES / 2] {
        let mut lanes = [0.0; LANES / 2];
        call!(_mm512_storeu_pd(lanes.as_mut_ptr(), _mm512_add_pd(sum[0], sum[1])));
        lanes
    }
}
