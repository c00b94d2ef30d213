//! Weights that are computed for each row, for a part of the classes at a time: from probabilities, from priors with
//! class weights or masks, and from priors of another type than the rows.

use super::SmoothedTargets;
use crate::math::{Real, RunningSum, count, two_sum};
use crate::simd::{
    AsDoubles, ExactSum, Float, Sink, Source, Storage, Vector, Widened, inlined, outlined,
};
use crate::target::{LossTerms, Prior, Weights};

impl<F: Float> SmoothedTargets<'_, F> {
    /// The weights w of a row for the classes from `start` on, and the sum that [`SmoothedTargets::fill`] returns. They are
    /// the mask, or computed in `own`.
    pub(crate) fn weights_of<'w, V: Vector<Scalar = F>>(
        &self,
        token: V::Token,
        place: (usize, usize),
        kept: &'w [F],
        (own, is_set): (&'w mut [F], bool),
    ) -> (Weights<'w, F>, f64) {
        if self.is_mask(place.0) {
            return (Weights::Row(Source::from_slice(kept)), 0.0);
        }
        let sum = self.fill::<V>(token, place, kept, (&mut *own, is_set));
        (Weights::Row(Source::from_slice(own)), sum)
    }

    /// Is w of a row 1 for classes that are kept, and 0 for others?
    fn is_mask(&self, row: usize) -> bool {
        let LossTerms { label_smoothing, prior, class_weight, .. } = *self.terms;
        let is_uniform = matches!(prior, Prior::Uniform) && class_weight.is_none();
        label_smoothing > 0.0 && is_uniform && self.distribution(row).is_none()
    }

    /// Computes w of a row for the classes from `start` on. Classes that `kept` excludes have weight 0, or an infinite
    /// weight if they have a share of q: then the loss is infinite. `w` may be set to [`SmoothedTargets::probabilities`].
    /// Returns Σ u·c over the classes that are kept, if that is not known yet; else 0.
    pub(crate) fn fill<V: Vector<Scalar = F>>(
        &self,
        token: V::Token,
        (row, start): (usize, usize),
        kept: &[F],
        (w, is_set): (&mut [F], bool),
    ) -> f64 {
        outlined!(V, token, {
            let LossTerms { label_smoothing, prior, class_weight, .. } = *self.terms;
            let (is_weighted, smooths) = (class_weight.is_some(), label_smoothing > 0.0);
            let (len, mut q, mut unit, mut has_q) = (w.len(), None, 1.0, false);
            if let Some((rows, mass)) = self.distribution(row) {
                unit = self.unit_of(mass);
                if unit == 1.0 && self.are_plain() {
                    // No double is needed.
                    let smoothing = self.smoothing();
                    let direct = rows.direct::<F>(row).filter(|_| smoothing.is_some() && !is_set);
                    if direct.is_none() && !is_set {
                        rows.gather::<V>(token, row, start, w);
                    }
                    if let Some(smoothing) = smoothing {
                        let mut w = Sink::from_slice(w);
                        let q = direct.map_or(w.as_source(), |q| q.part(start, len));
                        let smoothed = inlined!(|[q]: [V; 1]| smoothing.of(q));
                        w.fill_from::<V, false, 1>(token, [q], None, smoothed);
                    }
                    return 0.0;
                }
                // Rounded doubles are for plain weights only.
                has_q = is_set && (F::IS_DOUBLE || rows.storage() != Storage::F64);
                q = (!has_q).then_some(rows);
            }
            // Without smoothing the prior is not read.
            let prior = if smooths { prior } else { &Prior::Uniform };
            let (beta, prior_unit) = if smooths { self.prior_factor(row) } else { (0.0, 1.0) };
            let smoother = Smoother::<V>::new(token, self.terms, (beta, unit));
            // A quotient by a power of two is the product with its inverse.
            let inverse = V::Doubles::splat(token, 1.0 / prior_unit);
            let shared = self.shared().map(|weights| Source::from_slice(weights).part(start, len));
            let sums = is_weighted && smooths && shared.is_none();
            let constant = inlined!(|number: f64| V::splat(token, F::from_f64(number)));
            let [zero, all, infinite] = [constant(0.0), constant(1.0), constant(f64::INFINITY)];
            let (mut w, has_mask, one) = (Sink::from_slice(w), !kept.is_empty(), F::from_f64(1.0));
            let kept = Source::from_slice(kept);
            let (mut sum, [mut of_q, mut of_u]) = (ExactSum::default(), [None; 2]);
            for from in (0..len).step_by(AsDoubles::AT_ONCE) {
                let (len, start) = (AsDoubles::AT_ONCE.min(len - from), start + from);
                let q = q.map(|q| AsDoubles::of_row::<V>(token, q, (row, start), (len, &mut of_q)));
                let u = prior.part::<V>(token, (row, start), (len, &mut of_u));
                // From q, if there is a share of it, and u.
                let make = inlined!(|at: usize| {
                    let c = class_weight.map(|c| c.vector::<V>(token, start + at));
                    let weigh = inlined!(|x: V::Doubles| if let Some(c) = c { x * c } else { x });
                    let kept = if has_mask { kept.vector(token, from + at, one) } else { all };
                    let (is_masked, mut smooth) = (kept.eq(zero), zero);
                    if let Some(weights) = shared {
                        smooth = weights.vector(token, from + at, F::default());
                    } else if smooths {
                        // u·c in units of a power of two, in the type of the row.
                        smooth = positive_lanes::<V>(weigh(u.vector::<V>(token, at)) * inverse);
                        smooth = V::select(is_masked, zero, smooth);
                    }
                    let mut made = smooth;
                    if has_q || q.is_some() {
                        let q = match &q {
                            Some(q) => q.vector::<V>(token, at),
                            None => V::Doubles::widen(w.as_source().vector::<V>(
                                token,
                                from + at,
                                F::default(),
                            )),
                        };
                        made = smoother.of(weigh(q), smooth);
                        made = V::select(is_masked & !made.eq(zero), infinite, made);
                    }
                    w.set_vector(from + at, made);
                    sums.then(|| V::Doubles::widen(smooth))
                });
                sum.add_vectors::<V>(token, len, make);
            }
            if sums { sum.value() } else { 0.0 }
        })
    }

    /// Computes w of LANES rows, with the same bits as [`SmoothedTargets::fill`], from their probabilities: those of
    /// class 0, of class 1, ... For rows with [`SmoothedTargets::weight_rows`].
    #[inline(always)]
    pub(crate) fn fill_lanes<V: Vector<Scalar = F>>(&self, token: V::Token, w: &mut [F]) {
        let lanes = w.chunks_exact_mut(V::LANES);
        if let Some(smoothing) = self.smoothing() {
            for w in lanes {
                smoothing.of(V::from_slice(token, w)).to_slice(w);
            }
        } else if !self.are_targets_plain() {
            let shared = self.shared().unwrap_or_default();
            let beta = if shared.is_empty() { 0.0 } else { self.prior_factor(0).0 };
            let smoother = Smoother::<V>::new(token, self.terms, (beta, 1.0));
            for (class, w) in lanes.enumerate() {
                let q = V::Doubles::widen(V::from_slice(token, w));
                let smooth = shared.get(class).copied().unwrap_or_default();
                let weight = q.like(self.class_weight(class));
                smoother.of(q * weight, V::splat(token, smooth)).to_slice(w);
            }
        }
    }
}

/// Smoothing by any prior, with class weights, in doubles: (1 − ε)·q·c + β·u·c.
struct Smoother<V: Vector> {
    /// 1 − ε, rounded, and its rounding error.
    label_weight: [V::Doubles; 2],
    beta: V::Doubles,
}

impl<V: Vector> Smoother<V> {
    /// In units of a power of two.
    #[inline(always)]
    fn new(token: V::Token, terms: &LossTerms<'_>, (beta, unit): (f64, f64)) -> Self {
        let RunningSum { sum, lost } = terms.label_weight();
        let in_units = inlined!(|factor: f64| V::Doubles::splat(token, factor * (1.0 / unit)));
        Self { label_weight: [in_units(sum), in_units(lost)], beta: in_units(beta) }
    }

    /// w from q·c and u·c.
    #[inline(always)]
    fn of(&self, q: V::Doubles, smooth: V) -> V {
        let ([high, low], mut smooth) = (self.label_weight, V::Doubles::widen(smooth));
        if V::Scalar::IS_DOUBLE {
            // A q·c that overflowed must not be multiplied by 0.
            let most = q.like(f64::MAX);
            smooth = smooth.mul_add(self.beta, V::Doubles::pick(most.ge(q), q, most) * low);
        } else {
            smooth = smooth * self.beta;
        }
        positive_lanes::<V>(q.mul_add(high, smooth))
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
