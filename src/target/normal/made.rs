//! Weights that are computed for each row, for a part of the classes at a time: from probabilities, from priors with
//! class weights or masks, and from priors of another type than the rows.

use super::SmoothedTargets;
use crate::math::{RunningSum, count, two_sum};
use crate::simd::{Aligned, ExactSum, Float, Sink, Vector, outlined};
use crate::target::{LossTerms, NO_CLASS, Prior, Targets};

/// Classes whose weights are computed at a time. Their numbers begin with a cache line: reading back a vector that was
/// just written across two would wait.
const PART: usize = 64;
/// Loops run over a multiple of so many, so that they are vectorised without a rest.
const LOOP: usize = 16;

impl<F: Float> SmoothedTargets<'_, F> {
    /// Computes w of a row for the classes from `start` on. Classes that `kept` excludes have weight 0, or an infinite
    /// weight if they have a share of q: then the loss is infinite. Returns Σ w, to which these add their share of q; or
    /// 0 without class weights, since it is known then.
    pub(crate) fn fill<V: Vector<Scalar = F>>(
        &self,
        token: V::Token,
        (row, start): (usize, usize),
        kept: &[F],
        w: &mut [F],
    ) -> f64 {
        outlined!(V, token, {
            let label_smoothing = self.terms.label_smoothing;
            let targets = match self.targets {
                Targets::Probabilities(targets)
                    if targets.summary[row].only == NO_CLASS && label_smoothing < 1.0 =>
                {
                    Some(targets)
                }
                _ => None,
            };
            let unit = targets.map_or(1.0, |targets| self.unit_of(targets.summary[row].mass));
            if let (Some(targets), true) = (targets, unit == 1.0) {
                if let Some(smoothing) = self.smoothing() {
                    let direct = targets.rows.direct::<F>(row);
                    if direct.is_none() {
                        targets.rows.gather::<V, F>(token, row, start, w);
                    }
                    let (len, mut w) = (w.len(), Sink::from_slice(w));
                    let q = direct.map_or(w.as_source(), |q| q.part(start, len));
                    for at in (0..len).step_by(V::LANES) {
                        w.set_vector(at, smoothing.of(q.vector::<V>(token, at, F::default())));
                    }
                    return 0.0;
                }
                if self.are_targets_plain() {
                    for (part, w) in w.chunks_mut(PART).enumerate() {
                        let mut q = Aligned([0.0; PART]);
                        let (start, to) = (start + part * PART, &mut q.0[..w.len()]);
                        targets.rows.gather::<V, f64>(token, row, start, to);
                        w.iter_mut().zip(&q.0).for_each(|(w, q)| *w = positive(*q));
                    }
                    return 0.0;
                }
            }
            let (beta, prior_unit) = self.prior_factor(row);
            let (beta, label_weight) = (beta / unit, self.terms.label_weight());
            let [high, low] = [label_weight.sum, label_weight.lost].map(|weight| weight / unit);
            let (smooths, is_weighted) = (label_smoothing > 0.0, self.terms.class_weight.is_some());
            let is_uniform = smooths && !is_weighted && matches!(self.terms.prior, Prior::Uniform);
            if is_uniform && targets.is_none() {
                // The classes that are kept have the weight 1, as in the mask.
                w.copy_from_slice(kept);
                return 0.0;
            }
            let uniform = positive(if is_uniform { 1.0 / prior_unit } else { 0.0 });
            let (infinite, mut sum) = (F::from_f64(f64::INFINITY), ExactSum::default());
            let (mut made, mut terms) = (Aligned([uniform; PART]), Aligned([0.0; PART]));
            for (part, w) in w.chunks_mut(PART).enumerate() {
                let (start, len) = (start + part * PART, w.len());
                let kept = kept.chunks(PART).nth(part).unwrap_or_default();
                let all = len.next_multiple_of(LOOP);
                let (made, terms) = (&mut made.0[..all], &mut terms.0[..all]);
                if smooths && !is_uniform {
                    // u·c, in units of a power of two, in the type of the row.
                    let inverse = 1.0 / prior_unit;
                    self.terms.prior.copy(row, start, &mut terms[..len]);
                    self.terms.weigh(start, &mut terms[..len]);
                    made.iter_mut()
                        .zip(&*terms)
                        .for_each(|(made, u)| *made = positive(u * inverse));
                } else {
                    made.fill(uniform);
                }
                fill_masked(kept, made, F::default());
                if let Some(targets) = targets {
                    targets.rows.gather::<V, f64>(token, row, start, &mut terms[..len]);
                    self.terms.weigh(start, &mut terms[..len]);
                    for (made, q) in made.iter_mut().zip(&*terms) {
                        // A q·c that overflowed must not be multiplied by 0.
                        let low = q.min(f64::MAX) * low;
                        let smooth = made.to_f64().mul_add(beta, low);
                        *made = positive(q.mul_add(high, smooth));
                    }
                }
                if is_weighted {
                    // Including the probabilities of masked classes.
                    terms.iter_mut().zip(&*made).for_each(|(term, w)| *term = w.to_f64());
                    sum.add::<V>(token, &terms[..len]);
                }
                if targets.is_some() {
                    for (kept, w) in kept.iter().zip(&mut *made) {
                        let is_lost = kept.to_f64() == 0.0 && w.to_f64() != 0.0;
                        *w = if is_lost { infinite } else { *w };
                    }
                }
                w.copy_from_slice(&made[..len]);
            }
            if is_weighted { sum.value() } else { 0.0 }
        })
    }
}

/// Smoothing by a uniform prior: (1 − ε)·q + ε/K.
#[derive(Clone, Copy)]
pub(crate) struct UniformSmoothing<F> {
    /// 1 − ε, rounded, and its rounding error.
    label_weight: [F; 2],
    beta: F,
}

impl<F: Float> UniformSmoothing<F> {
    pub(super) fn new(terms: &LossTerms<'_>, classes: usize) -> Self {
        let RunningSum { sum, lost } = terms.label_weight();
        let high = F::from_f64(sum);
        let low = F::from_f64((sum - high.to_f64()) + lost);
        let beta = positive(terms.smoothing_per(count(classes)));
        Self { label_weight: [high, low], beta }
    }

    /// The weights of probabilities. They are positive, since ε/K is.
    #[inline(always)]
    pub(crate) fn of<V: Vector<Scalar = F>>(self, q: V) -> V {
        let (token, [high, low]) = (q.token(), self.label_weight);
        let low = q.mul_add(V::splat(token, low), V::splat(token, self.beta));
        q.mul_add(V::splat(token, high), low)
    }
}

impl LossTerms<'_> {
    /// 1 − ε, rounded, and its rounding error.
    pub(super) fn label_weight(&self) -> RunningSum {
        let (sum, lost) = two_sum(1.0, -self.label_smoothing);
        RunningSum { sum, lost }
    }

    /// ε/`mass`, which may underflow, but not to 0: a logit of −inf still costs +inf.
    pub(super) fn smoothing_per(&self, mass: f64) -> f64 {
        (self.label_smoothing / mass).max(f64::SMALLEST)
    }

    /// Multiplies numbers of the classes from `start` on by c.
    pub(crate) fn weigh(&self, start: usize, numbers: &mut [f64]) {
        if let Some(weights) = self.class_weight {
            weights.multiply(start, numbers);
        }
    }
}

/// `weight` in the type of the row; a positive weight stays positive.
#[inline(always)]
pub(crate) fn positive<F: Float>(weight: f64) -> F {
    let rounded = F::from_f64(weight);
    if weight > 0.0 && rounded.to_f64() == 0.0 { F::SMALLEST } else { rounded }
}

/// Sets every class that is not kept to `value`.
#[inline(always)]
pub(crate) fn fill_masked<F: Float>(kept: &[F], values: &mut [F], value: F) {
    for (kept, target) in kept.iter().zip(values) {
        // Without a branch, so that the loop is vectorised.
        *target = if kept.to_f64() == 0.0 { value } else { *target };
    }
}
