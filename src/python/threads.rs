//! How many threads a call may use: set for the process, or for a context.

use super::Argument;
use super::arguments::integer;
use crate::pool;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;

/// The contextvars.ContextVar of `num_threads` blocks. There is none before the first of them, so
/// that programs without them do not look it up in every call.
static IN_CONTEXT: PyOnceLock<Py<PyAny>> = PyOnceLock::new();

/// The largest number of threads that a call from here may use, and what set it.
pub(super) fn width(py: Python<'_>) -> PyResult<(usize, &'static str)> {
    if let Some(variable) = IN_CONTEXT.get(py) {
        let n = variable.bind(py).call_method0(pyo3::intern!(py, "get"))?;
        if !n.is_none() {
            return Ok((n.extract()?, "num_threads"));
        }
    }
    Ok(pool::width())
}

#[pyfunction]
pub(super) fn get_num_threads(py: Python<'_>) -> PyResult<usize> {
    Ok(width(py)?.0)
}

#[pyfunction]
#[pyo3(signature = (n, /))]
pub(super) fn set_num_threads(n: Argument<'_, '_>) -> PyResult<()> {
    pool::set_num_threads(at_least_one(n)?);
    Ok(())
}

/// Begins a block; `_exit_num_threads` ends it, given what this returns.
#[pyfunction]
#[pyo3(signature = (n, /))]
pub(super) fn _enter_num_threads<'py>(n: Argument<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
    let py = n.py();
    let n = at_least_one(n)?;
    let variable = IN_CONTEXT.get_or_try_init(py, || {
        let options = PyDict::new(py);
        options.set_item("default", py.None())?;
        let class = py.import("contextvars")?.getattr("ContextVar")?;
        class.call(("smoothxent.num_threads",), Some(&options)).map(Bound::unbind)
    })?;
    variable.bind(py).call_method1("set", (n,))
}

#[pyfunction]
#[pyo3(signature = (token, /))]
pub(super) fn _exit_num_threads(token: Argument<'_, '_>) -> PyResult<()> {
    if let Some(variable) = IN_CONTEXT.get(token.py()) {
        variable.bind(token.py()).call_method1("reset", (token,))?;
    }
    Ok(())
}

fn at_least_one(n: Argument<'_, '_>) -> PyResult<usize> {
    let given = integer(n, "n")?;
    if given < 1 {
        return Err(PyValueError::new_err(format!("n must be at least 1, got {given}")));
    }
    Ok(usize::try_from(given).unwrap_or(usize::MAX))
}
