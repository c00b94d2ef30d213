//! What is an ndarray, and what its elements are.

use super::{Array, dtype_of, ndim_of};
use crate::kind::Kind;
use crate::known::Known;
use crate::numpy::Dtype;
use pyo3::prelude::*;

/// Is `obj` an instance of numpy.ndarray itself, not of a subclass?
pub(super) fn is_exact_ndarray(obj: &Bound<'_, PyAny>) -> bool {
    obj.get_type_ptr().cast() == Known::get().ndarray.as_ptr()
}

/// Is `obj` a numpy.ndarray? By its type: `__class__` may say anything.
pub(super) fn is_ndarray(obj: &Bound<'_, PyAny>) -> PyResult<bool> {
    Ok(is_exact_ndarray(obj) || obj.get_type().is_subclass(Known::get().ndarray.bind(obj.py()))?)
}

/// The dtype of an ndarray; `None` where its elements are not numbers in native byte order, or `obj` is no ndarray.
pub(super) fn numeric_dtype(obj: &Bound<'_, PyAny>) -> PyResult<Option<Dtype>> {
    if !is_ndarray(obj)? {
        return Ok(None);
    }
    if let Some(kind) = Known::get().kind_of(&dtype_of(obj)) {
        return Ok(Some(Dtype::of(kind)));
    }
    let asked = dtype_of(obj).to_owned();
    let dtype = Dtype::of_object(&asked)?;
    Ok(dtype.filter(|_| dtype_of(obj).is(&asked))) // Python code may give it another
}

/// An ndarray that is what it must be. A view of it is made where it stays: it is large, and a copy waits for
/// what has just been written.
pub(crate) struct Found<'py>(pub(super) Bound<'py, PyAny>, pub(super) Dtype);

impl<'py> Found<'py> {
    /// `obj`, and no instance of a subclass, if its dtype is one of the known objects, with such elements.
    #[inline(always)]
    pub(super) fn known(obj: &Bound<'py, PyAny>, are_such: fn(Kind) -> bool) -> Option<Self> {
        let own = if is_exact_ndarray(obj) { Known::get().kind_of(&dtype_of(obj)) } else { None };
        own.filter(|own| are_such(*own)).map(|own| Self(obj.clone(), Dtype::of(own)))
    }

    #[inline(always)]
    pub(crate) fn view(self) -> Array<'py> {
        Array::view(self.0, self.1)
    }

    #[inline(always)]
    pub(crate) fn ndim(&self) -> usize {
        ndim_of(&self.0)
    }
}
