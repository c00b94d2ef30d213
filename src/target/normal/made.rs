//! Weights that are computed for each row, for a part of the classes at a time: from probabilities, from priors with
//! class weights or masks, and from priors of another type than the rows.

use super::SmoothedTargets;
use crate::math::{Real, RunningSum, count, two_sum};
use crate::simd::{
    AsDoubles, ExactSum, Float, Rows, Sink, Source, Vector, Widened, inlined, outlined,
};
use crate::target::{LossTerms, NO_CLASS, Prior, Targets};

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
            let LossTerms { label_smoothing, prior, class_weight, .. } = *self.terms;
            let (is_weighted, smooths) = (class_weight.is_some(), label_smoothing > 0.0);
            let (len, mut q, mut unit) = (w.len(), None, 1.0);
            if let Targets::Probabilities(targets) = self.targets
                && targets.summary[row].only == NO_CLASS
                && label_smoothing < 1.0
            {
                let rows = &targets.rows;
                unit = self.unit_of(targets.summary[row].mass);
                let (smoothing, direct) = (self.smoothing(), rows.direct::<F>(row));
                if unit == 1.0 && self.are_plain() {
                    // No double is needed.
                    if direct.is_none() {
                        rows.gather::<V, F>(token, row, start, w);
                    }
                    let mut w = Sink::from_slice(w);
                    let q = direct.map_or(w.as_source(), |q| q.part(start, len));
                    for at in (0..len).step_by(V::LANES) {
                        let q = q.vector::<V>(token, at, F::default());
                        w.set_vector(at, if let Some(some) = smoothing { some.of(q) } else { q });
                    }
                    return 0.0;
                }
                q = Some(rows);
            }
            let is_uniform = matches!(prior, Prior::Uniform);
            if smooths && is_uniform && !is_weighted && q.is_none() {
                // The classes that are kept have the weight 1, as in the mask.
                w.copy_from_slice(kept);
                return 0.0;
            }
            // Without smoothing the prior is not read.
            let prior = if smooths { prior } else { &Prior::Uniform };
            let label_weight = self.terms.label_weight();
            let (beta, prior_unit) = if smooths { self.prior_factor(row) } else { (0.0, 1.0) };
            // Quotients by a power of two are the products with its inverse.
            let number = inlined!(|number: f64| V::Doubles::splat(token, number));
            let in_units = inlined!(|factor: f64| number(factor * (1.0 / unit)));
            let (beta, inverse) = (in_units(beta), number(1.0 / prior_unit));
            let (high, low) = (in_units(label_weight.sum), in_units(label_weight.lost));
            let constant = inlined!(|number: f64| V::splat(token, F::from_f64(number)));
            let [zero, all, infinite] = [constant(0.0), constant(1.0), constant(f64::INFINITY)];
            let (mut w, has_mask, one) = (Sink::from_slice(w), !kept.is_empty(), F::from_f64(1.0));
            let kept = Source::from_slice(kept);
            let are_in_place = q.is_none_or(Rows::are_in_place) && prior.is_in_place();
            let at_once = AsDoubles::at_once(are_in_place, len);
            let (mut sum, [mut of_q, mut of_u]) = (ExactSum::default(), [None; 2]);
            for from in (0..len).step_by(at_once) {
                let (len, start) = (at_once.min(len - from), start + from);
                let q = q.map(|q| AsDoubles::of_row(q, (row, start), (len, &mut of_q)));
                let u = prior.part((row, start), (len, &mut of_u));
                // From q, if there is a share of it, and u. Σ w includes the probabilities of masked classes.
                let make = inlined!(|at: usize| {
                    let c = class_weight.map(|c| c.vector::<V>(token, start + at));
                    let weigh = inlined!(|x: V::Doubles| if let Some(c) = c { x * c } else { x });
                    let kept = if has_mask { kept.vector(token, from + at, one) } else { all };
                    let (is_masked, mut made) = (kept.eq(zero), zero);
                    if smooths {
                        // u·c in units of a power of two, in the type of the row.
                        made = positive_lanes::<V>(weigh(u.vector::<V>(token, at)) * inverse);
                        made = V::select(is_masked, zero, made);
                    }
                    let mut written = made;
                    if let Some(q) = &q {
                        let (q, most) = (weigh(q.vector::<V>(token, at)), number(f64::MAX));
                        // A q·c that overflowed must not be multiplied by 0.
                        let finite = V::Doubles::pick(most.ge(q), q, most);
                        let smooth = V::Doubles::widen(made).mul_add(beta, finite * low);
                        made = positive_lanes::<V>(q.mul_add(high, smooth));
                        written = V::select(is_masked & !made.eq(zero), infinite, made);
                    }
                    w.set_vector(from + at, written);
                    is_weighted.then(|| V::Doubles::widen(made))
                });
                sum.add_vectors::<V>(token, len, make);
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
        let beta = F::nonzero(terms.smoothing_per(count(classes)));
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
}

/// Weights ≥ 0 in the type of the row, like [`Float::nonzero`].
#[inline(always)]
fn positive_lanes<V: Vector>(weights: V::Doubles) -> V {
    if V::Scalar::IS_DOUBLE {
        return weights.narrow();
    }
    let (rounded, smallest) = (weights.narrow(), V::Scalar::SMALLEST);
    if V::all(rounded.ge(V::splat(rounded.token(), smallest))) {
        return rounded;
    }
    outlined!(V, rounded.token(), {
        let least = weights.like(smallest.to_f64());
        let tiny = V::Doubles::pick(weights.eq(least.like(0.0)), weights, least);
        V::Doubles::pick(least.ge(weights), tiny, weights).narrow()
    })
}
