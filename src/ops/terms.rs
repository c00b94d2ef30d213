//! The terms of the loss, one element a row each.

use super::{assert_one_per_row, assert_same_shape};
use crate::batch::{GroupRows, RowOp, Run, for_each_row};
use crate::crew::Crew;
use crate::element::Float;
use crate::error::Error;
use crate::kernel::exp::Temperature;
use crate::kernel::group::Group;
use crate::kernel::loss;
use crate::simd::Vector;
use crate::simd::memory::{Rows, RowsMut};
use crate::target::{
    GroupTarget, LossTerms, Prior, SmoothedTargets, TargetScratch, Targets, kept_row_weights,
};

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
    out: &TermsOut<'_>,
    run: &mut Run<'_>,
) -> Result<(), Error> {
    assert!(targets.rows() == logits.rows(), "one target for each row");
    for view in
        [&out.nll, &out.prior_cross_entropy, &out.prior_kl, &out.prior_entropy, &out.logsumexp]
    {
        assert_one_per_row(logits, view);
    }
    assert_same_shape(logits, mask, None);
    let classes = logits.classes();
    let kept_rows = match mask {
        None => None,
        Some(mask) => Some(kept_row_weights(mask, targets, 1.0, prior, None, &mut run.team())?),
    };
    let mut smoothed = |label_smoothing| {
        let sample_weight = kept_rows.as_deref();
        let terms =
            LossTerms { sample_weight, temperature, ..LossTerms::new(label_smoothing, prior) };
        let team = &mut run.team();
        SmoothedTargets::<F>::new(targets, terms, 1.0, mask.is_some(), classes, team)
    };
    let rows = TermRows {
        targets,
        hard: smoothed(0.0)?,
        smooth: smoothed(1.0)?,
        prior,
        entropies: prior.entropies(classes, &mut run.team())?,
        out,
    };
    for_each_row::<F, _>(logits, mask, None, &rows, run)
}

struct TermRows<'a, F: Float> {
    targets: &'a Targets<'a>,
    /// ε = 0: q alone.
    hard: SmoothedTargets<'a, F>,
    /// ε = 1: u alone.
    smooth: SmoothedTargets<'a, F>,
    prior: &'a Prior<'a>,
    /// H(u) without a mask: one, or one a row.
    entropies: Vec<f64>,
    out: &'a TermsOut<'a>,
}

impl<F: Float> RowOp<F> for TermRows<'_, F> {
    fn target_scratch(&self) -> (usize, usize) {
        (self.smooth.scratch_lens().0, self.hard.scratch_lens().1)
    }

    fn temperature(&self) -> &Temperature<F> {
        self.smooth.temperature()
    }

    fn targets(&self) -> Option<&SmoothedTargets<'_, F>> {
        Some(&self.smooth)
    }

    fn keeps_exps(&self) -> bool {
        false
    }

    #[inline(always)]
    fn group<V: Vector<Scalar = F>, G: Group<V>>(&self, group: &mut G, rows: GroupRows<'_, F>) {
        let GroupRows { first, kept, target, .. } = rows;
        let TargetScratch { prior, mixture } = target;
        let len = group.rows();
        let (mut hard, mut smooth) =
            (GroupTarget::none(&self.hard), GroupTarget::none(&self.smooth));
        let scratch = TargetScratch { prior: &mut [], mixture };
        self.hard.group(&mut hard, first, len, kept, scratch, group.crew());
        let scratch = TargetScratch { prior, mixture: &mut [] };
        self.smooth.group(&mut smooth, first, len, kept, scratch, group.crew());
        let terms = loss::terms::<V, G>(group, &hard, &smooth);
        for lane in 0..len {
            let row = first + lane;
            let kept = kept.get(lane * group.classes()..(lane + 1) * group.classes());
            let mut values =
                [terms.nll[lane], terms.prior_cross_entropy[lane], terms.logsumexp[lane]];
            let mut entropy = 0.0;
            if smooth.counted[lane] {
                entropy = self.entropy(row, kept.unwrap_or(&[]), group.crew());
            } else {
                // An ignored row is never read, and neither is one without a class.
                let is_ignored = self.targets.is_ignored(row);
                values = [0.0, 0.0, if is_ignored { 0.0 } else { f64::NEG_INFINITY }];
            }
            let [nll, prior_cross_entropy, logsumexp] = values;
            let divergence = prior_cross_entropy - entropy;
            self.out.nll.set(row, nll);
            self.out.prior_cross_entropy.set(row, prior_cross_entropy);
            // D_KL is never negative, whatever the roundings of its two parts; NaN stays.
            self.out.prior_kl.set(row, if divergence < 0.0 { 0.0 } else { divergence });
            self.out.prior_entropy.set(row, entropy);
            self.out.logsumexp.set(row, logsumexp);
        }
    }
}

impl<F: Float> TermRows<'_, F> {
    /// H(u) of a row, over the classes that a mask keeps.
    fn entropy(&self, row: usize, kept: &[F], crew: &mut dyn Crew) -> f64 {
        if !kept.is_empty() {
            let is_kept = |k: usize| kept[k].to_f64() != 0.0;
            return self.prior.kept_entropy(row, is_kept, kept.len(), crew);
        }
        self.entropies[self.prior.place(row)]
    }
}
