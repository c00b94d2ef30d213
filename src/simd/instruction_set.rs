//! What the SIMD library lacks: loads and stores of the first lanes of a vector, for the ends of rows; streaming
//! stores, past the caches; conversions of float16; and prefetches.
//!
//! Loads and stores of some lanes use masked instructions where they exist; these do not touch memory outside the mask.
//! Elsewhere they go through an array. A double counts as two words, in memory and in masks.

use super::element::Float;
use super::{Cache, MOST_LANES};
use fearless_simd::{Fallback, Simd, SimdFrom, f32x16};
use half::f16;
use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};
#[cfg(target_arch = "x86_64")]
use std::{
    arch::x86_64::{__cpuid, _MM_HINT_T0, _MM_HINT_T1, _mm_prefetch, _mm_sfence, _mm_stream_si32},
    sync::OnceLock,
};

/// An instruction set: loads and stores of the first `count` words of vectors, streaming stores, and conversions of
/// float16. The defaults use no instructions of the level.
pub trait InstructionSet: Simd {
    /// Should the code be small rather than fast? If so, it is scalar code.
    const IS_COMPACT: bool = false;

    /// A streaming store (past the caches) if the hardware has one. [`fence`] must follow.
    ///
    /// # Safety
    /// - `target` is valid for writing all words and a multiple of 64.
    #[inline(always)]
    unsafe fn stream(self, words: f32x16<Self>, target: *mut f32) {
        // SAFETY: as the caller says; a vector has MOST_LANES words.
        unsafe { self.store_head(words, target, MOST_LANES) };
    }
    /// # Safety
    /// - `source` is valid for reading `count` ≤ 16 words; no alignment is needed.
    #[inline(always)]
    unsafe fn load_head(self, pad: f32x16<Self>, source: *const f32, count: usize) -> f32x16<Self> {
        let mut words: [f32; MOST_LANES] = pad.into();
        let own: *mut u8 = words[..count].as_mut_ptr().cast();
        // SAFETY: `words` is ours and holds as many; the caller vouches for `count`.
        unsafe { source.cast::<u8>().copy_to_nonoverlapping(own, count * size_of::<f32>()) };
        f32x16::simd_from(self, words)
    }
    /// # Safety
    /// - `target` is valid for writing `count` ≤ 16 words; no alignment is needed.
    #[inline(always)]
    unsafe fn store_head(self, words: f32x16<Self>, target: *mut f32, count: usize) {
        let words: [f32; MOST_LANES] = words.into();
        let own: *const u8 = words[..count].as_ptr().cast();
        // SAFETY: `words` is ours and holds as many; the caller vouches for `count`.
        unsafe { target.cast::<u8>().copy_from_nonoverlapping(own, count * size_of::<f32>()) };
    }
    /// Converts float16.
    #[inline(always)]
    fn widen_f16(self, bits: [u16; MOST_LANES]) -> [f32; MOST_LANES] {
        let mut values = [0.0; MOST_LANES];
        bits.reinterpret_cast::<f16>().convert_to_f32_slice(&mut values);
        values
    }
    /// Converts to float16: to nearest, ties to even.
    #[inline(always)]
    fn narrow_f16(self, values: [f32; MOST_LANES]) -> [u16; MOST_LANES] {
        let mut bits = [0; MOST_LANES];
        bits.reinterpret_cast_mut::<f16>().convert_from_f32_slice(&values);
        bits
    }
}

/// Makes streaming stores visible to other threads before any later store.
pub fn fence() {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: part of every x86-64.
    unsafe {
        _mm_sfence();
    };
}

impl Cache {
    /// The cache into which lines from main memory are prefetched that are needed soon. On processors by Intel,
    /// prefetches into the first-level cache wait for its fill buffers, which streaming stores use too. (Xeon, model 167,
    /// 250 to 1000 classes: with the second-level cache, softmax takes 0.81 to 0.90 of the time, loss and gradient 0.73
    /// to 0.92, the loss 0.92 to 1; Zen 4, 200 and 1000 classes: 1.1 to 1.35.)
    pub(crate) fn for_main_memory() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            // A virtual machine takes some 10 µs for each `cpuid`.
            static IS_INTEL: OnceLock<bool> = OnceLock::new();
            let is_intel = || __cpuid(0).ebx == u32::from_le_bytes(*b"Genu");
            if *IS_INTEL.get_or_init(is_intel) {
                return Self::Second;
            }
        }
        Self::First
    }
}

/// Prefetches a cache line; the address need not be valid.
#[cfg_attr(not(target_arch = "x86_64"), allow(unused_variables, reason = "no such request"))]
pub(super) fn prefetch(cache: Cache, source: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: part of every x86-64; a hint, which touches nothing.
    unsafe {
        match cache {
            Cache::First => _mm_prefetch::<_MM_HINT_T0>(source.cast()),
            Cache::Second => _mm_prefetch::<_MM_HINT_T1>(source.cast()),
        }
    };
}

/// Writes one element by a streaming store, if there is one for its size.
///
/// # Safety
/// - `target` is valid for writing an element; no alignment is needed.
#[inline(always)]
pub(super) unsafe fn stream_element<F: Float>(target: *mut F, value: F) {
    #[cfg(target_arch = "x86_64")]
    for word in 0..size_of::<F>() / 4 {
        let value = (&raw const value).cast::<i32>();
        // SAFETY: part of every x86-64; the element has this many words, which are readable and writable.
        unsafe { _mm_stream_si32(target.cast::<i32>().add(word), value.add(word).read()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    // SAFETY: as the caller says.
    unsafe {
        target.write_unaligned(value);
    };
}

impl InstructionSet for Fallback {
    const IS_COMPACT: bool = true;
}

#[cfg(target_arch = "aarch64")]
impl InstructionSet for fearless_simd::Neon {}

#[cfg(target_arch = "x86_64")]
pub(super) mod x86;
