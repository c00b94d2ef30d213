//! What is done once for a row, for at most eight rows side by side.

use super::exp::{Base, Exponential, Temperature, is_double};
use super::finish::{FinishedLanes, ReducedLanes, TargetLanes, finish_lanes, inverse_of, least};
use super::reduce::{MOST_ROWS, Partial};
use super::write::Epilogue;
use crate::math::two_sum;
use crate::simd::{DoubleLanes, Float, MOST_LANES, Vector, Widened, outlined};
use crate::target::RowTarget;
use std::array::from_fn;

/// What becomes of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// p
    Softmax,
    /// log p
    LogSoftmax,
    /// lse, one number a row
    LogSumExp,
    /// The loss, one number a row
    Loss,
    /// The loss, and its gradient
    Gradient,
}

impl Operation {
    /// Are exponentials what the outputs are made of?
    pub(crate) fn keeps(self) -> bool {
        matches!(self, Operation::Softmax | Operation::Gradient)
    }

    /// Is the maximum left out of the sum and added last? The logarithm needs that; so does softmax in
    /// float64, where a quad of exponentials is added in the type of the rows, so that the largest would
    /// be rounded twice more.
    pub(crate) const fn splits<F: Float>(self) -> bool {
        is_double::<F>() || !matches!(self, Operation::Softmax)
    }
}

/// Rows, at most [`MOST_ROWS`], a lane each. Lanes without a row hold an ordinary one, or one of another group: they
/// are finished as well.
pub(crate) struct ReducedRows {
    pub(crate) lanes: ReducedLanes,
    pub(crate) targets: TargetLanes,
    /// The maxima that were swept: 0 of a row that was shifted by its maximum.
    pub(crate) swept_max: [f64; MOST_ROWS],
    /// The logits at the labels: −inf where the label's class is masked.
    pub(crate) z_label: [f64; MOST_ROWS],
    done: FinishedLanes,
}

impl ReducedRows {
    pub(crate) fn new() -> Self {
        let (ones, zeros) = ([1.0; MOST_LANES], [0.0; MOST_ROWS]);
        Self {
            lanes: ReducedLanes { unit: ones, sum: ones, ..ReducedLanes::default() },
            targets: TargetLanes { spike: ones, scale: ones, ..TargetLanes::default() },
            swept_max: zeros,
            z_label: zeros,
            done: FinishedLanes::default(),
        }
    }

    /// The row in a lane, but for its label.
    pub(crate) fn set(&mut self, i: usize, max: f64, swept_max: f64, partial: Partial, unit: f64) {
        (self.lanes.max[i], self.swept_max[i]) = (max, swept_max);
        (self.lanes.sum[i], self.lanes.lost[i]) = (partial.sum, partial.lost);
        (self.lanes.dot[i], self.lanes.unit[i]) = (partial.dot, unit);
    }

    /// The number of each row that the operation is after: its lse, its loss or, of log-probabilities, L.
    pub(crate) fn scalars(&self, operation: Operation) -> &[f64] {
        self.done.scalars(operation)
    }

    /// The lse of each row.
    pub(crate) fn lse(&self) -> &[f64] {
        &self.done.lse
    }

    /// The maximum and the logit at the label of row `i`; if it turns out not to be ordinary, they are put right later.
    #[inline(always)]
    pub(crate) fn set_ordinary(&mut self, i: usize, max: f64, z_label: f64) {
        (self.lanes.max[i], self.swept_max[i], self.z_label[i]) = (max, max, z_label);
        self.lanes.unit[i] = 1.0;
    }
}

/// How the outputs of a row are made, when it is finished.
#[derive(Clone, Copy)]
pub(crate) struct Finished<F> {
    pub(crate) epilogue: Epilogue<F>,
    /// The gradient at the label, in units.
    pub(crate) label: F,
    /// What the gradient is multiplied by when it is written: 1 but for factors far from 1.
    pub(crate) unit: f64,
}

/// The exponentials of the maxima, and of the logits at the labels.
fn put_exponentials<V: Vector>(
    token: V::Token,
    temperature: &Temperature<V::Scalar>,
    swept_max: &[f64; MOST_ROWS],
    z_label: &[f64; MOST_ROWS],
    rows: &mut ReducedLanes,
) {
    outlined!(V, token, {
        let exp = Exponential::<V>::new(token, temperature);
        let [max, z_label] = [swept_max, z_label].map(
            #[inline(always)]
            |values| -> V { V::Eight::from_slice(token, values).narrow() },
        );
        let base = Base::<V>::new(temperature, max);
        V::Eight::widen(exp.of(max, base)).to_slice(&mut rows.top);
        let [top, lost] = exp.wide::<V::Eight>(temperature, max, base);
        top.to_slice(&mut rows.wide_top);
        lost.to_slice(&mut rows.wide_top_lost);
        V::Eight::widen(exp.of(z_label, base)).to_slice(&mut rows.exp_label);
    });
}

/// Finishes `rows`.
pub(crate) fn finish<V: Vector>(
    token: V::Token,
    operation: Operation,
    temperature: &Temperature<V::Scalar>,
    z_loss: f64,
    rows: &mut ReducedRows,
) {
    let ReducedRows { lanes, targets, swept_max, z_label, done } = rows;
    if operation.splits::<V::Scalar>() {
        // Of a row that is shifted, relative to its maximum.
        let labels = from_fn(|i| {
            let is_shifted = lanes.max[i] != swept_max[i];
            if is_shifted { -lanes.gap[i] * lanes.unit[i] } else { z_label[i] }
        });
        put_exponentials::<V>(token, temperature, swept_max, &labels, lanes);
    }
    if operation != Operation::Softmax {
        finish_lanes::<V>(token, operation, temperature, z_loss, lanes, targets, done);
    }
    if operation == Operation::LogSoftmax {
        // As it is written.
        for excess in &mut done.excess {
            *excess = V::Scalar::from_f64(*excess).to_f64();
        }
    }
}

impl TargetLanes {
    /// What the loss and the gradient of the row in a lane are multiplied by is `target.weight` and `scale`.
    #[inline(always)]
    pub(crate) fn set<F: Float>(&mut self, lane: usize, target: &RowTarget<'_, F>, scale: f64) {
        self.spike[lane] = target.spike;
        self.beta[lane] = target.beta;
        self.smooth_mass[lane] = target.smooth_mass;
        self.weight[lane] = target.weight;
        self.scale[lane] = scale;
    }
}

impl<F: Float> Finished<F> {
    /// The row in a lane.
    #[inline(always)]
    pub(crate) fn from_lane(
        operation: Operation,
        temperature: &Temperature<F>,
        rows: &ReducedRows,
        i: usize,
    ) -> Self {
        let number = F::from_f64;
        let ReducedRows { lanes, swept_max, done, .. } = rows;
        let mut finished = Self::none();
        match operation {
            Operation::Softmax => {
                let (sum, from_top) = two_sum(lanes.sum[i], lanes.top[i]);
                let factor = inverse_of::<F, _>(sum, lanes.lost[i] + from_top);
                let least = F::MIN_POSITIVE * sum;
                finished.epilogue =
                    Epilogue::Probability { factor: number(factor), least: number(least) };
            }
            Operation::LogSumExp | Operation::Loss => {}
            Operation::LogSoftmax => {
                finished.epilogue = Epilogue::LogProbability {
                    max: number(swept_max[i]),
                    inverse: number(temperature.inverse),
                    excess: number(done.excess[i]),
                };
            }
            Operation::Gradient => {
                let (factor, unit) = (number(done.factor[i]), done.unit[i]);
                let (least, minus) = (least(factor, unit), number(done.minus[i]));
                finished.epilogue = Epilogue::Gradient { factor, least, minus };
                finished.label = number(done.label[i]);
                finished.unit = unit;
            }
        }
        finished
    }

    /// Of nothing yet.
    pub(crate) fn none() -> Self {
        let zero = F::default();
        let epilogue = Epilogue::Probability { factor: zero, least: zero };
        Self { epilogue, label: zero, unit: 1.0 }
    }

    /// L, of a log-probability.
    pub(crate) fn excess(&self) -> f64 {
        match self.epilogue {
            Epilogue::LogProbability { excess, .. } => excess.to_f64(),
            _ => f64::NAN,
        }
    }
}
