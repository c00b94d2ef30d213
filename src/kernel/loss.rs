//! Smoothed cross-entropy: epilogues of the reduction over targets in normal form.
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

use super::exp::{Kept, Temperature};
use super::group::{AtLabel, Epilogue, Group};
use super::scale::{Guarded, Scale};
use super::softmax::{lse_of, lse_of_any};
use super::stats::{RowWeights, Stats, Weights};
use super::terms::{ABSENT, ONES, ROW};
use crate::element::Float;
use crate::simd::lanes::WideLanes;
use crate::simd::{MOST_LANES, Vector};
use crate::target::GroupTarget;
use crate::wide::{Real, Wide};
use std::array::from_fn;

/// The losses of the rows; 0 for those that do not count.
#[inline(always)]
pub(crate) fn loss<V: Vector, G: Group<V>>(
    group: &mut G,
    target: &GroupTarget<'_, V::Scalar>,
) -> [f64; MOST_LANES] {
    let stats = group.reduce::<false>(&target.counted, &target.weights, &target.temperature);
    let at_label = group.logits_at(&target.counted, &target.class);
    TargetLanes::<V>::new(group.token(), target).losses(&stats, at_label)
}

/// The losses of the rows; their gradients, times `target.scale`, are written.
#[inline(always)]
pub(crate) fn loss_and_grad<V: Vector, G: Group<V>>(
    group: &mut G,
    target: &GroupTarget<'_, V::Scalar>,
) -> [f64; MOST_LANES] {
    let counted = &target.counted;
    let stats = group.reduce::<true>(counted, &target.weights, &target.temperature);
    // Before the gradient is written: it may lie where the logits are.
    let z_label = group.logits_at(counted, &target.class);
    let lanes = TargetLanes::<V>::new(group.token(), target);
    let losses = lanes.losses(&stats, z_label);
    let finite = stats.finite(counted);
    // One class: p = 1 and q' is all there, whatever the rounding of 1/S.
    if group.classes() == 1 && target.z_loss == 0.0 {
        for lane in (0..group.rows()).filter(|&lane| finite[lane]) {
            group.fill(lane, V::Scalar::default());
        }
    } else {
        let label = lanes.at_label(&stats, z_label, group.exps_at(&finite, &target.class));
        let epilogue = lanes.gradient(&stats);
        group.write(&finite, &epilogue, &target.weights, Some(&label));
    }
    for lane in (0..group.rows()).filter(|&lane| !finite[lane]) {
        // An ignored row is never read, its gradient is 0.
        let value = if counted[lane] { V::Scalar::NAN } else { V::Scalar::default() };
        group.fill(lane, value);
    }
    losses
}

/// The targets of rows, a lane each.
struct TargetLanes<'t, V: Vector> {
    target: &'t GroupTarget<'t, V::Scalar>,
    spike: V::Wide,
    factor: V::Wide,
    scale: V::Wide,
    smooth_mass: V::Wide,
    inverse_temperature: V::Wide,
}

impl<'t, V: Vector> TargetLanes<'t, V> {
    #[inline(always)]
    fn new(token: V::Token, target: &'t GroupTarget<'t, V::Scalar>) -> Self {
        Self {
            target,
            spike: V::Wide::from_scalars(token, &target.spike),
            factor: V::Wide::from_scalars(token, &target.factor),
            scale: V::Wide::from_scalars(token, &target.scale),
            smooth_mass: V::Wide::from_scalars(token, &target.smooth_mass),
            inverse_temperature: V::Wide::splat(token, target.temperature.inverse),
        }
    }

    /// The loss of every row: NaN where it is not finite, 0 where it does not count.
    #[inline(always)]
    fn losses(&self, stats: &Stats<V>, z_label: V) -> [f64; MOST_LANES] {
        V::outlined(
            stats.max.token(),
            #[inline(always)]
            || self.losses_of(stats, z_label),
        )
    }

    #[inline(always)]
    fn losses_of(&self, stats: &Stats<V>, z_label: V) -> [f64; MOST_LANES] {
        let excess = stats.log_excess();
        let unit = stats.unit;
        let reduce = stats.inverse_unit;
        // A spike of 0 is skipped: the label's logit may be −inf.
        let gap = V::Wide::new(stats.max.to_doubles() * reduce)
            - V::Wide::new(z_label.to_doubles() * reduce);
        let spike = self.spike.value();
        let gap = V::Wide::select(spike.eq(spike.like(0.0)), gap.constant(0.0), gap);
        let gaps = stats.dot * self.factor + gap * self.spike;
        let gaps = gaps * self.inverse_temperature * V::Wide::new(unit);
        let mut loss = gaps + (excess * self.smooth_mass + excess * self.spike);
        if self.target.z_loss != 0.0 {
            let lse = lse_of(stats, &self.target.temperature);
            loss = loss + lse.constant(self.target.z_loss) * lse * lse;
        }
        let row_weight = V::Doubles::from_scalars(stats.max.token(), &self.target.row_weight);
        let losses = (loss * V::Wide::new(row_weight)).value().to_scalars();
        let finite = stats.finite(&self.target.counted);
        from_fn(|lane| match (finite[lane], self.target.counted[lane]) {
            (true, _) => losses[lane],
            (false, true) => f64::NAN,
            (false, false) => 0.0,
        })
    }

    /// Q + 2·z_loss·lse: the weight of p_k in the gradient, without the spike's.
    #[inline(always)]
    fn probability_weight(&self, stats: &Stats<V>) -> V::Wide {
        if self.target.z_loss == 0.0 {
            return self.smooth_mass;
        }
        let lse = lse_of(stats, &self.target.temperature);
        self.smooth_mass + lse.constant(2.0 * self.target.z_loss) * lse
    }

    /// g_y, with S − e_y free of cancellation.
    #[inline(always)]
    fn at_label(&self, stats: &Stats<V>, z_label: V, e_label: Kept<V>) -> AtLabel<V> {
        V::outlined(
            stats.max.token(),
            #[inline(always)]
            || self.at_label_of(stats, z_label, e_label),
        )
    }

    #[inline(always)]
    fn at_label_of(&self, stats: &Stats<V>, z_label: V, e_label: Kept<V>) -> AtLabel<V> {
        let (token, target) = (z_label.token(), self.target);
        let sum = stats.sum();
        let is_max = z_label.to_doubles().eq(stats.max.to_doubles());
        let lost = V::Wide::new(e_label.lost.to_doubles());
        let stored = V::Wide::new(e_label.value.to_doubles()) + lost;
        let other_ties = stats.peak * V::Wide::new(stats.ties - stats.ties.like(1.0));
        let at_label = V::Wide::select(is_max, stats.peak, stored);
        let rest = V::Wide::select(is_max, stats.others + other_ties, sum - stored);
        let smooth = self.factor * self.scale * self.weights_at_label(token);
        let weight = self.probability_weight(stats);
        let value = (weight * at_label - self.spike * rest).over(sum) * self.scale - smooth;
        AtLabel {
            rows: from_fn(|lane| target.spike[lane].value() != 0.0),
            classes: target.class,
            values: V::from_doubles(value.value()),
        }
    }

    /// w_y
    #[inline(always)]
    fn weights_at_label(&self, token: V::Token) -> V::Wide {
        let target = self.target;
        if let RowWeights::Same(same @ (Weights::Absent | Weights::Ones)) = target.weights {
            return V::Wide::splat(token, same.get(0));
        }
        let mut weights = [<V::Scalar as Float>::Wide::new(0.0); MOST_LANES];
        for (lane, weight) in weights.iter_mut().enumerate().filter(|lane| target.counted[lane.0]) {
            *weight = target.weights.of_row(lane).get(target.class[lane]);
        }
        V::Wide::from_scalars(token, &weights)
    }

    /// [(spike + Q)·p − β·w]·scale for every class.
    #[inline(always)]
    fn gradient(&self, stats: &Stats<V>) -> Gradient<V> {
        V::outlined(
            stats.max.token(),
            #[inline(always)]
            || self.gradient_of(stats),
        )
    }

    #[inline(always)]
    fn gradient_of(&self, stats: &Stats<V>) -> Gradient<V> {
        let weight = (self.spike + self.probability_weight(stats)) * self.scale;
        let (scale, q) = Scale::new(stats, weight, self.factor * self.scale);
        Gradient { scale, q }
    }
}

#[derive(Clone, Copy)]
struct Gradient<V: Vector> {
    scale: Scale<V>,
    q: Guarded<V>,
}

impl<V: Vector> Epilogue<V> for Gradient<V> {
    const OF_EXPS: bool = true;
    const IS_WEIGHTED: bool = true;

    #[inline(always)]
    fn each_row(self) -> impl Fn(usize) -> Self {
        let (scale, q) = (self.scale.each_row(), self.q.each_row());
        #[inline(always)]
        move |lane| Self { scale: scale(lane), q: q(lane) }
    }
    #[inline(always)]
    fn apply<const WEIGHTS: u8>(&self, exps: Kept<V>, high: V, low: V) -> V {
        match WEIGHTS {
            ABSENT => self.scale.probability(exps),
            ONES => self.scale.probability_less(exps, self.q),
            ROW => self.scale.probability_less(exps, self.q.times(high)),
            _ => self.scale.probability_less(exps, self.q.times_two(high, low)),
        }
    }
}

/// Per-row parts of the losses; see `cross_entropy_terms`.
pub(crate) struct RowTerms {
    /// H(q, p)
    pub(crate) nll: [f64; MOST_LANES],
    /// H(u, p)
    pub(crate) prior_cross_entropy: [f64; MOST_LANES],
    /// log Σ exp(z)
    pub(crate) logsumexp: [f64; MOST_LANES],
}

/// H(q, p), H(u, p) and lse of rows: the loss with ε = 0 and with ε = 1.
#[inline(always)]
pub(crate) fn terms<V: Vector, G: Group<V>>(
    group: &mut G,
    hard: &GroupTarget<'_, V::Scalar>,
    prior: &GroupTarget<'_, V::Scalar>,
) -> RowTerms {
    let temperature: &Temperature<V::Scalar> = &prior.temperature;
    let stats = group.reduce::<false>(&prior.counted, &prior.weights, temperature);
    let z_label = group.logits_at(&prior.counted, &prior.class);
    let prior_cross_entropy = TargetLanes::<V>::new(group.token(), prior).losses(&stats, z_label);
    let logsumexp = lse_of_any(&stats, temperature);
    let nll = match hard.weights {
        RowWeights::Same(Weights::Absent) => {
            let stats = Stats { dot: stats.dot.constant(0.0), ..stats };
            let z_label = group.logits_at(&hard.counted, &hard.class);
            TargetLanes::<V>::new(group.token(), hard).losses(&stats, z_label)
        }
        _ => loss::<V, G>(group, hard),
    };
    RowTerms { nll, prior_cross_entropy, logsumexp }
}
