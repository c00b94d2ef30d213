//! The terms of the loss, one element a row each.

use super::{assert_one_per_row, assert_same_shape};
use crate::alloc::filled;
use crate::batch::{Job, Run, Targets as BatchTargets};
use crate::error::Error;
use crate::executor::Executor;
use crate::kernel::Operation;
use crate::simd::{Float, Rows, RowsMut};
use crate::target::{LossTerms, Prior, SmoothedTargets, Targets, kept_rows};

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
/// [`Error::MaskedPrior`] as for [`CrossEntropy::run`]; [`Error::OutOfMemory`], or the error of `run.checkpoint`.
///
/// # Panics
/// When the views disagree in rows or classes.
pub fn cross_entropy_terms<F: Float>(
    logits: &Rows<'_>,
    mask: Option<&Rows<'_>>,
    targets: &Targets<'_>,
    prior: &Prior<'_>,
    temperature: f64,
    out: &mut TermsOut<'_>,
    run: &mut Run<'_>,
) -> Result<(), Error> {
    assert!(targets.rows() == logits.rows(), "one target for each row");
    for view in
        [&out.nll, &out.prior_cross_entropy, &out.prior_kl, &out.prior_entropy, &out.logsumexp]
    {
        assert_one_per_row(logits, view);
    }
    assert_same_shape(logits, mask, None);
    let (rows, classes) = (logits.rows(), logits.classes());
    let with =
        |label_smoothing| LossTerms { temperature, ..LossTerms::new(label_smoothing, prior) };
    let kept =
        mask.map(|mask| kept_rows(mask, targets, &with(1.0), &mut run.executor())).transpose()?;
    let mut smoothed = |label_smoothing| {
        let (terms, kept, executor) = (with(label_smoothing), kept.as_deref(), &mut run.executor());
        SmoothedTargets::<F>::new(targets, terms, kept, classes, false, executor)
    };
    let (hard, smooth) = (smoothed(0.0)?, smoothed(1.0)?);
    let entropies = prior.entropies(classes, &mut run.executor())?;
    let mut cross_entropies = filled(rows, &0.0, &mut run.executor())?;
    let own = RowsMut::from_slice(&mut cross_entropies, 1);
    // The loss with ε = 0 and with ε = 1.
    let mut losses = |rows: &SmoothedTargets<'_, F>, losses: &RowsMut<'_>, lse| {
        let job = Job::<F>::new(Operation::Loss, temperature, logits, mask, None);
        let targets = Some(BatchTargets { rows, divisor: 1.0, unit: 1.0 });
        Job { targets, scalars: Some(losses), lse, ..job }.run(run)
    };
    losses(&hard, &out.nll, None)?;
    losses(&smooth, &own, Some(&out.logsumexp))?;
    let mut executor = run.executor();
    for (row, &prior_cross_entropy) in cross_entropies.iter().enumerate() {
        if !executor.may_go_on(classes * size_of::<F>()) {
            break;
        }
        let is_kept = kept.as_ref().is_none_or(|kept| kept[row].has_classes);
        let mut entropy = 0.0;
        if targets.is_ignored(row) {
            // Never read.
            out.logsumexp.set(row, 0.0);
        } else if !is_kept {
            out.logsumexp.set(row, f64::NEG_INFINITY);
        } else if let Some(mask) = mask {
            let is_kept = |k: usize| mask.get(row, k) != 0.0;
            entropy = prior.kept_entropy(row, is_kept, classes, &mut executor);
        } else {
            entropy = entropies[prior.place(row)];
        }
        out.prior_cross_entropy.set(row, prior_cross_entropy);
        // D_KL is never negative, whatever the roundings of its two parts; NaN stays.
        let divergence = prior_cross_entropy - entropy;
        out.prior_kl.set(row, if divergence < 0.0 { 0.0 } else { divergence });
        out.prior_entropy.set(row, entropy);
    }
    executor.outcome()
}
