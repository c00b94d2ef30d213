//! The loss, with or without its gradient: validate everything, then compute, then wrap.

use super::arguments::{self, Logits};
use super::arrays::Array;
use super::call::{Inputs, Output};
use super::dtype::Dtype;
use super::errors::value_error;
use super::objects::{fill, float, new_tuple};
use super::{Argument, Arguments};
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use smoothxent::{CrossEntropy, LossTerms, Prior, Reduction, RowsMut, Targets};

/// The loss alone.
pub(super) fn value<'py>(given: &Arguments<'_, 'py, 14>) -> PyResult<Bound<'py, PyAny>> {
    Ok(evaluate(given, None)?.0)
}

/// The loss and its gradient, which `grad_out` takes.
pub(super) fn value_and_grad<'py>(
    [given @ .., grad_out]: &Arguments<'_, 'py, 15>,
) -> PyResult<Bound<'py, PyTuple>> {
    let result = new_tuple(grad_out.py(), 2)?; // before anything is written
    let (loss, grad) = evaluate(given, Some(grad_out))?;
    Ok(fill(result, [loss, grad.expect("asked for")]))
}

/// The loss, and the gradient if there is a `grad_out` (which may be None).
fn evaluate<'py>(
    &[
        logits,
        targets,
        label_smoothing,
        prior,
        class_weight,
        sample_weight,
        ignore_index,
        mask,
        temperature,
        z_loss,
        axis,
        reduction,
        normalizer,
        out,
    ]: &Arguments<'_, 'py, 14>,
    grad_out: Option<Argument<'_, 'py>>,
) -> PyResult<(Bound<'py, PyAny>, Option<Bound<'py, PyAny>>)> {
    let py = out.py();
    hold!(logits = Logits::new(logits, axis));
    logits.refuse_no_classes(py)?;
    let reduction = arguments::reduction(reduction)?;
    let normalizer = arguments::normalizer(normalizer, reduction)?;
    let label_smoothing = arguments::label_smoothing(label_smoothing, prior)?;
    let temperature = arguments::temperature(temperature)?;
    let z_loss = arguments::z_loss(z_loss)?;
    let prior_array = given!(prior, logits.prior_array(prior));
    // Without smoothing its values are not read.
    let checked;
    let prior = match prior_array.as_ref().filter(|_| label_smoothing > 0.0) {
        None => &Prior::Uniform, // most often: not handed on from function to function
        array => {
            checked = logits.prior(py, array)?;
            &checked
        }
    };
    let class_weight = given!(class_weight, logits.class_weight(class_weight));
    let class_weight = class_weight.as_ref();
    let sample_weight = given!(sample_weight, logits.sample_weight(sample_weight));
    let sample_weight = sample_weight.as_ref();
    let mask_array = given!(mask, logits.mask_array(mask));
    hold!(ignored = arguments::ignore_index(ignore_index));
    hold!(target_array = Array::targets(targets));
    let mut place = Targets::none();
    let targets = logits.targets(py, target_array, ignored.as_ref(), class_weight, &mut place)?;

    let compute = logits.array.compute();
    let per_row = Dtype::real(compute);
    let others = [prior_array.as_ref(), mask_array.as_ref(), Some(target_array)];
    let mut inputs = Inputs { logits: &logits.array, others, compute, in_place: false };
    let (mut losses, mut scalar, mut grad) = (None, None, None);
    match reduction {
        Reduction::None => {
            let shape = logits.row_shape();
            Output::new(&mut losses, out, "out", &shape, Some(&per_row), &inputs)?;
        }
        _ if out.is_none() => {}
        // A scalar is accumulated in float64 and rounded once, to whatever `out` holds.
        _ => {
            let array = scalar.insert(Array::find_output(out, "out", &[])?.view());
            array.refuse_output(py, "out", &[])?;
        }
    }
    inputs.in_place = true;
    if let Some(out) = grad_out {
        Output::new(&mut grad, out, "grad_out", logits.shape(), None, &inputs)?
            .touch(py, logits.axis)?;
    }
    if let (Some(losses), Some(grad)) = (&mut losses, &grad)
        && grad.is_copied()
    {
        losses.set_aside(None)?; // the copy may find no memory
    }
    let out = losses.as_ref().map(Output::result).or(scalar.as_ref());
    if let (Some(out), Some(grad)) = (out, &grad)
        && out.may_overlap(grad.result())
    {
        return Err(value_error!(py, "out and grad_out must not share memory"));
    }
    // The interpreter keeps the memory of a float for the next one; what is not had is an error before the
    // first number is written.
    let is_written = scalar.is_some() || grad.is_some();
    let room = is_written.then(|| float(py, 0.0)).transpose()?;
    let z = logits.array.rows(logits.axis);
    let mut loss_rows = losses.as_ref().map(|losses| losses.array.elements_mut());
    // Made where it stays: without a gradient a view of nothing, which is not used.
    let mut rows = match &grad {
        Some(grad) => grad.rows_mut(logits.axis),
        None => RowsMut::from_slice::<f32>(&mut [], 1),
    };
    let mut grad_rows = grad.is_some().then_some(&mut rows);
    let mask = logits.mask_rows(mask_array.as_ref());
    let terms =
        LossTerms { label_smoothing, prior, class_weight, sample_weight, temperature, z_loss };
    let operation = CrossEntropy { targets, terms, reduction, normalizer, compute };
    let value = logits.run(py, |run| {
        operation.run(&z, mask.as_ref(), loss_rows.as_mut(), grad_rows.as_deref_mut(), None, run)
    })?;
    let grad = grad.as_ref().map(|grad| grad.finish(py)).transpose()?;
    let loss = match &losses {
        Some(losses) => losses.finish(py)?,
        None => {
            drop(room);
            let loss = float(py, value)?;
            if let Some(scalar) = scalar {
                scalar.elements_mut().set_element(0, value);
            }
            loss
        }
    };
    Ok((loss, grad))
}
