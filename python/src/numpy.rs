//! The few things asked of NumPy itself.

use super::errors::{Shape, answer, error, from_class, type_error};
use super::known::Known;
use super::objects::{call, integer, numbers};
use pyo3::exceptions::{PyMemoryError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyString;
use smoothxent::Storage;

/// The dtype of a result.
pub(super) struct Dtype<'py> {
    pub(super) storage: Storage,
    /// That of bfloat16, which NumPy itself does not have.
    pub(super) bfloat16: Option<Bound<'py, PyAny>>,
}

impl<'py> Dtype<'py> {
    /// NumPy's own type for `storage`.
    pub(super) fn of(storage: Storage) -> Self {
        Self { storage, bfloat16: None }
    }

    pub(super) fn object(&self, py: Python<'py>) -> &Bound<'py, PyAny> {
        self.bfloat16.as_ref().unwrap_or_else(|| Known::get().dtype_of(self.storage).bind(py))
    }
}

/// Is a dtype bfloat16, as ml_dtypes has it? By its name: the package need not be there.
pub(super) fn is_bfloat16(dtype: &Bound<'_, PyAny>) -> PyResult<bool> {
    let (py, known) = (dtype.py(), Known::get());
    let name = dtype.getattr(&known.name)?;
    Ok(name.eq(known.bfloat16.bind(py))? && dtype.getattr(&known.isnative)?.is_truthy()?)
}

/// numpy.empty(shape, dtype)
pub(super) fn empty<'py>(
    py: Python<'py>,
    shape: &[usize],
    dtype: &Dtype<'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let size = numbers(py, shape)?.into_any();
    call(Known::get().empty.bind(py), [&size, dtype.object(py)]).map_err(|raised| {
        if !raised.is_instance_of::<PyValueError>(py) {
            return raised;
        }
        // No shape of an array that is there is refused, but for more bytes than there are addresses.
        match dtype.object(py).str() {
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
    let (py, known) = (obj.py(), Known::get());
    let refuse =
        |what: Bound<'_, PyString>| type_error!(py, "dtype must be {SUPPORTED}, got {what}");
    let Some(requested) = answer(py, call(known.dtype_type.bind(py), [obj]))? else {
        return Err(refuse(obj.repr()?));
    };
    for storage in [Storage::F32, Storage::F64, Storage::F16] {
        let dtype = Dtype::of(storage);
        if requested.eq(dtype.object(py))? {
            return Ok(dtype);
        }
    }
    if is_bfloat16(&requested)? {
        return Ok(Dtype { storage: Storage::Bf16, bfloat16: Some(requested) });
    }
    Err(refuse(requested.str()?))
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
