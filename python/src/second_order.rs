//! The gradient and the diagonal of the Hessian of the summed loss: what boosters ask of an objective.

use super::Arguments;
use super::arguments::{Logits, number};
use super::call::Output;
use super::errors::value_error;
use super::loss::evaluate;
use super::objects::tuple;
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use smoothxent::{Hessian, MOST_HESSIAN_CLASSES};

function!(
    _grad_and_hess(
        logits, targets, label_smoothing, prior, class_weight, sample_weight, ignore_index,
        r#where, temperature, z_loss, axis, reduction, normalizer, out, factor
    ) -> PyTuple,
    grad_and_hess
);

fn grad_and_hess<'py>(
    [given @ .., factor]: &Arguments<'_, 'py, 15>,
) -> PyResult<Bound<'py, PyTuple>> {
    let [logits, .., axis, _, _, _] = given;
    let py = logits.py();
    let logits = Logits::new(logits, axis)?;
    let classes = logits.classes();
    if classes > MOST_HESSIAN_CLASSES {
        return Err(value_error!(
            py,
            "logits has {classes} classes, expected at most {MOST_HESSIAN_CLASSES}"
        ));
    }
    let hess = Output::fresh(py, logits.shape(), logits.array.dtype())?;
    hess.touch(py, logits.axis)?;
    let mut out = hess.rows_mut(logits.axis);
    let hessian = Hessian { out: &mut out, factor: number(factor, "factor")? };
    let (_, grad) = evaluate(given, Some(py.None().bind(py)), Some(hessian))?;
    tuple(py, [grad.expect("asked for"), hess.finish(py)?])
}
