//! The operations on a batch: what the bindings and the Rust tests call.

mod terms;

pub use terms::{TermsOut, cross_entropy_terms};

use crate::alloc::filled;
use crate::batch::{GroupRows, RowOp, Run, for_each_row};
use crate::crew::Crew;
use crate::element::Float;
use crate::error::Error;
use crate::kernel::exp::Temperature;
use crate::kernel::group::Group;
use crate::kernel::{loss, softmax};
use crate::simd::Vector;
use crate::simd::memory::{Rows, RowsMut};
use crate::target::{
    GroupTarget, LossTerms, SmoothedTargets, Targets, exact_sum, kept_row_weights,
};
use crate::wide::Wide;

/// What is written for each class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// p
    Softmax,
    /// log p
    LogSoftmax,
}

/// Softmax or log-softmax of every row, computed in `F`.
///
/// # Errors
/// [`Error::OutOfMemory`], or the error of `run.checkpoint`.
///
/// # Panics
/// When `out` has another number of rows or classes than `logits`.
pub fn activation<F: Float>(
    kind: Activation,
    temperature: f64,
    logits: &Rows<'_>,
    mask: Option<&Rows<'_>>,
    out: &RowsMut<'_>,
    run: &mut Run<'_>,
) -> Result<(), Error> {
    assert_same_shape(logits, mask, Some(out));
    let op = ActivationRows { kind, temperature: Temperature::<F>::new(temperature) };
    for_each_row::<F, _>(logits, mask, Some(out), &op, run)
}

struct ActivationRows<F: Float> {
    kind: Activation,
    temperature: Temperature<F>,
}

impl<F: Float> RowOp<F> for ActivationRows<F> {
    fn masked_value(&self) -> F {
        match self.kind {
            Activation::Softmax => F::default(),
            Activation::LogSoftmax => F::NEG_INFINITY,
        }
    }

    fn temperature(&self) -> &Temperature<F> {
        &self.temperature
    }

    fn keeps_exps(&self) -> bool {
        self.kind == Activation::Softmax
    }

    #[inline(always)]
    fn group<V: Vector<Scalar = F>, G: Group<V>>(&self, group: &mut G, _rows: GroupRows<'_, F>) {
        match self.kind {
            Activation::Softmax => softmax::softmax::<V, G>(group, &self.temperature),
            Activation::LogSoftmax => softmax::log_softmax::<V, G>(group, &self.temperature),
        }
    }
}

/// log Σ exp(z) of every row; `out` has one element a row.
///
/// # Errors
/// [`Error::OutOfMemory`], or the error of `run.checkpoint`.
///
/// # Panics
/// When `out` does not have one element for each row of `logits`.
pub fn logsumexp<F: Float>(
    temperature: f64,
    logits: &Rows<'_>,
    mask: Option<&Rows<'_>>,
    out: &RowsMut<'_>,
    run: &mut Run<'_>,
) -> Result<(), Error> {
    assert_same_shape(logits, mask, None);
    assert_one_per_row(logits, out);
    let op = LogSumExp { temperature: Temperature::<F>::new(temperature), out };
    for_each_row::<F, _>(logits, mask, None, &op, run)
}

struct LogSumExp<'a, F: Float> {
    temperature: Temperature<F>,
    out: &'a RowsMut<'a>,
}

impl<F: Float> RowOp<F> for LogSumExp<'_, F> {
    fn temperature(&self) -> &Temperature<F> {
        &self.temperature
    }

    fn keeps_exps(&self) -> bool {
        false
    }

    #[inline(always)]
    fn group<V: Vector<Scalar = F>, G: Group<V>>(&self, group: &mut G, rows: GroupRows<'_, F>) {
        let lse = softmax::logsumexp::<V, G>(group, &self.temperature);
        for (row, lse) in (rows.first..).zip(&lse[..group.rows()]) {
            self.out.set(row, F::from_f64(*lse).to_f64());
        }
    }
}

/// How the losses of the rows become the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduction {
    /// One loss a row.
    None,
    /// Their sum.
    Sum,
    /// Their sum over Σ_i s_i Σ_k q_ik c_k, the weighted mass of the unsmoothed targets.
    Mean,
    /// Their sum over the number of rows with a weight other than 0; 0 if there are none.
    SumByNonzeroWeights,
}

/// Smoothed cross-entropy H(q', p) with q' = (1 − ε)q + εu.
pub struct CrossEntropy<'a> {
    /// q
    pub targets: &'a Targets<'a>,
    /// ε, u and the weights
    pub terms: LossTerms<'a>,
    /// What is returned.
    pub reduction: Reduction,
    /// Takes the place of the divisor of a mean.
    pub normalizer: Option<f64>,
}

impl CrossEntropy<'_> {
    /// The reduced loss (NaN for [`Reduction::None`], whose losses go to `losses`), and
    /// the gradient of what is returned to `grad`.
    ///
    /// # Errors
    /// [`Error::MaskedPrior`] for the first row whose prior has no mass on the classes that `mask`
    /// keeps; [`Error::OutOfMemory`], or the error of `run.checkpoint`.
    ///
    /// # Panics
    /// When the views disagree in rows or classes.
    pub fn run<F: Float>(
        &self,
        logits: &Rows<'_>,
        mask: Option<&Rows<'_>>,
        losses: Option<&RowsMut<'_>>,
        grad: Option<&RowsMut<'_>>,
        run: &mut Run<'_>,
    ) -> Result<f64, Error> {
        assert!(self.targets.rows() == logits.rows(), "one target for each row");
        assert_same_shape(logits, mask, grad);
        let mut row_losses = Vec::new();
        let own_losses;
        let losses = match losses {
            Some(losses) => losses,
            None => {
                row_losses = filled(logits.rows(), &0.0, &mut run.team())?;
                own_losses = RowsMut::from_slice(&mut row_losses, 1);
                &own_losses
            }
        };
        assert_one_per_row(logits, losses);
        let LossTerms { label_smoothing, prior, class_weight, sample_weight, .. } = self.terms;
        let kept_rows;
        let sample_weight = match mask {
            None => sample_weight,
            Some(mask) => {
                kept_rows = kept_row_weights(
                    mask,
                    self.targets,
                    label_smoothing,
                    prior,
                    sample_weight,
                    &mut run.team(),
                )?;
                Some(&kept_rows[..])
            }
        };
        let terms = LossTerms { sample_weight, ..self.terms };
        let team = &mut run.team();
        let divisor = match (self.reduction, self.normalizer) {
            (Reduction::None | Reduction::Sum, _) => 1.0,
            (_, Some(normalizer)) => normalizer,
            (Reduction::Mean, None) => self.targets.mass(class_weight, sample_weight, team),
            (Reduction::SumByNonzeroWeights, None) => self.targets.counted(sample_weight, team),
        };
        // Nothing counted: the mean is 0/0, its gradient 0 all the same.
        let (is_masked, classes) = (mask.is_some(), logits.classes());
        let targets =
            SmoothedTargets::<F>::new(self.targets, terms, divisor, is_masked, classes, team)?;
        let round = self.reduction == Reduction::None;
        let rows = LossRows { targets, losses, round, has_grad: grad.is_some() };
        for_each_row::<F, _>(logits, mask, grad, &rows, run)?;
        if self.reduction == Reduction::None {
            return Ok(f64::NAN);
        }
        // By the numbers of the rows, whoever computed them.
        let mut team = run.team();
        let sum = exact_sum(&row_losses, &mut team).value();
        team.outcome()?;
        // 0/0 and x/0 alike: the mean over nothing.
        Ok(match self.reduction {
            Reduction::SumByNonzeroWeights if divisor == 0.0 => 0.0,
            _ if divisor == 0.0 => f64::NAN,
            _ => sum / divisor,
        })
    }
}

struct LossRows<'a, F: Float> {
    targets: SmoothedTargets<'a, F>,
    losses: &'a RowsMut<'a>,
    /// Are the losses results of their own, in the compute type whatever takes them?
    round: bool,
    has_grad: bool,
}

impl<F: Float> RowOp<F> for LossRows<'_, F> {
    fn target_scratch(&self) -> (usize, usize) {
        self.targets.scratch_lens()
    }

    fn temperature(&self) -> &Temperature<F> {
        self.targets.temperature()
    }

    fn targets(&self) -> Option<&SmoothedTargets<'_, F>> {
        Some(&self.targets)
    }

    fn keeps_exps(&self) -> bool {
        self.has_grad
    }

    #[inline(always)]
    fn group<V: Vector<Scalar = F>, G: Group<V>>(&self, group: &mut G, rows: GroupRows<'_, F>) {
        let GroupRows { first, kept, target, .. } = rows;
        let scratch = target;
        let mut target = GroupTarget::none(&self.targets);
        self.targets.group(&mut target, first, group.rows(), kept, scratch, group.crew());
        let losses = if self.has_grad {
            loss::loss_and_grad::<V, G>(group, &target)
        } else {
            loss::loss::<V, G>(group, &target)
        };
        let mut losses = losses;
        if self.round {
            for loss in &mut losses {
                *loss = F::from_f64(*loss).to_f64();
            }
        }
        self.losses.set_rows(first, &losses[..group.rows()]);
    }
}

pub(crate) fn assert_same_shape(
    logits: &Rows<'_>,
    mask: Option<&Rows<'_>>,
    out: Option<&RowsMut<'_>>,
) {
    let shape = (logits.rows(), logits.classes());
    let (rows, classes) = shape;
    let fits = mask.is_none_or(|mask| (mask.rows(), mask.classes()) == shape)
        && out.is_none_or(|out| (out.rows(), out.classes()) == shape);
    assert!(fits, "mask and out of {rows} rows of {classes} classes");
}

pub(crate) fn assert_one_per_row(logits: &Rows<'_>, out: &RowsMut<'_>) {
    assert!((out.rows(), out.classes()) == (logits.rows(), 1), "one element for each row");
}
