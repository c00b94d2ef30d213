//! Raw views of rows of numbers, in any memory layout.
//!
//! A view is a pointer, lengths and byte strides. It does not make references, since the memory may belong to an array
//! to which another thread is writing; then the numbers that are read are unspecified, but nothing else happens. The
//! creator of a view promises once that its addresses are valid. All methods check their arguments against the lengths
//! of the view.

mod doubles;
mod elements;
mod neighbours;

use super::Cache;
use super::element::{Element, Float, Storage};
use super::instruction_set::prefetch;
use super::outer::Outer;
use super::row::{Sink, Source};
use super::storage::read;
pub(crate) use doubles::{AsDoubles, Copied};
pub(crate) use neighbours::{GatherNeighbours, Neighbours};
use std::iter;
use std::marker::PhantomData;
use std::ops::Range;

macro_rules! view {
    ($(#[$attribute:meta])* $name:ident, $pointer:ty, $row:ident, $slice:ty, $start_of_slice:ident, { $($(#[$field_doc:meta])* $field:ident: $type:ty = $initial:expr)? }, $validity:literal) => {
        $(#[$attribute])*
        pub struct $name<'a> {
            start: $pointer,
            storage: Storage,
            classes: usize,
            pub(super) class_stride: isize,
            pub(super) outer: Outer,
            $($(#[$field_doc])* pub $field: $type,)?
            memory: PhantomData<&'a ()>,
        }

        // SAFETY: a view is numbers; every access through it is by raw pointer, and racing accesses give unspecified
        // values only. A value that becomes an index is compared with the lengths first.
        unsafe impl Send for $name<'_> {}
        // SAFETY: as for Send.
        unsafe impl Sync for $name<'_> {}

        impl<'a> $name<'a> {
            /// A view of rows of `classes` elements, which are `class_stride` bytes apart. The rows are numbered by
            /// `axes` (length and byte stride, in C order).
            ///
            /// # Safety
            #[doc = $validity]
            pub unsafe fn from_raw(
                start: $pointer,
                storage: Storage,
                (classes, class_stride): (usize, isize),
                axes: impl Iterator<Item = (usize, isize)>,
            ) -> Self {
                Self {
                    start,
                    storage,
                    classes,
                    class_stride,
                    outer: Outer::new(axes),
                    $($field: $initial,)?
                    memory: PhantomData,
                }
            }

            /// A view of a slice as `len / classes` rows.
            ///
            /// # Panics
            /// If `classes` does not divide the length.
            #[must_use]
            pub fn from_slice<F: Element>(values: $slice, classes: usize) -> Self {
                let (len, size) = (values.len(), F::STORAGE.size());
                assert!(classes > 0 && len.is_multiple_of(classes), "{len} elements in rows of {classes}");
                let class_axis = (classes, size.cast_signed());
                let axes = iter::once((len / classes, (classes * size).cast_signed()));
                // SAFETY: the slice is borrowed for 'a, mutably if it is written, and exactly covered, each element
                // once.
                unsafe { Self::from_raw(values.$start_of_slice().cast(), F::STORAGE, class_axis, axes) }
            }

            /// Number of rows.
            #[must_use]
            pub fn rows(&self) -> usize {
                self.outer.rows()
            }

            /// Elements in a row.
            #[must_use]
            pub fn classes(&self) -> usize {
                self.classes
            }

            /// The storage of the elements.
            #[must_use]
            pub fn storage(&self) -> Storage {
                self.storage
            }

            /// Whether a row is `classes` neighbouring elements of type `F`.
            pub(crate) fn is_direct<F: Float>(&self) -> bool {
                self.storage == F::STORAGE
                    && (self.class_stride == F::STORAGE.size().cast_signed() || self.classes <= 1)
            }

            /// Row `row` in place, if it consists of neighbouring elements of type `F`.
            #[inline(always)]
            pub(crate) fn direct<F: Float>(&self, row: usize) -> Option<$row<'a, F>> {
                // SAFETY: a row of neighbouring elements of this type, readable, and writable by a view to be
                // written, by the promise of `from_raw`.
                let direct = || unsafe { $row::from_raw(self.row_start(row).cast(), self.classes) };
                self.is_direct::<F>().then(direct)
            }

            /// The number of rows from `first` on that are neighbours in memory, class by class. None if the innermost axis
            /// of the rows is shorter than `rows`, or not contiguous.
            pub(crate) fn neighbours_from(&self, first: usize, rows: usize) -> Option<usize> {
                let (len, stride) = self.outer.inner();
                let is_dense = stride == self.storage.size().cast_signed();
                (is_dense && len >= rows).then(|| self.outer.left_from(first))
            }

            /// `count` rows, if they are neighbours in memory, class by class, with rows and classes exchanged: then each
            /// row has neighbouring elements.
            #[inline(always)]
            pub(crate) fn transposed(&self, first: usize, count: usize) -> Option<Self> {
                if self.neighbours_from(first, 1)? < count {
                    return None;
                }
                let start = self.start_of(first, count, 0);
                let elements = (count, self.storage.size().cast_signed());
                let axes = iter::once((self.classes, self.class_stride));
                // SAFETY: elements of these rows.
                Some(unsafe { Self::from_raw(start, self.storage, elements, axes) })
            }

            /// `count` rows as a single row, if they follow one another in memory and have neighbouring elements of
            /// type `F`.
            #[inline(always)]
            pub(crate) fn run<F: Float>(&self, first: usize, count: usize) -> Option<$row<'a, F>> {
                let row = self.classes.cast_signed() * F::STORAGE.size().cast_signed();
                if !self.is_direct::<F>() || self.outer.step() != Some(row) {
                    return None;
                }
                let start = self.start_of(first, count, 0);
                // SAFETY: rows of neighbouring elements of this type, one after another.
                Some(unsafe { $row::from_raw(start.cast(), count * self.classes) })
            }

            /// Do all rows follow one another in memory, like a single row?
            pub(crate) fn are_one(&self) -> bool {
                self.outer.step() == Some(self.classes.cast_signed() * self.class_stride)
            }

            /// The number of `count` elements of successive rows that are copied together: those of one row, unless all
            /// rows follow one another.
            pub(crate) fn at_once(&self, count: usize) -> usize {
                if self.are_one() { count.max(1) } else { self.classes.max(1) }
            }

            /// The address of `count` elements from a class of row `row` on. They may extend to the next rows if all
            /// rows follow one another.
            #[inline(always)]
            fn start_of_part(&self, row: usize, class: usize, count: usize) -> $pointer {
                let are_there = |rows: usize| count <= (rows * self.classes).saturating_sub(class);
                assert!(class <= self.classes);
                assert!(are_there(1) || self.are_one() && are_there(self.rows().saturating_sub(row)));
                if count > 0 { self.start_of(row, 1, class) } else { self.start }
            }

            /// A function from a row to its elements in place, if all rows consist of neighbouring elements of type `F`
            /// and are equally far apart. In a loop it takes less time than `direct`.
            #[inline(always)]
            pub(crate) fn all_direct<F: Float>(&self) -> Option<impl Fn(usize) -> $row<'a, F> + use<'a, F>> {
                let stride = self.outer.step().filter(|_| self.is_direct::<F>())?;
                let (start, rows, classes) = (self.start, self.rows(), self.classes);
                Some(inlined!(move |row: usize| {
                    assert!(row < rows, "row {row} of {rows}");
                    let start = start.wrapping_offset(row.cast_signed() * stride);
                    // SAFETY: a row of neighbouring elements of this type.
                    unsafe { $row::from_raw(start.cast(), classes) }
                }))
            }

            /// Prefetches the cache line of a class of each of these rows, if they exist. Compiled once.
            #[inline(never)]
            pub(crate) fn prefetch(&self, rows: Range<usize>, class: usize) {
                for row in rows {
                    let start = self.start.wrapping_offset(self.outer.offset(row));
                    let element = start.wrapping_offset(class.cast_signed() * self.class_stride);
                    prefetch(Cache::Second, element.cast());
                }
            }

            /// An element, as a double.
            pub(crate) fn get(&self, row: usize, class: usize) -> f64 {
                // SAFETY: an element, by the check of `start_of`.
                unsafe { read(self.start_of(row, 1, class), self.storage) }
            }

            /// The address of a class of row `first`. Checks that this row and the next `count - 1` rows exist.
            #[inline(always)]
            pub(super) fn start_of(&self, first: usize, count: usize, class: usize) -> $pointer {
                assert!(class < self.classes, "class {class} of {}", self.classes);
                let rows = self.rows();
                assert!(first < rows && count <= rows - first, "row {first} of {rows}, and {count} on");
                self.row_start(first).wrapping_offset(class.cast_signed() * self.class_stride)
            }

            #[inline(always)]
            fn row_start(&self, row: usize) -> $pointer {
                assert!(row < self.rows(), "row {row} of {}", self.rows());
                self.start.wrapping_offset(self.outer.offset(row))
            }
        }
    };
}

view!(
    /// Rows that are read.
    #[derive(Clone, Debug)]
    Rows,
    *const u8,
    Source,
    &'a [F],
    as_ptr,
    {},
    "- Every element so addressed stays readable for `'a`; no alignment is needed."
);
view!(
    /// Rows that are written. Distinct elements have distinct addresses.
    ///
    /// Like a mutable slice, it is the only such view of its elements: it is not `Clone`, and functions that write take
    /// it by `&mut`. Within a call several threads write to it, each to its own rows.
    ///
    /// ```compile_fail,E0599
    /// let mut values = [0f32; 4];
    /// let rows = smoothxent::RowsMut::from_slice(&mut values, 2);
    /// let others = rows.clone();
    /// ```
    #[derive(Debug)]
    RowsMut,
    *mut u8,
    Sink,
    &'a mut [F],
    as_mut_ptr,
    {
        /// May streaming stores be used where they are faster? They should not be for new memory.
        is_streamed: bool = false
    },
    "- Every element so addressed stays writable for `'a`, and no two share memory; no alignment is needed."
);

impl Rows<'_> {
    /// Are all rows the same one, repeated by a stride of 0?
    pub(crate) fn are_repeated(&self) -> bool {
        self.outer.step() == Some(0)
    }

    /// The distinct rows, of which other rows are repetitions (by strides of 0). Also returns, as an offset, the distinct
    /// row for each row.
    pub(crate) fn distinct(&self) -> (Self, Outer) {
        let (outer, places) = self.outer.distinct();
        (Self { outer, ..self.clone() }, places)
    }
}

impl RowsMut<'_> {
    /// Does it begin at the same address as `rows`?
    pub(crate) fn starts_with(&self, rows: &Rows<'_>) -> bool {
        self.start.addr() == rows.start.addr()
    }
}

#[cfg(test)]
mod tests;
