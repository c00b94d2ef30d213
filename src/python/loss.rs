//! The loss, with or without its gradient: validate everything, then compute, then wrap.

use super::Argument;
use super::arguments::{Logits, ignore_index, label_smoothing, reduction};
use super::arrays::Array;
use super::call::{Inputs, Output, run};
use crate::ops::{CrossEntropy, Reduction};
use crate::simd::memory::Storage;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyFloat, PyTuple};

pub(super) struct LossArguments<'a, 'py> {
    pub(super) logits: Argument<'a, 'py>,
    pub(super) targets: Argument<'a, 'py>,
    pub(super) label_smoothing: Argument<'a, 'py>,
    pub(super) prior: Argument<'a, 'py>,
    pub(super) ignore_index: Argument<'a, 'py>,
    pub(super) axis: Argument<'a, 'py>,
    pub(super) reduction: Argument<'a, 'py>,
    pub(super) out: Argument<'a, 'py>,
}

impl<'py> LossArguments<'_, 'py> {
    /// The loss, and the gradient if there is a `grad_out` (which may be None).
    pub(super) fn evaluate(
        &self,
        grad_out: Option<Argument<'_, 'py>>,
    ) -> PyResult<(Bound<'py, PyAny>, Option<Bound<'py, PyAny>>)> {
        let py = self.out.py();
        let logits = Logits::new(self.logits, self.axis)?;
        let reduction = reduction(self.reduction)?;
        let label_smoothing = label_smoothing(py, self.label_smoothing)?;
        let prior_array = logits.prior_array(self.prior)?;
        let prior = logits.prior(py, prior_array.as_ref(), label_smoothing)?;
        let ignored = ignore_index(self.ignore_index)?;
        let target_array = Array::targets(self.targets)?;
        let targets = logits.targets(py, &target_array, ignored)?;

        let compute = logits.array.storage();
        let others = prior_array.iter().chain([&target_array]).collect();
        let mut inputs = Inputs { logits: &logits.array, others, compute, in_place: false };
        let mut scalar_out = None;
        let losses = match reduction {
            Reduction::None => {
                Some(Output::new(self.out, "out", &logits.row_shape(), compute, &inputs)?)
            }
            Reduction::Sum | Reduction::Mean if self.out.is_none() => None,
            // A scalar is accumulated in float64 and rounded once, to whatever `out` holds.
            Reduction::Sum | Reduction::Mean => {
                scalar_out = Some(Array::output(self.out, "out", &[], Storage::F32)?);
                None
            }
        };
        inputs.in_place = true;
        let grad = match grad_out {
            None => None,
            Some(grad_out) => {
                Some(Output::new(grad_out, "grad_out", logits.shape(), compute, &inputs)?)
            }
        };
        let out = losses.as_ref().map(Output::result).or(scalar_out.as_ref());
        if let (Some(out), Some(grad)) = (out, &grad)
            && out.may_overlap(grad.result())
        {
            return Err(PyValueError::new_err("out and grad_out share memory"));
        }
        let (z, loss_rows) = (
            logits.array.rows(logits.axis),
            losses.as_ref().map(|losses| losses.array.elements_mut()),
        );
        let grad_rows = grad.as_ref().map(|grad| grad.array.rows_mut(logits.axis));
        let operation =
            CrossEntropy { targets: &targets, label_smoothing, prior: &prior, reduction };
        let value = run(
            py,
            logits.array.bytes(),
            |run| compute_in!(compute, F => operation.run::<F>(&z, loss_rows.as_ref(), grad_rows.as_ref(), run)),
        )?;
        let loss = match losses {
            Some(losses) => losses.finish()?,
            None => {
                let value = PyFloat::new(py, value).into_any();
                if !self.out.is_none() {
                    self.out.set_item(PyTuple::empty(py), &value)?;
                }
                value
            }
        };
        Ok((loss, grad.map(Output::finish).transpose()?))
    }
}
