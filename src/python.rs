//! The extension module `smoothxent._smoothxent`: each function is parse, detach, call, wrap.
//!
//! Every parameter is positional and required; names, defaults and documentation
//! belong to the Python package. All errors are raised before anything is written.

/// Evaluates `$call` with `$F` being the compute type of `$storage`: the one match on a dtype.
macro_rules! compute_in {
    ($storage:expr, $F:ident => $call:expr) => {
        match $storage {
            Storage::F32 => {
                type $F = f32;
                $call
            }
            Storage::F64 => {
                type $F = f64;
                $call
            }
        }
    };
}

mod arguments;
mod arrays;
mod call;
mod errors;
mod loss;
mod numpy;

use crate::ops::{self, Activation, TermsOut};
use crate::pool;
use crate::simd::Level;
use crate::simd::memory::Storage;
use arguments::{Logits, flag, integer};
use arrays::Array;
use call::{Inputs, Output, guard, run};
use loss::LossArguments;
use pyo3::exceptions::{PyRuntimeWarning, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

/// What Python passed.
type Argument<'a, 'py> = &'a Bound<'py, PyAny>;

#[pyfunction]
#[pyo3(signature = (logits, axis, dtype, out, /))]
fn softmax<'py>(
    logits: Argument<'_, 'py>,
    axis: Argument<'_, 'py>,
    dtype: Argument<'_, 'py>,
    out: Argument<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    guard(out.py(), || activation(Activation::Softmax, logits, axis, dtype, out))
}

#[pyfunction]
#[pyo3(signature = (logits, axis, dtype, out, /))]
fn log_softmax<'py>(
    logits: Argument<'_, 'py>,
    axis: Argument<'_, 'py>,
    dtype: Argument<'_, 'py>,
    out: Argument<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    guard(out.py(), || activation(Activation::LogSoftmax, logits, axis, dtype, out))
}

fn activation<'py>(
    kind: Activation,
    logits: Argument<'_, 'py>,
    axis: Argument<'_, 'py>,
    dtype: Argument<'_, 'py>,
    out: Argument<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let logits = Logits::new(logits, axis)?;
    let own = logits.array.storage();
    let result = if dtype.is_none() { own } else { numpy::requested_storage(dtype)? };
    let compute = own.wider(result);
    let inputs = Inputs { logits: &logits.array, others: vec![], compute, in_place: true };
    let output = Output::new(out, "out", logits.shape(), result, &inputs)?;
    let (z, p) = (logits.array.rows(logits.axis), output.array.rows_mut(logits.axis));
    run(
        out.py(),
        logits.array.bytes(),
        |run| compute_in!(compute, F => ops::activation::<F>(kind, &z, &p, run)),
    )?;
    output.finish()
}

#[pyfunction]
#[pyo3(signature = (logits, axis, keepdims, out, /))]
fn logsumexp<'py>(
    logits: Argument<'_, 'py>,
    axis: Argument<'_, 'py>,
    keepdims: Argument<'_, 'py>,
    out: Argument<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    guard(out.py(), || {
        let logits = Logits::new(logits, axis)?;
        let mut shape = logits.row_shape();
        if flag(keepdims, "keepdims")? {
            shape.insert(logits.axis, 1);
        }
        let compute = logits.array.storage();
        let inputs = Inputs { logits: &logits.array, others: vec![], compute, in_place: false };
        let output = Output::new(out, "out", &shape, compute, &inputs)?;
        let (z, lse) = (logits.array.rows(logits.axis), output.array.elements_mut());
        run(
            out.py(),
            logits.array.bytes(),
            |run| compute_in!(compute, F => ops::logsumexp::<F>(&z, &lse, run)),
        )?;
        output.finish()
    })
}

#[pyfunction]
#[pyo3(signature = (logits, targets, label_smoothing, prior, ignore_index, axis, reduction, out, /))]
#[allow(clippy::too_many_arguments, reason = "the arguments of the Python function")]
fn cross_entropy<'py>(
    logits: Argument<'_, 'py>,
    targets: Argument<'_, 'py>,
    label_smoothing: Argument<'_, 'py>,
    prior: Argument<'_, 'py>,
    ignore_index: Argument<'_, 'py>,
    axis: Argument<'_, 'py>,
    reduction: Argument<'_, 'py>,
    out: Argument<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let options = LossArguments {
        logits,
        targets,
        label_smoothing,
        prior,
        ignore_index,
        axis,
        reduction,
        out,
    };
    guard(out.py(), || Ok(options.evaluate(None)?.0))
}

#[pyfunction]
#[pyo3(signature = (logits, targets, label_smoothing, prior, ignore_index, axis, reduction, out, grad_out, /))]
#[allow(clippy::too_many_arguments, reason = "the arguments of the Python function")]
fn cross_entropy_value_and_grad<'py>(
    logits: Argument<'_, 'py>,
    targets: Argument<'_, 'py>,
    label_smoothing: Argument<'_, 'py>,
    prior: Argument<'_, 'py>,
    ignore_index: Argument<'_, 'py>,
    axis: Argument<'_, 'py>,
    reduction: Argument<'_, 'py>,
    out: Argument<'_, 'py>,
    grad_out: Argument<'_, 'py>,
) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
    let options = LossArguments {
        logits,
        targets,
        label_smoothing,
        prior,
        ignore_index,
        axis,
        reduction,
        out,
    };
    guard(out.py(), || {
        let (loss, grad) = options.evaluate(Some(grad_out))?;
        Ok((loss, grad.expect("asked for")))
    })
}

#[pyfunction]
#[pyo3(signature = (logits, targets, prior, ignore_index, axis, /))]
fn cross_entropy_terms<'py>(
    logits: Argument<'_, 'py>,
    targets: Argument<'_, 'py>,
    prior: Argument<'_, 'py>,
    ignore_index: Argument<'_, 'py>,
    axis: Argument<'_, 'py>,
) -> PyResult<Bound<'py, PyTuple>> {
    let py = logits.py();
    guard(py, || {
        let logits = Logits::new(logits, axis)?;
        let prior_array = logits.prior_array(prior)?;
        let prior = logits.prior(py, prior_array.as_ref(), 1.0)?;
        let ignored = arguments::ignore_index(ignore_index)?;
        let target_array = Array::targets(targets)?;
        let targets = logits.targets(py, &target_array, ignored)?;
        let (compute, shape) = (logits.array.storage(), logits.row_shape());
        let empty = || Array::empty(py, &shape, compute);
        let arrays = [empty()?, empty()?, empty()?, empty()?, empty()?];
        let out = TermsOut {
            nll: arrays[0].1.elements_mut(),
            prior_cross_entropy: arrays[1].1.elements_mut(),
            prior_kl: arrays[2].1.elements_mut(),
            prior_entropy: arrays[3].1.elements_mut(),
            logsumexp: arrays[4].1.elements_mut(),
        };
        let z = logits.array.rows(logits.axis);
        run(
            py,
            logits.array.bytes(),
            |run| compute_in!(compute, F => ops::cross_entropy_terms::<F>(&z, &targets, &prior, &out, run)),
        )?;
        PyTuple::new(py, arrays.into_iter().map(|(object, _)| object))
    })
}

#[pyfunction]
#[pyo3(signature = (n, /))]
fn set_num_threads(n: Argument<'_, '_>) -> PyResult<()> {
    let given = integer(n, "n")?;
    if given < 1 {
        return Err(PyValueError::new_err(format!("n must be at least 1, got {given}")));
    }
    pool::set_num_threads(usize::try_from(given).unwrap_or(usize::MAX));
    Ok(())
}

#[pyfunction]
fn get_num_threads() -> usize {
    pool::num_threads()
}

#[pyfunction]
fn show_config(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let simd = PyDict::new(py);
    simd.set_item("level", Level::current().name())?;
    let available: Vec<&str> = Level::available().iter().map(|level| level.name()).collect();
    simd.set_item("available", available)?;
    if let Some(problem) = Level::override_problem() {
        simd.set_item("ignored", problem)?;
    }
    let state = pool::describe();
    let threads = PyDict::new(py);
    threads.set_item("count", state.width)?;
    threads.set_item("source", state.source)?;
    threads.set_item("started", state.spawned)?;
    if let Some(reason) = state.degraded {
        threads.set_item("degraded", reason)?;
    }
    if !state.ignored.is_empty() {
        threads.set_item("ignored", state.ignored)?;
    }
    let config = PyDict::new(py);
    config.set_item("version", env!("CARGO_PKG_VERSION"))?;
    config.set_item("simd", simd)?;
    config.set_item("threads", threads)?;
    Ok(config)
}

#[pyfunction]
fn _after_fork_in_child() {
    pool::after_fork_in_child();
}

/// Settles what must not happen for the first time during a fork, and warns of variables that
/// are not followed. Starts no thread.
fn initialise(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    pool::init();
    let _ = Level::current();
    let hook = PyDict::new(py);
    hook.set_item("after_in_child", module.getattr("_after_fork_in_child")?)?;
    let os = py.import("os")?;
    // Windows has no fork.
    if let Some(register) = os.getattr_opt("register_at_fork")? {
        register.call((), Some(&hook))?;
    }
    let ignored = pool::describe().ignored.iter().cloned().chain(Level::override_problem());
    for message in ignored {
        let message = std::ffi::CString::new(message).unwrap_or_default();
        PyErr::warn(py, &py.get_type::<PyRuntimeWarning>(), &message, 2)?;
    }
    Ok(())
}

/// The native half of the package `smoothxent`.
#[pymodule(gil_used = false)]
mod _smoothxent {
    use pyo3::prelude::*;

    #[pymodule_export]
    use super::{
        _after_fork_in_child, cross_entropy, cross_entropy_terms, cross_entropy_value_and_grad,
        get_num_threads, log_softmax, logsumexp, set_num_threads, show_config, softmax,
    };
    #[pymodule_export]
    #[allow(non_upper_case_globals, reason = "the name of the Python attribute")]
    const __version__: &str = env!("CARGO_PKG_VERSION");

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        super::initialise(module)
    }
}
