//! Parts of vectors on x86-64, with its masked loads and stores, its conversions of
//! float16 and its shuffles.

use super::super::transpose::x86::{block_with_avx2, with_avx2, with_avx512};
use super::{Halves, MOST_LANES, Partial, WINDOW};
use fearless_simd::{Avx2, Avx512, Bytes, Simd, SimdFrom, f32x8, f32x16, f64x8};
use std::arch::x86_64::{
    __m256i, _MM_FROUND_TO_NEAREST_INT, _mm_loadu_si128, _mm_storeu_si128, _mm256_blendv_ps,
    _mm256_castsi256_ps, _mm256_cvtph_ps, _mm256_cvtps_ph, _mm256_loadu_ps, _mm256_loadu_si256,
    _mm256_maskload_ps, _mm256_maskstore_ps, _mm256_storeu_ps, _mm256_storeu_si256,
    _mm256_stream_ps, _mm512_cvtph_ps, _mm512_cvtps_ph, _mm512_loadu_ps, _mm512_mask_loadu_ps,
    _mm512_mask_storeu_ps, _mm512_storeu_ps, _mm512_stream_ps,
};

/// `count` lanes of 16.
#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "16 bits")]
fn bits(count: usize) -> u16 {
    debug_assert!(count <= 16);
    (0xffff_u32 >> (16 - count)) as u16
}

impl Halves for Avx512 {
    #[inline(always)]
    fn widen_f16(self, bits: [u16; 16]) -> [f32; 16] {
        let mut values = [0.0; 16];
        // SAFETY: the token proves the instruction set; both hold 16 numbers.
        unsafe {
            let halves = _mm256_loadu_si256(bits.as_ptr().cast());
            _mm512_storeu_ps(values.as_mut_ptr(), _mm512_cvtph_ps(halves));
        }
        values
    }
    #[inline(always)]
    fn narrow_f16(self, values: [f32; 16]) -> [u16; 16] {
        let mut bits = [0; 16];
        // SAFETY: the token proves the instruction set; both hold 16 numbers.
        unsafe {
            let floats = _mm512_loadu_ps(values.as_ptr());
            let halves = _mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(floats);
            _mm256_storeu_si256(bits.as_mut_ptr().cast(), halves);
        }
        bits
    }
}

impl Halves for Avx2 {
    #[inline(always)]
    fn widen_f16(self, bits: [u16; 16]) -> [f32; 16] {
        let mut values = [0.0; 16];
        for (bits, values) in bits.as_chunks::<8>().0.iter().zip(values.as_chunks_mut::<8>().0) {
            // SAFETY: the token proves the instruction set, F16C with it; both hold 8 numbers.
            unsafe {
                let halves = _mm_loadu_si128(bits.as_ptr().cast());
                _mm256_storeu_ps(values.as_mut_ptr(), _mm256_cvtph_ps(halves));
            }
        }
        values
    }
    #[inline(always)]
    fn narrow_f16(self, values: [f32; 16]) -> [u16; 16] {
        let mut bits = [0; 16];
        for (values, bits) in values.as_chunks::<8>().0.iter().zip(bits.as_chunks_mut::<8>().0) {
            // SAFETY: the token proves the instruction set, F16C with it; both hold 8 numbers.
            unsafe {
                let floats = _mm256_loadu_ps(values.as_ptr());
                let halves = _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(floats);
                _mm_storeu_si128(bits.as_mut_ptr().cast(), halves);
            }
        }
        bits
    }
}

/// Doubles are two words each, of the memory and of the masks.
macro_rules! doubles_in_words {
    () => {
        /// # Safety
        /// - As [`Partial::stream_doubles`].
        #[inline(always)]
        unsafe fn stream_doubles(self, vector: f64x8<Self>, target: *mut f64) {
            // SAFETY: as the caller says.
            unsafe { self.stream_floats(vector.bitcast(), target.cast()) };
        }
        /// # Safety
        /// - As [`Partial::load_doubles`].
        #[inline(always)]
        unsafe fn load_doubles(
            self,
            pad: f64x8<Self>,
            source: *const f64,
            count: usize,
        ) -> f64x8<Self> {
            // SAFETY: as the caller says.
            unsafe { self.load_floats(pad.bitcast(), source.cast(), 2 * count) }.bitcast()
        }
        /// # Safety
        /// - As [`Partial::store_doubles`].
        #[inline(always)]
        unsafe fn store_doubles(self, vector: f64x8<Self>, target: *mut f64, count: usize) {
            // SAFETY: as the caller says.
            unsafe { self.store_floats(vector.bitcast(), target.cast(), 2 * count) };
        }
    };
}

impl Partial for Avx512 {
    const HAS_MASKS: bool = true;

    #[inline(always)]
    fn transpose_floats(self, vectors: &mut [f32x16<Self>; MOST_LANES]) {
        with_avx512(self, vectors);
    }
    #[inline(always)]
    unsafe fn stream_floats(self, vector: f32x16<Self>, target: *mut f32) {
        // SAFETY: the token proves the instruction set; the caller vouches for the line.
        unsafe { _mm512_stream_ps(target, vector.into()) };
    }
    #[inline(always)]
    unsafe fn load_floats(
        self,
        pad: f32x16<Self>,
        source: *const f32,
        count: usize,
    ) -> f32x16<Self> {
        // SAFETY: the token proves the instruction set; the mask keeps to `count` scalars.
        let lanes = unsafe { _mm512_mask_loadu_ps(pad.into(), bits(count), source) };
        f32x16::simd_from(self, lanes)
    }
    #[inline(always)]
    unsafe fn store_floats(self, vector: f32x16<Self>, target: *mut f32, count: usize) {
        // SAFETY: the token proves the instruction set; the mask keeps to `count` scalars.
        unsafe { _mm512_mask_storeu_ps(target, bits(count), vector.into()) };
    }

    doubles_in_words!();
}

/// The masks of two halves of 16 words, the first `count` of which are taken.
#[inline(always)]
fn masks(_proof: Avx2, count: usize) -> [__m256i; 2] {
    let (low, high) = WINDOW[16 - count..][..16].split_at(8);
    // SAFETY: the token proves the instruction set; 8 words are readable in each half.
    unsafe { [_mm256_loadu_si256(low.as_ptr().cast()), _mm256_loadu_si256(high.as_ptr().cast())] }
}

impl Partial for Avx2 {
    #[inline(always)]
    fn transpose_floats(self, vectors: &mut [f32x16<Self>; MOST_LANES]) {
        with_avx2(self, vectors);
    }
    #[inline(always)]
    unsafe fn transpose_float_block(
        self,
        source: *const f32,
        stride: usize,
        target: *mut f32,
        target_stride: usize,
        len: usize,
    ) {
        // SAFETY: as the caller says.
        unsafe { block_with_avx2(self, source, stride, target, target_stride, len) };
    }
    #[inline(always)]
    unsafe fn stream_floats(self, vector: f32x16<Self>, target: *mut f32) {
        let (low, high) = self.split_f32x16(vector);
        // SAFETY: the token proves the instruction set; the caller vouches for the line.
        unsafe {
            _mm256_stream_ps(target, low.into());
            _mm256_stream_ps(target.wrapping_add(8), high.into());
        }
    }
    #[inline(always)]
    unsafe fn load_floats(
        self,
        pad: f32x16<Self>,
        source: *const f32,
        count: usize,
    ) -> f32x16<Self> {
        let [low_mask, high_mask] = masks(self, count);
        let (low, high) = self.split_f32x16(pad);
        // SAFETY: the token proves the instruction set; the masks keep to `count` scalars.
        let (low, high) = unsafe {
            let first = _mm256_maskload_ps(source, low_mask);
            let second = _mm256_maskload_ps(source.wrapping_add(8), high_mask);
            (
                _mm256_blendv_ps(low.into(), first, _mm256_castsi256_ps(low_mask)),
                _mm256_blendv_ps(high.into(), second, _mm256_castsi256_ps(high_mask)),
            )
        };
        self.combine_f32x8(f32x8::simd_from(self, low), f32x8::simd_from(self, high))
    }
    #[inline(always)]
    unsafe fn store_floats(self, vector: f32x16<Self>, target: *mut f32, count: usize) {
        let [low_mask, high_mask] = masks(self, count);
        let (low, high) = self.split_f32x16(vector);
        // SAFETY: the token proves the instruction set; the masks keep to `count` scalars.
        unsafe {
            _mm256_maskstore_ps(target, low_mask, low.into());
            _mm256_maskstore_ps(target.wrapping_add(8), high_mask, high.into());
        }
    }

    doubles_in_words!();
}
