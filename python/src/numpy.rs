//! The few things asked of NumPy itself.

use super::dtype::{Dtype, storage_of};
use super::errors::{Shape, answer, error, from_class, type_error};
use super::known::Known;
use super::objects::{call, integer, numbers};
use pyo3::exceptions::{PyMemoryError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyString;
use smoothxent::Storage;

/// numpy.empty(shape, dtype)
pub(super) fn empty<'py>(
    py: Python<'py>,
    shape: &[usize],
    dtype: &Dtype<'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let size = numbers(py, shape)?.into_any();
    call(Known::get().empty.bind(py), [&size, &dtype.object]).map_err(|raised| {
        if !raised.is_instance_of::<PyValueError>(py) {
            return raised;
        }
        // No shape of an array that is there is refused, but for more bytes than there are addresses.
        match dtype.object.str() {
            Ok(name) => error::<PyMemoryError>(
                py,
                format_args!("cannot allocate {name} of shape {}", Shape(shape)),
            ),
            Err(error) => error,
        }
    })
}

/// The types that results can have, in messages.
const SUPPORTED: &str = "float16, bfloat16, float32 or float64";

/// The `dtype=` of a result.
pub(super) fn requested<'py>(obj: &Bound<'py, PyAny>) -> PyResult<Dtype<'py>> {
    let py = obj.py();
    let refuse =
        |what: Bound<'_, PyString>| type_error!(py, "dtype must be {SUPPORTED}, got {what}");
    let Some(object) = answer(py, call(Known::get().dtype_type.bind(py), [obj]))? else {
        return Err(refuse(obj.repr()?));
    };
    match storage_of(&object)?.filter(|storage| storage.is_float()) {
        Some(storage @ Storage::Bf16) => Ok(Dtype { storage, object }),
        // Whatever else the object says, as of metadata or fields.
        Some(storage) => Ok(Dtype::of(py, storage)),
        None => Err(refuse(object.str()?)),
    }
}

/// Why an array of another dtype cannot take a result.
pub(super) fn refuse_output_dtype(obj: &Bound<'_, PyAny>, name: &str) -> PyResult<PyErr> {
    let own = obj.getattr(&Known::get().dtype)?.str()?;
    let what = format_args!("has dtype {own}, expected {SUPPORTED} in native byte order");
    Ok(type_error!(obj.py(), "{name} {what}"))
}

/// numpy.exceptions.AxisError
#[cold]
pub(super) fn axis_error(axis: &Bound<'_, PyAny>, ndim: usize) -> PyErr {
    let (py, known) = (axis.py(), Known::get());
    from_class(py, &known.axis_error, |class| {
        let axis = axis.call_method0(&known.__index__)?;
        call(class, [&axis, &integer(py, ndim)?, known.logits.bind(py)])
    })
}
