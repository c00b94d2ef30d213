//! Parts of vectors on x86-64, with its masked loads and stores, and its conversions of float16.

use super::InstructionSet;
use fearless_simd::{Avx2, Avx512, Simd, SimdFrom, f32x8, f32x16, u16x8, u16x16};
use std::arch::x86_64::{
    __m256, __m256i, _MM_FROUND_TO_NEAREST_INT, _mm256_blendv_ps, _mm256_castsi256_ps,
    _mm256_cvtph_ps, _mm256_cvtps_ph, _mm256_loadu_si256, _mm256_maskload_ps, _mm256_maskstore_ps,
    _mm256_stream_ps, _mm512_cvtph_ps, _mm512_cvtps_ph, _mm512_mask_loadu_ps,
    _mm512_mask_storeu_ps, _mm512_stream_ps,
};

/// A mask of the first `count` of 16 lanes.
#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "16 bits")]
pub(in crate::simd) fn bits(count: usize) -> u16 {
    debug_assert!(count <= 16);
    (0xffff_u32 >> (16 - count)) as u16
}

impl InstructionSet for Avx512 {
    #[inline(always)]
    fn widen_f16(self, bits: [u16; 16]) -> [f32; 16] {
        let halves = u16x16::simd_from(self, bits);
        // SAFETY: the token proves the instruction set.
        let values = unsafe { _mm512_cvtph_ps(halves.into()) };
        f32x16::simd_from(self, values).into()
    }
    #[inline(always)]
    fn narrow_f16(self, values: [f32; 16]) -> [u16; 16] {
        let values = f32x16::simd_from(self, values);
        // SAFETY: the token proves the instruction set.
        let halves = unsafe { _mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(values.into()) };
        u16x16::simd_from(self, halves).into()
    }
    #[inline(always)]
    unsafe fn stream(self, words: f32x16<Self>, target: *mut f32) {
        // SAFETY: the token proves the instruction set; the caller vouches for the line.
        unsafe { _mm512_stream_ps(target, words.into()) };
    }
    #[inline(always)]
    unsafe fn load_head(self, pad: f32x16<Self>, source: *const f32, count: usize) -> f32x16<Self> {
        // SAFETY: the token proves the instruction set; the mask keeps to `count` words.
        let words = unsafe { _mm512_mask_loadu_ps(pad.into(), bits(count), source) };
        f32x16::simd_from(self, words)
    }
    #[inline(always)]
    unsafe fn store_head(self, words: f32x16<Self>, target: *mut f32, count: usize) {
        // SAFETY: the token proves the instruction set; the mask keeps to `count` words.
        unsafe { _mm512_mask_storeu_ps(target, bits(count), words.into()) };
    }
}

#[inline(always)]
fn joined(proof: Avx2, [low, high]: [__m256; 2]) -> f32x16<Avx2> {
    proof.combine_f32x8(f32x8::simd_from(proof, low), f32x8::simd_from(proof, high))
}

/// From index 16 − `count` on, it has the masks of the first `count` of 16 words.
static WINDOW: [[i32; 16]; 2] = [[-1; 16], [0; 16]];

/// The masks of the first `count` of 16 words, in two halves.
#[inline(always)]
pub(in crate::simd) fn masks(_proof: Avx2, count: usize) -> [__m256i; 2] {
    let (low, high) = WINDOW.as_flattened()[16 - count..][..16].split_at(8);
    // SAFETY: the token proves the instruction set; 8 words are readable in each half.
    unsafe { [_mm256_loadu_si256(low.as_ptr().cast()), _mm256_loadu_si256(high.as_ptr().cast())] }
}

impl InstructionSet for Avx2 {
    #[inline(always)]
    fn widen_f16(self, bits: [u16; 16]) -> [f32; 16] {
        let (low, high) = self.split_u16x16(u16x16::simd_from(self, bits));
        // SAFETY: the token proves the instruction set, F16C with it.
        let halves = unsafe { [_mm256_cvtph_ps(low.into()), _mm256_cvtph_ps(high.into())] };
        joined(self, halves).into()
    }
    #[inline(always)]
    fn narrow_f16(self, values: [f32; 16]) -> [u16; 16] {
        let (low, high) = self.split_f32x16(f32x16::simd_from(self, values));
        // SAFETY: the token proves the instruction set, F16C with it.
        let (low, high) = unsafe {
            (
                _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(low.into()),
                _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(high.into()),
            )
        };
        self.combine_u16x8(u16x8::simd_from(self, low), u16x8::simd_from(self, high)).into()
    }
    #[inline(always)]
    unsafe fn stream(self, words: f32x16<Self>, target: *mut f32) {
        let (low, high) = self.split_f32x16(words);
        // SAFETY: the token proves the instruction set; the caller vouches for the line.
        unsafe {
            _mm256_stream_ps(target, low.into());
            _mm256_stream_ps(target.wrapping_add(8), high.into());
        }
    }
    #[inline(always)]
    unsafe fn load_head(self, pad: f32x16<Self>, source: *const f32, count: usize) -> f32x16<Self> {
        let [low_mask, high_mask] = masks(self, count);
        let (low, high) = self.split_f32x16(pad);
        // SAFETY: the token proves the instruction set; the masks keep to `count` words.
        let halves = unsafe {
            let first = _mm256_maskload_ps(source, low_mask);
            let second = _mm256_maskload_ps(source.wrapping_add(8), high_mask);
            [
                _mm256_blendv_ps(low.into(), first, _mm256_castsi256_ps(low_mask)),
                _mm256_blendv_ps(high.into(), second, _mm256_castsi256_ps(high_mask)),
            ]
        };
        joined(self, halves)
    }
    #[inline(always)]
    unsafe fn store_head(self, words: f32x16<Self>, target: *mut f32, count: usize) {
        let [low_mask, high_mask] = masks(self, count);
        let (low, high) = self.split_f32x16(words);
        // SAFETY: the token proves the instruction set; the masks keep to `count` words.
        unsafe {
            _mm256_maskstore_ps(target, low_mask, low.into());
            _mm256_maskstore_ps(target.wrapping_add(8), high_mask, high.into());
        }
    }
}
