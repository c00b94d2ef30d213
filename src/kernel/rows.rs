//! Collects the sums and targets of at most eight rows, so that their scalars are computed side by side.

use super::Operation;
use super::exp::{Base, Exponential};
use super::finish::{Formula, finish_lanes, inverse_of};
use super::reduce::{MOST_ROWS, Partial};
use super::scalars::{FinishedLanes, ReducedLanes, TargetLanes};
use super::special::gap;
use super::write::Epilogue;
use crate::math::{Real, two_sum};
use crate::simd::{Float, MOST_LANES, Vector, VectorJob, Widened, outlined};

/// A reduced row; by default without a label.
#[derive(Clone, Copy, Default)]
pub(crate) struct Reduced {
    /// The maximum: that of the swept logits, or for a special row, whose unit is not 1, that of the logits in memory.
    /// `partial.dot` belongs to the same logits.
    pub(crate) max: f64,
    pub(crate) partial: Partial,
    /// The logit at the label, from the same logits as the maximum; −inf if it is masked.
    pub(crate) z_label: f64,
    /// The weight at the label.
    pub(crate) weight_label: f64,
}

/// At most [`MOST_ROWS`] rows, one in each lane. Unused lanes hold an ordinary row or one of another group: they are
/// finished too.
pub(crate) struct ReducedRows<'f, F> {
    formula: Formula<'f, F>,
    pub(super) lanes: ReducedLanes,
    pub(crate) targets: TargetLanes,
    /// The maxima in the sweep: 0 for a row that was shifted by its maximum.
    swept_max: [f64; MOST_ROWS],
    /// The logits at the labels in the sweep; −inf if the label's class is masked.
    swept_label: [f64; MOST_ROWS],
    /// The maxima by which rows were shifted.
    shifted_by: [Option<f64>; MOST_ROWS],
    pub(crate) done: FinishedLanes,
    /// Are some gradients tiny, so that exponentials have to be flushed?
    pub(crate) some_are_tiny: bool,
}

impl<'f, F: Float> ReducedRows<'f, F> {
    pub(crate) fn new(formula: Formula<'f, F>) -> Self {
        let (ones, zeros) = ([1.0; MOST_LANES], [0.0; MOST_ROWS]);
        Self {
            formula,
            lanes: ReducedLanes { unit: ones, sum: ones, ..ReducedLanes::default() },
            targets: TargetLanes { spike: ones, scale: ones, ..TargetLanes::default() },
            swept_max: zeros,
            swept_label: zeros,
            shifted_by: [None; MOST_ROWS],
            done: FinishedLanes { unit: ones, ..FinishedLanes::default() },
            some_are_tiny: false,
        }
    }

    /// Sets row `i`.
    #[inline(always)]
    pub(crate) fn set(&mut self, i: usize, row: &Reduced) {
        let Reduced { max, z_label, weight_label, .. } = *row;
        let Partial { sum, lost, dot, unit } = row.partial;
        let lanes = &mut self.lanes;
        (lanes.sum[i], lanes.lost[i], lanes.unit[i]) = (sum, lost, unit);
        lanes.weight_label[i] = weight_label;
        (lanes.max[i], lanes.gap[i], lanes.dot[i]) = (max, max - z_label, dot);
        (self.swept_max[i], self.swept_label[i], self.shifted_by[i]) = (max, z_label, None);
        if unit != 1.0 {
            self.convert(i);
        }
    }

    /// Converts the numbers of a special row, which are those of the logits in memory, to those of the logits of the sweep.
    #[cold]
    fn convert(&mut self, i: usize) {
        let (lanes, temperature) = (&mut self.lanes, self.formula.temperature);
        let (prescale, max, z_label) = (temperature.prescale, lanes.max[i], self.swept_label[i]);
        lanes.max[i] *= prescale;
        lanes.dot[i] *= prescale;
        lanes.gap[i] = gap(max, z_label) * prescale;
        (self.swept_max[i], self.swept_label[i]) = (lanes.max[i], z_label * prescale);
        if temperature.shifts(max) {
            self.shifted_by[i] = Some(max);
            (self.swept_max[i], self.swept_label[i]) = (0.0, -lanes.gap[i] * lanes.unit[i]);
        }
    }

    /// The factor of the probabilities of row `i`, and the smallest exponential that is not written as 0.
    #[inline(always)]
    pub(crate) fn probability(&self, i: usize) -> [F; 2] {
        let lanes = &self.lanes;
        let (sum, from_top) = two_sum(lanes.sum[i], lanes.top[i]);
        let factor = inverse_of::<F, _>(sum, lanes.lost[i] + from_top);
        [factor, F::MIN_POSITIVE * sum].map(F::from_f64)
    }

    /// How the outputs of row `i` are computed.
    #[inline(always)]
    pub(crate) fn epilogue(&self, i: usize) -> Epilogue<F> {
        let number = F::from_f64;
        let Self { formula: Formula { operation, temperature, .. }, swept_max, done, .. } = self;
        match operation {
            Operation::Softmax => {
                let [factor, least] = self.probability(i);
                Epilogue::Probability { factor, least }
            }
            Operation::LogSoftmax => {
                let excess = number(done.scalar[i]);
                if let Some(max) = self.shifted_by[i] {
                    let inverse = temperature.of_memory();
                    return Epilogue::ShiftedLogProbability { max, inverse, excess };
                }
                let [max, inverse] = [swept_max[i], temperature.inverse].map(number);
                Epilogue::LogProbability { max, inverse, excess }
            }
            Operation::Gradient => Epilogue::Gradient {
                factor: number(done.factor[i]),
                minus: number(done.minus[i]),
                label: number(done.label[i]),
                unit: done.unit[i],
            },
            Operation::LogSumExp | Operation::Loss => unreachable!("one number a row"),
        }
    }
}

/// Finishes the rows.
impl<F: Float> VectorJob<F> for &mut ReducedRows<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Scalar = F>>(self, token: V::Token) {
        let ReducedRows { formula, lanes, targets, swept_max, swept_label, done, .. } = self;
        let Formula { operation, temperature, .. } = *formula;
        if !operation.splits() {
            return;
        }
        outlined!(V, token, {
            let exp = Exponential::<V>::new(token, temperature);
            let max: V = V::Eight::from_slice(token, swept_max).narrow();
            let z_label: V = V::Eight::from_slice(token, swept_label).narrow();
            let base = Base::<V>::new(temperature, max);
            V::Eight::widen(exp.of(max, base)).to_slice(&mut lanes.top);
            let [top, lost] = exp.wide::<V::Eight>(max, base);
            top.to_slice(&mut lanes.wide_top);
            lost.to_slice(&mut lanes.wide_top_lost);
            V::Eight::widen(exp.of(z_label, base)).to_slice(&mut lanes.exp_label);
        });
        self.some_are_tiny = finish_lanes::<V>(token, *formula, (lanes, MOST_ROWS), targets, done);
        if operation == Operation::LogSoftmax {
            // Rounded like the constant of the epilogue.
            done.scalar = done.scalar.map(|excess| F::from_f64(excess).to_f64());
        }
    }
}
