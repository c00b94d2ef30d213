//! Transposes square blocks of LANES rows. The SIMD library can interleave vectors: this transposes a block by one
//! perfect shuffle for each bit of a lane's number (Stone 1971, "Parallel processing with the perfect shuffle"). Some
//! instruction sets have shorter ways.

use super::{MOST_LANES, Vector};
#[cfg(target_arch = "x86_64")]
use {
    super::{Element, Storage},
    fearless_simd::{Level, Simd},
};

/// The body for lane 0, lane 1, ..., as repeated source code: in a loop, the vectors of an array would be stored to
/// memory and loaded again.
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

/// A block of LANES vectors that begin `stride` scalars apart, from `source` on. Its columns are written to vectors
/// that begin `target_stride` scalars apart, from `target` on. Only the first `columns` are needed: the target vectors
/// after those are arbitrary. If `target_stride` is less than LANES, only so many scalars of each target vector are
/// defined. Nothing is written between target vectors that begin more than LANES apart, or after the first `len`
/// scalars of the target.
#[derive(Clone, Copy)]
pub(super) struct Block<F> {
    pub(super) source: *const F,
    pub(super) stride: usize,
    pub(super) columns: usize,
    pub(super) target: *mut F,
    pub(super) target_stride: usize,
    pub(super) len: usize,
}

/// Transposes the block and writes its columns in order. If a vector is one register, storing some of its lanes is as
/// fast as storing all; then no vector is written over the beginning of the next, since writing twice takes time.
///
/// # Safety
/// - The vectors are valid for reading, and `len` scalars from `target` on for writing; no alignment is needed.
#[inline(always)]
pub(super) unsafe fn transpose_block<V: Vector>(token: V::Token, block: Block<V::Scalar>) {
    #[cfg(target_arch = "x86_64")]
    if let (Level::Avx2(proof), Storage::F32) = (token.level(), V::Scalar::STORAGE) {
        // SAFETY: as the caller says; no other scalar has the storage of f32.
        return unsafe { x86::block_with_avx2(proof, block) };
    }
    #[cfg(target_arch = "x86_64")]
    if let (Level::Avx512(proof), Storage::F32) = (token.level(), V::Scalar::STORAGE) {
        // SAFETY: as above.
        return unsafe { x86::block_with_avx512(proof, block) };
    }
    let Block { target, target_stride, len, .. } = block;
    if V::IS_ONE_REGISTER && target_stride < V::LANES && V::LANES * target_stride <= len {
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
            // Four columns are left out if none of them is needed.
            if lane / 4 * 4 < block.columns {
                // SAFETY: whole vectors inside `len` scalars.
                unsafe { vectors[lane].store(target.add(lane * target_stride)) };
            }
        });
        return;
    }
    // A separate function: otherwise the stack that it needs would be reserved for each tile, even if it is not used. It
    // borrows a copy, so that the numbers above stay in registers.
    let apart = block;
    let Block { target, target_stride, len, .. } = apart;
    outlined!(V, token, {
        // SAFETY: as the caller says.
        let vectors = unsafe { columns::<V>(token, apart) };
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

/// The columns of the block.
///
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
    // Once for each bit of a lane's number. In a loop, the shuffles of doubles would be merged to more instructions.
    shuffle(&mut vectors);
    shuffle(&mut vectors);
    shuffle(&mut vectors);
    if V::LANES == MOST_LANES {
        shuffle(&mut vectors);
    }
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
mod x86 {
    use super::super::instruction_set::x86::{bits, masks};
    use super::Block;
    use fearless_simd::{Avx2, Avx512, Simd};
    use std::arch::x86_64::{
        __m256, _mm_loadu_ps, _mm_maskstore_ps, _mm_storeu_ps, _mm256_castps256_ps128,
        _mm256_castsi256_si128, _mm256_extractf128_ps, _mm256_loadu_ps, _mm256_maskstore_ps,
        _mm256_permute2f128_ps, _mm256_set_m128, _mm256_setzero_ps, _mm256_shuffle_ps,
        _mm256_storeu_ps, _mm256_unpackhi_ps, _mm256_unpacklo_ps, _mm512_castps128_ps512,
        _mm512_castps256_ps512, _mm512_extractf32x4_ps, _mm512_insertf32x8, _mm512_loadu_epi32,
        _mm512_loadu_ps, _mm512_mask_storeu_ps, _mm512_permutex2var_ps, _mm512_setzero_ps,
        _mm512_shuffle_ps, _mm512_storeu_ps, _mm512_unpackhi_ps, _mm512_unpacklo_ps,
    };
    use std::hint::black_box;

    /// Transposes four columns at a time. Quads of four rows are loaded into one vector, since such loads take less time
    /// than shuffles across quads, and transposed within their quads.
    ///
    /// # Safety
    /// - As [`super::transpose_block`], of scalars that are f32.
    #[inline(always)]
    pub(super) unsafe fn block_with_avx512<F: Copy>(_proof: Avx512, block: Block<F>) {
        let Block { stride, columns, target_stride, len, .. } = block;
        let (source, target) = (block.source.cast::<f32>(), block.target.cast::<f32>());
        let quads = [0, 4, 8, 12].map(|row| source.wrapping_add(row * stride));
        let width = target_stride.min(16);
        let (mask, is_inside) = (bits(width), 15 * target_stride + width <= len);
        if is_inside && (2..=12).contains(&width) {
            let block = Block { source, stride, columns, target, target_stride, len };
            // SAFETY: as the caller says.
            return unsafe {
                match width.div_ceil(4) {
                    1 => to_short_rows::<1>(block),
                    2 => to_short_rows::<2>(block),
                    _ => to_short_rows::<3>(block),
                }
            };
        }
        // SAFETY: the token proves the instruction set; the rest is as the caller says, and nothing is written after
        // `len`.
        unsafe {
            for first in (0..columns.min(16)).step_by(4) {
                // Loops, not iterators: a closure that is not inlined is compiled without the instruction set.
                let mut r = [_mm512_setzero_ps(); 4];
                for i in 0..4 {
                    let at = first + i * stride;
                    let load = inlined!(|row: usize| _mm_loadu_ps(quads[row].wrapping_add(at)));
                    let low = _mm256_set_m128(load(1), load(0));
                    let high = _mm256_set_m128(load(3), load(2));
                    r[i] = _mm512_insertf32x8::<1>(_mm512_castps256_ps512(low), high);
                }
                let (a, b) = (_mm512_unpacklo_ps(r[0], r[1]), _mm512_unpacklo_ps(r[2], r[3]));
                let (c, d) = (_mm512_unpackhi_ps(r[0], r[1]), _mm512_unpackhi_ps(r[2], r[3]));
                let r = [
                    _mm512_shuffle_ps::<0x44>(a, b),
                    _mm512_shuffle_ps::<0xee>(a, b),
                    _mm512_shuffle_ps::<0x44>(c, d),
                    _mm512_shuffle_ps::<0xee>(c, d),
                ];
                let mut at = first * target_stride;
                for i in 0..4 {
                    let to = target.wrapping_add(at);
                    if is_inside && width == 16 {
                        _mm512_storeu_ps(to, r[i]);
                    } else {
                        let left = len.saturating_sub(at).min(width);
                        let mask = if is_inside { mask } else { bits(left) };
                        _mm512_mask_storeu_ps(to, mask, r[i]);
                    }
                    at += target_stride;
                }
            }
        }
    }

    /// Transposes a block to rows of at most `QUADS` quads, three at most: up to then it takes less time to store each quad of
    /// a row than to load each quad of a column (Xeon, model 167: softmax of 4 classes takes 0.8 of the time, of 8 classes
    /// 0.85, of 12 classes 0.9; of 16 classes it would take 1.1).
    ///
    /// # Safety
    /// - As [`super::transpose_block`], with room for 16 rows of at least two scalars.
    #[inline(always)]
    unsafe fn to_short_rows<const QUADS: usize>(block: Block<f32>) {
        let Block { source, stride, mut target, target_stride, .. } = block;
        // If the compiler knew these indices, it would take the quads apart first, and then shuffle each.
        let [low, high] = black_box([
            [0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29],
            [2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31],
        ]);
        // SAFETY: the token proves the instruction set; the rest is as the caller says. A quad that is not whole also
        // overwrites the beginning of the next row, or of two rows, which are written later; that of the last row does not.
        unsafe {
            let (low, high) = (_mm512_loadu_epi32(low.as_ptr()), _mm512_loadu_epi32(high.as_ptr()));
            let mut quads = [[_mm512_setzero_ps(); 4]; QUADS];
            for q in 0..QUADS {
                let mut r = [_mm512_setzero_ps(); 4];
                for i in 0..4 {
                    r[i] = _mm512_loadu_ps(source.wrapping_add((4 * q + i) * stride));
                }
                let (a, b) = (_mm512_unpacklo_ps(r[0], r[1]), _mm512_unpacklo_ps(r[2], r[3]));
                let (c, d) = (_mm512_unpackhi_ps(r[0], r[1]), _mm512_unpackhi_ps(r[2], r[3]));
                // Rows i, i + 4, i + 8 and i + 12.
                quads[q] = [
                    _mm512_permutex2var_ps(a, low, b),
                    _mm512_permutex2var_ps(a, high, b),
                    _mm512_permutex2var_ps(c, low, d),
                    _mm512_permutex2var_ps(c, high, d),
                ];
            }
            macro_rules! store {
                ($($fourth:literal)*) => {$(
                    for i in 0..4 {
                        for q in 0..QUADS {
                            let quad = _mm512_extractf32x4_ps::<$fourth>(quads[q][i]);
                            let to = target.wrapping_add(4 * q);
                            if $fourth == 3 && i == 3 && q == QUADS - 1 {
                                let left = bits(target_stride - 4 * q);
                                _mm512_mask_storeu_ps(to, left, _mm512_castps128_ps512(quad));
                            } else {
                                _mm_storeu_ps(to, quad);
                            }
                        }
                        target = target.wrapping_add(target_stride);
                    }
                )*};
            }
            store!(0 1 2 3);
        }
    }

    /// Transposes a block quarter by quarter, since the registers cannot hold a whole block. A row of the target may
    /// overlap the next one, so its right half is written first.
    ///
    /// # Safety
    /// - As [`super::transpose_block`], of scalars that are f32.
    #[inline(always)]
    pub(super) unsafe fn block_with_avx2<F: Copy>(proof: Avx2, block: Block<F>) {
        let quarter = inlined!(|bottom: usize, right: usize| {
            let first = 8 * right * block.target_stride + 8 * bottom;
            let part = Block {
                source: block.source.wrapping_add(8 * bottom * block.stride + 8 * right),
                target: block.target.wrapping_add(first),
                len: block.len.saturating_sub(first),
                ..block
            };
            // A target vector needs only its first `target_stride` scalars, one from each source vector; likewise for
            // the columns.
            let rows = block.target_stride.saturating_sub(8 * bottom);
            let columns = block.columns.saturating_sub(8 * right);
            if rows > 0 && columns > 0 {
                // SAFETY: a part of the block.
                unsafe { quarter(proof, part, (rows, columns)) };
            }
        });
        quarter(1, 0);
        quarter(1, 1);
        quarter(0, 0);
        quarter(0, 1);
    }

    /// Transposes a quarter of a block of which so many rows and columns are needed; if at most four are, half of it,
    /// unless the target has no room.
    ///
    /// # Safety
    /// - As [`block_with_avx2`], of 8 rows of 8.
    #[inline(always)]
    unsafe fn quarter<F>(proof: Avx2, block: Block<F>, (rows, columns): (usize, usize)) {
        let Block { source, stride, target, target_stride, len, .. } = block;
        let (mut source, mut target) = (source.cast::<f32>(), target.cast::<f32>());
        // SAFETY: the token proves the instruction set; the rest is as the caller says, and nothing is
        // written after `len`.
        unsafe {
            if columns <= 4 && 3 * target_stride + 8 <= len {
                let mut r = [_mm256_setzero_ps(); 4];
                for i in 0..4 {
                    let at = source.wrapping_add(i * stride);
                    let below = _mm_loadu_ps(at.wrapping_add(4 * stride));
                    r[i] = _mm256_set_m128(below, _mm_loadu_ps(at));
                }
                let r = fourth(proof, r);
                for i in 0..4 {
                    _mm256_storeu_ps(target.wrapping_add(i * target_stride), r[i]);
                }
                return;
            }
            if rows <= 4 && 6 * target_stride + 4 <= len {
                let mut r = [_mm256_setzero_ps(); 4];
                for i in 0..4 {
                    r[i] = _mm256_loadu_ps(source.wrapping_add(i * stride));
                }
                let r = fourth(proof, r);
                for i in 0..8 {
                    let half = if i < 4 {
                        _mm256_castps256_ps128(r[i])
                    } else {
                        _mm256_extractf128_ps::<1>(r[i - 4])
                    };
                    let left = len.saturating_sub(i * target_stride);
                    if i < 7 || left >= 4 {
                        _mm_storeu_ps(target.wrapping_add(i * target_stride), half);
                    } else {
                        let mask = _mm256_castsi256_si128(masks(proof, left)[0]);
                        _mm_maskstore_ps(target.wrapping_add(i * target_stride), mask, half);
                    }
                }
                return;
            }
            let mut r = [_mm256_setzero_ps(); 8];
            for i in 0..8 {
                r[i] = _mm256_loadu_ps(source);
                source = source.wrapping_add(stride);
            }
            let (top, bottom) = ([r[0], r[1], r[2], r[3]], [r[4], r[5], r[6], r[7]]);
            let (top, bottom) = (fourth(proof, top), fourth(proof, bottom));
            for i in 0..4 {
                r[i] = _mm256_permute2f128_ps::<0x20>(top[i], bottom[i]);
                r[i + 4] = _mm256_permute2f128_ps::<0x31>(top[i], bottom[i]);
            }
            // There is room for all rows, for all but the last, or for fewer.
            if 6 * target_stride + 8 <= len {
                for i in 0..7 {
                    _mm256_storeu_ps(target, r[i]);
                    target = target.wrapping_add(target_stride);
                }
                let left = len.saturating_sub(7 * target_stride);
                if left >= 8 {
                    _mm256_storeu_ps(target, r[7]);
                } else {
                    _mm256_maskstore_ps(target, masks(proof, left)[0], r[7]);
                }
                return;
            }
            proof.vectorize(inlined!(|| {
                for i in 0..8 {
                    let at = i * target_stride;
                    let count = len.saturating_sub(at).min(8);
                    _mm256_maskstore_ps(target.wrapping_add(at), masks(proof, count)[0], r[i]);
                }
            }));
        }
    }

    /// Transposes within both halves of four vectors.
    #[inline(always)]
    fn fourth(_proof: Avx2, r: [__m256; 4]) -> [__m256; 4] {
        // SAFETY: the token proves the instruction set.
        unsafe {
            let (a, b) = (_mm256_unpacklo_ps(r[0], r[1]), _mm256_unpacklo_ps(r[2], r[3]));
            let (c, d) = (_mm256_unpackhi_ps(r[0], r[1]), _mm256_unpackhi_ps(r[2], r[3]));
            [
                _mm256_shuffle_ps::<0x44>(a, b),
                _mm256_shuffle_ps::<0xee>(a, b),
                _mm256_shuffle_ps::<0x44>(c, d),
                _mm256_shuffle_ps::<0xee>(c, d),
            ]
        }
    }
}
