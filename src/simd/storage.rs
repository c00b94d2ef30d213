//! How numbers lie in memory, and their conversion, one by one or a row at a time.
//!
//! bfloat16 is the upper half of an f32; float16 is converted by instructions of the level, or by the
//! `half` crate. Rows go through a small buffer of our own: no reference is made to the memory of
//! a view.

use crate::element::Float;
use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};
use half::{bf16, f16};

/// 16-bit numbers converted at once.
const CHUNK: usize = 64;

/// How one element lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// One byte: 0 is false, anything else true. Of masks only.
    Bool,
    /// IEEE 754 binary16, native byte order.
    F16,
    /// The upper half of a binary32, native byte order.
    Bf16,
    /// IEEE 754 binary32, native byte order.
    F32,
    /// IEEE 754 binary64, native byte order.
    F64,
}

impl Storage {
    /// Bytes of one element.
    #[must_use]
    pub const fn size(self) -> usize {
        match self {
            Storage::Bool => 1,
            Storage::F16 | Storage::Bf16 => 2,
            Storage::F32 => 4,
            Storage::F64 => 8,
        }
    }

    /// What rows of both are computed in: the 16-bit types only store.
    #[must_use]
    pub fn compute_with(self, other: Storage) -> Storage {
        if self == Storage::F64 || other == Storage::F64 { Storage::F64 } else { Storage::F32 }
    }
}

/// Conversion of float16: to nearest, ties to even.
pub trait Halves: Copy {
    /// Widens as many numbers as both have.
    #[inline(always)]
    fn widen_f16(self, bits: &[u16], target: &mut [f32]) {
        bits.reinterpret_cast::<f16>().convert_to_f32_slice(target);
    }
    /// Rounds as many numbers as both have.
    #[inline(always)]
    fn narrow_f16(self, values: &[f32], bits: &mut [u16]) {
        bits.reinterpret_cast_mut::<f16>().convert_from_f32_slice(values);
    }
}

/// Widens neighbouring elements, if this storage is widened many at once.
///
/// # Safety
/// - `source` is valid for reading as many elements of `storage` as `target` has.
#[inline(always)]
pub(super) unsafe fn widen(
    halves: impl Halves,
    source: *const u8,
    storage: Storage,
    target: &mut [f32],
) -> bool {
    let mut buffer = [0; CHUNK];
    for (chunk, target) in target.chunks_mut(CHUNK).enumerate() {
        let buffer = &mut buffer[..target.len()];
        if !matches!(storage, Storage::F16 | Storage::Bf16) {
            return false;
        }
        let at = source.wrapping_add(chunk * size_of::<[u16; CHUNK]>());
        // SAFETY: so many bytes of `source` are readable; the buffer is ours.
        unsafe { at.copy_to_nonoverlapping(buffer.as_mut_ptr().cast(), size_of_val(buffer)) };
        if storage == Storage::F16 {
            halves.widen_f16(buffer, target);
        } else {
            for (target, bits) in target.iter_mut().zip(buffer) {
                *target = f32::from_bits(u32::from(*bits) << 16);
            }
        }
    }
    true
}

/// Rounds to neighbouring elements, if this storage is written many at once.
///
/// # Safety
/// - `target` is valid for writing as many elements of `storage` as `values` has.
#[inline(always)]
pub(super) unsafe fn narrow(
    halves: impl Halves,
    values: &[f32],
    target: *mut u8,
    storage: Storage,
) -> bool {
    let mut buffer = [0; CHUNK];
    for (chunk, values) in values.chunks(CHUNK).enumerate() {
        let buffer = &mut buffer[..values.len()];
        match storage {
            Storage::F16 => halves.narrow_f16(values, buffer),
            Storage::Bf16 => {
                for (bits, value) in buffer.iter_mut().zip(values) {
                    *bits = upper_half(*value);
                }
            }
            _ => return false,
        }
        let at = target.wrapping_add(chunk * size_of::<[u16; CHUNK]>());
        // SAFETY: so many bytes of `target` are writable; the buffer is ours.
        unsafe { at.copy_from_nonoverlapping(buffer.as_ptr().cast(), size_of_val(buffer)) };
    }
    true
}

/// The nearest bfloat16, ties to even, without a branch: `half` has one, which keeps a loop from
/// being vectorised.
#[allow(clippy::cast_possible_truncation, reason = "the upper half is what is wanted")]
#[inline(always)]
fn upper_half(value: f32) -> u16 {
    let bits = value.to_bits();
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
    let quiet = bits >> 16 | 0x40;
    (if value.is_nan() { quiet } else { rounded }) as u16
}

/// # Safety
/// - `at` is valid for reading one element of `storage`.
#[inline(always)]
pub(super) unsafe fn read(at: *const u8, storage: Storage) -> f64 {
    // SAFETY: promised by the caller; unaligned reads by value.
    unsafe {
        match storage {
            Storage::Bool => f64::from(u8::from(at.read() != 0)),
            Storage::F16 => f16::from_bits(at.cast::<u16>().read_unaligned()).to_f64(),
            Storage::Bf16 => bf16::from_bits(at.cast::<u16>().read_unaligned()).to_f64(),
            Storage::F32 => f64::from(at.cast::<f32>().read_unaligned()),
            Storage::F64 => at.cast::<f64>().read_unaligned(),
        }
    }
}

/// # Safety
/// - `at` is valid for writing one element of `storage`.
#[inline(always)]
pub(super) unsafe fn write(at: *mut u8, storage: Storage, value: f64) {
    // SAFETY: promised by the caller; unaligned writes.
    unsafe {
        match storage {
            Storage::Bool => at.write(u8::from(value != 0.0)),
            Storage::F16 => {
                at.cast::<u16>().write_unaligned(f16::from_f32(to_odd(value)).to_bits());
            }
            Storage::Bf16 => {
                at.cast::<u16>().write_unaligned(bf16::from_f32(to_odd(value)).to_bits());
            }
            Storage::F32 => at.cast::<f32>().write_unaligned(f32::from_f64(value)),
            Storage::F64 => at.cast::<f64>().write_unaligned(value),
        }
    }
}

/// `value` in f32, rounded to the neighbour with an odd last bit where it is not exact: rounding
/// that to 16 bits is rounding `value` once (Boldo and Melquiond 2008, "Emulation of FMA and
/// correctly rounded sums: proved algorithms using rounding to odd").
fn to_odd(value: f64) -> f32 {
    let nearest = f32::from_f64(value);
    let back = f64::from(nearest);
    if back == value || !nearest.is_finite() {
        return nearest;
    }
    // Towards zero, then up to odd.
    let away = back.abs() > value.abs();
    f32::from_bits((nearest.to_bits() - u32::from(away)) | 1)
}
