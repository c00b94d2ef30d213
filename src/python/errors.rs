//! Errors of the core as Python exceptions, with places in the shapes that the user knows.

use crate::error::Error;
use pyo3::exceptions::{PyMemoryError, PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use std::fmt;

/// A shape as Python writes a tuple.
pub(super) struct Shape<'a>(pub(super) &'a [usize]);

impl fmt::Display for Shape<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [only] => write!(f, "({only},)"),
            axes => {
                let axes: Vec<String> = axes.iter().map(usize::to_string).collect();
                write!(f, "({})", axes.join(", "))
            }
        }
    }
}

/// The index of row `row` in an array of `shape` without its `axis`.
pub(super) fn row_index(row: usize, shape: &[usize], axis: usize) -> Vec<usize> {
    let mut rest = row;
    let mut index = Vec::new();
    for (place, &len) in shape.iter().enumerate().rev() {
        if place != axis {
            index.insert(0, rest % len);
            rest /= len;
        }
    }
    index
}

/// Raises `error`, whose places the caller has already translated.
pub(super) fn raise(py: Python<'_>, error: &Error) -> PyErr {
    let text = error.to_string();
    match error {
        Error::Label { .. } => own_exception(py, "LabelError", text),
        Error::OutOfMemory { .. } => PyMemoryError::new_err(text),
        Error::Forked => PyRuntimeError::new_err(text),
        _ => PyValueError::new_err(text),
    }
}

/// `smoothxent.InternalError`: a bug of ours.
pub(super) fn internal(py: Python<'_>, payload: &(dyn std::any::Any + Send)) -> PyErr {
    let message = payload
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| payload.downcast_ref::<&str>().copied())
        .unwrap_or("unknown panic");
    own_exception(py, "InternalError", format!("a bug in smoothxent, please report it: {message}"))
}

fn own_exception(py: Python<'_>, name: &str, text: String) -> PyErr {
    let raised = || {
        let class = py.import("smoothxent._errors")?.getattr(name)?;
        Ok(PyErr::from_value(class.call1((&text,))?))
    };
    raised().unwrap_or_else(|error: PyErr| error)
}

/// `{name} must be {expected}, got {type of obj}`
pub(super) fn wrong_type(obj: &Bound<'_, PyAny>, name: &str, expected: &str) -> PyErr {
    let kind = obj.get_type().name().map_or_else(|_| "?".to_owned(), |kind| kind.to_string());
    PyTypeError::new_err(format!("{name} must be {expected}, got {kind}"))
}
