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
    Epilogue, Formula, MOST_ROWS, Operation, Partial, Reduced, ReducedRows, SEGMENT, TargetLanes,
    Temperature, UNIT, larger,
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
        let is_in_range = plan.job.temperature.is_in_range(F::from_f64(max));
        let (swept_max, shifted_by) = if is_in_range { (max, None) } else { (0.0, Some(max)) };
        Row { plan, number, target, swept_max, shifted_by, first: usize::MAX }
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
        if rows == 0 {
            return Ok(());
        }
        let plan = Plan::new(self, run.threads, true);
        let mut workspace = Workspace::new(plan.scratch);
        workspace.reserve(plan.threads)?;
        run.ready(plan.threads)?;
        let bytes = plan.block_bytes.min(SEGMENT * size_of::<F>());
        run.each(plan.threads, rows * count, bytes, &|part| {
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
            let mut segment = Segment { apart: usize::MAX, ..Segment::default() };
            let mut run = |step, segment: &mut Segment| {
                level.run(SegmentStep { of: &of, index, step, segment, scratch });
            };
            // The steps of `run_row` for one segment.
            if of.shifted_by.is_none() {
                run(Step::Reduce, &mut segment);
            }
            if of.shifted_by.is_some() || is_exact != 0.0 || !segment.partial.is_ordinary() {
                run(Step::ExactMax, &mut segment);
                if max.is_finite() {
                    run(Step::Special(max), &mut segment);
                }
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
            let step = if first.is_nan() {
                Step::Fill(F::NAN)
            } else {
                let (first, second) = (F::from_f64(first), F::from_f64(second));
                let (max, inverse) = (F::from_f64(of.swept_max), F::from_f64(1.0));
                let epilogue = match self.operation {
                    Operation::LogSoftmax => {
                        Epilogue::LogProbability { max, inverse, excess: first }
                    }
                    _ => Epilogue::Probability { factor: first, least: second },
                };
                Step::Write(epilogue, None)
            };
            let mut segment = Segment::default();
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
    let groups = rows.rows().div_ceil(MOST_ROWS);
    let bytes = MOST_ROWS * sums.classes() * size_of::<f64>();
    run.each(run.threads, groups, bytes, &|group| {
        let first = group * MOST_ROWS;
        let len = MOST_ROWS.min(rows.rows() - first);
        let mut maxima = [0.0; MOST_ROWS];
        let mut reduced = ReducedRows::new(formula);
        reduced.targets = TargetLanes::of_all(target, 0.0);
        for (i, exact_max) in maxima[..len].iter_mut().enumerate() {
            let (row, max) = joined_row(temperature, rows.get(first + i, 0), sums, first + i);
            reduced.set(i, &row);
            *exact_max = max;
        }
        level.run(&mut reduced);
        for (i, max) in maxima[..len].iter().enumerate() {
            let constants = match operation {
                // It is not read.
                _ if rows.get(first + i, 0).is_nan() => [0.0; ROW_CONSTANTS],
                Operation::LogSumExp if !max.is_finite() => [*max, 0.0],
                _ if !max.is_finite() => [f64::NAN; ROW_CONSTANTS],
                Operation::Softmax => reduced.probability(i).map(F::to_f64),
                _ => [reduced.done.scalar[i], 0.0],
            };
            out.scatter_from(first + i, 0, &constants);
        }
    })
}

/// A row with maximum `max`, from the sums of its segments. Also returns a number that is finite if the exact maximum
/// is, and is that maximum if it is NaN or infinite.
fn joined_row<F: Float>(
    temperature: &Temperature<F>,
    max: f64,
    sums: &Rows<'_>,
    row: usize,
) -> (Reduced, f64) {
    let segments = || {
        let starts = (0..sums.classes()).step_by(SEGMENT_SUMS);
        starts.map(|start| numbers::<SEGMENT_SUMS>(sums, row, start))
    };
    let (mut exact_max, mut unit, mut z_label) = (f64::NEG_INFINITY, 1.0, 0.0);
    for [.., own_unit, logit, z] in segments() {
        exact_max = larger(exact_max, logit);
        unit = own_unit.max(unit);
        z_label += z;
    }
    let partials = || segments().map(|[sum, lost, dot, unit, ..]| Partial { sum, lost, dot, unit });
    let mut partial = joined(partials(), unit);
    if !partial.dot.is_finite() {
        partial = joined(partials(), UNIT);
    }
    let is_shifted = !temperature.is_in_range(F::from_f64(max));
    (Reduced { is_shifted, z_label, ..Reduced::ordinary(max, partial) }, exact_max)
}
