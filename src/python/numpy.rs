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

/// The dtype of a result.
pub(super) struct Dtype<'py> {
    pub(super) storage: Storage,
    pub(super) object: Bound<'py, PyAny>,
}

impl<'py> Dtype<'py> {
    /// NumPy's own type for `storage`, which bfloat16 does not have.
    pub(super) fn of(py: Python<'py>, storage: Storage) -> PyResult<Self> {
        static FLOAT16: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        static FLOAT32: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        static FLOAT64: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let (cell, name) = match storage {
            Storage::F16 => (&FLOAT16, "float16"),
            Storage::F32 => (&FLOAT32, "float32"),
            Storage::Bool | Storage::Bf16 | Storage::F64 => (&FLOAT64, "float64"),
        };
        let object = cell.get_or_try_init(py, || {
            dtype_of(py, name.into_pyobject(py)?.as_any()).map(Bound::unbind)
        })?;
        Ok(Self { storage, object: object.bind(py).clone() })
    }
}

/// Is a dtype bfloat16, as ml_dtypes has it? By its name: the package need not be there.
pub(super) fn is_bfloat16(dtype: &Bound<'_, PyAny>) -> PyResult<bool> {
    let name = dtype.getattr("name")?;
    Ok(name.eq("bfloat16")? && dtype.getattr("isnative")?.is_truthy()?)
}

fn dtype_of<'py>(py: Python<'py>, obj: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    static DTYPE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    attribute(py, &DTYPE, "dtype")?.call1((obj,))
}

/// numpy.empty(shape, dtype)
pub(super) fn empty<'py>(
    py: Python<'py>,
    shape: &[usize],
    dtype: &Dtype<'py>,
) -> PyResult<Bound<'py, PyAny>> {
    static EMPTY: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let shape = PyTuple::new(py, shape)?;
    attribute(py, &EMPTY, "empty")?.call1((shape, &dtype.object))
}

/// numpy.copyto(target, source, casting="unsafe") of real arrays, to be interrupted on the way.
pub(super) fn copyto(target: &Bound<'_, PyAny>, source: &Bound<'_, PyAny>) -> PyResult<()> {
    static COPY: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let copy = COPY.import(target.py(), "smoothxent._pieces", "copy")?;
    copy.call1((target, source)).map(drop)
}

/// The types that results can have, in messages.
const SUPPORTED: &str = "float16, bfloat16, float32 or float64";

/// The `dtype=` of a result.
pub(super) fn requested<'py>(obj: &Bound<'py, PyAny>) -> PyResult<Dtype<'py>> {
    let py = obj.py();
    let refuse =
        |what: String| PyTypeError::new_err(format!("dtype must be {SUPPORTED}, got {what}"));
    let Ok(requested) = dtype_of(py, obj) else {
        return Err(refuse(obj.repr()?.to_string()));
    };
    for storage in [Storage::F32, Storage::F64, Storage::F16] {
        let dtype = Dtype::of(py, storage)?;
        if requested.eq(&dtype.object)? {
            return Ok(dtype);
        }
    }
    if is_bfloat16(&requested)? {
        return Ok(Dtype { storage: Storage::Bf16, object: requested });
    }
    Err(refuse(requested.str()?.to_string()))
}

/// Why an array of another dtype cannot take a result.
pub(super) fn refuse_output_dtype(obj: &Bound<'_, PyAny>, name: &str) -> PyResult<PyErr> {
    let own = obj.getattr("dtype")?;
    let text = format!("{name} has dtype {own}, expected {SUPPORTED} in native byte order");
    Ok(PyTypeError::new_err(text))
}

/// numpy.exceptions.AxisError
pub(super) fn axis_error(py: Python<'_>, axis: i128, shape: &[usize]) -> PyResult<PyErr> {
    let class = py.import("numpy.exceptions")?.getattr("AxisError")?;
    Ok(PyErr::from_value(class.call1((axis, shape.len(), "logits"))?))
}
