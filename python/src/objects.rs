//! New Python objects. Running out of memory is an error here; the corresponding functions of PyO3 panic.
#![allow(
    unsafe_code,
    reason = "a home of unsafe: what the interpreter returns as NULL is an error"
)]

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyInt, PyString, PyTuple};
use std::ptr;

/// The object that a function of the interpreter returned, or the exception it has set.
macro_rules! new {
    ($py:expr, $call:expr) => {
        // SAFETY: the interpreter is attached (`$py`), the arguments are objects that are held
        // meanwhile or numbers that describe their memory, and the call returns a new reference, or
        // NULL where it fails.
        unsafe {
            let object = $call;
            // Python 3.11 loses an exception where it has no memory for a traceback.
            if object.is_null() && ffi::PyErr_Occurred().is_null() {
                ffi::PyErr_NoMemory();
            }
            Bound::from_owned_ptr_or_err($py, object)
        }
    };
}

pub(super) fn text<'py>(py: Python<'py>, text: &str) -> PyResult<Bound<'py, PyString>> {
    let (start, len) = (text.as_ptr().cast(), text.len().cast_signed());
    let object = new!(py, ffi::PyUnicode_FromStringAndSize(start, len))?;
    Ok(object.cast_into()?)
}

pub(super) fn float(py: Python<'_>, value: f64) -> PyResult<Bound<'_, PyAny>> {
    new!(py, ffi::PyFloat_FromDouble(value))
}

pub(super) fn integer(py: Python<'_>, value: usize) -> PyResult<Bound<'_, PyAny>> {
    new!(py, ffi::PyLong_FromSize_t(value))
}

/// The value of an int, and of no instance of a subclass, if it fits 64 bits.
#[inline]
pub(super) fn int(obj: &Bound<'_, PyAny>) -> Option<i64> {
    if !obj.is_exact_instance_of::<PyInt>() {
        return None;
    }
    let mut overflow = 0;
    // SAFETY: the interpreter is attached; for an int that does not fit, the function sets `overflow` and
    // no exception.
    let value = unsafe { ffi::PyLong_AsLongLongAndOverflow(obj.as_ptr(), &raw mut overflow) };
    (overflow == 0).then_some(value)
}

/// A number that an integer type of NumPy holds.
pub(super) fn label(py: Python<'_>, value: i128) -> PyResult<Bound<'_, PyAny>> {
    match i64::try_from(value) {
        Ok(value) => new!(py, ffi::PyLong_FromLongLong(value)),
        Err(_) => {
            new!(py, ffi::PyLong_FromUnsignedLongLong(u64::try_from(value).unwrap_or(u64::MAX)))
        }
    }
}

pub(super) fn tuple<'py, const N: usize>(
    py: Python<'py>,
    items: [Bound<'py, PyAny>; N],
) -> PyResult<Bound<'py, PyTuple>> {
    Ok(fill(new_tuple(py, N)?, items))
}

/// A tuple of as many items as the iterator says it has.
pub(super) fn tuple_of<'py>(
    py: Python<'py>,
    items: impl ExactSizeIterator<Item = PyResult<Bound<'py, PyAny>>>,
) -> PyResult<Bound<'py, PyTuple>> {
    let tuple = new_tuple(py, items.len())?;
    for (place, item) in (0..).zip(items) {
        put(&tuple, place, item?);
    }
    Ok(tuple)
}

/// A tuple to [`fill`].
pub(super) fn new_tuple(py: Python<'_>, len: usize) -> PyResult<Bound<'_, PyTuple>> {
    Ok(new!(py, ffi::PyTuple_New(len.cast_signed()))?.cast_into()?)
}

/// Fills a new tuple, which nobody else has seen. That takes no memory.
pub(super) fn fill<'py, const N: usize>(
    tuple: Bound<'py, PyTuple>,
    items: [Bound<'py, PyAny>; N],
) -> Bound<'py, PyTuple> {
    (0..).zip(items).for_each(|(place, item)| put(&tuple, place, item));
    tuple
}

fn put<'py>(tuple: &Bound<'py, PyTuple>, place: isize, item: Bound<'py, PyAny>) {
    // SAFETY: the reference to the item becomes the tuple's, which releases those it has when it is
    // dropped; a place that there is not, and a tuple that others have seen, the function refuses.
    let outcome = unsafe { ffi::PyTuple_SetItem(tuple.as_ptr(), place, item.into_ptr()) };
    assert_eq!(outcome, 0, "a place of a new tuple");
}

pub(super) fn dict(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    py.get_type::<PyDict>().call0()
}

/// `numbers` as Python writes a shape or an index.
pub(super) fn numbers<'py>(py: Python<'py>, numbers: &[usize]) -> PyResult<Bound<'py, PyTuple>> {
    tuple_of(py, numbers.iter().map(|number| integer(py, *number)))
}

/// Calls `function` with `arguments`.
pub(super) fn call<'py, const N: usize>(
    function: &Bound<'py, PyAny>,
    arguments: [&Bound<'py, PyAny>; N],
) -> PyResult<Bound<'py, PyAny>> {
    let arguments = tuple(function.py(), arguments.map(Clone::clone))?;
    let keywords = ptr::null_mut();
    new!(function.py(), ffi::PyObject_Call(function.as_ptr(), arguments.as_ptr(), keywords))
}

/// What a function of the package makes of an argument of this name; or its error.
pub(super) fn read<'py>(
    function: &Py<PyAny>,
    argument: &Bound<'py, PyAny>,
    name: &str,
) -> PyResult<Bound<'py, PyAny>> {
    let py = argument.py();
    call(function.bind(py), [argument, &text(py, name)?.into_any()])
}
