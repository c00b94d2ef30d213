//! Conversion of numbers from and to their storage types, one by one or a row at a time.
//!
//! bfloat16 is the upper half of an f32. float16 is converted by instructions of the level, or by the `half` crate.
//! Rows are converted in registers, one vector at a time.

use super::MOST_LANES;
use super::element::{Float, Storage};
use super::instruction_set::InstructionSet;
use fearless_simd::{
    Bytes, Select, SimdBase, SimdCombine, SimdFrom, SimdSplit, f32x16, u16x16, u32x16,
};
use half::{bf16, f16};

/// Converts neighbouring numbers, as many at a time as `of_chunk` does.
///
/// # Safety
/// - `source` is valid for reading and `target` for writing `len` numbers. They do not overlap; no alignment is needed.
#[inline(always)]
pub(super) unsafe fn convert<A: Copy + Default, B, const CHUNK: usize>(
    source: *const A,
    target: *mut B,
    len: usize,
    of_chunk: impl Fn([A; CHUNK]) -> [B; CHUNK],
) {
    let convert_chunk = inlined!(|at: usize, len: usize| {
        let (source, target) = (source.wrapping_add(at), target.wrapping_add(at));
        let mut chunk = [A::default(); CHUNK];
        let own: *mut u8 = chunk[..len].as_mut_ptr().cast();
        // SAFETY: the caller promises `len` readable numbers; `chunk` is a local array of at least as many.
        unsafe { source.cast::<u8>().copy_to_nonoverlapping(own, len * size_of::<A>()) };
        let converted = of_chunk(chunk);
        let own: *const u8 = converted[..len].as_ptr().cast();
        // SAFETY: the caller promises `len` writable numbers; `converted` is a local array of at least as many.
        unsafe { target.cast::<u8>().copy_from_nonoverlapping(own, len * size_of::<B>()) };
    });
    if len < CHUNK {
        return convert_chunk(0, len);
    }
    let (mut at, last) = (0, len - CHUNK);
    while at < last {
        convert_chunk(at, CHUNK);
        at += CHUNK;
    }
    // It may overlap the previous one.
    convert_chunk(last, CHUNK);
}

/// Widens bfloat16 numbers, exactly.
#[inline(always)]
pub(super) fn widen_bf16<S: InstructionSet>(simd: S, bits: [u16; MOST_LANES]) -> [f32; MOST_LANES] {
    let (low, high) = simd.widen_u16x16(u16x16::simd_from(simd, bits));
    (low.combine(high) << 16).bitcast::<f32x16<S>>().into()
}

/// Rounds each number to the nearest bfloat16, ties to even.
#[inline(always)]
pub(super) fn narrow_bf16<S: InstructionSet>(
    simd: S,
    values: [f32; MOST_LANES],
) -> [u16; MOST_LANES] {
    let values = f32x16::simd_from(simd, values);
    let bits = values.bitcast::<u32x16<S>>();
    let upper = bits >> 16;
    let rounded = (bits + (upper & 1) + 0x7fff) >> 16;
    let (is_number, quiet_nan) = (values.simd_eq(values), upper | 0x40);
    let (low, high) = is_number.select(rounded, quiet_nan).split();
    simd.narrow_u32x8(low, high).into()
}

/// # Safety
/// - `at` is valid for reading one element of `storage`.
#[allow(clippy::cast_precision_loss, reason = "no row has so many classes")]
#[inline(always)]
pub(super) unsafe fn read(at: *const u8, storage: Storage) -> f64 {
    // SAFETY: promised by the caller; unaligned reads by value.
    unsafe {
        match storage {
            Storage::Bool => f64::from(u8::from(at.read() != 0)),
            Storage::F16 => at.cast::<f16>().read_unaligned().to_f64(),
            Storage::Bf16 => at.cast::<bf16>().read_unaligned().to_f64(),
            Storage::F32 => f64::from(at.cast::<f32>().read_unaligned()),
            Storage::F64 => at.cast::<f64>().read_unaligned(),
            Storage::I64 => at.cast::<i64>().read_unaligned() as f64,
            _ => unreachable!("labels are read as integers"),
        }
    }
}

/// # Safety
/// - `at` is valid for writing one element of `storage`.
#[allow(clippy::cast_possible_truncation, reason = "whole numbers")]
#[inline(always)]
pub(super) unsafe fn write(at: *mut u8, storage: Storage, value: f64) {
    // SAFETY: promised by the caller; unaligned writes.
    unsafe {
        match storage {
            Storage::F16 => at.cast::<f16>().write_unaligned(f16::from_f32(to_odd(value))),
            Storage::Bf16 => at.cast::<bf16>().write_unaligned(bf16::from_f32(to_odd(value))),
            Storage::F32 => at.cast::<f32>().write_unaligned(f32::from_f64(value)),
            Storage::F64 => at.cast::<f64>().write_unaligned(value),
            Storage::I64 => at.cast::<i64>().write_unaligned(value as i64),
            _ => unreachable!("labels and masks are not written"),
        }
    }
}

/// `value` rounded to f32 by rounding to odd: if it is not exact, to the neighbour with an odd last bit. Rounding the
/// result to 16 bits then gives the same as rounding `value` once (Boldo and Melquiond 2008, "Emulation of FMA and
/// correctly rounded sums: proved algorithms using rounding to odd").
fn to_odd(value: f64) -> f32 {
    let nearest = f32::from_f64(value);
    let back = f64::from(nearest);
    if back == value || !nearest.is_finite() {
        return nearest;
    }
    // Round towards zero, then set the last bit.
    let away = back.abs() > value.abs();
    f32::from_bits((nearest.to_bits() - u32::from(away)) | 1)
}
