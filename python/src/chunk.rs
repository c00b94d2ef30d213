//! Native functions for smoothxent.dask: the steps for rows whose classes are on several machines.

use super::arguments::flag;
use super::arrays::Array;
use super::call::{Output, run};
use super::errors::{Result, value_error};
use super::logits::Logits;
use super::{Argument, Arguments};
use pyo3::prelude::*;
use pyo3::types::PyBool;
use smoothxent::{
    CHUNK_ROW, LossTerms, Operation, Prior, ROW_CONSTANTS, SEGMENT, SEGMENT_SUMS, Smoothing,
    Storage,
};

/// The operation on the rows of which a chunk is a part.
fn operation(name: Argument<'_, '_>) -> Result<Operation> {
    match name.extract()? {
        "softmax" => Ok(Operation::Softmax),
        "log_softmax" => Ok(Operation::LogSoftmax),
        "logsumexp" => Ok(Operation::LogSumExp),
        "loss" => Ok(Operation::Loss),
        other => Err(value_error!(name.py(), "there is no operation \"{other}\"")),
    }
}

/// A shape with one more axis.
fn with_axis(shape: &[usize], len: usize) -> Vec<usize> {
    [shape, &[len]].concat()
}

function!(_reduce_chunk(operation, logits, axis, rows, prior) -> PyAny, reduce_chunk);

/// Like [`smoothxent::Batch::reduce_chunk`]. `axis` is always -1, the last. `prior` is None without smoothing, True for
/// the uniform prior, or the prior of the classes of the chunk.
fn reduce_chunk<'py>(
    [operation, logits, axis, rows, prior]: &Arguments<'_, 'py, 5>,
) -> Result<Bound<'py, PyAny>> {
    let py = logits.py();
    let operation = self::operation(operation)?;
    let logits = Logits::new(logits, axis)?;
    let (row_shape, classes) = (logits.row_shape(), logits.classes());
    let rows = Array::real_of_shape(rows, "rows", &with_axis(&row_shape, CHUNK_ROW))?;
    let is_uniform = prior.is_exact_instance_of::<PyBool>();
    let is_given = !is_uniform && !prior.is_none();
    let prior_array =
        is_given.then(|| Array::real_of_shape(prior, "prior", &[classes])).transpose()?;
    let prior_row = prior_array.as_ref().map(|array| array.rows(0));
    let smoothing = match &prior_row {
        Some(row) => Smoothing::Prior(row),
        None if is_uniform => Smoothing::Uniform,
        None => Smoothing::None,
    };
    let len = classes.div_ceil(SEGMENT) * SEGMENT_SUMS;
    let sums = Array::empty(py, &with_axis(&row_shape, len), Storage::F64)?;
    let (rows, mut out) = (rows.rows(logits.axis), sums.rows_mut(logits.axis));
    logits.run(py, |batch, run| batch.reduce_chunk(operation, &rows, smoothing, &mut out, run))?;
    Ok(sums.object(py))
}

function!(_finish_chunks(operation, sums, maxima, is_double, smoothing) -> PyAny, finish_chunks);

/// Like [`smoothxent::finish_chunks`]. `sums` and `maxima` have one more axis than the rows. If `is_double`, rows are
/// computed in float64. `smoothing` is ε, the sum of the prior or None if it is uniform, and the number of classes.
fn finish_chunks<'py>(
    [operation, sums, maxima, is_double, smoothing]: &Arguments<'_, 'py, 5>,
) -> Result<Bound<'py, PyAny>> {
    let py = sums.py();
    let operation = self::operation(operation)?;
    let sums = Array::read(sums, "sums", Array::REAL)?;
    // The wrapper passes what `_reduce_chunk` has returned.
    let axis = sums.shape().len().checked_sub(1).expect("an axis of the sums");
    let row_shape = &sums.shape()[..axis];
    let maxima = Array::real_of_shape(maxima, "maxima", &with_axis(row_shape, 1))?;
    let constants = Array::empty(py, &with_axis(row_shape, ROW_CONSTANTS), Storage::F64)?;
    let (values, maxima, mut out) = (sums.rows(axis), maxima.rows(axis), constants.rows_mut(axis));
    let (label_smoothing, prior_sum, classes): (f64, Option<f64>, usize) = smoothing.extract()?;
    let shared = |mass| Prior::Shared { values: Vec::new(), mass };
    let prior = prior_sum.map_or(Prior::Uniform, shared);
    let terms = LossTerms::new(label_smoothing, &prior);
    let compute = if flag(is_double, "is_double")? { Storage::F64 } else { Storage::F32 };
    run(py, sums.bytes(), None, |run| {
        let smoothing = (&terms, classes);
        smoothxent::finish_chunks(compute, operation, smoothing, &values, &maxima, &mut out, run)
    })?;
    Ok(constants.object(py))
}

function!(_write_chunk(operation, logits, axis, rows) -> PyAny, write_chunk);

/// Like [`smoothxent::Batch::write_chunk`], to a new array.
fn write_chunk<'py>(
    [operation, logits, axis, rows]: &Arguments<'_, 'py, 4>,
) -> Result<Bound<'py, PyAny>> {
    let py = logits.py();
    let operation = self::operation(operation)?;
    let logits = Logits::new(logits, axis)?;
    let row_shape = with_axis(&logits.row_shape(), 1 + ROW_CONSTANTS);
    let rows = Array::real_of_shape(rows, "rows", &row_shape)?;
    let output = Output::fresh(py, logits.shape(), logits.array.storage())?;
    let (rows, mut out) = (rows.rows(logits.axis), output.rows_mut(py, logits.axis)?);
    logits.run(py, |batch, run| batch.write_chunk(operation, &rows, &mut out, run))?;
    output.finish(py)
}
