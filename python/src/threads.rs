//! The number of threads that a call may use, set for the process or for a context.

use super::Argument;
use super::call::guard;
use super::errors::Result;
use super::known::Known;
use super::objects;
use pyo3::prelude::*;
use smoothxent::pool;
use std::sync::OnceLock;

/// The contextvars.ContextVar of `num_threads` blocks. It is not set before the first block, so that programs without
/// such blocks do not look it up in every call.
static IN_CONTEXT: OnceLock<Py<PyAny>> = OnceLock::new();

/// The largest number of threads that a call from here may use, and what set it.
pub(super) fn width(py: Python<'_>) -> Result<(usize, &'static str)> {
    if let Some(variable) = IN_CONTEXT.get() {
        let n = variable.bind(py).call_method0(&Known::get().get)?;
        if !n.is_none() {
            return Ok((n.extract()?, "num_threads"));
        }
    }
    Ok(pool::width())
}

#[pyfunction]
pub(super) fn get_num_threads(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    guard(py, || objects::integer(py, width(py)?.0 as i128))
}

/// Sets the number for the process, which is at least 1.
#[pyfunction]
#[pyo3(signature = (n, /))]
pub(super) fn set_num_threads(n: usize) {
    pool::set_num_threads(n);
}

/// The variable that a block sets: that of the first call, if the package has been imported again since.
#[pyfunction]
#[pyo3(signature = (variable, /))]
pub(super) fn _variable_of_blocks<'py>(variable: Argument<'_, 'py>) -> Bound<'py, PyAny> {
    IN_CONTEXT.get_or_init(|| variable.clone().unbind()).bind(variable.py()).clone()
}
