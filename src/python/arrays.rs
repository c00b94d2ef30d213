//! NumPy arrays as raw views: a home of `unsafe`.
//!
//! An [`Array`] holds the exporter's buffer, so the memory stays allocated for
//! as long as a view borrows the array; pointer, shape and strides are read
//! once, when the buffer is taken. No reference to the memory is ever made: other
//! threads may write it while the interpreter is detached, and then the numbers read
//! are unspecified and nothing else. (`ndarray.resize(refcheck=False)` frees
//! memory under any extension, and a truncated file that of its memory map; both are the caller's to
//! avoid.)
#![allow(unsafe_code, reason = "a home of unsafe: views of Python's memory")]

use super::errors::{Shape, answer, type_error, value_error, wrong_type};
use super::kind::Kind;
use super::known::Known;
use super::numpy::{Dtype, is_bfloat16};
use super::objects::{call, integer, text};
use super::overlap::overlaps;
use crate::crew::Crew;
use crate::error::Error;
use crate::simd::{Outer, Rows, RowsMut, Storage};
use crate::target::Labels;
use pyo3::buffer::PyUntypedBuffer;
use pyo3::prelude::*;
use std::fmt;

/// An exported buffer of numbers that the native code reads or writes as they lie.
pub(super) struct Array {
    buffer: PyUntypedBuffer,
    kind: Kind,
    /// The dtype object of bfloat16, which NumPy itself does not have.
    bfloat16: Option<Py<PyAny>>,
    /// An array without axes, whose buffer is exported as one of a single element.
    is_scalar: bool,
}

/// Is `obj` an instance of numpy.ndarray itself, not of a subclass?
fn is_exact_ndarray(obj: &Bound<'_, PyAny>) -> bool {
    obj.get_type().is(&Known::get().ndarray)
}

fn bfloat16_dtype<'py>(obj: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let dtype = obj.getattr(&Known::get().dtype)?;
    Ok(is_bfloat16(&dtype)?.then_some(dtype))
}

/// Does `given` broadcast to `shape`?
pub(super) fn broadcasts(given: &[usize], shape: &[usize]) -> bool {
    let missing = shape.len().checked_sub(given.len());
    missing.is_some_and(|missing| {
        let mut axes = given.iter().zip(&shape[missing..]);
        axes.all(|(own, wanted)| own == wanted || *own == 1)
    })
}

/// A view of an array without axes as one of shape (1,), by NumPy's own method: a subclass
/// may have another of that name.
fn as_one_element<'py>(obj: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let (py, known) = (obj.py(), Known::get());
    call(&known.ndarray.bind(py).getattr(&known.reshape)?, [obj, &integer(py, 1)?])
}

/// The bits of an array of bfloat16, by NumPy's own method.
fn as_bits<'py>(obj: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let (py, known) = (obj.py(), Known::get());
    call(&known.ndarray.bind(py).getattr(&known.view)?, [obj, known.uint16.bind(py)])
}

fn is_without_axes(obj: &Bound<'_, PyAny>) -> PyResult<bool> {
    Ok(obj.getattr(&Known::get().ndim)?.extract::<usize>()? == 0)
}

/// Where the elements of a held buffer begin.
struct Start(*const u8);

// SAFETY: an address; what is read there says why it may be.
unsafe impl Sync for Start {}

impl Start {
    fn plus(&self, bytes: isize) -> *const u8 {
        self.0.wrapping_offset(bytes)
    }
}

impl Array {
    /// The buffer of `obj` if it is an exact ndarray of numbers in native byte order.
    fn exact(obj: &Bound<'_, PyAny>) -> PyResult<Option<Self>> {
        if !is_exact_ndarray(obj) {
            return Ok(None);
        }
        Ok(Self::of_buffer(obj)?.filter(|array| array.buffer.suboffsets().is_none()))
    }

    /// `None` where the elements are not numbers in native byte order.
    pub(super) fn of_buffer(obj: &Bound<'_, PyAny>) -> PyResult<Option<Self>> {
        if let Some(array) = Self::of_exported(obj)? {
            return Ok(Some(array));
        }
        // bfloat16 arrays export no buffer; their bits do.
        let py = obj.py();
        let Some(Some(bfloat16)) = answer(py, bfloat16_dtype(obj))? else { return Ok(None) };
        let Some(bits) = answer(py, as_bits(obj))? else { return Ok(None) };
        let kind = Kind::Float(Storage::Bf16);
        let bfloat16 = Some(bfloat16.unbind());
        Ok(Self::of_exported(&bits)?.map(|array| Self { kind, bfloat16, ..array }))
    }

    fn of_exported(obj: &Bound<'_, PyAny>) -> PyResult<Option<Self>> {
        let py = obj.py();
        let (buffer, is_scalar) = match PyUntypedBuffer::get(obj) {
            Ok(buffer) => (Some(buffer), false),
            // PyO3 takes no buffer without a shape.
            Err(_) if answer(py, is_without_axes(obj))? == Some(true) => {
                let element = answer(py, as_one_element(obj))?;
                let buffer = element.map(|element| answer(py, PyUntypedBuffer::get(&element)));
                (buffer.transpose()?.flatten(), true)
            }
            Err(error) => (answer(py, Err(error))?, false),
        };
        Ok(buffer.and_then(|buffer| {
            let kind = Kind::of(buffer.format().to_bytes(), buffer.item_size())?;
            Some(Self { buffer, kind, bfloat16: None, is_scalar })
        }))
    }

    /// A new C-contiguous array and its view.
    pub(super) fn empty<'py>(
        py: Python<'py>,
        shape: &[usize],
        dtype: &Dtype<'py>,
    ) -> PyResult<(Bound<'py, PyAny>, Self)> {
        let object = super::numpy::empty(py, shape, dtype)?;
        match Self::of_buffer(&object)? {
            Some(array) => Ok((object, array)),
            None => Err(type_error(py, format_args!("numpy.empty returned no array of numbers"))),
        }
    }

    /// A real array: `obj` itself where it is one, else what `converter` makes of it.
    pub(super) fn real(
        obj: &Bound<'_, PyAny>,
        name: &str,
        converter: &Py<PyAny>,
    ) -> PyResult<Self> {
        if let Some(array) = Self::exact(obj)?
            && matches!(array.kind, Kind::Float(_))
        {
            return Ok(array);
        }
        Self::converted(obj, name, converter)
    }

    /// Labels or probabilities.
    pub(super) fn targets(obj: &Bound<'_, PyAny>) -> PyResult<Self> {
        match Self::exact(obj)? {
            Some(array) if array.kind != Kind::Bool => Ok(array),
            _ => Self::converted(obj, "targets", &Known::get().as_targets),
        }
    }

    /// Booleans.
    pub(super) fn mask(obj: &Bound<'_, PyAny>, name: &str) -> PyResult<Self> {
        match Self::exact(obj)? {
            Some(array) if array.kind == Kind::Bool => Ok(array),
            _ => Self::converted(obj, name, &Known::get().as_mask),
        }
    }

    fn converted(obj: &Bound<'_, PyAny>, name: &str, converter: &Py<PyAny>) -> PyResult<Self> {
        let py = obj.py();
        let array = call(converter.bind(py), [obj, &text(py, name)?.into_any()])?;
        Self::exact(&array)?.ok_or_else(|| {
            type_error(py, format_args!("{name} cannot be read as an array of numbers"))
        })
    }

    /// An array to write: an ndarray of `shape` in a floating type that the core stores.
    pub(super) fn output(obj: &Bound<'_, PyAny>, name: &str, shape: &[usize]) -> PyResult<Self> {
        let (py, known) = (obj.py(), Known::get());
        let refuse = |message: fmt::Arguments<'_>| Err(value_error(py, message));
        if !is_exact_ndarray(obj) {
            if !obj.is_instance(known.ndarray.bind(py))? {
                return Err(wrong_type(obj, name, "a numpy.ndarray"));
            }
            if obj.hasattr(&known.mask)? {
                let text = "is a masked array; pass an ordinary one, or its .data";
                return Err(type_error(py, format_args!("{name} {text}")));
            }
        }
        let array = Self::of_buffer(obj)?.filter(|array| matches!(array.kind, Kind::Float(_)));
        // What the buffer says counts; an attribute of a subclass may say anything.
        let given: Vec<usize> = match &array {
            Some(array) => array.shape().to_vec(),
            None => obj.getattr(&known.shape)?.extract()?,
        };
        if given != shape {
            let (shape, given) = (Shape(shape), Shape(&given));
            return refuse(format_args!("{name} must have shape {shape}, got {given}"));
        }
        let Some(array) = array else {
            return Err(super::numpy::refuse_output_dtype(obj, name)?);
        };
        if array.buffer.readonly() {
            return refuse(format_args!("{name} is read-only"));
        }
        array.refuse_overlap(py, name)?;
        Ok(array)
    }

    /// Refuses an array two of whose elements share memory.
    pub(super) fn refuse_overlap(&self, py: Python<'_>, name: &str) -> PyResult<()> {
        let reason = match overlaps(self.axes(), self.buffer.item_size()) {
            Some(false) => return Ok(()),
            Some(true) => "overlaps itself (two of its elements share memory)",
            None => "has strides of which it takes too long to tell whether it overlaps itself",
        };
        Err(value_error(py, format_args!("{name} {reason}")))
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    /// The dtype of a real array.
    pub(super) fn dtype<'py>(&self, py: Python<'py>) -> Dtype<'py> {
        match &self.bfloat16 {
            Some(object) => Dtype { storage: Storage::Bf16, object: object.bind(py).clone() },
            None => Dtype::of(py, self.storage()),
        }
    }

    /// The storage of a real array or a mask.
    pub(super) fn storage(&self) -> Storage {
        match self.kind {
            Kind::Bool => Storage::Bool,
            Kind::Float(storage) => storage,
            // Only for labels, which are never asked.
            Kind::Signed(_) | Kind::Unsigned(_) => Storage::F64,
        }
    }

    /// What rows of this real array are computed in.
    pub(super) fn compute(&self) -> Storage {
        self.storage().compute_with(Storage::F32)
    }

    pub(super) fn shape(&self) -> &[usize] {
        if self.is_scalar { &[] } else { self.buffer.shape() }
    }

    /// Bytes of all elements.
    pub(super) fn bytes(&self) -> usize {
        self.buffer.len_bytes()
    }

    fn axes(&self) -> impl DoubleEndedIterator<Item = (usize, isize)> {
        self.shape().iter().copied().zip(self.buffer.strides().iter().copied())
    }

    /// Rows along `axis`, in the C order of the other axes. Of a real array.
    pub(super) fn rows(&self, axis: usize) -> Rows<'_> {
        self.broadcast_rows(axis, self.axes())
    }

    /// Rows along `axis` after broadcasting to `shape`, to which this array broadcasts.
    pub(super) fn rows_broadcast(&self, axis: usize, shape: &[usize]) -> Rows<'_> {
        self.broadcast_rows(axis, self.broadcast_axes(shape).into_iter())
    }

    /// Every element as a row of its own, in C order, after broadcasting to `shape`.
    pub(super) fn elements(&self, shape: &[usize]) -> Rows<'_> {
        let one = [(1, self.storage().size().cast_signed())];
        let axes = self.broadcast_axes(shape).into_iter().chain(one);
        self.broadcast_rows(shape.len(), axes)
    }

    /// Lengths and strides after broadcasting to `shape`.
    fn broadcast_axes(&self, shape: &[usize]) -> Vec<(usize, isize)> {
        let missing = shape.len() - self.shape().len();
        let own = self.axes().zip(&shape[missing..]);
        let own =
            own.map(|((len, stride), &wanted)| (wanted, if len == wanted { stride } else { 0 }));
        shape[..missing].iter().map(|&len| (len, 0)).chain(own).collect()
    }

    fn broadcast_rows(&self, axis: usize, axes: impl Iterator<Item = (usize, isize)>) -> Rows<'_> {
        let mut axes: Vec<_> = axes.collect();
        let classes = axes.remove(axis);
        // SAFETY: the exporter vouches for every element of its shape and strides while the
        // buffer is held, which outlives the view; a stride of 0 repeats such an element.
        unsafe {
            Rows::from_raw(self.buffer.buf_ptr().cast(), self.storage(), classes, axes.into_iter())
        }
    }

    /// Rows along `axis`, to write. Of an [`Array::output`] or a new array.
    pub(super) fn rows_mut(&self, axis: usize) -> RowsMut<'_> {
        let mut axes: Vec<_> = self.axes().collect();
        let classes = axes.remove(axis);
        // SAFETY: as in `broadcast_rows`; `output` has checked that the buffer is writable and
        // that no two elements share memory, and a new array is both.
        unsafe {
            RowsMut::from_raw(
                self.buffer.buf_ptr().cast(),
                self.storage(),
                classes,
                axes.into_iter(),
            )
        }
    }

    /// Every element as a row of its own, in C order, to write.
    pub(super) fn elements_mut(&self) -> RowsMut<'_> {
        let one = (1, self.storage().size().cast_signed());
        // SAFETY: as in `rows_mut`.
        unsafe { RowsMut::from_raw(self.buffer.buf_ptr().cast(), self.storage(), one, self.axes()) }
    }

    /// Validated copies of the labels, in C order.
    pub(super) fn labels(
        &self,
        num_classes: usize,
        ignore_index: Option<i128>,
        crew: &mut dyn Crew,
    ) -> Result<Labels, Error> {
        let (n, i, c) = (num_classes, ignore_index, crew);
        match self.kind {
            Kind::Signed(1) => self.labels_as::<i8>(n, i, c),
            Kind::Signed(2) => self.labels_as::<i16>(n, i, c),
            Kind::Signed(4) => self.labels_as::<i32>(n, i, c),
            Kind::Unsigned(1) => self.labels_as::<u8>(n, i, c),
            Kind::Unsigned(2) => self.labels_as::<u16>(n, i, c),
            Kind::Unsigned(4) => self.labels_as::<u32>(n, i, c),
            Kind::Unsigned(_) => self.labels_as::<u64>(n, i, c),
            _ => self.labels_as::<i64>(n, i, c),
        }
    }

    fn labels_as<T: Copy + PartialEq + Sync + Into<i128> + TryFrom<i128> + TryInto<u32>>(
        &self,
        num_classes: usize,
        ignore_index: Option<i128>,
        crew: &mut dyn Crew,
    ) -> Result<Labels, Error> {
        let start = Start(self.buffer.buf_ptr().cast::<u8>().cast_const());
        let outer = Outer::new(self.axes());
        let value = |row: usize| {
            let at = start.plus(outer.offset(row)).cast::<T>();
            // SAFETY: an element of the held buffer, of a type with the buffer's item size
            // (`Kind::of`); read once, by value, unaligned.
            unsafe { at.read_unaligned() }
        };
        Labels::new(outer.rows(), value, num_classes, ignore_index, crew)
    }

    /// The bytes from the first to the last element.
    fn extent(&self) -> (usize, usize) {
        let start = self.buffer.buf_ptr().addr();
        if self.shape().contains(&0) {
            return (start, start);
        }
        let mut extent = (start, start + self.buffer.item_size());
        for (len, stride) in self.axes() {
            let reach = (len.cast_signed() - 1) * stride;
            if reach < 0 {
                extent.0 = extent.0.wrapping_add_signed(reach);
            } else {
                extent.1 = extent.1.wrapping_add_signed(reach);
            }
        }
        extent
    }

    /// May an element of one lie in memory of the other? (Yes for interleaved views.)
    pub(super) fn may_overlap(&self, other: &Array) -> bool {
        let (a, b) = (self.extent(), other.extent());
        a.0 < b.1 && b.0 < a.1
    }

    /// Is element for element the same memory?
    pub(super) fn is_alias_of(&self, other: &Array) -> bool {
        self.buffer.buf_ptr() == other.buffer.buf_ptr()
            && self.kind == other.kind
            && self.shape() == other.shape()
            && self.axes().zip(other.axes()).all(|(a, b)| a.1 == b.1 || a.0 <= 1)
    }
}
