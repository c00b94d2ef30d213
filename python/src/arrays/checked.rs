//! Checks of arrays by role: real numbers, labels, masks and outputs.

use super::{Array, dtype_of};
use crate::dtype::storage_of;
use crate::errors::{Result, error, type_error, value_error, wrong_shape};
use crate::known::Known;
use crate::objects::{call, dtype_name, new_array, numbers, read, repr};
use pyo3::exceptions::{PyMemoryError, PyValueError};
use pyo3::prelude::*;
use smoothxent::Storage;

/// Is `obj` an instance of numpy.ndarray itself, not of a subclass?
fn is_exact_ndarray(known: &Known, obj: &Bound<'_, PyAny>) -> bool {
    obj.get_type_ptr().cast() == known.ndarray.as_ptr()
}

/// The element type of an ndarray; None if it is not a number in native byte order, or if `obj` is no exact ndarray.
fn storage_in(obj: &Bound<'_, PyAny>) -> Result<Option<Storage>> {
    if !is_exact_ndarray(Known::get(), obj) {
        return Ok(None);
    }
    let dtype = dtype_of(obj).to_owned();
    let storage = storage_of(&dtype)?;
    Ok(storage.filter(|_| dtype_of(obj).is(&dtype))) // Python code may have set another
}

/// An ndarray that has been checked. A view of it is made in its final place: it is large, and a copy would wait for
/// the stores that have just been made.
pub(crate) struct Found<'py>(Bound<'py, PyAny>, Storage);

impl<'py> Found<'py> {
    #[inline(always)]
    pub(crate) fn view(self) -> Array<'py> {
        Array::view(self.0, self.1)
    }
}

/// What an array is for: the function of the package that converts other objects, and which elements are accepted.
type Role = (fn(&Known) -> &Py<PyAny>, fn(Storage) -> bool);

/// [`Array::find`] if `obj` is no exact ndarray, or its dtype is not a known object or has other elements.
#[cold]
fn find_like<'py>(
    obj: &Bound<'py, PyAny>,
    name: &str,
    (converter, are_such): Role,
) -> Result<Found<'py>> {
    if let Some(own) = storage_in(obj)?.filter(|own| are_such(*own)) {
        return Ok(Found(obj.clone(), own));
    }
    let array = read(converter(Known::get()), obj, name)?;
    match storage_in(&array)? {
        Some(own) => Ok(Found(array, own)),
        None => Err(type_error!(obj.py(), "{name} cannot be read as an array of numbers")),
    }
}

impl<'py> Array<'py> {
    pub(crate) const LOGITS: Role = (|known| &known.as_logits, Storage::is_float);
    /// Real numbers.
    pub(crate) const REAL: Role = (|known| &known.as_real, Storage::is_float);
    /// Labels or probabilities.
    pub(crate) const TARGETS: Role =
        (|known| &known.as_targets, |storage| storage != Storage::Bool);
    /// Classes, or other arrays that are viewed as integers.
    pub(crate) const INTEGERS: Role =
        (|known| &known.as_indices, |storage| !storage.is_float() && storage != Storage::Bool);
    /// Booleans.
    pub(crate) const MASK: Role = (|known| &known.as_mask, |storage| storage == Storage::Bool);
    /// An output: an ndarray or a tensor of a floating type that the core can write. [`Array::refuse_output`] checks
    /// its view.
    pub(crate) const OUTPUT: Role = (|known| &known.as_output, Storage::is_float);

    /// A new C-contiguous array.
    pub(crate) fn empty(py: Python<'py>, shape: &[usize], storage: Storage) -> Result<Self> {
        let dtype = Known::get().dtype_of(storage).bind(py);
        match new_array(dtype, shape) {
            Ok(array) => Ok(Self::view(array, storage)),
            // The shape of an existing array is refused only if it has more bytes than there are addresses.
            Err(raised) if raised.0.is_instance_of::<PyValueError>(py) => {
                let (name, shape) = (dtype_name(dtype)?, repr(&numbers(py, shape)?)?);
                let message = format_args!("cannot allocate {name} of shape {shape}");
                Err(error::<PyMemoryError>(py, message))
            }
            Err(raised) => Err(raised),
        }
    }

    /// The view of an array.
    pub(crate) fn read(obj: &Bound<'py, PyAny>, name: &str, role: Role) -> Result<Self> {
        Ok(Self::find(obj, name, role)?.view())
    }

    /// A real array of `shape`.
    pub(crate) fn real_of_shape(
        obj: &Bound<'py, PyAny>,
        name: &str,
        shape: &[usize],
    ) -> Result<Self> {
        let array = Self::read(obj, name, Self::REAL)?;
        if array.shape() == shape {
            return Ok(array);
        }
        Err(wrong_shape(obj.py(), format_args!("{name} must have shape"), shape, array.shape()))
    }

    /// `obj` itself if it is an ndarray (not of a subclass) whose elements are accepted; otherwise the result of
    /// the converter.
    #[inline(always)]
    pub(crate) fn find(obj: &Bound<'py, PyAny>, name: &str, role: Role) -> Result<Found<'py>> {
        let known = Known::get();
        let own =
            if is_exact_ndarray(known, obj) { known.storage_of(&dtype_of(obj)) } else { None };
        match own.filter(|own| role.1(*own)) {
            Some(own) => Ok(Found(obj.clone(), own)),
            None => find_like(obj, name, role),
        }
    }

    /// Refuses an output that is not of `shape`, read-only, or overlaps itself.
    #[inline(always)]
    pub(crate) fn refuse_output(&self, py: Python<'py>, name: &str, shape: &[usize]) -> Result<()> {
        // The shape of the array itself, since a subclass may override the attribute. One by one: vector loads of
        // lengths would wait for the stores of these lengths.
        if self.shape().iter().ne(shape) {
            let must_have = format_args!("{name} must have shape");
            return Err(wrong_shape(py, must_have, shape, self.shape()));
        }
        if !self.is_writable {
            return Err(value_error!(py, "{name} is read-only"));
        }
        self.refuse_overlap(py, name)
    }

    /// Do elements of the two arrays share memory?
    pub(crate) fn shares_memory(&self, py: Python<'py>, other: &Array<'py>) -> Result<bool> {
        if !self.may_overlap(other) {
            return Ok(false);
        }
        let arrays = [&self.object(py), &other.object(py)];
        Ok(call(Known::get().share_memory.bind(py), arrays)?.is_truthy()?)
    }

    /// Refuses an array in which two elements share memory.
    #[inline]
    pub(crate) fn refuse_overlap(&self, py: Python<'py>, name: &str) -> Result<()> {
        if self.is_contiguous || self.steps_over() {
            return Ok(());
        }
        read(&Known::get().refuse_overlap, &self.object(py), name).map(drop)
    }

    /// Does each axis step over all axes with smaller strides? Then no two elements share memory. This is so in all
    /// layouts that slicing, transposing and reshaping make.
    #[inline(never)]
    fn steps_over(&self) -> bool {
        let axes = self.axes().filter(|axis| axis.0 != 1);
        let axes = axes.map(|(len, stride)| (len, stride.unsigned_abs()));
        // Of two axes with the same stride, each must step over the other, so neither does.
        let steps_over = |(len, stride)| {
            let up_to = axes.clone().filter(|axis| axis.1 <= stride);
            let reach: usize = up_to.map(|(len, stride)| (len - 1) * stride).sum();
            len * stride >= reach + self.storage.size()
        };
        self.bytes == 0 || axes.clone().all(steps_over)
    }
}
