//! Numbers in memory, in every storage and layout.
//!
//! Addresses and conversions are worked out here once more, so a view that reads or writes
//! elsewhere gives other numbers. 16-bit numbers are cut towards zero on their way in: which
//! ones they are does not matter.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "bits of numbers"
)]

use smoothxent::{Rows, RowsMut, Storage};

/// Where the elements are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// One row after another.
    Dense,
    /// With gaps between classes and between rows, and no alignment.
    Gapped,
    /// The last class of the last row first.
    Reversed,
    /// One class after another.
    ClassMajor,
    /// Two axes of rows, the inner one with the larger stride.
    Grid,
}

/// Rows of numbers.
pub struct Buffer {
    bytes: Vec<u8>,
    storage: Storage,
    start: isize,
    /// Length and stride, in bytes.
    classes: (usize, isize),
    rows: [(usize, isize); 2],
}

impl Buffer {
    /// Zeros.
    pub fn new(storage: Storage, layout: Layout, rows: usize, classes: usize) -> Self {
        let size = storage.size().cast_signed();
        let (row_count, class_count) = (rows.cast_signed(), classes.cast_signed());
        let row = class_count * size;
        let one = |stride| [(1, 0), (rows, stride)];
        let (start, class_stride, rows) = match layout {
            Layout::Gapped => (1, 3 * size, one(3 * row + 5)),
            Layout::Reversed => (row_count * row - size, -size, one(-row)),
            Layout::ClassMajor => (0, row_count * size, one(size)),
            Layout::Grid if rows.is_multiple_of(2) => (0, size, [(2, row), (rows / 2, 2 * row)]),
            Layout::Dense | Layout::Grid => (0, size, one(row)),
        };
        let last = |(len, stride): (usize, isize)| (len.cast_signed() - 1) * stride.max(0);
        let classes = (classes, class_stride);
        let end = start + rows.map(last).iter().sum::<isize>() + last(classes) + size;
        let bytes = vec![0; end.cast_unsigned()];
        Self { bytes, storage, start, classes, rows }
    }

    /// `values`, row after row.
    pub fn from_values(storage: Storage, layout: Layout, classes: usize, values: &[f64]) -> Self {
        let mut buffer = Self::new(storage, layout, values.len() / classes, classes);
        let mut values = values.iter();
        for row in buffer.row_starts() {
            for (at, value) in std::iter::zip(buffer.places(row), &mut values) {
                encode(*value, storage, &mut buffer.bytes[at..]);
            }
        }
        buffer
    }

    /// Row after row.
    pub fn values(&self) -> Vec<f64> {
        let mut values = Vec::new();
        for row in self.row_starts() {
            let decoded = self.places(row).map(|at| decode(&self.bytes[at..], self.storage));
            values.extend(decoded);
        }
        values
    }

    /// Where the first class of each row is.
    fn row_starts(&self) -> impl Iterator<Item = isize> + use<> {
        let (start, [outer, inner]) = (self.start, self.rows);
        steps(outer)
            .flat_map(move |of_outer| steps(inner).map(move |of_inner| start + of_outer + of_inner))
    }

    /// Where the classes of the row are that starts there.
    fn places(&self, row: isize) -> impl Iterator<Item = usize> + use<> {
        steps(self.classes).map(move |of_class| (row + of_class).cast_unsigned())
    }

    pub fn rows(&self) -> Rows<'_> {
        let start = self.bytes.as_ptr().wrapping_offset(self.start);
        // SAFETY: `new` made room for every element, and the bytes are borrowed.
        unsafe { Rows::from_raw(start, self.storage, self.classes, self.rows.into_iter()) }
    }

    /// The only row, as often as asked for.
    pub fn repeated(&self, rows: usize) -> Rows<'_> {
        assert!(self.rows[0].0 * self.rows[1].0 == 1, "one row");
        let start = self.bytes.as_ptr().wrapping_offset(self.start);
        // SAFETY: every row is the one that `new` made room for, and the bytes are borrowed.
        unsafe { Rows::from_raw(start, self.storage, self.classes, [(rows, 0)].into_iter()) }
    }

    pub fn rows_mut(&mut self) -> RowsMut<'_> {
        let start = self.bytes.as_mut_ptr().wrapping_offset(self.start);
        // SAFETY: as for `rows`, borrowed mutably; no layout has two elements in one place.
        unsafe { RowsMut::from_raw(start, self.storage, self.classes, self.rows.into_iter()) }
    }
}

/// Offsets along an axis.
fn steps((len, stride): (usize, isize)) -> impl Iterator<Item = isize> {
    (0..len.cast_signed()).map(move |index| index * stride)
}

/// The largest finite number.
pub fn largest(storage: Storage) -> f64 {
    match storage {
        Storage::Bool | Storage::I64 => 1.0,
        Storage::F16 => 65504.0,
        Storage::Bf16 => f64::from(f32::from_bits(0x7f7f_0000)),
        Storage::F32 => f64::from(f32::MAX),
        Storage::F64 => f64::MAX,
    }
}

/// The distance from 1 to the next number.
pub fn epsilon(storage: Storage) -> f64 {
    match storage {
        Storage::Bool | Storage::I64 => 1.0,
        Storage::F16 => 2f64.powi(-10),
        Storage::Bf16 => 2f64.powi(-7),
        Storage::F32 => f64::from(f32::EPSILON),
        Storage::F64 => f64::EPSILON,
    }
}

/// The smallest normal number.
pub fn least_normal(storage: Storage) -> f64 {
    match storage {
        Storage::Bool | Storage::I64 => 1.0,
        Storage::F16 => 2f64.powi(-14),
        Storage::Bf16 | Storage::F32 => f64::from(f32::MIN_POSITIVE),
        Storage::F64 => f64::MIN_POSITIVE,
    }
}

/// Finite numbers stay finite.
fn encode(value: f64, storage: Storage, to: &mut [u8]) {
    let largest = largest(storage);
    let value = if value.is_finite() { value.clamp(-largest, largest) } else { value };
    match storage {
        Storage::Bool => to[0] = u8::from(value != 0.0),
        Storage::F16 => to[..2].copy_from_slice(&f16_bits(value).to_ne_bytes()),
        Storage::Bf16 => {
            let bits = ((value as f32).to_bits() >> 16) as u16;
            to[..2].copy_from_slice(&bits.to_ne_bytes());
        }
        Storage::F32 => to[..4].copy_from_slice(&(value as f32).to_ne_bytes()),
        Storage::F64 => to[..8].copy_from_slice(&value.to_ne_bytes()),
        Storage::I64 => to[..8].copy_from_slice(&(value as i64).to_ne_bytes()),
    }
}

fn decode(from: &[u8], storage: Storage) -> f64 {
    let half = || u16::from_ne_bytes([from[0], from[1]]);
    match storage {
        Storage::Bool => f64::from(from[0]),
        Storage::F16 => f16_value(half()),
        Storage::Bf16 => f64::from(f32::from_bits(u32::from(half()) << 16)),
        Storage::F32 => f64::from(f32::from_ne_bytes([from[0], from[1], from[2], from[3]])),
        Storage::F64 => f64::from_ne_bytes(from[..8].try_into().expect("eight bytes")),
        Storage::I64 => i64::from_ne_bytes(from[..8].try_into().expect("eight bytes")) as f64,
    }
}

/// Between the exponents of binary64 and binary16, in the last place of binary16.
const REBIAS: u64 = (1023 - 15) << 10;

fn f16_bits(value: f64) -> u16 {
    let sign = if value.is_sign_negative() { 0x8000 } else { 0 };
    let size = value.abs();
    sign | if size.is_nan() {
        0x7e00
    } else if size.is_infinite() {
        0x7c00
    } else if size < least_normal(Storage::F16) {
        (size * 2f64.powi(24)) as u16
    } else {
        ((size.to_bits() >> 42) - REBIAS) as u16
    }
}

fn f16_value(bits: u16) -> f64 {
    let size = match u64::from(bits & 0x7fff) {
        size @ 0..=0x3ff => size as f64 * 2f64.powi(-24),
        size @ 0x400..=0x7bff => f64::from_bits((size + REBIAS) << 42),
        0x7c00 => f64::INFINITY,
        _ => f64::NAN,
    };
    if bits & 0x8000 == 0 { size } else { -size }
}
