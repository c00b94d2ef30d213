//! What is an ndarray, and what its elements are.

use super::{Array, dtype_of, ndim_of};
use crate::errors::answer;
use crate::kind::Kind;
use crate::known::Known;
use crate::numpy::is_bfloat16;
use pyo3::prelude::*;
use smoothxent::Storage;

/// Is `obj` an instance of numpy.ndarray itself, not of a subclass?
pub(super) fn is_exact_ndarray(obj: &Bound<'_, PyAny>) -> bool {
    obj.get_type_ptr().cast() == Known::get().ndarray.as_ptr()
}

/// Is `obj` a numpy.ndarray? By its type: `__class__` may say anything.
pub(super) fn is_ndarray(obj: &Bound<'_, PyAny>) -> PyResult<bool> {
    Ok(is_exact_ndarray(obj) || obj.get_type().is_subclass(Known::get().ndarray.bind(obj.py()))?)
}

/// What the elements of a dtype are that is none of the known objects: it may be equal to one all the
/// same, of another name, with metadata, or unpickled.
fn kind_of(dtype: &Bound<'_, PyAny>) -> PyResult<Option<Kind>> {
    let known = Known::get();
    if answer(dtype.py(), is_bfloat16(dtype))? == Some(true) {
        return Ok(Some(Kind::Float(Storage::Bf16)));
    }
    // Not by `==`, for which NumPy takes memory that it does not check.
    let [number, size] = [&known.num, &known.itemsize].map(|name| dtype.getattr(name)?.extract());
    let is_native = dtype.getattr(&known.isnative)?.is_truthy()?;
    Ok(if is_native { Kind::of(number?, size?) } else { None })
}

/// What they are, and the dtype object of bfloat16, which NumPy itself does not have.
pub(super) type Elements = (Kind, Option<Py<PyAny>>);

/// What the elements of an ndarray are, where that is one of the known objects.
#[inline(always)]
fn known_kind(obj: &Bound<'_, PyAny>) -> Option<Kind> {
    let known = Known::get().kinds.iter().find(|known| dtype_of(obj).is(&known.0));
    known.map(|known| known.1)
}

/// The elements of an ndarray; `None` where they are not numbers in native byte order.
pub(super) fn elements(obj: &Bound<'_, PyAny>) -> PyResult<Option<Elements>> {
    if let Some(kind) = known_kind(obj) {
        return Ok(Some((kind, None)));
    }
    let asked = dtype_of(obj).to_owned();
    let kind = kind_of(&asked)?.filter(|_| dtype_of(obj).is(&asked)); // Python code may give it another
    Ok(kind.map(|kind| (kind, (kind == Kind::Float(Storage::Bf16)).then(|| asked.unbind()))))
}

/// An ndarray that is what it must be. A view of it is made where it stays: it is large, and a copy waits for
/// what has just been written.
pub(crate) struct Found<'py>(pub(super) Bound<'py, PyAny>, pub(super) Elements);

impl<'py> Found<'py> {
    /// `obj`, and no instance of a subclass, if its dtype is one of the known objects, with such elements.
    #[inline(always)]
    pub(super) fn known(obj: &Bound<'py, PyAny>, are_such: fn(Kind) -> bool) -> Option<Self> {
        let own = if is_exact_ndarray(obj) { known_kind(obj) } else { None };
        own.filter(|own| are_such(*own)).map(|own| Self(obj.clone(), (own, None)))
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
