//! Smoothed cross-entropy: epilogues of [`reduce`] over a target in normal form.
//!
//! With q' = spike·δ_y + β·w (target.rs), M, L, S and `others` as in stats.rs
//! and Q = Σ_k β·w_k:
//!
//! ```text
//! loss = spike·[(M − z_y)/T + L] + β·Σ_k w_k (M − z_k)/T + Q·L      all terms ≥ 0
//! g_k  = (spike + Q)·p_k − β·w_k                                    k ≠ y
//! g_y  = −spike·(S − e_y)/S + Q·e_y/S − β·w_y                       never p_y − 1
//! ```
//!
//! z_loss adds z_loss·lse² to the loss and 2·z_loss·lse to the Q of the gradient; all of the
//! gradient is divided by T.
//!
//! (equations of section 7 of arXiv 1512.00567 with Σ q' = spike + Q, 1 for
//! distributions). S − e_y is `others` when y is the only maximum: no digit is
//! lost on confident rows.

use super::scale::Scale;
use super::softmax::lse_of;
use super::stats::{RowClass, RowStats, Weights, Workspace, reduce};
use crate::element::{Float, Wide};
use crate::simd::Vector;
use crate::simd::row::{Sink, Source};
use crate::target::RowTarget;

/// The loss of one row.
#[inline(always)]
pub(crate) fn loss<V: Vector>(
    token: V::Token,
    z: Source<'_, V::Scalar>,
    target: &RowTarget<'_, V::Scalar>,
    workspace: &mut Workspace<'_, V::Scalar>,
) -> f64 {
    let stats = reduce::<V, false>(token, z, target.weights, &target.temperature, workspace);
    loss_of(&stats, z, target)
}

/// The loss of one row; its gradient, times `target.scale`, goes to `grad`.
#[inline(always)]
pub(crate) fn loss_and_grad<V: Vector>(
    token: V::Token,
    z: Source<'_, V::Scalar>,
    target: &RowTarget<'_, V::Scalar>,
    mut grad: Sink<'_, V::Scalar>,
    workspace: &mut Workspace<'_, V::Scalar>,
) -> f64 {
    let stats = reduce::<V, true>(token, z, target.weights, &target.temperature, workspace);
    // Before the gradient is written: it may lie where the logits are.
    let loss = loss_of(&stats, z, target);
    if stats.class != RowClass::Finite {
        grad.fill(V::Scalar::NAN);
        return loss;
    }
    if z.len() == 1 && target.z_loss == 0.0 {
        // One class: p = 1 and q' is all there, whatever the rounding of 1/S.
        grad.fill(V::Scalar::default());
        return loss;
    }
    let at_label = target.has_spike().then(|| label_grad(&stats, z, target, workspace.exps));
    write_grad::<V>(token, &stats, target, &mut grad, workspace.exps);
    if let Some(value) = at_label {
        grad.set(target.class, V::Scalar::from_f64(value.value()));
    }
    loss
}

#[inline(always)]
fn loss_of<F: Float>(stats: &RowStats<F>, z: Source<'_, F>, target: &RowTarget<'_, F>) -> f64 {
    if stats.class != RowClass::Finite {
        return f64::NAN;
    }
    let excess = stats.log_excess();
    let mut logarithms = excess * target.smooth_mass;
    let mut gaps = stats.dot * target.factor;
    // A spike of 0 is skipped: the label's logit may be −inf.
    if target.has_spike() {
        let unit = 1.0 / stats.unit;
        let gap =
            F::Wide::new(stats.max * unit) - F::Wide::new(z.get(target.class).to_f64() * unit);
        gaps = gaps + gap * target.spike;
        logarithms = logarithms + excess * target.spike;
    }
    let gaps = gaps * target.temperature.inverse * F::Wide::new(stats.unit);
    let mut loss = gaps + logarithms;
    if target.z_loss != 0.0 {
        let lse = lse_of(stats, &target.temperature);
        loss = loss + F::Wide::new(target.z_loss) * lse * lse;
    }
    (loss * F::Wide::new(target.row_weight)).value()
}

/// Q + 2·z_loss·lse: the weight of p_k in the gradient, without the spike's.
#[inline(always)]
fn probability_weight<F: Float>(stats: &RowStats<F>, target: &RowTarget<'_, F>) -> F::Wide {
    if target.z_loss == 0.0 {
        return target.smooth_mass;
    }
    let lse = lse_of(stats, &target.temperature);
    target.smooth_mass + F::Wide::new(2.0 * target.z_loss) * lse
}

/// g_y, with S − e_y free of cancellation.
#[inline(always)]
fn label_grad<F: Float>(
    stats: &RowStats<F>,
    z: Source<'_, F>,
    target: &RowTarget<'_, F>,
    exps: &[F],
) -> F::Wide {
    let class = target.class;
    let sum = stats.sum();
    let (at_label, rest) = if z.get(class).to_f64() == stats.max {
        let other_ties = stats.peak * F::Wide::new(stats.ties - 1.0);
        (stats.peak, stats.others + other_ties)
    } else {
        let at_label = F::Wide::new(exps[class].to_f64());
        (at_label, sum - at_label)
    };
    let smooth = target.grad_factor * target.weights.get(class);
    let weight = probability_weight(stats, target);
    (weight * at_label - target.spike * rest).over(sum) * target.scale - smooth
}

/// [(spike + Q)·p − β·w]·scale for every class.
#[inline(always)]
fn write_grad<V: Vector>(
    token: V::Token,
    stats: &RowStats<V::Scalar>,
    target: &RowTarget<'_, V::Scalar>,
    grad: &mut Sink<'_, V::Scalar>,
    exps: &[V::Scalar],
) {
    let zero = V::Scalar::default();
    let exps = Source::from_slice(exps);
    let weight = (target.spike + probability_weight(stats, target)) * target.scale;
    let probabilities = Scale::<V>::new(token, stats, weight, target.grad_factor.value());
    let q = probabilities.guarded(token, target.grad_factor);
    match target.weights {
        Weights::Absent => grad.fill_with(
            #[inline(always)]
            |place| probabilities.probability(exps.at::<V>(token, place, zero)),
        ),
        Weights::Ones => grad.fill_with(
            #[inline(always)]
            |place| probabilities.probability_less(exps.at::<V>(token, place, zero), q),
        ),
        Weights::Row { high, low: None } => grad.fill_with(
            #[inline(always)]
            |place| {
                let q = q.times(high.at(token, place, zero));
                probabilities.probability_less(exps.at::<V>(token, place, zero), q)
            },
        ),
        Weights::Row { high, low: Some(low) } => grad.fill_with(
            #[inline(always)]
            |place| {
                let (high, low) = (high.at(token, place, zero), low.at(token, place, zero));
                probabilities
                    .probability_less(exps.at::<V>(token, place, zero), q.times_two(high, low))
            },
        ),
    }
}

/// Per-row parts of the loss; see `cross_entropy_terms`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RowTerms {
    /// H(q, p)
    pub(crate) nll: f64,
    /// H(u, p)
    pub(crate) prior_cross_entropy: f64,
    /// log Σ exp(z)
    pub(crate) logsumexp: f64,
}

/// H(q, p), H(u, p) and lse of one row: the loss with ε = 0 and with ε = 1.
#[inline(always)]
pub(crate) fn terms<V: Vector>(
    token: V::Token,
    z: Source<'_, V::Scalar>,
    hard: &RowTarget<'_, V::Scalar>,
    prior: &RowTarget<'_, V::Scalar>,
    workspace: &mut Workspace<'_, V::Scalar>,
) -> RowTerms {
    let stats = reduce::<V, false>(token, z, prior.weights, &prior.temperature, workspace);
    let prior_cross_entropy = loss_of(&stats, z, prior);
    let logsumexp = lse_of(&stats, &prior.temperature).value();
    let nll = match hard.weights {
        Weights::Absent => {
            loss_of(&RowStats { unit: stats.unit, dot: Wide::new(0.0), ..stats }, z, hard)
        }
        _ => loss::<V>(token, z, hard, workspace),
    };
    RowTerms { nll, prior_cross_entropy, logsumexp }
}
