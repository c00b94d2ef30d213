//! Reads and writes elements of rows, one by one or many at once, of any storage type and in any layout.

use super::{Rows, RowsMut, Storage};
use crate::simd::instruction_set::InstructionSet;
use crate::simd::storage::{convert, narrow_bf16, read, widen_bf16, write};
use crate::simd::{Element, Float, Level, MOST_LANES, Vector, VectorJob};
use fearless_simd::Fallback;

impl Rows<'_> {
    /// Like [`Rows::gather_part`], without the vectors of a level. Compiled once.
    #[inline(never)]
    pub(crate) fn gather_from<F: Float>(&self, row: usize, class: usize, target: &mut [F]) {
        self.gather_part(Fallback::new(), row, class, target);
    }

    /// The same for row `row` and the next rows, as doubles, with the vectors of `level`.
    #[inline(never)]
    pub(crate) fn gather_at(&self, level: Level, row: usize, class: usize, target: &mut [f64]) {
        level.run((self, row, class, target));
    }

    /// The same with the vectors of a token, in a separate function.
    #[inline(never)]
    pub(crate) fn gather<V: Vector>(
        &self,
        token: V::Token,
        row: usize,
        class: usize,
        target: &mut [V::Scalar],
    ) {
        for (row, target) in (row..).zip(target.chunks_mut(self.at_once(target.len()))) {
            if V::IS_COMPACT {
                self.gather_from(row, class, target);
            } else {
                outlined!(V, token, self.gather_part(token, row, class, target));
            }
        }
    }

    /// Copies whole rows from `row` on, with the vectors of a level. In `target` they begin `pitch` elements apart, and are
    /// padded to whole vectors.
    pub(crate) fn gather_rows<V: Vector>(
        &self,
        token: V::Token,
        row: usize,
        pitch: usize,
        target: &mut [V::Scalar],
    ) {
        outlined!(V, token, {
            for (row, target) in (row..).zip(target.chunks_exact_mut(pitch)) {
                if !V::IS_COMPACT
                    && let Some(source) = self.direct::<V::Scalar>(row)
                {
                    for (i, values) in target.chunks_exact_mut(V::LANES).enumerate() {
                        let zero = V::Scalar::default();
                        source.vector::<V>(token, i * V::LANES, zero).to_slice(values);
                    }
                    continue;
                }
                self.gather::<V>(token, row, 0, &mut target[..self.classes]);
            }
        });
    }

    /// Copies the classes of row `row` from `class` on to `target`, converted to `F`; what is not 0 does not become 0.
    /// It continues with the next rows if all rows follow one another in memory.
    #[inline(always)]
    pub(crate) fn gather_part<S: InstructionSet, F: Float>(
        &self,
        token: S,
        row: usize,
        class: usize,
        target: &mut [F],
    ) {
        let (start, len) = (self.start_of_part(row, class, target.len()), target.len());
        let is_dense = self.class_stride == self.storage.size().cast_signed();
        match self.storage {
            // SAFETY: neighbouring elements of this row, readable by the promise of `from_raw`, to as many numbers.
            Storage::F16 if is_dense => unsafe {
                let widen = inlined!(|bits| F::from_floats(token.widen_f16(bits)));
                convert(start.cast(), target.as_mut_ptr(), len, widen);
            },
            // SAFETY: as above.
            Storage::Bf16 if is_dense => unsafe {
                let widen = inlined!(|bits| F::from_floats(widen_bf16(token, bits)));
                convert(start.cast(), target.as_mut_ptr(), len, widen);
            },
            // SAFETY: as above.
            Storage::Bool if is_dense && !S::IS_COMPACT => unsafe {
                let one_or_zero = |bit| if bit == 0 { F::default() } else { F::from_f64(1.0) };
                let of_bits = inlined!(|bits: [u8; MOST_LANES]| bits.map(one_or_zero));
                convert(start, target.as_mut_ptr(), len, of_bits);
            },
            _ => self.visit(row, class, len, |k, value| target[k] = F::nonzero(value)),
        }
    }

    /// Visits `count` classes of row `row` from `first` on: `visit(0, value)`, `visit(1, value)`, ...
    #[inline(always)]
    pub(crate) fn visit(
        &self,
        row: usize,
        first: usize,
        count: usize,
        mut visit: impl FnMut(usize, f64),
    ) {
        let start = self.start_of_part(row, first, count);
        // One loop for each storage, so that it is not tested for each element. Loops over neighbours are vectorized.
        macro_rules! walk {
            ($storage:expr, $stride:expr) => {
                for class in 0..count {
                    let at = start.wrapping_offset(class.cast_signed() * $stride);
                    // SAFETY: an element of this row, readable by the promise of `from_raw`.
                    visit(class, unsafe { read(at, $storage) });
                }
            };
        }
        match (self.storage, self.class_stride) {
            (Storage::F32, 4) => walk!(Storage::F32, 4),
            (Storage::F64, 8) => walk!(Storage::F64, 8),
            (Storage::Bool, 1) => walk!(Storage::Bool, 1),
            (Storage::F32, stride) => walk!(Storage::F32, stride),
            (Storage::F64, stride) => walk!(Storage::F64, stride),
            (storage, stride) => walk!(storage, stride),
        }
    }

    /// Copies the only element of each row from `first` on, an integer, to 64 bits, sign-extended.
    #[inline(always)]
    pub(crate) fn gather_integers(&self, first: usize, target: &mut [u64]) {
        if self.storage == Storage::I64 {
            // The usual type, with the vectors of the caller.
            return self.gather_as::<i64>(first, target);
        }
        self.gather_others(first, target);
    }

    #[inline(never)]
    fn gather_others(&self, first: usize, target: &mut [u64]) {
        match self.storage {
            Storage::I8 => self.gather_as::<i8>(first, target),
            Storage::I16 => self.gather_as::<i16>(first, target),
            Storage::I32 => self.gather_as::<i32>(first, target),
            Storage::U8 => self.gather_as::<u8>(first, target),
            Storage::U16 => self.gather_as::<u16>(first, target),
            Storage::U32 => self.gather_as::<u32>(first, target),
            Storage::U64 => self.gather_as::<u64>(first, target),
            other => unreachable!("{other:?} is of no labels"),
        }
    }

    #[inline(always)]
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "64 bits")]
    fn gather_as<T: Element + Into<i128>>(&self, first: usize, target: &mut [u64]) {
        assert!(self.storage == T::STORAGE);
        // SAFETY: an element of a row that exists, readable by the promise of `from_raw`, of this type.
        let read = |at: *const u8| unsafe { at.cast::<T>().read_unaligned() }.into() as u64;
        if !target.is_empty() && self.outer.step() == Some(size_of::<T>().cast_signed()) {
            // The elements are neighbours, so this loop is vectorized.
            let start = self.start_of(first, target.len(), 0);
            for (i, value) in target.iter_mut().enumerate() {
                *value = read(start.wrapping_add(i * size_of::<T>()));
            }
        } else {
            for (row, value) in (first..).zip(target) {
                *value = read(self.start_of(row, 1, 0));
            }
        }
    }
}

impl VectorJob<f64> for (&Rows<'_>, usize, usize, &mut [f64]) {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Scalar = f64>>(self, token: V::Token) {
        let (rows, row, class, target) = self;
        rows.gather::<V>(token, row, class, target);
    }
}

impl RowsMut<'_> {
    /// Like [`RowsMut::scatter_part`], without the vectors of a level. Compiled once.
    #[inline(never)]
    pub(crate) fn scatter_from<F: Float>(&self, row: usize, class: usize, values: &[F]) {
        self.scatter_part(Fallback::new(), row, class, values);
    }

    /// The same for row `row` and the next rows, with the vectors of a level, in a separate function.
    pub(crate) fn scatter<V: Vector>(
        &self,
        token: V::Token,
        row: usize,
        class: usize,
        values: &[V::Scalar],
    ) {
        for (row, values) in (row..).zip(values.chunks(self.at_once(values.len()))) {
            if V::IS_COMPACT {
                self.scatter_from(row, class, values);
            } else {
                outlined!(V, token, self.scatter_part(token, row, class, values));
            }
        }
    }

    /// Writes whole rows from `row` on, with the vectors of a level. In `values` they begin `pitch` elements apart, and are
    /// padded to whole vectors.
    pub(crate) fn scatter_rows<V: Vector>(
        &self,
        token: V::Token,
        row: usize,
        pitch: usize,
        values: &[V::Scalar],
    ) {
        outlined!(V, token, {
            for (row, values) in (row..).zip(values.chunks_exact(pitch)) {
                if !V::IS_COMPACT
                    && let Some(mut target) = self.direct(row)
                {
                    for (i, values) in values.chunks_exact(V::LANES).enumerate() {
                        target.set_vector(i * V::LANES, V::from_slice(token, values));
                    }
                    continue;
                }
                self.scatter::<V>(token, row, 0, &values[..self.classes]);
            }
        });
    }

    /// Writes `values`, rounded to the storage type, to the classes of row `row` from `class` on. It continues with the
    /// next rows if all rows follow one another in memory.
    #[inline(always)]
    pub(crate) fn scatter_part<F: Float>(
        &self,
        token: impl InstructionSet,
        row: usize,
        class: usize,
        values: &[F],
    ) {
        let start = self.start_of_part(row, class, values.len());
        let is_dense = self.class_stride == self.storage.size().cast_signed();
        let (floats, len) = (values.as_ptr().cast::<f32>(), values.len());
        match self.storage {
            // SAFETY: neighbouring elements of this row, writable by the promise of `from_raw`, from as many `f32`: no
            // other type has their storage.
            Storage::F16 if is_dense && F::STORAGE == Storage::F32 => unsafe {
                convert(floats, start.cast(), len, inlined!(|chunk| token.narrow_f16(chunk)));
            },
            // SAFETY: as above.
            Storage::Bf16 if is_dense && F::STORAGE == Storage::F32 => unsafe {
                convert(floats, start.cast(), len, inlined!(|chunk| narrow_bf16(token, chunk)));
            },
            // SAFETY: elements of this row, at its stride, writable by the promise of `from_raw`.
            _ => unsafe { write_all(start, self.storage, self.class_stride, values) },
        }
    }

    /// Writes `values`, rounded to the storage type, to the only element of each row from `first` on.
    #[inline(never)]
    pub(crate) fn set_rows(&self, first: usize, values: &[f64]) {
        assert!(self.classes == 1);
        let start = self.start_of(first, values.len(), 0);
        match self.outer.step() {
            // SAFETY: elements of rows that exist, by the check of `start_of`.
            Some(stride) => unsafe { write_all(start, self.storage, stride, values) },
            None => (first..).zip(values).for_each(|(row, value)| self.put(row, 0, *value)),
        }
    }

    /// Writes `value`, rounded to the storage type, to a class of row `row`.
    pub(crate) fn put(&self, row: usize, class: usize, value: f64) {
        // SAFETY: an element of a row that exists, by the check of `start_of`.
        unsafe { write(self.start_of(row, 1, class), self.storage, value) };
    }

    /// Writes `value`, rounded to the storage type, to the only element of row `row`.
    ///
    /// # Panics
    /// If rows have more than one element.
    pub fn set_element(&mut self, row: usize, value: f64) {
        assert!(self.classes == 1);
        self.put(row, 0, value);
    }
}

/// Writes `values`, rounded to the storage type, to elements `stride` bytes apart.
///
/// # Safety
/// - As many elements of `storage`, `stride` bytes apart from `start` on, are valid for writing.
#[inline(always)]
unsafe fn write_all<F: Float>(start: *mut u8, storage: Storage, stride: isize, values: &[F]) {
    // One loop for each storage, and a separate one for neighbours, which is vectorized.
    macro_rules! walk {
        ($storage:expr, $stride:expr) => {
            for (index, value) in values.iter().enumerate() {
                let at = start.wrapping_offset(index.cast_signed() * $stride);
                // SAFETY: as the caller says.
                unsafe { write(at, $storage, value.to_f64()) };
            }
        };
    }
    match (storage, stride) {
        (Storage::F32, 4) => walk!(Storage::F32, 4),
        (Storage::F64, 8) => walk!(Storage::F64, 8),
        (storage, stride) => walk!(storage, stride),
    }
}
