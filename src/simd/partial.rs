//! What the SIMD library lacks: the first lanes of a vector from and to memory, for the ends of
//! rows; stores past the caches; requests for memory ahead.
//!
//! Masked loads and stores where there are such instructions: what lies behind the mask is not
//! touched. Elsewhere through an array.

use super::element::Float;
use super::storage::Halves;
use super::transpose::{in_vectors, shuffled};
use super::{Cache, MOST_LANES};
use fearless_simd::{Simd, SimdFrom, f32x16, f64x8};
#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::_mm_stream_si32;

/// What the vectors of one type need, where the level has no instructions of its own.
macro_rules! partial {
    ($vector:ident, $scalar:ty, $lanes:literal, $stream:ident, $load:ident, $store:ident, $transpose:ident, $block:ident) => {
        /// # Safety
        /// - `target` is valid for writing all lanes and a multiple of 64.
        #[inline(always)]
        unsafe fn $stream(self, vector: $vector<Self>, target: *mut $scalar) {
            // SAFETY: as the caller says; these are all there are.
            unsafe { self.$store(vector, target, $lanes) };
        }
        /// # Safety
        /// - `source` is valid for reading `count` scalars, no more than lanes; no alignment is needed.
        #[inline(always)]
        unsafe fn $load(
            self,
            pad: $vector<Self>,
            source: *const $scalar,
            count: usize,
        ) -> $vector<Self> {
            let mut lanes: [$scalar; $lanes] = pad.into();
            // SAFETY: `lanes` is ours and holds as many; the caller vouches for `count` scalars.
            unsafe { copy(source, lanes.as_mut_ptr(), count) };
            $vector::simd_from(self, lanes)
        }
        /// # Safety
        /// - `target` is valid for writing `count` scalars, no more than lanes; no alignment is needed.
        #[inline(always)]
        unsafe fn $store(self, vector: $vector<Self>, target: *mut $scalar, count: usize) {
            let lanes: [$scalar; $lanes] = vector.into();
            // SAFETY: `lanes` holds as many; the caller vouches for `count` scalars.
            unsafe { copy(lanes.as_ptr(), target, count) };
        }
        #[inline(always)]
        fn $transpose(self, vectors: &mut [$vector<Self>; MOST_LANES]) {
            shuffled(vectors);
        }
        /// # Safety
        /// - As [`super::Vector::transpose_block`].
        #[inline(always)]
        unsafe fn $block(
            self,
            source: *const $scalar,
            stride: usize,
            target: *mut $scalar,
            target_stride: usize,
            len: usize,
        ) {
            let has_masks = Self::HAS_MASKS;
            // SAFETY: as the caller says.
            unsafe {
                in_vectors::<$vector<Self>>(
                    has_masks,
                    self,
                    source,
                    stride,
                    target,
                    target_stride,
                    len,
                );
            };
        }
    };
}

/// Access to the first `count` lanes, and to memory past the caches.
pub trait Partial: Simd + Halves {
    /// Are stores of some lanes as fast as those of all?
    const HAS_MASKS: bool = false;

    partial!(
        f32x16,
        f32,
        16,
        stream_floats,
        load_floats,
        store_floats,
        transpose_floats,
        transpose_float_block
    );
    partial!(
        f64x8,
        f64,
        8,
        stream_doubles,
        load_doubles,
        store_doubles,
        transpose_doubles,
        transpose_double_block
    );
    /// Orders streamed stores before what other threads see next.
    #[inline(always)]
    fn fence(self) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: part of every x86-64.
        unsafe {
            std::arch::x86_64::_mm_sfence();
        };
    }
    /// Asks for a line of memory.
    #[inline(always)]
    #[cfg_attr(not(target_arch = "x86_64"), allow(unused_variables, reason = "no such request"))]
    fn prefetch(self, cache: Cache, source: *const u8) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: part of every x86-64; a hint, which touches nothing.
        unsafe {
            use std::arch::x86_64::{_MM_HINT_T0, _MM_HINT_T1, _mm_prefetch};
            match cache {
                Cache::First => _mm_prefetch::<_MM_HINT_T0>(source.cast()),
                Cache::Second => _mm_prefetch::<_MM_HINT_T1>(source.cast()),
            }
        };
    }
}

/// Writes one element past the caches, where there is such a store for it.
///
/// # Safety
/// - `target` is valid for writing an element; no alignment is needed.
#[inline(always)]
pub(super) unsafe fn stream_element<F: Float>(target: *mut F, value: F) {
    #[cfg(target_arch = "x86_64")]
    for word in 0..size_of::<F>() / 4 {
        let value = (&raw const value).cast::<i32>();
        // SAFETY: part of every x86-64; the element is so many words, to be read and to be written.
        unsafe { _mm_stream_si32(target.cast::<i32>().add(word), value.add(word).read()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    // SAFETY: as the caller says.
    unsafe {
        target.write_unaligned(value);
    };
}

/// # Safety
/// - `source` is valid for reading and `target` for writing `count` elements, which are apart.
#[inline(always)]
pub(super) unsafe fn copy<T: Copy>(source: *const T, target: *mut T, count: usize) {
    assert!(count <= MOST_LANES);
    for i in 0..count {
        // SAFETY: element i < count of both, which the caller vouches for.
        unsafe { target.add(i).write_unaligned(source.add(i).read_unaligned()) };
    }
}

#[cfg(target_arch = "aarch64")]
impl Halves for fearless_simd::Neon {}
#[cfg(target_arch = "aarch64")]
impl Partial for fearless_simd::Neon {}

/// From its middle minus `count` on, the masks of `count` lanes.
#[cfg(target_arch = "x86_64")]
pub(super) static WINDOW: [i32; 32] = [
    -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0,
];

#[cfg(target_arch = "x86_64")]
mod x86;
