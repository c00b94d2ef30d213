//! The extension module `smoothxent._smoothxent`. Each function parses its arguments, detaches from the interpreter,
//! calls the core, and wraps the results.
//!
//! Every parameter is positional and required; names, defaults and documentation are in the Python package. All errors
//! are raised before anything is written. A function returns NotImplemented if `axis` has several axes, and logsumexp if
//! rows have no classes; the Python package handles these calls.
#![deny(unsafe_code)]

/// `Some($read?)` if the argument is given. A function would copy a None like the whole of a large value.
macro_rules! given {
    ($argument:expr, $read:expr) => {
        if $argument.is_none() { None } else { Some($read?) }
    };
}

/// `let $name = &mut $result?` of a large value, without a copy, which would wait for the stores of the value.
macro_rules! hold {
    ($name:ident = $result:expr) => {
        let mut held = $result;
        let $name = match held {
            Ok(ref mut value) => value,
            Err(error) => return Err(error),
        };
    };
}

/// A Python function of positional arguments. `$body` gets them as an array, after `$first`, and runs in the default
/// floating-point environment.
macro_rules! function {
    ($name:ident($($argument:ident),+ $(,)?) -> $result:ty, $body:path $(, $first:expr)?) => {
        #[pyfunction]
        #[pyo3(signature = ($($argument,)+ /))]
        #[allow(clippy::too_many_arguments, reason = "the arguments of the Python function")]
        pub(crate) fn $name<'py>(
            $($argument: $crate::Argument<'_, 'py>),+
        ) -> PyResult<Bound<'py, $result>> {
            let given = &[$($argument.as_borrowed()),+];
            $crate::call::guard(given[0].py(), || $body($($first,)? given))
        }
    };
}

mod arguments;
mod arrays;
mod builtin;
mod call;
mod chosen;
mod chunk;
mod dtype;
mod errors;
mod known;
mod logits;
mod loss;
mod objects;
mod threads;

use arguments::{flag, is_one_axis};
use arrays::Array;
use builtin::Native;
use call::{Output, guard};
use dtype::requested;
use errors::Result;
use logits::Logits;
use objects::{integer, text, tuple, tuple_of};
use pyo3::prelude::*;
use pyo3::types::{PyNotImplemented, PyTuple};
use smoothxent::{Level, Operation, Prior, Targets, WithReserve, pool};
use std::env::consts::{ARCH, OS};
use threads::width;

#[global_allocator]
static ALLOCATOR: WithReserve = WithReserve;

/// An argument that Python passed.
type Argument<'a, 'py> = &'a Bound<'py, PyAny>;
type Arguments<'a, 'py, const N: usize> = [Borrowed<'a, 'py, PyAny>; N];

/// The functions that the builtins call.
const NATIVE: [Native; 5] = [
    |given| activation(Operation::Softmax, all(given)),
    |given| activation(Operation::LogSoftmax, all(given)),
    |given| logsumexp_of(all(given)),
    |given| loss::value(all(given)),
    |given| loss::value_and_grad(all(given)).map(Bound::into_any),
];

fn all<T, const N: usize>(given: &[T]) -> &[T; N] {
    given.first_chunk().expect("all arguments")
}

function!(
    softmax(logits, axis, temperature, r#where, dtype, out) -> PyAny,
    activation,
    Operation::Softmax
);

function!(
    log_softmax(logits, axis, temperature, r#where, dtype, out) -> PyAny,
    activation,
    Operation::LogSoftmax
);

fn activation<'py>(
    operation: Operation,
    [logits, axis, temperature, mask, dtype, out]: &Arguments<'_, 'py, 6>,
) -> Result<Bound<'py, PyAny>> {
    if !is_one_axis(axis) {
        return Ok(PyNotImplemented::get(axis.py()).to_owned().into_any());
    }
    hold!(logits = Logits::new(logits, axis));
    logits.read_options(temperature, mask)?;
    let storage = given!(dtype, requested(dtype));
    if let Some(storage) = storage {
        logits.compute = logits.array.storage().compute_with(storage);
    }
    let mut output = None;
    let output = Output::new(&mut output, out, "out", logits.shape(), storage, logits, &[])?;
    hold!(p = output.rows_mut(out.py(), logits.axis));
    logits.run(out.py(), |batch, run| batch.apply(operation, p, run))?;
    output.finish(out.py())
}

function!(
    logsumexp(logits, axis, temperature, r#where, keepdims, out) -> PyAny,
    logsumexp_of
);

#[inline(never)] // called from two places
fn logsumexp_of<'py>(
    [logits, axis, temperature, mask, keepdims, out]: &Arguments<'_, 'py, 6>,
) -> Result<Bound<'py, PyAny>> {
    let several = || Ok(PyNotImplemented::get(axis.py()).to_owned().into_any());
    if !is_one_axis(axis) {
        return several();
    }
    hold!(logits = Logits::new(logits, axis));
    if logits.lack_classes() {
        return several();
    }
    logits.read_options(temperature, mask)?;
    let mut shape = logits.row_shape();
    if flag(keepdims, "keepdims")? {
        shape.insert(logits.axis, 1);
    }
    let mut output = None;
    let output = Output::new(&mut output, out, "out", &shape, None, logits, &[])?;
    let mut lse = output.array.elements_mut();
    logits.run(out.py(), |batch, run| batch.apply(Operation::LogSumExp, &mut lse, run))?;
    let lse = output.finish(out.py())?;
    // One row: a scalar, as from NumPy's own reductions.
    let is_scalar = shape.is_empty() && out.is_none();
    Ok(if is_scalar { lse.get_item(tuple(out.py(), [])?)? } else { lse })
}

function!(
    cross_entropy_terms(
        logits, targets, prior, ignore_index, r#where, temperature, axis
    ) -> PyTuple,
    terms
);

fn terms<'py>(
    [logits, targets, prior, ignore_index, mask, temperature, axis]: &Arguments<'_, 'py, 7>,
) -> Result<Bound<'py, PyTuple>> {
    let py = logits.py();
    let mut logits = Logits::new(logits, axis)?;
    logits.read_options(temperature, mask)?;
    let prior_array = given!(prior, logits.prior_array(prior));
    let prior = prior_array.as_ref().map(|array| logits.prior(py, array)).transpose()?;
    let prior = &prior.unwrap_or(Prior::Uniform);
    let ignored = arguments::ignore_index(ignore_index)?;
    let target_array = Array::read(targets, "targets", Array::TARGETS)?;
    let mut place = Targets::none();
    let targets = logits.targets(py, &target_array, ignored.as_ref(), None, &mut place)?;
    let (shape, per_row) = (logits.row_shape(), logits.compute);
    let empty = || Array::empty(py, &shape, per_row);
    let arrays = [empty()?, empty()?, empty()?, empty()?, empty()?];
    let mut out = arrays.each_ref().map(Array::elements_mut);
    logits.run(py, |batch, run| batch.cross_entropy_terms(targets, prior, &mut out, run))?;
    tuple(py, arrays.each_ref().map(|array| array.object(py)))
}

/// The build; the SIMD level, the available levels, and an override that is ignored; the number of threads, its source,
/// how many have been started, why there are no more, and the variables that are ignored. A text is empty if there is no
/// problem.
#[pyfunction]
fn show_config(py: Python<'_>) -> PyResult<Bound<'_, PyTuple>> {
    guard(py, || {
        let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
        let (threads, (count, source)) = (pool::describe(), width(py)?);
        let levels = Level::available().iter().map(|level| text(py, level.name()));
        let if_any = |problem: Option<String>| text(py, &problem.unwrap_or_default());
        tuple(
            py,
            [
                text(py, &format!("{profile}, for {OS} on {ARCH}"))?,
                text(py, Level::current().name())?,
                tuple_of(py, levels)?.into_any(),
                if_any(Level::override_problem())?,
                integer(py, count as i128)?,
                text(py, source)?,
                integer(py, threads.spawned as i128)?,
                if_any(threads.degraded)?,
                tuple_of(py, threads.ignored.iter().map(|problem| text(py, problem)))?.into_any(),
            ],
        )
    })
}

/// Refuses an output that Python code writes, viewed as integers, if two of its elements share memory.
#[pyfunction]
#[pyo3(signature = (out, name, /))]
fn _refuse_overlap(out: Argument<'_, '_>, name: &str) -> PyResult<()> {
    guard(out.py(), || Array::read(out, name, Array::INTEGERS)?.refuse_overlap(out.py(), name))
}

#[pyfunction]
fn _after_fork_in_child() {
    pool::after_fork_in_child();
}

/// The native half of the package `smoothxent`.
#[pymodule(gil_used = false)]
mod _smoothxent {
    use pyo3::prelude::*;

    #[pymodule_export]
    use super::{
        _after_fork_in_child, _refuse_overlap,
        builtin::_builtin,
        chosen::{log_softmax_at, top_k_log_softmax},
        chunk::{_finish_chunks, _reduce_chunk, _write_chunk},
        cross_entropy_terms, log_softmax, logsumexp,
        loss::{_grad_and_hess, _row_losses, cross_entropy, cross_entropy_value_and_grad},
        show_config, softmax,
        threads::{_variable_of_blocks, get_num_threads, set_num_threads},
    };
    #[pymodule_export]
    #[allow(non_upper_case_globals, reason = "the name of the Python attribute")]
    const __version__: &str = env!("CARGO_PKG_VERSION");
    /// Classes of a segment, the unit of summation.
    #[pymodule_export]
    const _SEGMENT: usize = smoothxent::SEGMENT;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        super::known::init(module.py()).map_err(|raised| *raised.0)
    }
}
