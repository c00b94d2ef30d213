//! The gradient and the diagonal of the Hessian of the summed loss: what boosters ask of an objective.

use super::Arguments;
use super::arguments::{Logits, label_smoothing, number};
use super::arrays::Array;
use super::call::Output;
use super::errors::value_error;
use super::objects::tuple;
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use smoothxent::{CrossEntropy, Hessian, LossTerms, MOST_HESSIAN_CLASSES, Reduction, Targets};

function!(
    _grad_and_hess(
        logits, targets, label_smoothing, prior, class_weight, sample_weight, axis, factor
    ) -> PyTuple,
    grad_and_hess
);

fn grad_and_hess<'py>(arguments: &Arguments<'_, 'py, 8>) -> PyResult<Bound<'py, PyTuple>> {
    let [logits, targets, smoothing, prior, class_weight, sample_weight, axis, factor] = *arguments;
    let py = logits.py();
    let logits = Logits::new(logits, axis)?;
    logits.refuse_no_classes(py)?;
    let classes = logits.classes();
    if classes > MOST_HESSIAN_CLASSES {
        return Err(value_error!(
            py,
            "logits has {classes} classes, expected at most {MOST_HESSIAN_CLASSES}"
        ));
    }
    let smoothing = label_smoothing(smoothing, prior)?;
    let prior_array = given!(prior, logits.prior_array(prior));
    // Without smoothing its values are not read.
    let prior = &logits.prior(py, prior_array.as_ref().filter(|_| smoothing > 0.0))?;
    let class_weight = given!(class_weight, logits.class_weight(class_weight));
    let class_weight = class_weight.as_ref();
    let sample_weight = given!(sample_weight, logits.sample_weight(sample_weight));
    let sample_weight = sample_weight.as_ref();
    let target_array = Array::targets(targets)?;
    let mut place = Targets::none();
    let targets = logits.targets(py, &target_array, None, class_weight, &mut place)?;
    let (compute, result) = (logits.array.compute(), logits.array.dtype());
    let new = || {
        let output = Output::fresh(py, logits.shape(), result)?;
        output.touch(py, logits.axis)?;
        Ok::<_, PyErr>(output)
    };
    let (grad, hess) = (new()?, new()?);
    let z = logits.array.rows(logits.axis);
    let (mut g, mut h) = (grad.rows_mut(logits.axis), hess.rows_mut(logits.axis));
    let factor = number(factor, "factor")?;
    let terms = LossTerms { class_weight, sample_weight, ..LossTerms::new(smoothing, prior) };
    let (reduction, normalizer) = (Reduction::Sum, None);
    let operation = CrossEntropy { targets, terms, reduction, normalizer, compute };
    logits.run(py, |run| {
        let hessian = Hessian { out: &mut h, factor };
        operation.run(&z, None, None, Some(&mut g), Some(hessian), run)
    })?;
    tuple(py, [grad.finish(py)?, hess.finish(py)?])
}
