//! The few things asked of NumPy itself.

use crate::simd::memory::Storage;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyTuple;

fn attribute<'py>(
    py: Python<'py>,
    cell: &'static PyOnceLock<Py<PyAny>>,
    name: &str,
) -> PyResult<&'py Bound<'py, PyAny>> {
    cell.import(py, "numpy", name)
}

/// numpy.float32 or numpy.float64, as a dtype object.
fn dtype(py: Python<'_>, storage: Storage) -> PyResult<&Bound<'_, PyAny>> {
    static FLOAT32: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    static FLOAT64: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let (cell, name) = match storage {
        Storage::F32 => (&FLOAT32, "float32"),
        Storage::F64 => (&FLOAT64, "float64"),
    };
    let object = cell.get_or_try_init(py, || {
        dtype_of(py, name.into_pyobject(py)?.as_any()).map(Bound::unbind)
    })?;
    Ok(object.bind(py))
}

fn dtype_of<'py>(py: Python<'py>, obj: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    static DTYPE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    attribute(py, &DTYPE, "dtype")?.call1((obj,))
}

/// numpy.empty(shape, dtype)
pub(super) fn empty<'py>(
    py: Python<'py>,
    shape: &[usize],
    storage: Storage,
) -> PyResult<Bound<'py, PyAny>> {
    static EMPTY: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let shape = PyTuple::new(py, shape)?;
    attribute(py, &EMPTY, "empty")?.call1((shape, dtype(py, storage)?))
}

/// numpy.copyto(target, source, casting="same_kind")
pub(super) fn copyto(target: &Bound<'_, PyAny>, source: &Bound<'_, PyAny>) -> PyResult<()> {
    static COPYTO: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    attribute(target.py(), &COPYTO, "copyto")?.call1((target, source)).map(drop)
}

/// The `dtype=` of a result: float32 or float64.
pub(super) fn requested_storage(obj: &Bound<'_, PyAny>) -> PyResult<Storage> {
    let py = obj.py();
    let refuse = |what: String| {
        PyTypeError::new_err(format!("dtype must be float32 or float64, got {what}"))
    };
    let Ok(requested) = dtype_of(py, obj) else {
        return Err(refuse(obj.repr()?.to_string()));
    };
    for storage in [Storage::F32, Storage::F64] {
        if requested.eq(dtype(py, storage)?)? {
            return Ok(storage);
        }
    }
    Err(refuse(requested.str()?.to_string()))
}

/// Why an array of another dtype cannot take a result of `storage`.
pub(super) fn refuse_output_dtype(
    obj: &Bound<'_, PyAny>,
    name: &str,
    storage: Storage,
) -> PyResult<PyErr> {
    let py = obj.py();
    let (own, result) = (obj.getattr("dtype")?, dtype(py, storage)?);
    let casts = py.import("numpy")?.call_method1("can_cast", (result, &own, "same_kind"))?;
    let reason = if casts.is_truthy()? {
        "but only float32 and float64 are supported".to_owned()
    } else {
        format!("to which {result} cannot be cast under \"same_kind\"")
    };
    Ok(PyTypeError::new_err(format!("{name} has dtype {own}, {reason}")))
}

/// numpy.exceptions.AxisError
pub(super) fn axis_error(py: Python<'_>, axis: i128, shape: &[usize]) -> PyResult<PyErr> {
    let dimensions = shape.len();
    let text = format!("axis {axis} is out of bounds for logits of {dimensions} dimensions");
    let class = py.import("numpy.exceptions")?.getattr("AxisError")?;
    Ok(PyErr::from_value(class.call1((text,))?))
}
