//! Rows of few classes: a tile has as many rows as a vector has lanes, and is computed class by class.
//!
//! ```text
//! vector k holds class k of LANES rows
//! M    = max_k z_k,  z_y
//! e_k  = exp(z_k/T)·2^(H − N)
//! sum  = Σ of the others: f32: by pairs of classes, e0 + e1 is added to doubles; f64: one by one, compensated
//! dot  = Σ w_k (M − z_k), in the same order; the rounding errors of products are added as well
//! out  = the epilogue of every class
//! ```
//!
//! Rows of so few classes are always computed in tiles, whatever their layout and number (a partial tile is padded). So
//! tiles have their own order of summation. Except for softmax of f32, all maxima of a row are left out of the sum and
//! counted. They are added again in double precision: all of them for softmax, all but one otherwise.
//!
//! Rows of some more classes may be computed in tiles or as rows, whichever takes less time. Therefore their sums use
//! the order of rows, and leave out only the first maximum.

mod softmax;
mod special;
mod sweep;

use super::exp::{Base, Exponential, is_double};
use super::finish::{
    FinishedLanes, Formula, Lanes, ReducedLanes, TargetLanes, finish, finish_lanes,
};
use super::hessian::write_tile;
use super::reduce::WeightKind;
use super::rows::Operation;
use super::write::{gradient, log_probability, probability};
use crate::math::{Real, two_sum};
use crate::simd::{Float, MOST_LANES, Vector, Widened, outlined};
use softmax::{with_tops, write_probabilities};
use special::find_nans;

/// Rows of at most so many classes are computed in tiles, in the order of summation of tiles.
pub(crate) const MOST_CLASSES: usize = 64;
/// f32 rows of at most so many classes may be too, in the order of summation of rows: see [`super::reduce`].
pub(crate) const MOST_IN_TILES: usize = 112;

/// The targets of the rows of a tile, one in each lane.
#[derive(Clone, Copy)]
pub(crate) struct TileTarget<F> {
    /// y, −1 for none.
    pub(crate) label: [F; MOST_LANES],
    pub(crate) scalars: TargetLanes,
}

/// The parameters of a tile.
pub(crate) struct Tile<'t, F: Float> {
    pub(crate) formula: Formula<'t, F>,
    /// c of the Hessian, if it is computed besides the gradient.
    pub(crate) hessian: Option<f64>,
    pub(crate) target: &'t TileTarget<F>,
    /// Are the scalars of the target the same for all rows? Then they are computed with less work.
    pub(crate) has_one_target: bool,
    pub(crate) weight_kind: WeightKind,
    /// LANES of class 0, of class 1, ...; read only if the weights differ.
    pub(crate) weights: &'t [F],
    /// Does a masked class have weight? Then the loss is infinite.
    pub(crate) is_lost: &'t [bool; MOST_LANES],
    /// Reads the logits of the row in a lane as they are in memory, −inf where they are masked.
    pub(crate) reread: &'t dyn Fn(usize, &mut [F]),
}

impl<F: Float> Tile<'_, F> {
    /// Reduces the logits `z`, LANES of class 0, of class 1, ..., and writes the outputs to `out` in the same order.
    /// The Hessian overwrites the logits.
    #[inline(always)]
    pub(crate) fn run<V: Vector<Scalar = F>>(
        &self,
        token: V::Token,
        z: &mut [F],
        out: &mut [F],
        done: &mut FinishedLanes,
    ) {
        use Operation::{Gradient, LogSoftmax, LogSumExp, Loss, Softmax};
        use WeightKind::{Absent, Each, Ones};
        // Compiled for each named case separately, without the code that it does not need.
        macro_rules! run {
            ($operation:expr, $weights:expr) => {
                outlined!(V, token, self.in_lanes::<V>($operation, $weights, token, z, out, done))
            };
        }
        match (self.formula.operation, self.weight_kind) {
            (operation, weights) if V::IS_COMPACT => run!(operation, weights),
            (Softmax, _) => run!(Softmax, Absent),
            (operation @ (LogSoftmax | LogSumExp), _) => run!(operation, Absent),
            (Loss, Absent) => run!(Loss, Absent),
            (Loss, Ones) => run!(Loss, Ones),
            (Gradient, Absent) => run!(Gradient, Absent),
            (Gradient, Ones) => run!(Gradient, Ones),
            (operation, Each) => run!(operation, Each),
        }
    }

    #[inline(always)]
    fn weight<V: Vector<Scalar = F>>(&self, token: V::Token, class: usize) -> V {
        V::from_slice(token, &self.weights[class * V::LANES..])
    }

    /// M; arbitrary for rows with a NaN, which the sums detect.
    #[inline(always)]
    fn maxima<V: Vector<Scalar = F>>(token: V::Token, z: &[F]) -> V {
        // Of the even classes and of the odd ones, since each maximum waits for the one before.
        let mut max = [V::splat(token, F::NEG_INFINITY); 2];
        let mut pairs = z.chunks_exact(const { 2 * V::LANES });
        for z in &mut pairs {
            max[0] = max[0].max(V::from_slice(token, z));
            max[1] = max[1].max(V::from_slice(token, &z[V::LANES..]));
        }
        if !pairs.remainder().is_empty() {
            max[0] = max[0].max(V::from_slice(token, pairs.remainder()));
        }
        max[0].max(max[1])
    }

    /// The elements at the labels of two arrays, which have LANES of class 0, of class 1, ...; `none` for rows without
    /// a label.
    #[inline(always)]
    fn at_labels<V: Vector<Scalar = F>>(
        &self,
        token: V::Token,
        (values, others): (&[F], &[F]),
        none: [F; 2],
    ) -> [V; 2] {
        let (mut number, next) = (V::splat(token, F::default()), V::splat(token, F::from_f64(1.0)));
        let labels = V::from_slice(token, &self.target.label);
        let [mut value, mut other] = none.map(
            #[inline(always)]
            |none| V::splat(token, none),
        );
        for (values, others) in values.chunks_exact(V::LANES).zip(others.chunks_exact(V::LANES)) {
            let is_label = number.eq(labels);
            value = V::select(is_label, V::from_slice(token, values), value);
            other = V::select(is_label, V::from_slice(token, others), other);
            number = number + next;
        }
        [value, other]
    }

    /// Are these maxima in the range of the sweep?
    #[inline(always)]
    fn are_in_range<V: Vector<Scalar = F>>(&self, max: V) -> bool {
        let limit = V::splat(max.token(), self.formula.temperature.limit);
        V::all(limit.ge(max) & max.ge(-limit))
    }

    #[inline(always)]
    #[allow(clippy::too_many_lines, reason = "one function from the logits to the outputs")]
    fn in_lanes<V: Vector<Scalar = F>>(
        &self,
        operation: Operation,
        weights: WeightKind,
        token: V::Token,
        z: &mut [F],
        out: &mut [F],
        done: &mut FinishedLanes,
    ) {
        let has_target = matches!(operation, Operation::Loss | Operation::Gradient);
        let formula = Formula { operation, ..self.formula };
        let temperature = formula.temperature;
        let (classes, lowest) = (z.len() / V::LANES, F::NEG_INFINITY);
        let (zero, next) = (V::splat(token, F::default()), V::splat(token, F::from_f64(1.0)));
        let labels = V::from_slice(token, &self.target.label);
        let max = Self::maxima::<V>(token, z);
        let mut specials = None;
        let (mut swept_max, mut wide_max) = (max, V::Doubles::widen(max));
        if !self.are_in_range(max) {
            let found;
            (swept_max, found) = self.shift_specials(z, max);
            let mut maxima = [0.0; MOST_LANES];
            wide_max.to_slice(&mut maxima);
            for (lane, max) in found.rows() {
                maxima[lane] = max * temperature.shift;
            }
            wide_max = V::Doubles::from_slice(token, &maxima);
            specials = Some(found);
        }
        let base = Base::<V>::new(temperature, swept_max);
        let (sum, lost, dot, ties) =
            self.sweep::<V>(operation, weights, token, base, swept_max, z, out);
        find_nans::<V>(sum, &mut specials);
        let exp = Exponential::<V>::new(token, temperature);
        let top = exp.of(swept_max, base);
        if operation == Operation::Softmax {
            let sums = with_tops::<V>(sum, lost, ties, top);
            return write_probabilities::<V>(token, sums, out, specials.as_ref());
        }
        // All maxima but one are added to the sum.
        let ties: V::Doubles = V::Doubles::widen(ties);
        let (zeros, one) = (ties.like(0.0), ties.like(1.0));
        let top = V::Doubles::widen(top);
        let [wide_top, wide_top_lost] = exp.wide(temperature, swept_max, base);
        let (others, from_ties) = two_sum(sum, (ties - one) * top);
        let mut rows = ReducedLanes {
            max: wide_max,
            sum: others,
            // The sums of f32 have digits to spare.
            lost: if is_double::<F>() { lost + from_ties } else { zeros },
            top,
            wide_top,
            wide_top_lost,
            dot,
            gap: zeros,
            unit: one,
            exp_label: zeros,
            weight_label: if weights == WeightKind::Ones { one } else { zeros },
        };
        if has_target {
            let z_label: V;
            if operation == Operation::Gradient {
                let e_label: V;
                [z_label, e_label] = self.at_labels(token, (z, out), [lowest, F::default()]);
                rows.exp_label = V::Doubles::widen(e_label);
            } else {
                [z_label, _] = self.at_labels(token, (z, z), [lowest; 2]);
            }
            // In a shifted row, z_y is shifted as well.
            rows.gap = V::Doubles::widen(swept_max) - V::Doubles::widen(z_label);
            let is_lost = weights == WeightKind::Each && self.is_lost.contains(&true);
            if specials.is_some() || is_lost || !V::Doubles::all(dot.like(f64::MAX).ge(dot)) {
                let mut lanes = ReducedLanes::default();
                rows.put(&mut lanes, 0);
                self.take_care_of_gaps::<V>(classes, max, specials.as_ref(), &mut lanes);
                rows = lanes.vectors(token, 0);
            }
        }
        if operation == Operation::Gradient && weights == WeightKind::Each {
            let all = &self.weights[..z.len()];
            let [weight_label, _] = self.at_labels::<V>(token, (all, all), [F::default(); 2]);
            rows.weight_label = V::Doubles::widen(weight_label);
        }
        let targets = &self.target.scalars;
        let finished = if V::IS_COMPACT || !self.has_one_target {
            let mut lanes = ReducedLanes::default();
            rows.put(&mut lanes, 0);
            finish_lanes::<V>(token, formula, (&lanes, V::LANES), targets, done);
            done.vectors(token, 0)
        } else {
            finish(formula, &rows, &targets.splat(token))
        };
        finished.lse.to_slice(&mut done.lse);
        finished.loss.to_slice(&mut done.loss);
        if operation == Operation::LogSoftmax {
            let inverse = V::splat(token, F::from_f64(temperature.inverse));
            let excess: V = finished.excess.narrow();
            // As in the row kernel, which may compute such rows too: in a shifted row, L is rounded before log p.
            let is_rounded = is_in_row_order::<V>(z);
            let of_rows = if is_rounded { V::Doubles::widen(excess) } else { finished.excess };
            of_rows.to_slice(&mut done.excess);
            for (z, out) in z.chunks_exact(V::LANES).zip(out.chunks_exact_mut(V::LANES)) {
                let z = V::from_slice(token, z);
                log_probability(z, swept_max, inverse, excess).to_slice(out);
            }
            if let Some(specials) = &specials {
                self.rewrite_log_probabilities::<V>(&done.excess, specials, out);
            }
        }
        if operation == Operation::Gradient {
            let factor: V = finished.factor.narrow();
            let (minus, at_label): (V, V) = (finished.minus.narrow(), finished.label.narrow());
            let unit = finished.unit;
            let has_units = !V::Doubles::all(unit.eq(unit.like(1.0)));
            let mut least = zero;
            if weights != WeightKind::Ones || self.hessian.is_some() {
                least = V::splat(token, F::from_f64(F::MIN_POSITIVE));
                if has_units {
                    least = (unit.like(F::MIN_POSITIVE) / unit).narrow();
                }
                // As `finish::least`.
                least = least / factor.max(zero - factor);
            }
            if let Some(c) = self.hessian {
                write_tile::<V>(token, c, &rows, factor, least, out, z);
            }
            let (mut class, mut number) = (0, zero);
            for e in out.chunks_exact_mut(V::LANES) {
                let value = V::from_slice(token, e);
                let value = match weights {
                    WeightKind::Absent => probability(value, factor, least),
                    WeightKind::Ones => value.mul_add(factor, minus),
                    WeightKind::Each => {
                        let minus = self.weight::<V>(token, class) * minus;
                        gradient(value, factor, least, minus)
                    }
                };
                V::select(number.eq(labels), at_label, value).to_slice(e);
                (class, number) = (class + 1, number + next);
            }
            if has_units {
                unit.to_slice(&mut done.unit);
                multiply::<V>(out, &done.unit);
                if self.hessian.is_some() {
                    multiply::<V>(z, &done.unit);
                }
            }
            if classes == 1 && formula.z_loss == 0.0 {
                // p = 1 and q' = Σ q', so the gradient is 0, whatever the rounding of 1/S.
                replace_numbers(out, F::default());
            }
            if let Some(specials) = &specials {
                specials.mark::<V>(out);
                if self.hessian.is_some() {
                    specials.mark::<V>(z);
                }
            }
        }
        let Some(specials) = specials else { return };
        for (lane, max) in specials.rows().filter(|(_, max)| !max.is_finite()) {
            (done.lse[lane], done.loss[lane]) = (max, f64::NAN);
        }
    }
}

/// Are the classes of this tile summed in the order of rows?
#[inline(always)]
fn is_in_row_order<V: Vector>(z: &[V::Scalar]) -> bool {
    !is_double::<V::Scalar>() && z.len() > MOST_CLASSES * V::LANES
}

fn replace_numbers<F: Float>(values: &mut [F], number: F) {
    for value in values.iter_mut().filter(|value| !value.to_f64().is_nan()) {
        *value = number;
    }
}

fn multiply<V: Vector>(values: &mut [V::Scalar], factors: &Lanes) {
    for row in values.chunks_exact_mut(V::LANES) {
        for (value, factor) in row.iter_mut().zip(factors) {
            *value = V::Scalar::from_f64(value.to_f64() * factor);
        }
    }
}
