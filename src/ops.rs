//! The operations on a batch: what the bindings and the Rust tests call.

use crate::alloc::zeros;
use crate::batch::{RowMemory, RowOp, Run, for_each_row};
use crate::element::{DoubleDouble, Float, Wide};
use crate::error::Error;
use crate::kernel::{loss, softmax};
use crate::simd::Vector;
use crate::simd::memory::{Rows, RowsMut};
use crate::simd::row::{Sink, Source};
use crate::target::{Prior, SmoothedTargets, TargetScratch, Targets};

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
    logits: &Rows<'_>,
    out: &RowsMut<'_>,
    run: &mut Run<'_>,
) -> Result<(), Error> {
    assert_same_shape(logits, out);
    for_each_row::<F, _>(logits, Some(out), &kind, run)
}

impl<F: Float> RowOp<F> for Activation {
    #[inline(always)]
    fn row<V: Vector<Scalar = F>>(
        &self,
        token: V::Token,
        _row: usize,
        z: Source<'_, F>,
        out: Sink<'_, F>,
        memory: &mut RowMemory<'_, F>,
    ) {
        match self {
            Activation::Softmax => softmax::softmax::<V>(token, z, out, &mut memory.workspace),
            Activation::LogSoftmax => {
                softmax::log_softmax::<V>(token, z, out, &mut memory.workspace);
            }
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
    logits: &Rows<'_>,
    out: &RowsMut<'_>,
    run: &mut Run<'_>,
) -> Result<(), Error> {
    assert_one_per_row(logits, out);
    for_each_row::<F, _>(logits, None, &LogSumExp { out }, run)
}

struct LogSumExp<'a> {
    out: &'a RowsMut<'a>,
}

impl<F: Float> RowOp<F> for LogSumExp<'_> {
    #[inline(always)]
    fn row<V: Vector<Scalar = F>>(
        &self,
        token: V::Token,
        row: usize,
        z: Source<'_, F>,
        _out: Sink<'_, F>,
        memory: &mut RowMemory<'_, F>,
    ) {
        let lse = softmax::logsumexp::<V>(token, z, &mut memory.workspace);
        self.out.set(row, F::from_f64(lse).to_f64());
    }
}

/// How the losses of the rows become the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduction {
    /// One loss a row.
    None,
    /// Their sum.
    Sum,
    /// Their sum over the sum of the unsmoothed target mass.
    Mean,
}

/// Smoothed cross-entropy H(q', p) with q' = (1 − ε)q + εu.
pub struct CrossEntropy<'a> {
    /// q
    pub targets: &'a Targets<'a>,
    /// ε
    pub label_smoothing: f64,
    /// u
    pub prior: &'a Prior<'a>,
    /// What is returned.
    pub reduction: Reduction,
}

impl CrossEntropy<'_> {
    /// The reduced loss (NaN for [`Reduction::None`], whose losses go to `losses`), and
    /// the gradient of what is returned to `grad`.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], or the error of `run.checkpoint`.
    ///
    /// # Panics
    /// When the views disagree in rows or classes.
    pub fn run<F: Float>(
        &self,
        logits: &Rows<'_>,
        losses: Option<&RowsMut<'_>>,
        grad: Option<&RowsMut<'_>>,
        run: &mut Run<'_>,
    ) -> Result<f64, Error> {
        assert!(self.targets.rows() == logits.rows(), "one target for each row");
        if let Some(grad) = grad {
            assert_same_shape(logits, grad);
        }
        let mut row_losses = Vec::new();
        let own_losses;
        let losses = match losses {
            Some(losses) => losses,
            None => {
                row_losses = zeros::<f64>(logits.rows())?;
                own_losses = RowsMut::from_slice(&mut row_losses, 1);
                &own_losses
            }
        };
        assert_one_per_row(logits, losses);
        let divisor = match self.reduction {
            Reduction::Mean => self.targets.mass(),
            Reduction::None | Reduction::Sum => 1.0,
        };
        // Nothing counted: the mean is 0/0, its gradient 0 all the same.
        let scale = if divisor == 0.0 { 0.0 } else { 1.0 / divisor };
        let (epsilon, classes) = (self.label_smoothing, logits.classes());
        let targets = SmoothedTargets::<F>::new(self.targets, epsilon, self.prior, scale, classes)?;
        let rows = LossRows { targets, losses, round: self.reduction == Reduction::None };
        for_each_row::<F, _>(logits, grad, &rows, run)?;
        if self.reduction == Reduction::None {
            return Ok(f64::NAN);
        }
        // In the order of the rows, whoever computed them.
        let add = |sum, loss: &f64| sum + DoubleDouble::new(*loss);
        let sum = row_losses.iter().fold(DoubleDouble::new(0.0), add).value();
        // 0/0 and x/0 alike: the mean over nothing.
        Ok(if divisor == 0.0 { f64::NAN } else { sum / divisor })
    }
}

struct LossRows<'a, F: Float> {
    targets: SmoothedTargets<'a, F>,
    losses: &'a RowsMut<'a>,
    /// Are the losses results of their own, in the compute type whatever takes them?
    round: bool,
}

impl<F: Float> RowOp<F> for LossRows<'_, F> {
    fn target_scratch(&self) -> (usize, usize) {
        self.targets.scratch_lens()
    }

    #[inline(always)]
    fn row<V: Vector<Scalar = F>>(
        &self,
        token: V::Token,
        row: usize,
        z: Source<'_, F>,
        mut out: Sink<'_, F>,
        memory: &mut RowMemory<'_, F>,
    ) {
        let RowMemory { workspace, target } = memory;
        let value = match self.targets.row(row, target) {
            // An ignored row is never read.
            None => {
                out.fill(F::default());
                0.0
            }
            Some(target) if out.len() == 0 => loss::loss::<V>(token, z, &target, workspace),
            Some(target) => loss::loss_and_grad::<V>(token, z, &target, out, workspace),
        };
        self.losses.set(row, if self.round { F::from_f64(value).to_f64() } else { value });
    }
}

/// The parts of the loss, one element a row each.
pub struct TermsOut<'a> {
    /// H(q, p)
    pub nll: RowsMut<'a>,
    /// H(u, p)
    pub prior_cross_entropy: RowsMut<'a>,
    /// D_KL(u‖p)
    pub prior_kl: RowsMut<'a>,
    /// H(u)
    pub prior_entropy: RowsMut<'a>,
    /// log Σ exp(z)
    pub logsumexp: RowsMut<'a>,
}

/// Computes every field of `out` for targets q and prior u; ignored rows are 0.
///
/// # Errors
/// [`Error::OutOfMemory`], or the error of `run.checkpoint`.
///
/// # Panics
/// When the views disagree in rows or classes.
pub fn cross_entropy_terms<F: Float>(
    logits: &Rows<'_>,
    targets: &Targets<'_>,
    prior: &Prior<'_>,
    out: &TermsOut<'_>,
    run: &mut Run<'_>,
) -> Result<(), Error> {
    assert!(targets.rows() == logits.rows(), "one target for each row");
    for view in
        [&out.nll, &out.prior_cross_entropy, &out.prior_kl, &out.prior_entropy, &out.logsumexp]
    {
        assert_one_per_row(logits, view);
    }
    let classes = logits.classes();
    let rows = TermRows {
        hard: SmoothedTargets::<F>::new(targets, 0.0, prior, 1.0, classes)?,
        smooth: SmoothedTargets::<F>::new(targets, 1.0, prior, 1.0, classes)?,
        entropies: prior.entropies(classes)?,
        out,
    };
    for_each_row::<F, _>(logits, None, &rows, run)
}

struct TermRows<'a, F: Float> {
    /// ε = 0: q alone.
    hard: SmoothedTargets<'a, F>,
    /// ε = 1: u alone.
    smooth: SmoothedTargets<'a, F>,
    /// H(u): one, or one a row.
    entropies: Vec<f64>,
    out: &'a TermsOut<'a>,
}

impl<F: Float> RowOp<F> for TermRows<'_, F> {
    fn target_scratch(&self) -> (usize, usize) {
        (self.smooth.scratch_lens().0, self.hard.scratch_lens().1)
    }

    #[inline(always)]
    fn row<V: Vector<Scalar = F>>(
        &self,
        token: V::Token,
        row: usize,
        z: Source<'_, F>,
        _out: Sink<'_, F>,
        memory: &mut RowMemory<'_, F>,
    ) {
        let RowMemory { workspace, target } = memory;
        let mut hard_scratch = TargetScratch { prior: &mut [], mixture: target.mixture };
        let mut smooth_scratch = TargetScratch { prior: target.prior, mixture: &mut [] };
        let hard = self.hard.row(row, &mut hard_scratch);
        let smooth = self.smooth.row(row, &mut smooth_scratch);
        let (terms, entropy) = match (hard, smooth) {
            (Some(hard), Some(smooth)) => (
                loss::terms::<V>(token, z, &hard, &smooth, workspace),
                if self.entropies.len() == 1 { self.entropies[0] } else { self.entropies[row] },
            ),
            // An ignored row is never read.
            _ => (loss::RowTerms::default(), 0.0),
        };
        self.out.nll.set(row, terms.nll);
        self.out.prior_cross_entropy.set(row, terms.prior_cross_entropy);
        let divergence = terms.prior_cross_entropy - entropy;
        // D_KL is never negative, whatever the roundings of its two parts; NaN stays.
        self.out.prior_kl.set(row, if divergence < 0.0 { 0.0 } else { divergence });
        self.out.prior_entropy.set(row, entropy);
        self.out.logsumexp.set(row, terms.logsumexp);
    }
}

fn assert_same_shape(logits: &Rows<'_>, out: &RowsMut<'_>) {
    let (rows, classes) = (logits.rows(), logits.classes());
    assert!(
        (out.rows(), out.classes()) == (rows, classes),
        "out of {rows} rows of {classes} classes"
    );
}

fn assert_one_per_row(logits: &Rows<'_>, out: &RowsMut<'_>) {
    assert!((out.rows(), out.classes()) == (logits.rows(), 1), "one element for each row");
}
