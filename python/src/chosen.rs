//! Log-probabilities of some classes of each row.

use super::Arguments;
use super::arguments::integer;
use super::arrays::Array;
use super::call::{Output, run};
use super::errors::{Place, Result, value_error};
use super::logits::Logits;
use super::objects::{numbers, repr, tuple};
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use smoothxent::{Labels, Storage, read_labels};

function!(top_k_log_softmax(logits, k, axis, temperature, r#where) -> PyTuple, top_k);

fn top_k<'py>(
    [logits, k, axis, temperature, mask]: &Arguments<'_, 'py, 5>,
) -> Result<Bound<'py, PyTuple>> {
    let py = logits.py();
    let mut logits = Logits::new(logits, axis)?;
    logits.read_options(temperature, mask)?;
    let (given, classes) = (integer(k, "k")?, logits.classes());
    let Some(k) = usize::try_from(given).ok().filter(|k| *k <= classes) else {
        return Err(value_error!(
            py,
            "k must be between 0 and {classes}, the number of classes, got {given}"
        ));
    };
    let mut shape = logits.shape().to_vec();
    shape[logits.axis] = k;
    let indices = Output::fresh(py, &shape, Storage::I64)?;
    let log_probs = Output::fresh(py, &shape, logits.array.storage())?;
    let mut classes = indices.rows_mut(py, logits.axis)?;
    let mut out = log_probs.rows_mut(py, logits.axis)?;
    logits.run(py, |batch, run| batch.top_k(&mut classes, &mut out, run))?;
    tuple(py, [indices.finish(py)?, log_probs.finish(py)?])
}

function!(log_softmax_at(logits, indices, axis, temperature, r#where) -> PyAny, at_indices);

fn at_indices<'py>(
    [logits, indices, axis, temperature, mask]: &Arguments<'_, 'py, 5>,
) -> Result<Bound<'py, PyAny>> {
    let py = logits.py();
    let mut logits = Logits::new(logits, axis)?;
    logits.read_options(temperature, mask)?;
    let indices = Array::read(indices, "indices", Array::INTEGERS)?;
    let (axis, shape, given) = (logits.axis, logits.shape(), indices.shape());
    let are_equal = |at: usize| at == axis || shape[at] == given[at];
    if given.len() != shape.len() || !(0..shape.len()).all(are_equal) {
        let are_labels = *logits.row_shape() == *given;
        let remedy = if are_labels { " (pass numpy.expand_dims(indices, axis))" } else { "" };
        let (shape, given) = (repr(&numbers(py, shape)?)?, repr(&numbers(py, given)?)?);
        let must = "indices must have the shape of logits";
        return Err(value_error!(
            py,
            "{must}, {shape}, except along axis {axis}, got {given}{remedy}"
        ));
    }
    let mut labels = Labels::default();
    let no_axis = Place { shape: given, axis: given.len(), own: given };
    let elements = indices.elements();
    run(py, indices.bytes(), Some(&no_axis), |run| {
        read_labels(&elements, "indices", logits.classes(), None, &mut labels, run)
    })?;
    let output = Output::fresh(py, given, logits.array.storage())?;
    let mut out = output.rows_mut(py, axis)?;
    let labels = (&labels, given[axis + 1..].iter().product());
    logits.index_bytes = indices.bytes();
    logits.run(py, |batch, run| batch.log_softmax_at(labels, &mut out, run))?;
    output.finish(py)
}
