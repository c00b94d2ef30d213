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
use std::ops::Range;

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
#[derive(Clone)]
pub struct Buffer {
    bytes: Vec<u8>,
    storage: Storage,
    layout: Layout,
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
        Self { bytes, storage, layout, start, classes, rows }
    }

    /// `values`, row after row.
    pub fn from_values(storage: Storage, layout: Layout, classes: usize, values: &[f64]) -> Self {
        let bytes = encode(values, storage);
        let mut buffer = Self::new(storage, layout, values.len() / classes, classes);
        if buffer.layout == Layout::Dense {
            return Self { bytes, ..buffer };
        }
        match storage.size() {
            1 => buffer.scatter::<1>(&bytes),
            2 => buffer.scatter::<2>(&bytes),
            4 => buffer.scatter::<4>(&bytes),
            _ => buffer.scatter::<8>(&bytes),
        }
        buffer
    }

    pub fn values(&self) -> Vec<f64> {
        self.clone().into_numbers().values()
    }

    /// Row after row.
    pub fn into_numbers(self) -> Numbers {
        let storage = self.storage;
        let bytes = match storage.size() {
            _ if self.layout == Layout::Dense => self.bytes,
            1 => self.gather::<1>(),
            2 => self.gather::<2>(),
            4 => self.gather::<4>(),
            _ => self.gather::<8>(),
        };
        Numbers { bytes, storage }
    }

    fn scatter<const SIZE: usize>(&mut self, bytes: &[u8]) {
        let mut numbers = bytes.as_chunks::<SIZE>().0.iter();
        for row in self.row_starts() {
            for (at, number) in std::iter::zip(self.places(row), &mut numbers) {
                self.bytes[at..at + SIZE].copy_from_slice(number);
            }
        }
    }

    fn gather<const SIZE: usize>(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.rows[0].0 * self.rows[1].0 * self.classes.0 * SIZE];
        let mut numbers = bytes.as_chunks_mut::<SIZE>().0.iter_mut();
        for row in self.row_starts() {
            for (at, number) in std::iter::zip(self.places(row), &mut numbers) {
                number.copy_from_slice(&self.bytes[at..at + SIZE]);
            }
        }
        bytes
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

/// Numbers one after another, as they are in memory.
pub struct Numbers {
    bytes: Vec<u8>,
    storage: Storage,
}

impl Numbers {
    pub fn from_values(values: &[f64], storage: Storage) -> Self {
        Self { bytes: encode(values, storage), storage }
    }

    pub fn values(&self) -> Vec<f64> {
        decode(&self.bytes, self.storage)
    }

    pub fn part(&self, range: Range<usize>) -> Self {
        let size = self.storage.size();
        let bytes = self.bytes[range.start * size..range.end * size].to_vec();
        Self { bytes, storage: self.storage }
    }

    /// The first number that is not [`same`] as that of `wanted`, which is as long: its place, and both.
    ///
    /// Numbers of the same bytes are, so only what differs is decoded.
    pub fn first_difference(&self, wanted: &Self) -> Option<(usize, f64, f64)> {
        assert!(self.storage == wanted.storage && self.bytes.len() == wanted.bytes.len());
        let size = self.storage.size();
        let part = PART * size;
        let parts = self.bytes.chunks(part).zip(wanted.bytes.chunks(part)).enumerate();
        parts.filter(|(_, (found, wanted))| found != wanted).find_map(|(part, (found, wanted))| {
            let [found, wanted] = [found, wanted].map(|bytes| decode(bytes, self.storage));
            let at = (0..found.len()).find(|at| !same(found[*at], wanted[*at]))?;
            Some((part * PART + at, found[at], wanted[at]))
        })
    }
}

/// Numbers that are compared at once.
const PART: usize = 64;

/// Whether two numbers have the same bits; NaN is one value: its sign and payload are the
/// hardware's.
pub fn same(a: f64, b: f64) -> bool {
    a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan()
}

/// Offsets along an axis.
fn steps((len, stride): (usize, isize)) -> impl Iterator<Item = isize> {
    (0..len.cast_signed()).map(move |index| index * stride)
}

/// The largest finite number.
pub fn largest(storage: Storage) -> f64 {
    match storage {
        Storage::F16 => 65504.0,
        Storage::Bf16 => f64::from(f32::from_bits(0x7f7f_0000)),
        Storage::F32 => f64::from(f32::MAX),
        Storage::F64 => f64::MAX,
        _ => 1.0,
    }
}

/// The distance from 1 to the next number.
pub fn epsilon(storage: Storage) -> f64 {
    match storage {
        Storage::F16 => 2f64.powi(-10),
        Storage::Bf16 => 2f64.powi(-7),
        Storage::F32 => f64::from(f32::EPSILON),
        Storage::F64 => f64::EPSILON,
        _ => 1.0,
    }
}

/// The smallest normal number.
pub fn least_normal(storage: Storage) -> f64 {
    match storage {
        Storage::F16 => 2f64.powi(-14),
        Storage::Bf16 | Storage::F32 => f64::from(f32::MIN_POSITIVE),
        Storage::F64 => f64::MIN_POSITIVE,
        _ => 1.0,
    }
}

/// Finite numbers stay finite.
fn encode(values: &[f64], storage: Storage) -> Vec<u8> {
    fn each<const SIZE: usize>(
        values: &[f64],
        largest: f64,
        encode: impl Fn(f64) -> [u8; SIZE],
    ) -> Vec<u8> {
        let clamped = |value: f64| {
            if value.is_finite() { value.clamp(-largest, largest) } else { value }
        };
        values.iter().map(|value| encode(clamped(*value))).collect::<Vec<_>>().into_flattened()
    }
    let largest = largest(storage);
    match storage {
        Storage::Bool => each(values, largest, |value| [u8::from(value != 0.0)]),
        Storage::F16 => each(values, largest, |value| f16_bits(value).to_ne_bytes()),
        Storage::Bf16 => {
            each(values, largest, |value| (((value as f32).to_bits() >> 16) as u16).to_ne_bytes())
        }
        Storage::F32 => each(values, largest, |value| (value as f32).to_ne_bytes()),
        Storage::F64 => each(values, largest, f64::to_ne_bytes),
        Storage::I64 => each(values, largest, |value| (value as i64).to_ne_bytes()),
        other => panic!("no numbers are written as {other:?}"),
    }
}

fn decode(bytes: &[u8], storage: Storage) -> Vec<f64> {
    fn each<const SIZE: usize>(bytes: &[u8], decode: impl Fn([u8; SIZE]) -> f64) -> Vec<f64> {
        bytes.as_chunks().0.iter().map(|bytes| decode(*bytes)).collect()
    }
    match storage {
        Storage::Bool => each(bytes, |[byte]| f64::from(byte)),
        Storage::F16 => each(bytes, |bytes| f16_value(u16::from_ne_bytes(bytes))),
        Storage::Bf16 => each(bytes, |bytes| {
            f64::from(f32::from_bits(u32::from(u16::from_ne_bytes(bytes)) << 16))
        }),
        Storage::F32 => each(bytes, |bytes| f64::from(f32::from_ne_bytes(bytes))),
        Storage::F64 => each(bytes, f64::from_ne_bytes),
        Storage::I64 => each(bytes, |bytes| i64::from_ne_bytes(bytes) as f64),
        other => panic!("no numbers are written as {other:?}"),
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
