//! NumPy arrays as raw views. This file contains `unsafe` code.
//!
//! An [`Array`] holds a reference to the Python object, so the memory stays allocated as long as a view borrows the
//! array. Pointer, shape and strides are copied once, while the thread is attached to the interpreter. They are read
//! from the C struct that NumPy's headers define, as in any extension that is compiled with these headers: the buffer
//! protocol took 0.1 µs for each array. (In free-threaded Python, setting a shape or dtype at that moment is a race
//! inside NumPy too.)
//!
//! No reference to the memory of an array is ever made: other threads may write to it while this thread is detached,
//! and then the numbers that are read are unspecified, but nothing else happens. (`ndarray.resize(refcheck=False)`
//! frees memory that any extension may be using, and truncating a file invalidates its memory map. The caller must
//! avoid both.)
#![allow(unsafe_code, reason = "a home of unsafe: views of Python's memory")]

mod checked;

use pyo3::ffi;
use pyo3::prelude::*;
use smoothxent::{Rows, RowsMut, Storage};
use std::ffi::c_int;

/// The fields of a numpy.ndarray: PyArrayObject_fields of its headers, the same since NumPy 1.0. They are a part of the
/// binary interface whose version `NewArray::find` has checked, as NumPy's headers do.
#[repr(C)]
struct Fields {
    object: ffi::PyObject,
    data: *mut u8,
    ndim: c_int,
    shape: *const usize,
    strides: *const isize,
    base: *mut ffi::PyObject,
    dtype: *mut ffi::PyObject,
    flags: c_int,
}

/// NPY_ARRAY_C_CONTIGUOUS
const CONTIGUOUS: c_int = 1;
/// NPY_ARRAY_WRITEABLE
const WRITEABLE: c_int = 1 << 10;
/// NPY_ARRAY_WARN_ON_WRITE: set for results of `broadcast_arrays`, which should only be read.
const WARN_ON_WRITE: c_int = 1 << 31;

/// An array of numbers that the native code reads or writes in place.
pub(super) struct Array<'py> {
    /// The object that owns the memory.
    owner: Bound<'py, PyAny>,
    start: *mut u8,
    /// Lengths, then strides.
    numbers: Numbers,
    ndim: usize,
    /// Bytes of all elements.
    bytes: usize,
    storage: Storage,
    is_writable: bool,
    /// Do its elements lie one after another in C order?
    is_contiguous: bool,
}

// SAFETY: memory is accessed through `start` only by the unsafe blocks below, each of which states its facts. The
// object is returned only by `object`, which takes proof that the thread is attached to the interpreter.
unsafe impl Sync for Array<'_> {}

/// For few axes, no memory is allocated.
enum Numbers {
    Few([usize; 6]),
    Many(Box<[usize]>),
}

/// The dtype of an ndarray.
fn dtype_of<'a, 'py>(obj: &'a Bound<'py, PyAny>) -> Borrowed<'a, 'py, PyAny> {
    let at = obj.as_ptr().cast::<Fields>();
    // SAFETY: an ndarray, which has these fields (`NewArray::find`) and holds its dtype, as long as no other code runs.
    unsafe { Borrowed::from_ptr(obj.py(), (*at).dtype) }
}

/// All axes except `axis`.
fn others(
    axes: impl Iterator<Item = (usize, isize)>,
    axis: usize,
) -> impl Iterator<Item = (usize, isize)> {
    axes.enumerate().filter(move |(place, _)| *place != axis).map(|(_, axis)| axis)
}

/// Does `given` broadcast to `shape`?
pub(super) fn broadcasts(given: &[usize], shape: &[usize]) -> bool {
    let mut axes = given.iter().rev().zip(shape.iter().rev());
    given.len() <= shape.len() && axes.all(|(own, wanted)| own == wanted || *own == 1)
}

impl<'py> Array<'py> {
    /// The view of an ndarray with elements of type `storage`.
    #[inline(always)]
    fn view(obj: Bound<'py, PyAny>, storage: Storage) -> Self {
        let at = obj.as_ptr().cast::<Fields>();
        // SAFETY: an ndarray, which has these fields (`NewArray::find`), as long as no other code runs.
        let (start, ndim, flags) =
            unsafe { ((*at).data, (*at).ndim.unsigned_abs() as usize, (*at).flags) };
        // SAFETY: an array has a length and a stride for each axis; its shape is not set between two of these reads,
        // since no Python code runs there.
        let length = |axis| unsafe { (*at).shape.add(axis).read() };
        // SAFETY: as for the length.
        let stride = |axis| unsafe { (*at).strides.add(axis).read().cast_unsigned() };
        // Read one by one, they stay in registers. If a loop wrote them to memory, moving the array would wait for
        // these stores.
        let (numbers, len) = match ndim {
            0 => (Numbers::Few([0; 6]), 1),
            1 => (Numbers::Few([length(0), stride(0), 0, 0, 0, 0]), length(0)),
            2 => {
                let [a, b] = [0, 1].map(length);
                (Numbers::Few([a, b, stride(0), stride(1), 0, 0]), a * b)
            }
            3 => {
                let [a, b, c] = [0, 1, 2].map(length);
                (Numbers::Few([a, b, c, stride(0), stride(1), stride(2)]), a * b * c)
            }
            _ => {
                let numbers = (0..ndim).map(length).chain((0..ndim).map(stride)).collect();
                (Numbers::Many(numbers), (0..ndim).map(length).product())
            }
        };
        let is_writable = flags & (WRITEABLE | WARN_ON_WRITE) == WRITEABLE;
        let bytes = len * storage.size();
        let is_contiguous = flags & CONTIGUOUS != 0;
        Self { owner: obj, start, numbers, ndim, bytes, storage, is_writable, is_contiguous }
    }

    pub(super) fn object(&self, _py: Python<'py>) -> Bound<'py, PyAny> {
        self.owner.clone()
    }

    pub(super) fn storage(&self) -> Storage {
        self.storage
    }

    pub(super) fn shape(&self) -> &[usize] {
        &self.numbers()[..self.ndim]
    }

    /// Bytes of all elements.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    fn numbers(&self) -> &[usize] {
        match &self.numbers {
            Numbers::Few(few) => few,
            Numbers::Many(many) => many,
        }
    }

    fn axes(&self) -> impl Iterator<Item = (usize, isize)> + Clone {
        let strides = &self.numbers()[self.ndim..];
        self.shape().iter().zip(strides).map(|(len, stride)| (*len, stride.cast_signed()))
    }

    /// Rows along `axis`, in the C order of the other axes; or every element as a row of one class, if `axis` is the number
    /// of axes.
    pub(super) fn rows(&self, axis: usize) -> Rows<'_> {
        self.rows_of(axis, self.axes())
    }

    /// The same after broadcasting to `shape`, to which this array broadcasts.
    pub(super) fn rows_broadcast(&self, axis: usize, shape: &[usize]) -> Rows<'_> {
        let missing = shape.len() - self.ndim;
        let own = self.axes().zip(&shape[missing..]);
        let own =
            own.map(|((len, stride), &wanted)| (wanted, if len == wanted { stride } else { 0 }));
        self.rows_of(axis, shape[..missing].iter().map(|&len| (len, 0)).chain(own))
    }

    /// Every element as a row of one class, in C order.
    pub(super) fn elements(&self) -> Rows<'_> {
        self.rows(self.ndim)
    }

    fn rows_of(&self, axis: usize, axes: impl Iterator<Item = (usize, isize)> + Clone) -> Rows<'_> {
        let one = (1, self.storage.size().cast_signed());
        let classes = axes.clone().nth(axis).unwrap_or(one);
        // SAFETY: the array has every element of its shape and strides, of the size of its storage, for as long as its
        // owner is held, which outlives the view; a stride of 0 repeats such an element.
        unsafe { Rows::from_raw(self.start, self.storage(), classes, others(axes, axis)) }
    }

    /// [`Array::rows`] for writing. The array is new, or an [`Array::OUTPUT`] that was not refused.
    #[inline(always)] // made in its final place
    pub(super) fn rows_mut(&self, axis: usize) -> RowsMut<'_> {
        let one = (1, self.storage.size().cast_signed());
        let classes = self.axes().nth(axis).unwrap_or(one);
        // SAFETY: as in `rows_of`; `refuse_output` has checked that the array is writable and
        // that no two elements share memory, and a new array is both.
        unsafe { RowsMut::from_raw(self.start, self.storage(), classes, others(self.axes(), axis)) }
    }

    /// Every element as a row of one class, in C order, for writing.
    pub(super) fn elements_mut(&self) -> RowsMut<'_> {
        self.rows_mut(self.ndim)
    }

    /// The bytes from the first to the last element.
    fn extent(&self) -> (usize, usize) {
        let start = self.start.addr();
        if self.is_contiguous { (start, start + self.bytes) } else { self.strided_extent(start) }
    }

    #[cold]
    fn strided_extent(&self, start: usize) -> (usize, usize) {
        let (mut first, mut end) = (start, start + self.storage.size());
        for (len, stride) in self.axes() {
            let Some(steps) = len.checked_sub(1) else { return (start, start) };
            let reach = steps.cast_signed() * stride;
            let side = if reach < 0 { &mut first } else { &mut end };
            *side = side.wrapping_add_signed(reach);
        }
        (first, end)
    }

    /// May elements of the two arrays share memory? (Yes for interleaved views.)
    pub(super) fn may_overlap(&self, other: &Array<'_>) -> bool {
        let ((first, end), (others_first, others_end)) = (self.extent(), other.extent());
        first < others_end && others_first < end
    }

    /// Do the two arrays have the same memory, element for element?
    pub(super) fn is_alias_of(&self, other: &Array<'_>) -> bool {
        self.start == other.start
            && self.storage == other.storage
            && self.shape() == other.shape()
            && self.axes().zip(other.axes()).all(|(a, b)| a.1 == b.1 || a.0 <= 1)
    }
}
