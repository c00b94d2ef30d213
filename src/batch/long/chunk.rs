//! Long rows whose classes are divided into chunks, which are on several machines. Each step of a long row is a
//! separate call, and the results of the steps are passed on in arrays.
//!
//! ```text
//! M, first        the largest logit of all chunks, and the segment of the first maximum      (by the caller)
//! reduce_chunk    the sums of each segment of a chunk, relative to M
//! finish_chunks   the lse or the loss of a row, or the constants of its outputs, from the sums of all its segments
//! write_chunk     the outputs of a chunk
//! ```
//!
//! Each chunk begins with a new segment. If all chunks but the last consist of whole segments, the segments, and
//! therefore the bits, are the same as on one machine. Otherwise the sums are added in another order.

use super::segment::SegmentStep;
use super::{Row, Segment, Step, joined};
use crate::batch::workspace::Workspace;
use crate::batch::{Job, Plan, Run};
use crate::error::Error;
use crate::kernel::{
    Epilogue, Formula, GAP_UNIT, Operation, Partial, Reduced, ReducedRows, SEGMENT, Temperature,
    larger,
};
use crate::math::count;
use crate::simd::{Float, Rows, RowsMut};
use crate::target::{RowTarget, Weights};

/// How many numbers a chunk needs of each row: M, or NaN for a row that is not read; the segment of the chunk with the
/// first maximum; whether `dot` is computed as for a special row; the label. -1 means no segment or no class.
pub const CHUNK_ROW: usize = 4;

/// How many numbers a segment has: its sum, and the rounding error of the sum; `dot`, and its unit; the maximum of a
/// special segment if it is -inf, inf or NaN, else 0; the logit of the label, or 0 if that is in another segment.
pub const SEGMENT_SUMS: usize = 6;

/// How many numbers a finished row has: the two constants of its outputs, or one number and 0.
pub const ROW_CONSTANTS: usize = 2;

/// `value` as an index; None if it is not below `end`.
fn index_below(value: f64, end: usize) -> Option<usize> {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in range")]
    (value >= 0.0 && value < count(end)).then_some(value as usize)
}

/// `N` numbers of a row, from number `first` on.
fn numbers<const N: usize>(rows: &Rows<'_>, row: usize, first: usize) -> [f64; N] {
    let mut numbers = [0.0; N];
    rows.gather_from(row, first, &mut numbers);
    numbers
}

impl<'r, F: Float> Row<'r, F> {
    /// What the segments of row `number` in this chunk have in common. `max` is the maximum of the row.
    fn of_chunk(plan: &'r Plan<'r, F>, number: usize, max: f64, weights: Weights<'r, F>) -> Self {
        let target = RowTarget { weights, ..RowTarget::none() };
        let target = (plan.job.operation == Operation::Loss).then_some(target);
        let is_shifted = plan.job.temperature.shifts(max);
        let (swept_max, shifted_by) = if is_shifted { (0.0, Some(max)) } else { (max, None) };
        Row { plan, number, target, own: None, swept_max, shifted_by, first: usize::MAX }
    }
}

impl<F: Float> Job<'_, F> {
    /// Runs `body` for each segment of each row, with the scratch memory of the thread that runs it.
    fn each_segment(
        &self,
        run: &mut Run<'_>,
        body: impl Fn(&Plan<'_, F>, usize, usize, &mut [F]) + Sync,
    ) -> Result<(), Error> {
        let (rows, count) =
            (self.panel.logits.rows(), self.panel.logits.classes().div_ceil(SEGMENT));
        let plan = Plan::new(self, run.threads, true);
        let mut workspace = Workspace::new(plan.scratch);
        workspace.reserve(plan.threads)?;
        run.ready(plan.threads)?;
        run.each(plan.threads, rows * count, SEGMENT * size_of::<F>(), &|part| {
            workspace.with(|scratch| body(&plan, part / count, part % count, scratch));
        })
    }

    /// Computes the sums of each segment, [`SEGMENT_SUMS`] numbers, one segment after another. `rows` has
    /// [`CHUNK_ROW`] numbers for each row.
    pub(crate) fn reduce_chunk(
        &self,
        rows: &Rows<'_>,
        weights: Weights<'_, F>,
        out: &RowsMut<'_>,
        run: &mut Run<'_>,
    ) -> Result<(), Error> {
        let (level, classes) = (run.level, self.panel.logits.classes());
        self.each_segment(run, |plan, row, index, scratch| {
            let [max, first, is_exact, label] = numbers::<CHUNK_ROW>(rows, row, 0);
            if max.is_nan() {
                return out.scatter_from(row, index * SEGMENT_SUMS, &[0.0; SEGMENT_SUMS]);
            }
            let mut of = Row::of_chunk(plan, row, max, weights);
            of.first = index_below(first, usize::MAX).unwrap_or(usize::MAX);
            let mut segment = Segment::NONE;
            let mut run = |step, segment: &mut Segment| {
                level.run(SegmentStep { of: &of, index, step, segment, scratch });
            };
            // The steps of `run_row` for one segment. If the maximum is not finite, their results are not read.
            run(Step::Reduce, &mut segment);
            if of.shifted_by.is_some() || is_exact != 0.0 || !segment.partial.is_ordinary() {
                run(Step::ExactMax, &mut segment);
                run(Step::Special(max), &mut segment);
            }
            let Partial { sum, lost, dot, unit } = segment.partial;
            let logit = if segment.max.is_finite() { 0.0 } else { segment.max };
            let mut z = [F::default()];
            let label = index_below(label, classes);
            if let Some(class) = label.filter(|class| class / SEGMENT == index) {
                self.panel.reload(row, class, &mut z);
            }
            let sums: [_; SEGMENT_SUMS] = [sum, lost, dot, unit, logit, z[0].to_f64()];
            out.scatter_from(row, index * SEGMENT_SUMS, &sums);
        })
    }

    /// Writes the outputs of a chunk. `rows` has the maximum of each row and its [`ROW_CONSTANTS`].
    pub(crate) fn write_chunk(&self, rows: &Rows<'_>, run: &mut Run<'_>) -> Result<(), Error> {
        let level = run.level;
        self.each_segment(run, |plan, row, index, scratch| {
            let [max, first, second] = numbers(rows, row, 0);
            let of = &Row::of_chunk(plan, row, max, Weights::Absent);
            let (is_nan, [first, second]) = (first.is_nan(), [first, second].map(F::from_f64));
            let epilogue = match (self.operation, of.shifted_by) {
                _ if is_nan => Epilogue::Filled(F::NAN),
                (Operation::LogSoftmax, Some(max)) => {
                    Epilogue::ShiftedLogProbability { max, inverse: 1.0, excess: first }
                }
                (Operation::LogSoftmax, None) => {
                    let [max, inverse] = [of.swept_max, 1.0].map(F::from_f64);
                    Epilogue::LogProbability { max, inverse, excess: first }
                }
                _ => Epilogue::Probability { factor: first, least: second },
            };
            let (step, mut segment) = (Step::Write(epilogue, None), Segment::NONE);
            level.run(SegmentStep { of, index, step, segment: &mut segment, scratch });
        })
    }
}

/// Computes the [`ROW_CONSTANTS`] of each row from its maximum and the sums of all its segments, in order. For the
/// loss, `target` has everything but the label.
pub(crate) fn finish_chunks<F: Float>(
    operation: Operation,
    target: &RowTarget<'_, F>,
    sums: &Rows<'_>,
    rows: &Rows<'_>,
    out: &RowsMut<'_>,
    run: &mut Run<'_>,
) -> Result<(), Error> {
    let (level, temperature) = (run.level, &Temperature::new(1.0));
    let formula = Formula { operation, temperature, z_loss: 0.0 };
    run.each(run.threads, rows.rows(), sums.classes() * size_of::<f64>(), &|row| {
        let segments = || {
            let starts = (0..sums.classes()).step_by(SEGMENT_SUMS);
            starts.map(|start| numbers::<SEGMENT_SUMS>(sums, row, start))
        };
        // The exact maximum is finite if this is, and is this if it is NaN or infinite.
        let (mut exact_max, mut unit, mut z_label) = (f64::NEG_INFINITY, 1.0, 0.0);
        for [.., own_unit, logit, z] in segments() {
            exact_max = larger(exact_max, logit);
            unit = own_unit.max(unit);
            z_label += z;
        }
        let partials =
            || segments().map(|[sum, lost, dot, unit, ..]| Partial { sum, lost, dot, unit });
        let mut partial = joined(partials(), unit);
        if !partial.dot.is_finite() {
            partial = joined(partials(), GAP_UNIT);
        }
        let max = rows.get(row, 0);
        let mut reduced = ReducedRows::new(formula);
        reduced.targets.set(0, target, 0.0);
        reduced.set(0, &Reduced { max, partial, z_label, ..Reduced::default() });
        level.run(&mut reduced);
        let constants = match operation {
            // It is not read.
            _ if max.is_nan() => [0.0; ROW_CONSTANTS],
            Operation::LogSumExp if !exact_max.is_finite() => [exact_max, 0.0],
            _ if !exact_max.is_finite() => [f64::NAN; ROW_CONSTANTS],
            Operation::Softmax => reduced.probability(0).map(F::to_f64),
            _ => [reduced.done.scalar[0], 0.0],
        };
        out.scatter_from(row, 0, &constants);
    })
}
