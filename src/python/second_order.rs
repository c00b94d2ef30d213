//! The gradient and the diagonal of the Hessian of the summed loss: what boosters ask of an objective.

use super::Argument;
use super::arguments::{self, Logits, given};
use super::arrays::Array;
use super::call::{Output, guard};
use super::errors::value_error;
use super::objects::tuple;
use crate::ops::{CrossEntropy, MOST_HESSIAN_CLASSES, Reduction};
use crate::target::LossTerms;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

#[pyfunction]
#[pyo3(signature = (logits, targets, label_smoothing, prior, class_weight, sample_weight, axis, factor, /))]
#[allow(clippy::too_many_arguments, reason = "the arguments of the Python function")]
pub(super) fn _grad_and_hess<'py>(
    logits: Argument<'_, 'py>,
    targets: Argument<'_, 'py>,
    label_smoothing: Argument<'_, 'py>,
    prior: Argument<'_, 'py>,
    class_weight: Argument<'_, 'py>,
    sample_weight: Argument<'_, 'py>,
    axis: Argument<'_, 'py>,
    factor: f64,
) -> PyResult<Bound<'py, PyTuple>> {
    let py = logits.py();
    guard(py, || {
        let logits = Logits::new(logits, axis)?;
        let classes = logits.classes();
        if classes > MOST_HESSIAN_CLASSES {
            return Err(value_error!(
                py,
                "logits has {classes} classes, expected at most {MOST_HESSIAN_CLASSES}"
            ));
        }
        let label_smoothing = arguments::label_smoothing(label_smoothing, prior)?;
        let prior_array = given(prior, |prior| logits.prior_array(prior))?;
        // Without smoothing its values are not read.
        let prior = &logits.prior(py, prior_array.as_ref().filter(|_| label_smoothing > 0.0))?;
        let class_weight = given(class_weight, |weight| logits.class_weight(weight))?;
        let class_weight = class_weight.as_ref();
        let sample_weight = given(sample_weight, |weight| logits.sample_weight(weight))?;
        let sample_weight = sample_weight.as_ref();
        let target_array = Array::targets(targets)?;
        let targets = logits.targets(py, &target_array, None, class_weight)?;
        let (compute, result) = (logits.array.compute(), logits.array.dtype(py));
        let new = || {
            let output = Output::fresh(py, logits.shape(), &result)?;
            output.touch(py, logits.axis)?;
            Ok::<_, PyErr>(output)
        };
        let (grad, hess) = (new()?, new()?);
        let z = logits.array.rows(logits.axis);
        let (mut g, mut h) = (grad.rows_mut(logits.axis), hess.rows_mut(logits.axis));
        let (temperature, z_loss) = (1.0, 0.0);
        let terms =
            LossTerms { label_smoothing, prior, class_weight, sample_weight, temperature, z_loss };
        let (reduction, normalizer) = (Reduction::Sum, None);
        let operation = CrossEntropy { targets: &targets, terms, reduction, normalizer };
        compute!(py, logits.array.bytes(), compute, |F, run| {
            operation.run_with_hessian::<F>(&z, &mut g, &mut h, factor, run)
        })?;
        tuple(py, [grad.finish(py)?, hess.finish(py)?])
    })
}
