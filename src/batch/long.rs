//! Rows of several segments.
//!
//! ```text
//! M               the largest of the segments' maxima
//! sum, dot        of each segment, relative to M; joined in the order of the segments
//! finish          once
//! exp; write      each segment
//! ```
//!
//! The segments of a row are processed by one thread or by all. Since a segment is the unit of summation, the bits are
//! the same. Exponentials are kept if the row is small and processed by one thread. Otherwise they are computed twice,
//! which takes less time than writing and reading that many.

pub(super) mod chunk;
mod segment;

use super::plan::BYTES_OF_KEPT_ROW;
use super::workspace::Workspace;
use super::{Block, Heaps, Path, Plan, Run};
use crate::alloc::with_capacity;
use crate::error::Error;
use crate::kernel::{Epilogue, GAP_UNIT, Partial, Reduced, ReducedRows, SEGMENT};
use crate::math::RunningSum;
use crate::pool::lock;
use crate::simd::{Float, Level, RowsMut, Sink, Vector};
use crate::target::RowTarget;
use segment::SegmentStep;
use std::sync::Mutex;

/// Segments of scratch memory for the steps of one row.
pub(super) const SEGMENTS_OF_SCRATCH: usize = 4;

/// The largest number of segments of a row whose exponentials are kept.
const MOST_KEPT: usize = (BYTES_OF_KEPT_ROW / size_of::<f32>()).div_ceil(SEGMENT);

/// The results of a segment.
#[derive(Clone, Copy)]
struct Segment {
    max: f64,
    /// The first class with the maximum, once it is known.
    apart: Option<usize>,
    partial: Partial,
    /// Σ u·c, if Q is known only from it.
    mass: f64,
    /// The weight of the label's class, if that is in this segment.
    weight_label: f64,
}

impl Segment {
    /// No results yet: a constant, so that many of them are made as one block of zeros.
    const NONE: Self = Self {
        max: 0.0,
        apart: None,
        partial: Partial { sum: 0.0, lost: 0.0, dot: 0.0, unit: 0.0 },
        mass: 0.0,
        weight_label: 0.0,
    };
}

/// Runs a function on each segment, with the scratch memory of the thread that runs it.
type Each<'e, F> = dyn FnMut(&(dyn Fn(usize, &mut [F]) + Sync)) + 'e;

/// Computes all rows, one after another, with the segments of each row on several threads.
pub(super) fn share_rows<F: Float>(
    plan: &Plan<'_, F>,
    workspace: &Workspace<F>,
    heaps: Option<&Heaps<'_>>,
    run: &mut Run<'_>,
) -> Result<(), Error> {
    let (job, logits) = (plan.job, plan.job.panel.logits);
    let count = logits.classes().div_ceil(SEGMENT);
    let mut segments = with_capacity(count)?;
    let level = run.level;
    run.ready(plan.threads)?;
    segments.resize_with(count, || Mutex::new(Segment::NONE));
    for row in 0..logits.rows() {
        let mut outcome = Ok(());
        let mut each = |body: &(dyn Fn(usize, &mut [F]) + Sync)| {
            if outcome.is_ok() {
                outcome = run.each(plan.threads, count, SEGMENT * size_of::<F>(), &|segment| {
                    workspace.with(|scratch| body(segment, scratch));
                });
            }
        };
        run_row(plan, level, (row, None), &segments, &mut each);
        outcome?;
        if let Some(heaps) = heaps {
            heaps.of_row(job, row, workspace, plan.threads, run)?;
        }
    }
    Ok(())
}

impl<F: Float> Block<'_, F> {
    /// Computes rows on one thread. Rows that are masked, or whose outputs are not written where they belong, have scratch
    /// memory. Those that are neighbours in memory are copied there together, and their outputs from there: reading them
    /// one by one would load each cache line again for each row. It is a separate function so that other paths do not
    /// reserve the stack it needs.
    #[inline(never)]
    pub(super) fn long_rows<V: Vector<Scalar = F>>(&mut self, token: V::Token) {
        let Self { plan, level, range, scratch } = self;
        let (job, panel, pitch) = (plan.job, &plan.job.panel, plan.pitch);
        let classes = panel.logits.classes();
        let count = classes.div_ceil(SEGMENT);
        let segments = [const { Mutex::new(Segment::NONE) }; MOST_KEPT];
        let run = |row: usize, own: Option<OwnRow<'_, F>>, scratch: &mut [F]| {
            let mut each = |body: &(dyn Fn(usize, &mut [F]) + Sync)| {
                (0..count).for_each(|segment| body(segment, scratch));
            };
            run_row(plan, *level, (row, own), &segments[..count], &mut each);
        };
        if !plan.memory[0] {
            return range.for_each(|row| run(row, None, scratch));
        }
        let (mut memory, scratch) = plan.take_memory(scratch);
        let (scratch, columns) = scratch.split_at_mut(SEGMENTS_OF_SCRATCH * SEGMENT);
        let mut first = range.start;
        while first < range.end {
            // So many rows of this length are more than a second-level cache holds: both directions prefetch.
            let copies = (&mut memory, &mut *columns);
            let (place, loaded) = plan.gather_panel::<V>(token, first..range.end, copies, true);
            let [own, kept, probabilities, _] = &mut memory;
            for (at, own) in own.chunks_exact_mut(pitch).enumerate().take(place.count) {
                let (row, part) = (first + at, at * pitch..at * pitch + classes);
                let kept = kept.get_mut(part.clone()).unwrap_or_default();
                let counts = job.targets.is_none_or(|targets| targets.row(row).is_some());
                // Other rows are converted where they are read: a cache may not hold the whole row.
                let is_loaded = loaded[0] || panel.mask.is_some();
                let logits = (is_loaded && counts).then_some(&mut own[..classes]);
                let kept = panel.load_row::<V>(token, row, loaded, (kept, logits));
                let probabilities = if loaded[2] { &probabilities[part] } else { &[] };
                let values = &RowsMut::from_slice(own, pitch);
                run(row, Some(OwnRow { values, is_loaded, kept, probabilities }), scratch);
            }
            let hints = (plan.streams, !plan.streams);
            panel.store_rows::<V>(token, place, hints, (own, kept), columns);
            first += place.count;
        }
    }
}

/// A row in scratch memory.
#[derive(Clone, Copy)]
struct OwnRow<'r, F> {
    /// The logits, if they are there; they are overwritten by exponentials and then by outputs.
    values: &'r RowsMut<'r>,
    is_loaded: bool,
    /// The mask; empty if there is none.
    kept: &'r [F],
    /// The probabilities; empty if they are read where they are.
    probabilities: &'r [F],
}

impl<'r, F: Float> OwnRow<'r, F> {
    fn part(self, start: usize, len: usize) -> Sink<'r, F> {
        self.values.direct(0).expect("scratch memory").part(start, len)
    }
}

/// What the segments of a row have in common.
struct Row<'r, F: Float> {
    plan: &'r Plan<'r, F>,
    number: usize,
    target: Option<RowTarget<'r, F>>,
    /// The row in scratch memory, if it has some.
    own: Option<OwnRow<'r, F>>,
    /// The maximum in the sweep: M, or 0 if M was subtracted from the logits.
    swept_max: f64,
    /// M, as it is in memory, if it was subtracted from the logits.
    shifted_by: Option<f64>,
    /// The segment with the first maximum.
    first: usize,
}

/// What is done to each segment.
#[derive(Clone, Copy)]
enum Step<F> {
    Max,
    Reduce,
    /// The maximum of the logits as they are in memory.
    ExactMax,
    /// The sums of a row that is not ordinary, relative to this exact maximum.
    Special(f64),
    /// The outputs, given the class of the label.
    Write(Epilogue<F>, Option<usize>),
}

fn run_row<F: Float>(
    plan: &Plan<'_, F>,
    level: Level,
    (row, own): (usize, Option<OwnRow<'_, F>>),
    segments: &[Mutex<Segment>],
    each: &mut Each<'_, F>,
) {
    let (job, temperature) = (plan.job, &plan.job.temperature);
    let target = job.targets.and_then(|targets| targets.row(row));
    let (swept_max, shifted_by) = (0.0, None);
    let mut of = Row { plan, number: row, target, own, swept_max, shifted_by, first: 0 };
    let mut run = |of: &Row<'_, F>, step: Step<F>| {
        if matches!(step, Step::Write(..)) && job.panel.output.is_none() {
            // For example a row that does not count, in a loss without a gradient.
            return;
        }
        each(&|index, scratch| {
            let segment = &mut *lock(&segments[index]);
            level.run(SegmentStep { of, index, step, segment, scratch });
        });
    };
    let all = || segments.iter().map(|segment| *lock(segment));
    let joined = |unit| joined(all().map(|segment| segment.partial), unit);
    let first_max = || {
        let larger = |best: (usize, f64), (index, next): (usize, Segment)| {
            if next.max > best.1 || next.max.is_nan() { (index, next.max) } else { best }
        };
        all().enumerate().fold((0, f64::NEG_INFINITY), larger)
    };
    if job.targets.is_some() && of.target.is_none() {
        job.put(row, 0.0, 0.0);
        return run(&of, Step::Write(Epilogue::Filled(F::default()), None));
    }
    run(&of, Step::Max);
    (of.first, of.swept_max) = first_max();
    let is_in_range = temperature.is_in_range(F::from_f64(of.swept_max));
    let partial = Partial { sum: f64::NAN, ..Partial::default() };
    let mut found = Reduced { max: of.swept_max, partial, ..Reduced::default() };
    if is_in_range {
        run(&of, Step::Reduce);
        found.partial = joined(1.0);
    }
    if !found.partial.is_ordinary() {
        run(&of, Step::ExactMax);
        let (first, max) = first_max();
        if !max.is_finite() {
            job.put(row, if of.target.is_some() { f64::NAN } else { max }, max);
            return run(&of, Step::Write(Epilogue::Filled(F::NAN), None));
        }
        if !is_in_range {
            (of.first, of.swept_max, of.shifted_by) = (first, 0.0, Some(max));
        }
        run(&of, Step::Special(max));
        found = Reduced { max, partial: joined(GAP_UNIT), ..Reduced::default() };
    }
    let mut reduced = ReducedRows::new(job.formula());
    let mut label = None;
    if let Some(target) = &mut of.target {
        if target.made_by.is_some() {
            let mut mass = RunningSum::default();
            all().for_each(|segment| mass.add(segment.mass));
            target.set_mass(row, mass.value());
        }
        let mut z_label = [F::default()];
        if target.spike != 0.0 {
            job.panel.reload(row, target.class, &mut z_label);
            label = Some(target.class).filter(|class| job.panel.keeps(row, *class));
            found.weight_label = lock(&segments[target.class / SEGMENT]).weight_label;
        }
        // Scaled like the maximum: as in the sweep, or as in memory.
        let scale = if found.partial.unit == 1.0 { temperature.prescale } else { 1.0 };
        found.z_label = z_label[0].to_f64() * scale;
        reduced.targets.set(0, target, job.scale(target.weight));
    }
    reduced.set(0, &found);
    level.run(&mut reduced);
    job.put(row, reduced.done.scalar[0], reduced.done.lse[0]);
    if job.panel.output.is_some() {
        run(&of, Step::Write(reduced.epilogue(0), label));
    }
}

/// The sums of a row, with `dot` in units of `unit`, from those of its segments, in order.
fn joined(partials: impl Iterator<Item = Partial>, unit: f64) -> Partial {
    let (mut sum, mut dot) = (RunningSum::default(), RunningSum::default());
    partials.for_each(|partial| {
        sum.add(partial.sum);
        sum.add(partial.lost);
        dot.add(partial.dot * (partial.unit / unit));
    });
    let (sum, lost) = sum.parts();
    Partial { sum, lost, dot: dot.value(), unit }
}
