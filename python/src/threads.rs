//! How many threads a call may use: set for the process, or for a context.

use super::Argument;
use super::arguments::integer;
use super::call::guard;
use super::errors::value_error;
use super::known::Known;
use super::objects::{self, call, text, tuple};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use smoothxent::pool;
use std::sync::OnceLock;

/// The contextvars.ContextVar of `num_threads` blocks. There is none before the first of them, so
/// that programs without them do not look it up in every call.
static IN_CONTEXT: OnceLock<Py<PyAny>> = OnceLock::new();

/// The largest number of threads that a call from here may use, and what set it.
pub(super) fn width(py: Python<'_>) -> PyResult<(usize, &'static str)> {
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
    guard(py, || objects::integer(py, width(py)?.0))
}

#[pyfunction]
#[pyo3(signature = (n, /))]
pub(super) fn set_num_threads(n: Argument<'_, '_>) -> PyResult<()> {
    guard(n.py(), || {
        pool::set_num_threads(at_least_one(n)?);
        Ok(())
    })
}

/// Begins a block; `_exit_num_threads` ends it, given what this returns.
#[pyfunction]
#[pyo3(signature = (n, /))]
pub(super) fn _enter_num_threads<'py>(n: Argument<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
    let py = n.py();
    guard(py, || {
        let n = objects::integer(py, at_least_one(n)?)?;
        let variable = match IN_CONTEXT.get() {
            Some(variable) => variable,
            None => {
                let made = new_variable(py)?; // before: nothing else may run in the cell
                IN_CONTEXT.get_or_init(|| made)
            }
        };
        call(&variable.bind(py).getattr(&Known::get().set)?, [&n])
    })
}

fn new_variable(py: Python<'_>) -> PyResult<Py<PyAny>> {
    let options = objects::dict(py)?;
    options.set_item(text(py, "default")?, py.None())?;
    let name = tuple(py, [text(py, "smoothxent.num_threads")?.into_any()])?;
    let class = Known::get().context_var.bind(py);
    class.call(name, Some(options.cast::<PyDict>()?)).map(Bound::unbind)
}

#[pyfunction]
#[pyo3(signature = (token, /))]
pub(super) fn _exit_num_threads(token: Argument<'_, '_>) -> PyResult<()> {
    let py = token.py();
    guard(py, || match IN_CONTEXT.get() {
        Some(variable) => call(&variable.bind(py).getattr(&Known::get().reset)?, [token]).map(drop),
        None => Ok(()),
    })
}

fn at_least_one(n: Argument<'_, '_>) -> PyResult<usize> {
    let given = integer(n, "n")?;
    if given < 1 {
        return Err(value_error!(n.py(), "n must be at least 1, got {given}"));
    }
    Ok(usize::try_from(given).unwrap_or(usize::MAX))
}
