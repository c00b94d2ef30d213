//! The loss, with or without its gradient and Hessian: everything is validated, then computed, then wrapped.

use super::arguments;
use super::arrays::Array;
use super::call::Output;
use super::errors::{Result, value_error};
use super::logits::Logits;
use super::objects::{Pair, float, tuple};
use super::{Argument, Arguments};
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use smoothxent::{CrossEntropy, Hessian, LossTerms, Prior, Reduction, RowsMut, Storage, Targets};

/// A Python function with the arguments of a loss, followed by `$more`.
macro_rules! loss_function {
    ($name:ident($($more:ident)?) -> $result:ty, $body:path) => {
        function!(
            $name(
                logits, targets, label_smoothing, prior, class_weight, sample_weight, ignore_index,
                r#where, temperature, z_loss, axis, reduction, normalizer, out $(, $more)?
            ) -> $result,
            $body
        );
    };
}

loss_function!(cross_entropy() -> PyAny, value);
loss_function!(cross_entropy_value_and_grad(grad_out) -> PyTuple, value_and_grad);
loss_function!(_grad_and_hess(factor) -> PyTuple, grad_and_hess);
loss_function!(_row_losses() -> PyAny, row_losses);

/// The arrays of the gradient and of the diagonal of the Hessian.
type Arrays<'py> = [Option<Bound<'py, PyAny>>; 2];

/// The loss alone.
pub(super) fn value<'py>(given: &Arguments<'_, 'py, 14>) -> Result<Bound<'py, PyAny>> {
    Ok(evaluate(given, None, None, false)?.0)
}

/// The loss and its gradient, which is written to `grad_out` if that is given.
pub(super) fn value_and_grad<'py>(
    [given @ .., grad_out]: &Arguments<'_, 'py, 15>,
) -> Result<Bound<'py, PyTuple>> {
    let result = Pair::new(grad_out.py())?; // before anything is written
    let (loss, [grad, _]) = evaluate(given, Some(grad_out), None, false)?;
    Ok(result.fill([loss, grad.expect("asked for")]))
}

/// New arrays with the gradient and the diagonal of the Hessian, as boosting libraries need them from an objective.
/// `out`, the last of the arguments before `factor`, is None, and stands for `grad_out` too, which is not an argument.
fn grad_and_hess<'py>(
    [given @ .., factor]: &Arguments<'_, 'py, 15>,
) -> Result<Bound<'py, PyTuple>> {
    let factor = Some(arguments::number(factor, "factor")?);
    let (_, arrays) = evaluate(given, given.last().map(|out| &**out), factor, false)?;
    tuple(given[0].py(), arrays.map(|array| array.expect("asked for")))
}

/// The losses of rows as they are for the sum: not rounded to the type of the rows.
fn row_losses<'py>(given: &Arguments<'_, 'py, 14>) -> Result<Bound<'py, PyAny>> {
    Ok(evaluate(given, None, None, true)?.0)
}

/// The reduced loss or, if `row_losses`, the losses of the rows in float64, as they are for the sum; and the arrays of the
/// gradient and of the diagonal of the Hessian. The gradient is requested if `grad_out` is set: it is the output for the
/// gradient, or Python's None for a new array. The Hessian is requested too if `factor` is set, by which it is multiplied.
fn evaluate<'py>(
    [
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
    factor: Option<f64>,
    row_losses: bool,
) -> Result<(Bound<'py, PyAny>, Arrays<'py>)> {
    let py = out.py();
    hold!(logits = Logits::new(logits, axis));
    logits.read_options(temperature, mask)?;
    let reduction = arguments::reduction(reduction)?;
    let normalizer = arguments::normalizer(normalizer, reduction)?;
    let label_smoothing = arguments::label_smoothing(label_smoothing, prior)?;
    let z_loss = arguments::z_loss(z_loss)?;
    let prior_array = given!(prior, logits.prior_array(prior));
    // Without smoothing its values are not read.
    let checked;
    let prior = match prior_array.as_ref().filter(|_| label_smoothing > 0.0) {
        None => &Prior::Uniform, // the most frequent case: not passed from function to function
        Some(array) => {
            checked = logits.prior(py, array)?;
            &checked
        }
    };
    let class_weight = given!(class_weight, logits.class_weight(class_weight));
    let class_weight = class_weight.as_ref();
    let sample_weight = given!(sample_weight, logits.sample_weight(sample_weight));
    let sample_weight = sample_weight.as_ref();
    hold!(ignored = arguments::ignore_index(ignore_index));
    hold!(target_array = Array::read(targets, "targets", Array::TARGETS));
    let mut place = Targets::none();
    let targets = logits.targets(py, target_array, ignored.as_ref(), class_weight, &mut place)?;

    let read = &[prior_array.as_ref(), Some(target_array)];
    let (mut losses, mut scalar, mut grad) = (None, None, None);
    match reduction {
        _ if row_losses => {
            losses = Some(Output::fresh(py, &logits.row_shape(), Storage::F64)?);
        }
        Reduction::None => {
            let (shape, per_row) = (logits.row_shape(), logits.compute);
            Output::new(&mut losses, out, "out", &shape, Some(per_row), logits, read)?;
        }
        _ if out.is_none() => {}
        // A scalar is accumulated in float64 and rounded once, to whatever `out` holds.
        _ => {
            let array = scalar.insert(Array::find(out, "out", Array::OUTPUT)?.view());
            array.refuse_output(py, "out", &[])?;
        }
    }
    if let Some(out) = grad_out {
        Output::new(&mut grad, out, "grad_out", logits.shape(), None, logits, read)?;
    }
    let new = || Output::fresh(py, logits.shape(), logits.array.storage());
    let hess = if factor.is_some() { Some(new()?) } else { None };
    let out = losses.as_ref().map(Output::result).or(scalar.as_ref());
    if let (Some(out), Some(grad)) = (out, &grad)
        && out.shares_memory(py, grad.result())?
    {
        return Err(value_error!(py, "out and grad_out must not share memory"));
    }
    // The interpreter keeps the memory of a float for the next one. If there is no memory for it, that is an error
    // before the first number is written.
    let is_written = scalar.is_some() || grad.is_some();
    let room = if is_written { Some(float(py, 0.0)?) } else { None };
    let mut loss_rows = losses.as_ref().map(|losses| losses.array.elements_mut());
    // Made in its final place. Without a gradient it is an empty view, which is not used.
    hold!(
        rows = match &grad {
            Some(grad) => grad.rows_mut(py, logits.axis),
            None => Ok(RowsMut::from_slice::<f32>(&mut [], 1)),
        }
    );
    let mut grad_rows = grad.is_some().then_some(rows);
    let mut hessian = None;
    if let (Some(factor), Some(hess)) = (factor, &hess) {
        hessian = Some(Hessian { out: hess.rows_mut(py, logits.axis)?, factor });
    }
    let terms = LossTerms { label_smoothing, prior, class_weight, sample_weight, z_loss };
    let operation = CrossEntropy { targets, terms, reduction, normalizer };
    let value = logits.run(py, |batch, run| {
        operation.run(batch, loss_rows.as_mut(), grad_rows.as_deref_mut(), hessian.as_mut(), run)
    })?;
    let grad = if let Some(grad) = &grad { Some(grad.finish(py)?) } else { None };
    let hess = if let Some(hess) = &hess { Some(hess.finish(py)?) } else { None };
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
    Ok((loss, [grad, hess]))
}
