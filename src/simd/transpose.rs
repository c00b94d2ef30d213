//! Square blocks of lanes, rows to columns. The library can interleave vectors, which does it by a
//! perfect shuffle for each bit of a lane's number (Stone 1971, "Parallel processing with the perfect
//! shuffle"); the instruction sets have shorter ways.

use super::{MOST_LANES, Vector};

/// The body for lane 0, lane 1, ..., written out: vectors in an array that a loop counts through would be
/// stored and loaded.
macro_rules! each_lane {
    ($vector:ident, |$lane:ident| $body:block) => {
        each_lane!($vector, $lane, $body, 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15)
    };
    ($vector:ident, $lane:ident, $body:block, $($number:literal)*) => {
        $(if $number < $vector::LANES {
            let $lane: usize = $number;
            $body
        })*
    };
}

/// LANES vectors whose first lanes are `stride` scalars apart, from `source` on, and the columns of as many whose
/// first lanes are `target_stride` apart, from `target` on. Of what is behind the first `len` scalars of the target
/// nothing is written.
#[derive(Clone, Copy)]
pub struct Block<F> {
    pub(super) source: *const F,
    pub(super) stride: usize,
    pub(super) target: *mut F,
    pub(super) target_stride: usize,
    pub(super) len: usize,
}

/// Rows to columns, of as many rows as there are lanes.
#[inline(always)]
pub(super) fn shuffled<V: Vector>(vectors: &mut [V; MOST_LANES]) {
    shuffle(vectors);
    shuffle(vectors);
    shuffle(vectors);
    if V::LANES == MOST_LANES {
        shuffle(vectors);
    }
}

/// As [`Vector::transpose_block`], by way of vectors. Where stores of some lanes are as fast as those of all, which
/// is where a vector is one register, no row is written over the next: writing twice is what takes time.
///
/// # Safety
/// - As there.
#[inline(always)]
pub(super) unsafe fn in_vectors<V: Vector>(token: V::Token, block: Block<V::Scalar>) {
    let Block { target, target_stride, len, .. } = block;
    if V::IS_ONE_REGISTER && target_stride < V::LANES && V::LANES * target_stride == len {
        // SAFETY: as the caller says.
        let vectors = unsafe { columns::<V>(token, block) };
        each_lane!(V, |lane| {
            let at = target.wrapping_add(lane * target_stride);
            // SAFETY: whole rows inside `len` scalars.
            unsafe { vectors[lane].store_head(at, target_stride) };
        });
        return;
    }
    if !V::IS_COMPACT && (V::LANES - 1) * target_stride + V::LANES <= len {
        // SAFETY: as the caller says.
        let vectors = unsafe { columns::<V>(token, block) };
        each_lane!(V, |lane| {
            // SAFETY: whole vectors inside `len` scalars.
            unsafe { vectors[lane].store(target.add(lane * target_stride)) };
        });
        return;
    }
    // A function of its own: else what it needs would be had for each tile, whichever way that goes.
    outlined!(V, token, {
        // SAFETY: as the caller says.
        let vectors = unsafe { columns::<V>(token, block) };
        each_lane!(V, |lane| {
            let (at, vector) = (lane * target_stride, vectors[lane]);
            // SAFETY: inside `len` scalars, as far as it is written.
            unsafe {
                if at + V::LANES <= len {
                    vector.store(target.add(at));
                } else if at < len {
                    vector.store_head(target.add(at), len - at);
                }
            }
        });
    });
}

/// # Safety
/// - The vectors are valid for reading.
#[inline(always)]
unsafe fn columns<V: Vector>(
    token: V::Token,
    Block { source, stride, .. }: Block<V::Scalar>,
) -> [V; MOST_LANES] {
    let mut vectors = [V::splat(token, V::Scalar::default()); MOST_LANES];
    each_lane!(V, |lane| {
        // SAFETY: as the caller says.
        vectors[lane] = unsafe { V::load(token, source.wrapping_add(lane * stride)) };
    });
    V::transpose(&mut vectors);
    vectors
}

#[inline(always)]
fn shuffle<V: Vector>(vectors: &mut [V; MOST_LANES]) {
    let rows = *vectors;
    for i in 0..V::LANES / 2 {
        (vectors[2 * i], vectors[2 * i + 1]) = rows[i].zip(rows[i + V::LANES / 2]);
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) mod x86 {
    use super::super::partial::WINDOW;
    use super::Block;
    use fearless_simd::{Avx2, Avx512, Simd, SimdFrom, f32x16};
    use std::arch::x86_64::{
        __m256, __m512, _mm256_loadu_ps, _mm256_loadu_si256, _mm256_maskstore_ps,
        _mm256_permute2f128_ps, _mm256_setzero_ps, _mm256_shuffle_ps, _mm256_storeu_ps,
        _mm256_unpackhi_ps, _mm256_unpacklo_ps, _mm512_castpd_ps, _mm512_castps_pd,
        _mm512_shuffle_f32x4, _mm512_unpackhi_pd, _mm512_unpackhi_ps, _mm512_unpacklo_pd,
        _mm512_unpacklo_ps,
    };

    /// Pairs of rows, then quads of rows, within quarters of the vectors; then the quarters.
    #[inline(always)]
    pub(in crate::simd) fn with_avx512(vectors: &mut [f32x16<Avx512>; 16]) {
        // Loops, not iterators: what is not inlined is compiled without the instruction set.
        let mut r: [__m512; 16] = [vectors[0].into(); 16];
        for i in 0..16 {
            r[i] = vectors[i].into();
        }
        let (mut t, mut q) = (r, r);
        // SAFETY: the token proves the instruction set.
        unsafe {
            for i in 0..8 {
                t[2 * i] = _mm512_unpacklo_ps(r[2 * i], r[2 * i + 1]);
                t[2 * i + 1] = _mm512_unpackhi_ps(r[2 * i], r[2 * i + 1]);
            }
            for i in 0..4 {
                let pair = |j: usize| _mm512_castps_pd(t[4 * i + j]);
                q[4 * i] = _mm512_castpd_ps(_mm512_unpacklo_pd(pair(0), pair(2)));
                q[4 * i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(pair(0), pair(2)));
                q[4 * i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(pair(1), pair(3)));
                q[4 * i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(pair(1), pair(3)));
            }
            for i in 0..4 {
                t[i] = _mm512_shuffle_f32x4::<0x88>(q[i], q[i + 4]);
                t[i + 4] = _mm512_shuffle_f32x4::<0xdd>(q[i], q[i + 4]);
                t[i + 8] = _mm512_shuffle_f32x4::<0x88>(q[i + 8], q[i + 12]);
                t[i + 12] = _mm512_shuffle_f32x4::<0xdd>(q[i + 8], q[i + 12]);
            }
            for i in 0..4 {
                q[i] = _mm512_shuffle_f32x4::<0x88>(t[i], t[i + 8]);
                q[i + 4] = _mm512_shuffle_f32x4::<0x88>(t[i + 4], t[i + 12]);
                q[i + 8] = _mm512_shuffle_f32x4::<0xdd>(t[i], t[i + 8]);
                q[i + 12] = _mm512_shuffle_f32x4::<0xdd>(t[i + 4], t[i + 12]);
            }
        }
        for i in 0..16 {
            vectors[i] = f32x16::simd_from(vectors[i].simd, q[i]);
        }
    }

    /// From memory to memory, quarter by quarter: all of a block has no room in the registers. A row of the
    /// target may overlap the next, so its right half is written first.
    ///
    /// # Safety
    /// - As [`super::Vector::transpose_block`].
    #[inline(always)]
    pub(in crate::simd) unsafe fn block_with_avx2(proof: Avx2, block: Block<f32>) {
        let quarter = {
            #[inline(always)]
            |bottom: usize, right: usize| {
                let first = 8 * right * block.target_stride + 8 * bottom;
                let part = Block {
                    source: block.source.wrapping_add(8 * bottom * block.stride + 8 * right),
                    target: block.target.wrapping_add(first),
                    len: block.len.saturating_sub(first),
                    ..block
                };
                // SAFETY: a part of the block.
                unsafe { quarter(proof, part) };
            }
        };
        quarter(1, 0);
        quarter(1, 1);
        quarter(0, 0);
        quarter(0, 1);
    }

    /// # Safety
    /// - As [`block_with_avx2`], of 8 rows of 8.
    #[inline(always)]
    unsafe fn quarter(proof: Avx2, block: Block<f32>) {
        let Block { mut source, stride, mut target, target_stride, len } = block;
        // SAFETY: the token proves the instruction set; the rest is as the caller says, and nothing is
        // written behind `len`.
        unsafe {
            let mut r = [_mm256_setzero_ps(); 8];
            for i in 0..8 {
                r[i] = _mm256_loadu_ps(source);
                source = source.wrapping_add(stride);
            }
            let r = eighth(proof, r);
            // Room for all rows, for all but the last, or less.
            if 6 * target_stride + 8 <= len {
                for i in 0..7 {
                    _mm256_storeu_ps(target, r[i]);
                    target = target.wrapping_add(target_stride);
                }
                let left = len.saturating_sub(7 * target_stride);
                if left >= 8 {
                    _mm256_storeu_ps(target, r[7]);
                } else {
                    store_head(proof, r[7], target, left);
                }
                return;
            }
            proof.vectorize(
                #[inline(always)]
                || {
                    for i in 0..8 {
                        let at = i * target_stride;
                        let count = len.saturating_sub(at).min(8);
                        store_head(proof, r[i], target.wrapping_add(at), count);
                    }
                },
            );
        }
    }

    /// # Safety
    /// - `count` ≤ 8 scalars are writable.
    #[inline(always)]
    unsafe fn store_head(_proof: Avx2, lanes: __m256, target: *mut f32, count: usize) {
        // SAFETY: the token proves the instruction set; the mask keeps to `count` scalars.
        unsafe {
            let mask = _mm256_loadu_si256(WINDOW[16 - count..][..8].as_ptr().cast());
            _mm256_maskstore_ps(target, mask, lanes);
        }
    }

    #[inline(always)]
    fn eighth(_proof: Avx2, r: [__m256; 8]) -> [__m256; 8] {
        let (mut t, mut q) = (r, r);
        // SAFETY: the token proves the instruction set.
        unsafe {
            for i in 0..4 {
                t[2 * i] = _mm256_unpacklo_ps(r[2 * i], r[2 * i + 1]);
                t[2 * i + 1] = _mm256_unpackhi_ps(r[2 * i], r[2 * i + 1]);
            }
            for i in 0..2 {
                q[4 * i] = _mm256_shuffle_ps::<0x44>(t[4 * i], t[4 * i + 2]);
                q[4 * i + 1] = _mm256_shuffle_ps::<0xee>(t[4 * i], t[4 * i + 2]);
                q[4 * i + 2] = _mm256_shuffle_ps::<0x44>(t[4 * i + 1], t[4 * i + 3]);
                q[4 * i + 3] = _mm256_shuffle_ps::<0xee>(t[4 * i + 1], t[4 * i + 3]);
            }
            for i in 0..4 {
                t[i] = _mm256_permute2f128_ps::<0x20>(q[i], q[i + 4]);
                t[i + 4] = _mm256_permute2f128_ps::<0x31>(q[i], q[i + 4]);
            }
        }
        t
    }
}

#[cfg(test)]
mod tests;
