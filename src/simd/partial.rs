//! What the SIMD library lacks: the first lanes of a vector from and to memory, for the ends of
//! rows; stores past the caches; requests for memory ahead.
//!
//! Masked loads and stores where there are such instructions: what lies behind the mask is not
//! touched. Elsewhere through an array.

use super::MOST_LANES;
use super::storage::Halves;
use super::transpose::{in_vectors, shuffled};
use fearless_simd::{Simd, SimdFrom, f32x16, f64x8};

macro_rules! transpose_block {
    ($name:ident, $vector:ident, $scalar:ty) => {
        /// # Safety
        /// - As [`super::Vector::transpose_block`].
        #[inline(always)]
        unsafe fn $name(
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

    /// # Safety
    /// - `target` is valid for writing 16 scalars and a multiple of 64.
    #[inline(always)]
    unsafe fn stream_floats(self, vector: f32x16<Self>, target: *mut f32) {
        // SAFETY: as the caller says; 16 is all there are.
        unsafe { self.store_floats(vector, target, 16) };
    }
    /// # Safety
    /// - `target` is valid for writing 8 scalars and a multiple of 64.
    #[inline(always)]
    unsafe fn stream_doubles(self, vector: f64x8<Self>, target: *mut f64) {
        // SAFETY: as the caller says; 8 is all there are.
        unsafe { self.store_doubles(vector, target, 8) };
    }
    #[inline(always)]
    fn transpose_floats(self, vectors: &mut [f32x16<Self>; MOST_LANES]) {
        shuffled(vectors);
    }
    #[inline(always)]
    fn transpose_doubles(self, vectors: &mut [f64x8<Self>; MOST_LANES]) {
        shuffled(vectors);
    }
    transpose_block!(transpose_float_block, f32x16, f32);
    transpose_block!(transpose_double_block, f64x8, f64);
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
    fn prefetch(self, source: *const u8) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: part of every x86-64; a hint, which touches nothing.
        unsafe {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            _mm_prefetch::<_MM_HINT_T0>(source.cast());
        };
    }
    /// # Safety
    /// - `source` is valid for reading `count` ≤ 16 scalars; no alignment is needed.
    #[inline(always)]
    unsafe fn load_floats(
        self,
        pad: f32x16<Self>,
        source: *const f32,
        count: usize,
    ) -> f32x16<Self> {
        let mut lanes: [f32; 16] = pad.into();
        // SAFETY: `lanes` is ours and holds 16; the caller vouches for `count` ≤ 16 scalars.
        unsafe { copy(source, lanes.as_mut_ptr(), count) };
        f32x16::simd_from(self, lanes)
    }
    /// # Safety
    /// - `source` is valid for reading `count` ≤ 8 scalars; no alignment is needed.
    #[inline(always)]
    unsafe fn load_doubles(
        self,
        pad: f64x8<Self>,
        source: *const f64,
        count: usize,
    ) -> f64x8<Self> {
        let mut lanes: [f64; 8] = pad.into();
        // SAFETY: `lanes` is ours and holds 8; the caller vouches for `count` ≤ 8 scalars.
        unsafe { copy(source, lanes.as_mut_ptr(), count) };
        f64x8::simd_from(self, lanes)
    }
    /// # Safety
    /// - `target` is valid for writing `count` ≤ 16 scalars; no alignment is needed.
    #[inline(always)]
    unsafe fn store_floats(self, vector: f32x16<Self>, target: *mut f32, count: usize) {
        let lanes: [f32; 16] = vector.into();
        // SAFETY: `lanes` holds 16; the caller vouches for `count` ≤ 16 scalars.
        unsafe { copy(lanes.as_ptr(), target, count) };
    }
    /// # Safety
    /// - `target` is valid for writing `count` ≤ 8 scalars; no alignment is needed.
    #[inline(always)]
    unsafe fn store_doubles(self, vector: f64x8<Self>, target: *mut f64, count: usize) {
        let lanes: [f64; 8] = vector.into();
        // SAFETY: `lanes` holds 8; the caller vouches for `count` ≤ 8 scalars.
        unsafe { copy(lanes.as_ptr(), target, count) };
    }
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
