//! Raw views of rows of numbers, and every load and store of this crate.
//!
//! A view is a pointer, lengths and byte strides. It makes no reference: the
//! memory may belong to an array that another thread is writing, in which case
//! the numbers read are unspecified and nothing else. Whoever makes a view
//! states once that its addresses are valid; all methods are checked against
//! the view's own lengths.

use super::Vector;
use crate::element::Float;
use std::marker::PhantomData;

/// How one element lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
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
            Storage::F32 => 4,
            Storage::F64 => 8,
        }
    }

    /// The one with more digits.
    #[must_use]
    pub fn wider(self, other: Storage) -> Storage {
        if self.size() >= other.size() { self } else { other }
    }
}

/// Lengths and byte strides of the axes that number the rows, in C order.
#[derive(Clone, Debug)]
pub enum Outer {
    /// One axis, or several that step like one.
    Line { len: usize, stride: isize },
    /// Any axes.
    Grid(Vec<(usize, isize)>),
}

impl Outer {
    pub fn new(axes: impl Iterator<Item = (usize, isize)>) -> Self {
        let mut merged: Vec<(usize, isize)> = Vec::new();
        for (len, stride) in axes {
            if len == 1 {
                continue;
            }
            match merged.last_mut() {
                // Two neighbouring axes are one when the outer steps over all of the inner.
                Some(outer) if len.cast_signed().checked_mul(stride) == Some(outer.1) => {
                    *outer = (outer.0 * len, stride);
                }
                _ => merged.push((len, stride)),
            }
        }
        match merged[..] {
            [] => Outer::Line { len: 1, stride: 0 },
            [(len, stride)] => Outer::Line { len, stride },
            _ => Outer::Grid(merged),
        }
    }

    pub fn rows(&self) -> usize {
        match self {
            Outer::Line { len, .. } => *len,
            Outer::Grid(axes) => axes.iter().map(|axis| axis.0).product(),
        }
    }

    #[inline(always)]
    pub fn offset(&self, row: usize) -> isize {
        match self {
            Outer::Line { stride, .. } => row.cast_signed() * stride,
            Outer::Grid(axes) => Self::grid_offset(axes, row),
        }
    }

    fn grid_offset(axes: &[(usize, isize)], mut row: usize) -> isize {
        let mut offset = 0;
        for &(len, stride) in axes.iter().rev() {
            offset += (row % len).cast_signed() * stride;
            row /= len;
        }
        offset
    }
}

macro_rules! view {
    ($name:ident, $pointer:ty, $doc:literal, $validity:literal) => {
        #[doc = $doc]
        #[derive(Clone, Debug)]
        pub struct $name<'a> {
            start: $pointer,
            storage: Storage,
            classes: usize,
            class_stride: isize,
            outer: Outer,
            memory: PhantomData<&'a ()>,
        }

        // SAFETY: a view is numbers; every access through it is by raw pointer, and racing
        // accesses give unspecified values only (no value read ever becomes an address).
        unsafe impl Send for $name<'_> {}
        // SAFETY: as for Send.
        unsafe impl Sync for $name<'_> {}

        impl<'a> $name<'a> {
            /// A view of `classes` elements a row, `class_stride` bytes apart, for all rows
            /// of `axes` (length and byte stride, in C order).
            ///
            /// # Safety
            #[doc = $validity]
            pub unsafe fn from_raw(
                start: $pointer,
                storage: Storage,
                (classes, class_stride): (usize, isize),
                axes: impl Iterator<Item = (usize, isize)>,
            ) -> Self {
                let outer = Outer::new(axes);
                Self { start, storage, classes, class_stride, outer, memory: PhantomData }
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

            /// Whether all rows are the same memory.
            #[must_use]
            pub fn is_one_row(&self) -> bool {
                match &self.outer {
                    Outer::Line { len, stride } => *len == 1 || *stride == 0,
                    Outer::Grid(axes) => axes.iter().all(|axis| axis.1 == 0),
                }
            }

            /// The storage of the elements.
            #[must_use]
            pub fn storage(&self) -> Storage {
                self.storage
            }

            /// Whether a row is `classes` neighbouring elements of type `F`.
            fn is_direct<F: Float>(&self) -> bool {
                self.storage == F::STORAGE
                    && (self.class_stride == F::STORAGE.size().cast_signed() || self.classes <= 1)
            }

            fn row_start(&self, row: usize) -> $pointer {
                assert!(row < self.rows(), "row {row} of {}", self.rows());
                self.start.wrapping_offset(self.outer.offset(row))
            }
        }
    };
}

view!(
    Rows,
    *const u8,
    "Rows to read.",
    "- Every element so addressed stays readable for `'a`; no alignment is needed."
);
view!(
    RowsMut,
    *mut u8,
    "Rows to write. Distinct elements have distinct addresses.",
    "- Every element so addressed stays writable for `'a`, and no two share memory; no alignment is needed."
);

/// One row to read: `len` neighbouring elements.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a, F> {
    start: *const F,
    len: usize,
    memory: PhantomData<&'a F>,
}

/// One row to write: `len` neighbouring elements.
pub(crate) struct Sink<'a, F> {
    start: *mut F,
    len: usize,
    memory: PhantomData<&'a mut F>,
}

impl<'a> Rows<'a> {
    /// The rows of a slice of `len / classes` rows.
    ///
    /// # Panics
    /// When `classes` does not divide the length.
    #[must_use]
    pub fn from_slice<F: Float>(values: &'a [F], classes: usize) -> Self {
        let (len, stride) = slice_axis::<F>(values.len(), classes);
        let class_axis = (classes, F::STORAGE.size().cast_signed());
        // SAFETY: the borrowed slice is readable for 'a and exactly covered.
        unsafe {
            Self::from_raw(values.as_ptr().cast(), F::STORAGE, class_axis, [(len, stride)].into_iter())
        }
    }

    /// Row `row` in the compute type: in place where it lies so already, else widened
    /// into `scratch`, which holds at least `classes` elements.
    #[inline(always)]
    pub(crate) fn source<'s, F: Float>(&self, row: usize, scratch: &'s mut [F]) -> Source<'s, F>
    where
        'a: 's,
    {
        if self.is_direct::<F>() {
            let start = self.row_start(row).cast();
            return Source { start, len: self.classes, memory: PhantomData };
        }
        let scratch = &mut scratch[..self.classes];
        self.gather(row, scratch);
        Source::from_slice(scratch)
    }

    /// Copies row `row` to `target`, converted to `F`.
    pub(crate) fn gather<F: Float>(&self, row: usize, target: &mut [F]) {
        self.gather_with(row, target, F::from_f64);
    }

    /// Copies row `row` to `target`, each element as `convert` makes it.
    pub(crate) fn gather_with<F>(&self, row: usize, target: &mut [F], convert: impl Fn(f64) -> F) {
        assert!(target.len() == self.classes);
        let mut at = self.row_start(row);
        for element in target {
            // SAFETY: `at` walks the elements of this row, readable by the promise of `from_raw`.
            *element = convert(unsafe { read(at, self.storage) });
            at = at.wrapping_offset(self.class_stride);
        }
    }
}

impl<'a> RowsMut<'a> {
    /// The rows of a slice of `len / classes` rows.
    ///
    /// # Panics
    /// When `classes` does not divide the length.
    #[must_use]
    pub fn from_slice<F: Float>(values: &'a mut [F], classes: usize) -> Self {
        let (len, stride) = slice_axis::<F>(values.len(), classes);
        let class_axis = (classes, F::STORAGE.size().cast_signed());
        let start = values.as_mut_ptr().cast();
        // SAFETY: the slice is borrowed mutably for 'a and exactly covered, each element once.
        unsafe { Self::from_raw(start, F::STORAGE, class_axis, [(len, stride)].into_iter()) }
    }

    /// Row `row` for writing in place, if it lies in memory as `F` does.
    #[inline(always)]
    pub(crate) fn sink<F: Float>(&self, row: usize) -> Option<Sink<'a, F>> {
        self.is_direct::<F>().then(|| Sink {
            start: self.row_start(row).cast(),
            len: self.classes,
            memory: PhantomData,
        })
    }

    /// Rounds `values` to the storage type into row `row`.
    pub(crate) fn scatter<F: Float>(&self, row: usize, values: &[F]) {
        assert!(values.len() == self.classes);
        let mut at = self.row_start(row);
        for value in values {
            // SAFETY: `at` walks the elements of this row, writable by the promise of `from_raw`.
            unsafe { write(at, self.storage, value.to_f64()) };
            at = at.wrapping_offset(self.class_stride);
        }
    }

    /// Rounds `value` into the only element of row `row`.
    pub(crate) fn set(&self, row: usize, value: f64) {
        assert!(self.classes == 1);
        // SAFETY: one element, writable by the promise of `from_raw`.
        unsafe { write(self.row_start(row), self.storage, value) };
    }
}

/// # Safety
/// - `at` is valid for reading one element of `storage`.
#[inline(always)]
unsafe fn read(at: *const u8, storage: Storage) -> f64 {
    // SAFETY: promised by the caller; unaligned reads by value.
    unsafe {
        match storage {
            Storage::F32 => f64::from(at.cast::<f32>().read_unaligned()),
            Storage::F64 => at.cast::<f64>().read_unaligned(),
        }
    }
}

/// # Safety
/// - `at` is valid for writing one element of `storage`.
#[inline(always)]
unsafe fn write(at: *mut u8, storage: Storage, value: f64) {
    // SAFETY: promised by the caller; unaligned writes.
    unsafe {
        match storage {
            Storage::F32 => at.cast::<f32>().write_unaligned(f32::from_f64(value)),
            Storage::F64 => at.cast::<f64>().write_unaligned(value),
        }
    }
}

fn slice_axis<F: Float>(len: usize, classes: usize) -> (usize, isize) {
    assert!(classes > 0 && len.is_multiple_of(classes), "{len} elements in rows of {classes}");
    (len / classes, (classes * F::STORAGE.size()).cast_signed())
}

/// The bounds check of every vector access, made once for `count` neighbours.
#[inline(always)]
fn check(at: usize, count: usize, len: usize) {
    assert!(at <= len && count <= len - at, "elements {at}.. of {len}");
}

impl<'a, F: Float> Source<'a, F> {
    #[inline(always)]
    pub(crate) fn from_slice(values: &'a [F]) -> Self {
        Self { start: values.as_ptr(), len: values.len(), memory: PhantomData }
    }

    #[inline(always)]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    #[inline(always)]
    pub(crate) fn get(&self, index: usize) -> F {
        check(index, 1, self.len);
        // SAFETY: index < len, and `len` elements are readable.
        unsafe { self.start.add(index).read_unaligned() }
    }

    /// Four neighbouring vectors from element `at` on.
    #[inline(always)]
    pub(crate) fn quad<V: Vector<Scalar = F>>(&self, token: V::Token, at: usize) -> [V; 4] {
        check(at, 4 * V::LANES, self.len);
        // SAFETY: the four vectors lie inside the row, by the check.
        unsafe {
            let start = self.start.add(at);
            [
                V::load(token, start),
                V::load(token, start.add(V::LANES)),
                V::load(token, start.add(2 * V::LANES)),
                V::load(token, start.add(3 * V::LANES)),
            ]
        }
    }

    /// The vector from element `at` on, `pad` in the lanes after the row's end.
    #[inline(always)]
    pub(crate) fn vector<V: Vector<Scalar = F>>(&self, token: V::Token, at: usize, pad: F) -> V {
        if at + V::LANES <= self.len {
            // SAFETY: LANES elements from `at` lie inside the row.
            unsafe { V::load(token, self.start.add(at)) }
        } else {
            self.head(token, at, pad)
        }
    }

    /// The elements from `at` on, as many as there are, and `pad` in the lanes after the row's end.
    #[inline(always)]
    pub(crate) fn head<V: Vector<Scalar = F>>(&self, token: V::Token, at: usize, pad: F) -> V {
        check(at, 0, self.len);
        let count = (self.len - at).min(V::LANES);
        let mut lanes = [pad; 16];
        // SAFETY: `count` elements from `at` lie inside the row; `lanes` is ours and holds 16.
        unsafe {
            self.start.add(at).cast::<u8>().copy_to_nonoverlapping(
                lanes.as_mut_ptr().cast(),
                count * size_of::<F>(),
            );
            V::load(token, lanes.as_ptr())
        }
    }
}

impl<'a, F: Float> Sink<'a, F> {
    #[inline(always)]
    pub(crate) fn from_slice(values: &'a mut [F]) -> Self {
        Self { start: values.as_mut_ptr(), len: values.len(), memory: PhantomData }
    }

    #[inline(always)]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    #[inline(always)]
    pub(crate) fn set(&mut self, index: usize, value: F) {
        check(index, 1, self.len);
        // SAFETY: index < len, and `len` elements are writable.
        unsafe { self.start.add(index).write_unaligned(value) };
    }

    #[inline(always)]
    pub(crate) fn fill(&mut self, value: F) {
        for index in 0..self.len {
            self.set(index, value);
        }
    }

    /// Four neighbouring vectors from element `at` on.
    #[inline(always)]
    pub(crate) fn set_quad<V: Vector<Scalar = F>>(&mut self, at: usize, vectors: [V; 4]) {
        check(at, 4 * V::LANES, self.len);
        for (i, vector) in vectors.into_iter().enumerate() {
            // SAFETY: the four vectors lie inside the row, by the check.
            unsafe { vector.store(self.start.add(at + i * V::LANES)) };
        }
    }

    /// `vector` to the elements from `at` on, as many lanes as there are elements.
    #[inline(always)]
    pub(crate) fn set_vector<V: Vector<Scalar = F>>(&mut self, at: usize, vector: V) {
        if at + V::LANES <= self.len {
            // SAFETY: LANES elements from `at` lie inside the row.
            unsafe { vector.store(self.start.add(at)) };
        } else {
            self.set_head(at, vector);
        }
    }

    /// The first lanes of `vector` to the elements from `at` on, as many as there are.
    #[inline(always)]
    pub(crate) fn set_head<V: Vector<Scalar = F>>(&mut self, at: usize, vector: V) {
        check(at, 0, self.len);
        let count = (self.len - at).min(V::LANES);
        let mut lanes = [F::default(); 16];
        // SAFETY: `lanes` is ours and holds 16; `count` elements from `at` lie inside the row.
        unsafe {
            vector.store(lanes.as_mut_ptr());
            let target = self.start.add(at).cast::<u8>();
            target.copy_from_nonoverlapping(lanes.as_ptr().cast(), count * size_of::<F>());
        }
    }
}
