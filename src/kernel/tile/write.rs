//! The last step of tiles: their rows are finished, and the outputs written.

use super::special::mark;
use super::{IGNORED, Tile, Tiles, is_in_row_order, may_share};
use crate::kernel::Operation;
use crate::kernel::finish::{Formula, Slopes, are_tiny, finish, finish_lanes, inverse_of, least};
use crate::kernel::hessian::hessian;
use crate::kernel::reduce::WeightKind;
use crate::kernel::scalars::{FinishedLanes, ReducedLanes, TargetLanes};
use crate::kernel::write::{gradient, log_probability, probability};
use crate::math::Real;
use crate::simd::{Float, Vector, Widened, inlined, outlined};

/// The target of all rows and its slopes, if the rows are finished with these.
type Shared<'s, D> = Option<(&'s TargetLanes<D>, Slopes<D>)>;

impl<F: Float> Tiles<'_, F> {
    /// Finishes the rows of a tile and writes their outputs.
    #[inline(always)]
    pub(super) fn write<V: Vector<Scalar = F>>(
        &self,
        (operation, weights): (Operation, WeightKind),
        token: V::Token,
        (target, shared): (&TargetLanes, Shared<'_, V::Eight>),
        tile: &mut Tile<'_, F>,
        scalars: &mut [f64],
    ) {
        if operation == Operation::Softmax {
            let ReducedLanes::<V::Doubles> { sum, lost, .. } = tile.reduced.vectors(token, 0);
            let out = &mut tile.out[..self.len];
            let factor: V = inverse_of::<F, _>(sum, lost).narrow();
            let least: V = (sum.like(F::MIN_POSITIVE) * sum).narrow();
            for e in out.chunks_exact_mut(V::LANES) {
                probability(V::from_slice(token, e), factor, least).to_slice(e);
            }
            if out.len() == V::LANES {
                // p = 1 if there is one class, whatever the rounding of 1/S.
                replace_numbers(out, F::from_f64(1.0));
            }
            if let Some(specials) = &tile.specials {
                mark::<V>(specials, out);
            }
            return;
        }
        // Each case has its own array: the compiler leaves out the zeros of the first, all of which are overwritten.
        let mut finished: FinishedLanes<V::Doubles> = if const { may_share::<V>() }
            && let Some((target, slopes)) = shared
        {
            let (formula, mut lanes) =
                (Formula { operation, z_loss: 0.0, ..self.formula }, FinishedLanes::default());
            for first in (0..V::LANES).step_by(8) {
                let rows: ReducedLanes<V::Eight> = tile.reduced.vectors(token, first);
                finish(formula, &rows, (target, Some(slopes))).put(&mut lanes, first);
            }
            lanes.vectors(token, 0)
        } else {
            let (formula, mut lanes) =
                (Formula { operation, ..self.formula }, FinishedLanes::default());
            let (rows, lanes_of_all) = ((&tile.reduced, V::LANES), &mut lanes);
            let are_tiny = finish_lanes::<V>(token, formula, rows, target, lanes_of_all);
            if are_tiny && operation == Operation::Gradient && weights == WeightKind::Ones {
                flush(&lanes, V::LANES, &mut tile.out[..self.len]);
            }
            lanes.vectors(token, 0)
        };
        let unit = finished.unit;
        let has_units = shared.is_none() && !V::Doubles::all(unit.eq(unit.like(1.0)));
        if self.has_lse {
            finished.lse.to_slice(tile.lse());
        }
        if self.has_ignored {
            let labels = V::Doubles::widen(V::from_slice(token, &tile.labels));
            let (zero, ignored) = (unit.like(0.0), unit.like(IGNORED.into()));
            let FinishedLanes { scalar, factor, minus, label, .. } = &mut finished;
            for number in [scalar, factor, minus, label] {
                *number = V::Doubles::pick(labels.eq(ignored), zero, *number);
            }
        }
        let mut scalar = finished.scalar;
        match operation {
            Operation::LogSoftmax => {
                let (z, out) = (&tile.z[..self.len], &mut tile.out[..self.len]);
                let max = V::from_slice(token, &tile.max);
                let inverse = V::splat(token, F::from_f64(self.formula.temperature.inverse));
                let excess: V = scalar.narrow();
                for (z, out) in z.chunks_exact(V::LANES).zip(out.chunks_exact_mut(V::LANES)) {
                    log_probability(V::from_slice(token, z), max, inverse, excess).to_slice(out);
                }
                if is_in_row_order::<V>(z) {
                    // As in the row kernel, which may compute such rows too: in a shifted row, L is rounded before log p.
                    scalar = V::Doubles::widen(excess);
                }
            }
            Operation::Gradient => {
                self.write_gradient::<V>(weights, token, &finished, has_units, tile);
            }
            Operation::Softmax | Operation::LogSumExp | Operation::Loss => {}
        }
        scalar.to_slice(scalars);
        if tile.specials.is_some() {
            self.write_specials::<V>(operation, tile, scalars);
        }
    }

    /// Overwrites the exponentials with the gradient, and the logits with the Hessian if it is computed.
    #[inline(always)]
    fn write_gradient<V: Vector<Scalar = F>>(
        &self,
        weights: WeightKind,
        token: V::Token,
        finished: &FinishedLanes<V::Doubles>,
        has_units: bool,
        tile: &mut Tile<'_, F>,
    ) {
        let (z, out) = (&mut tile.z[..self.len], &mut tile.out[..self.len]);
        let splat = inlined!(|number: f64| V::splat(token, F::from_f64(number)));
        let zero = splat(0.0);
        let labels = V::from_slice(token, &tile.labels);
        let factor: V = finished.factor.narrow();
        let (minus, at_label): (V, V) = (finished.minus.narrow(), finished.label.narrow());
        let unit = finished.unit;
        let mut least = zero;
        if weights != WeightKind::Ones || self.hessian.is_some() {
            least = splat(F::MIN_POSITIVE);
            if has_units {
                least = (unit.like(F::MIN_POSITIVE) / unit).narrow();
            }
            // As `finish::least`.
            least = least / factor.max(zero - factor);
        }
        if let Some(c) = self.hessian {
            outlined!(V, token, {
                let ReducedLanes { sum, lost, top, .. } = tile.reduced.vectors(token, 0);
                let hessian = hessian::<V>(c, [sum, lost, top], [factor, least]);
                for (e, h) in out.chunks_exact(V::LANES).zip(z.chunks_exact_mut(V::LANES)) {
                    hessian(V::from_slice(token, e)).to_slice(h);
                }
            });
        }
        // Where a vector is one register, by turns in two numbers, since each waits for the one before.
        let turns = const { V::IS_ONE_REGISTER };
        let step = splat(if turns { 2.0 } else { 1.0 });
        let (mut at, mut numbers) = (0, [zero, splat(1.0)]);
        for e in out.chunks_exact_mut(V::LANES) {
            let value = V::from_slice(token, e);
            let value = match weights {
                WeightKind::Absent => probability(value, factor, least),
                WeightKind::Ones => value.mul_add(factor, minus),
                WeightKind::Each => {
                    let minus = V::from_slice(token, &tile.weights[at..]) * minus;
                    gradient(value, factor, least, minus)
                }
            };
            V::select(numbers[0].eq(labels), at_label, value).to_slice(e);
            let next = numbers[0] + step;
            numbers = if turns { [numbers[1], next] } else { [next, zero] };
            at += V::LANES;
        }
        if has_units {
            outlined!(V, token, {
                let hessian = if self.hessian.is_some() { z } else { &mut [] };
                for values in
                    out.chunks_exact_mut(V::LANES).chain(hessian.chunks_exact_mut(V::LANES))
                {
                    let value = V::Doubles::widen(V::from_slice(token, values)) * unit;
                    value.narrow().to_slice(values);
                }
            });
        }
        if out.len() == V::LANES && self.formula.z_loss == 0.0 {
            // If there is one class, p = 1 and q' = Σ q', so the gradient is 0, whatever the rounding of 1/S.
            replace_numbers(out, F::default());
        }
    }
}

/// Sets exponentials whose p is below the smallest normal number to 0, in lanes where that is not negligible.
#[cold]
#[inline(never)]
fn flush<F: Float>(rows: &FinishedLanes, lanes: usize, exps: &mut [F]) {
    for lane in 0..lanes {
        let (factor, minus, unit) = (rows.factor[lane], rows.minus[lane], rows.unit[lane]);
        if are_tiny::<F, f64>(factor, minus, unit) {
            let least = least(F::from_f64(factor), unit);
            let exps = exps[lane..].iter_mut().step_by(lanes);
            exps.filter(|e| **e < least).for_each(|e| *e = F::default());
        }
    }
}

#[inline(never)] // rare
fn replace_numbers<F: Float>(values: &mut [F], number: F) {
    for value in values.iter_mut().filter(|value| !value.to_f64().is_nan()) {
        *value = number;
    }
}
