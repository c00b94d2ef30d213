//! The few things asked of NumPy itself.

use super::errors::{Shape, answer, error, from_class, type_error};
use super::kind::Kind;
use super::known::Known;
use super::objects::{call, integer, numbers};
use pyo3::exceptions::{PyMemoryError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyString;

/// The dtype of an array of numbers in native byte order.
pub(super) struct Dtype {
    pub(super) kind: Kind,
    /// The object of bfloat16, as ml_dtypes has it: NumPy itself does not.
    pub(super) bfloat16: Option<Py<PyAny>>,
}

impl Dtype {
    /// NumPy's own.
    pub(super) fn of(kind: Kind) -> Self {
        Self { kind, bfloat16: None }
    }

    /// That of a dtype object, if its elements are such numbers.
    pub(super) fn of_object(dtype: &Bound<'_, PyAny>) -> PyResult<Option<Self>> {
        let kind = match Known::get().kind_of(dtype) {
            None => answer(dtype.py(), kind_by_name(dtype))?.flatten(),
            known => known,
        };
        Ok(kind.map(|kind| {
            let bfloat16 = (kind == Kind::BFLOAT16).then(|| dtype.clone().unbind());
            Self { kind, bfloat16 }
        }))
    }

    pub(super) fn object<'py>(&self, py: Python<'py>) -> &Bound<'py, PyAny> {
        self.bfloat16.as_ref().unwrap_or_else(|| Known::get().dtype_of(self.kind)).bind(py)
    }
}

/// What the elements of a dtype are that is none of the known objects: it may be equal to one all the same, as another
/// C type, with metadata, or unpickled; or bfloat16, whose package need not be there. Not by `==`, for which NumPy takes
/// memory that it does not check.
fn kind_by_name(dtype: &Bound<'_, PyAny>) -> PyResult<Option<Kind>> {
    let known = Known::get();
    let name = dtype.getattr(&known.name)?.cast_into::<PyString>()?;
    let (name, size) = (name.to_cow()?, dtype.getattr(&known.itemsize)?.extract::<usize>()?);
    let is_native = dtype.getattr(&known.isnative)?.is_truthy()?;
    let mut all = Kind::ALL.into_iter().filter(|_| is_native);
    Ok(all.find(|(kind, own)| *own == name && kind.size() == size).map(|(kind, _)| kind))
}

/// numpy.empty(shape, dtype)
pub(super) fn empty<'py>(
    py: Python<'py>,
    shape: &[usize],
    dtype: &Dtype,
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
pub(super) fn requested(obj: &Bound<'_, PyAny>) -> PyResult<Dtype> {
    let py = obj.py();
    let refuse =
        |what: Bound<'_, PyString>| type_error!(py, "dtype must be {SUPPORTED}, got {what}");
    let Some(requested) = answer(py, call(Known::get().dtype_type.bind(py), [obj]))? else {
        return Err(refuse(obj.repr()?));
    };
    match Dtype::of_object(&requested)? {
        Some(dtype) if dtype.kind.is_real() => Ok(dtype),
        _ => Err(refuse(requested.str()?)),
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
