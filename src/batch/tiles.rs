//! Few classes: tiles of LANES rows, from memory and back.

mod softmax;
mod store;

use super::{Block, Job, Same};
use crate::kernel::{
    FinishedLanes, Operation, TargetLanes, Tile, TileTarget, WeightKind, from_run, load,
};
use crate::simd::{Cache, Float, MOST_LANES, Source, Vector, outlined};
use crate::target::{NO_CLASS, RowTarget, Weights};
use std::ops::Range;
use store::{Place, Unwritten, store_hessian, store_tile};

/// Elements of a tile, whole blocks of LANES classes: no fewer than rows one after another need.
const fn tile_len(classes: usize, lanes: usize) -> usize {
    classes.next_multiple_of(lanes) * lanes
}

/// Elements that a thread needs.
pub(super) const fn scratch_len(classes: usize, lanes: usize) -> usize {
    PIECES * tile_len(classes, lanes) + 3 * lanes
}

/// Memory for a tile, LANES of each class, and for the same rows one after another.
struct Memory<'m, F> {
    z: &'m mut [F],
    weights: &'m mut [F],
    out: &'m mut [F],
    rows: &'m mut [F],
    kept: &'m mut [F],
    row_weights: &'m mut [F],
    /// Of the next tile.
    next_z: &'m mut [F],
    next_out: &'m mut [F],
}

/// Pieces of memory, a tile each; the rows may begin within a line of memory, and with what the tile before has left.
const PIECES: usize = 8;

/// So far on from a tile, memory is asked for: two tiles or more, a microsecond or so.
const BYTES_AHEAD: usize = 1 << 13;

impl<F: Float> Block<'_, '_, F> {
    #[inline(always)]
    pub(super) fn tiles<V: Vector<Scalar = F>>(&mut self, token: V::Token) {
        let (job, plan, range) = (self.job, self.plan, &self.range);
        let len = tile_len(job.panel.logits.classes(), V::LANES);
        let mut scratch = &mut *self.scratch;
        let mut take = |len| scratch.split_off_mut(..len).expect("as many as are had");
        let mut memory = Memory {
            rows: take(len + 3 * V::LANES),
            z: take(len),
            weights: take(len),
            out: take(len),
            kept: take(len),
            row_weights: take(len),
            next_z: take(len),
            next_out: take(len),
        };
        let mut state = State::new::<V>(job, self.same, &mut memory);
        let logits = &job.panel.logits;
        state.ahead = plan.asks_ahead.and_then(|_| logits.run(0, logits.rows()));
        let (streams, end) = (plan.streams, range.end);
        let mut first = range.start;
        if Tile::<V::Scalar>::has_pairs::<V>() && job.operation == Operation::Softmax {
            let rows = 2 * V::LANES;
            while end - first >= rows
                && outlined!(V, token, {
                    let place = Place { first, count: rows, end, streams };
                    softmax::pair::<V>(job, token, place, &mut memory, &mut state)
                })
            {
                first += rows;
            }
        }
        for first in (first..end).step_by(V::LANES) {
            let count = V::LANES.min(end - first);
            // Put together there: one whole would wait for the stores of its parts.
            outlined!(V, token, {
                let place = Place { first, count, end, streams };
                tile::<V>(job, token, place, &mut memory, &mut state);
            });
        }
    }
}

/// What goes on from tile to tile.
struct State<'s, F> {
    target: TileTarget<F>,
    done: FinishedLanes,
    is_lost: [bool; MOST_LANES],
    same: Option<&'s Same<'s, F>>,
    scale: f64,
    /// The logits of all rows, one after another, if what is needed soon is asked for.
    ahead: Option<Source<'s, F>>,
    unwritten: Unwritten<F>,
}

impl<'s, F: Float> State<'s, F> {
    #[inline(always)]
    fn new<V: Vector<Scalar = F>>(
        job: &Job<'_, F>,
        same: Option<&'s Same<'s, F>>,
        memory: &mut Memory<'_, F>,
    ) -> Self {
        let (label, scalars) = ([F::default(); MOST_LANES], TargetLanes::default());
        let mut target = TileTarget { label, scalars, is_mixed: false };
        let mut scale = 0.0;
        if let Some((_, row)) = same {
            scale = job.scale(row.weight);
            if let Weights::Row(weights) = row.weights {
                for (class, lanes) in
                    memory.weights.chunks_exact_mut(V::LANES).enumerate().take(weights.len())
                {
                    lanes.fill(weights.get(class));
                }
            }
            (0..MOST_LANES).for_each(|lane| target.scalars.set(lane, row, scale));
        }
        // Lanes without a row are not finished, and need no care.
        let done = FinishedLanes { unit: [1.0; MOST_LANES], ..FinishedLanes::default() };
        Self {
            target,
            done,
            is_lost: [false; MOST_LANES],
            same,
            scale,
            ahead: None,
            unwritten: Unwritten::default(),
        }
    }
}

impl<F: Float> State<'_, F> {
    /// Asks for memory further on than these elements: once they are read, which would wait for what is asked for before.
    #[inline(always)]
    fn ask<V: Vector<Scalar = F>>(&self, elements: Range<usize>) {
        let Some(ahead) = &self.ahead else { return };
        for at in elements.step_by(V::LANES) {
            let at = at + const { BYTES_AHEAD / size_of::<F>() };
            ahead.prefetch(Cache::First, at);
        }
    }
}

impl<F: Float> TileTarget<F> {
    /// Of a row that does not count.
    fn clear(&mut self, lane: usize) {
        let scalars = &mut self.scalars;
        (scalars.spike[lane], scalars.beta[lane], scalars.smooth_mass[lane]) = (0.0, 0.0, 0.0);
        (scalars.weight[lane], scalars.scale[lane]) = (0.0, 0.0);
    }
}

/// The rows at a place, at most LANES.
#[inline(always)]
fn tile<V: Vector>(
    job: &Job<'_, V::Scalar>,
    token: V::Token,
    place: Place,
    memory: &mut Memory<'_, V::Scalar>,
    state: &mut State<'_, V::Scalar>,
) {
    let Place { first, count, .. } = place;
    let panel = &job.panel;
    let mut weight_kind = WeightKind::Absent;
    let mut is_read = [true; MOST_LANES];
    let mut read_all = true;
    if let Some((labels, row)) = state.same {
        let (labels, target) = (&labels[first..][..count], &mut state.target);
        read_all = set_labels(labels, row, state.scale, target, &mut is_read);
        weight_kind = WeightKind::of(&row.weights);
    } else if job.targets.is_some() {
        state.is_lost.fill(false);
        if own_targets::<V>(job, token, first, count, memory, state, &mut is_read) {
            weight_kind = WeightKind::Each;
        }
        read_all = is_read.iter().all(|is_read| *is_read);
    }
    let classes = panel.logits.classes();
    let is_plain = panel.mask.is_none() && panel.shift == 1.0;
    if !(is_plain && load::<V>(token, panel.logits, first, count, memory.z)) {
        let rows = memory.rows.chunks_exact_mut(classes).zip(memory.kept.chunks_exact_mut(classes));
        for (i, (row, kept)) in rows.enumerate().take(count) {
            let kept = &mut kept[..panel.kept_len(classes)];
            panel.kept::<V>(token, first + i, 0, kept);
            panel.load::<V>(token, first + i, 0, kept, row);
        }
        let rows = Source::from_slice(memory.rows);
        from_run::<V>(token, rows, classes, memory.z);
    }
    state.ask::<V>(first * classes..(first + count) * classes);
    if !read_all {
        // Rows that are not read may hold anything.
        for lane in (0..count).filter(|lane| !is_read[*lane]) {
            let zero = V::Scalar::default();
            memory.z.iter_mut().skip(lane).step_by(V::LANES).for_each(|z| *z = zero);
        }
    }
    let reread = |lane: usize, row: &mut [V::Scalar]| {
        if lane < count && is_read[lane] {
            panel.reload(first + lane, 0, row);
        } else {
            row.fill(V::Scalar::default());
        }
    };
    let tile = Tile {
        formula: job.formula(),
        hessian: job.hessian.map(|hessian| hessian.factor),
        target: &state.target,
        weight_kind,
        weights: memory.weights,
        is_lost: &state.is_lost,
        reread: &reread,
    };
    let done = &mut state.done;
    let len = classes * V::LANES;
    tile.run::<V>(token, &mut memory.z[..len], &mut memory.out[..len], done);
    job.put_rows(first, &done.scalars(job.operation)[..count], &done.lse[..count]);
    store_tile::<V>(
        token,
        panel,
        place,
        memory.out,
        &mut state.unwritten,
        memory.rows,
        memory.kept,
    );
    if job.hessian.is_some() {
        store_hessian::<V>(token, job, place, memory);
    }
}

/// Targets that differ in their labels alone. Are all rows read?
#[inline(always)]
#[allow(clippy::cast_precision_loss, reason = "few classes, or none")]
fn set_labels<F: Float>(
    labels: &[u32],
    row: &RowTarget<'_, F>,
    scale: f64,
    target: &mut TileTarget<F>,
    is_read: &mut [bool; MOST_LANES],
) -> bool {
    // As signed numbers, which [`NO_CLASS`] is −1 of.
    let number = |label: u32| F::from_f64(f64::from(label.cast_signed()));
    // As many as lanes, or some: loops that have vectors, without an early end, or that are short.
    let has_ignored = if let Ok(labels) = <[u32; MOST_LANES]>::try_from(labels) {
        for lane in 0..MOST_LANES {
            target.label[lane] = number(labels[lane]);
        }
        // The largest number there is.
        labels.iter().fold(0, |largest, label| largest.max(*label)) == NO_CLASS
    } else {
        for (lane, label) in labels.iter().enumerate() {
            target.label[lane] = number(*label);
        }
        labels.contains(&NO_CLASS)
    };
    if row.spike == 0.0 {
        target.label.fill(F::from_f64(-1.0));
    }
    if !has_ignored && !target.is_mixed {
        return true;
    }
    // Some rows do not count, or did not in the last tile.
    target.is_mixed = has_ignored;
    for (lane, label) in labels.iter().enumerate() {
        is_read[lane] = *label != NO_CLASS;
        target.scalars.set(lane, row, scale);
        if !is_read[lane] {
            target.clear(lane);
        }
    }
    !target.is_mixed
}
/// Targets with weights of their own; whether there are any.
#[inline(never)]
fn own_targets<V: Vector>(
    job: &Job<'_, V::Scalar>,
    token: V::Token,
    first: usize,
    count: usize,
    memory: &mut Memory<'_, V::Scalar>,
    state: &mut State<'_, V::Scalar>,
    is_read: &mut [bool; MOST_LANES],
) -> bool {
    let Some(targets) = &job.targets else { return false };
    let (target, is_lost) = (&mut state.target, &mut state.is_lost);
    let (panel, classes) = (&job.panel, job.panel.logits.classes());
    target.label.fill(V::Scalar::from_f64(-1.0));
    let mut has_weights = false;
    memory.row_weights.fill(V::Scalar::default());
    let rows =
        memory.row_weights.chunks_exact_mut(classes).zip(memory.kept.chunks_exact_mut(classes));
    for (lane, (weights, kept)) in rows.enumerate().take(count) {
        let Some(mut row) = targets.rows.row(first + lane) else {
            is_read[lane] = false;
            target.clear(lane);
            continue;
        };
        let kept = &mut kept[..panel.kept_len(classes)];
        panel.kept::<V>(token, first + lane, 0, kept);
        if row.is_made {
            let filled = job.fill_weights::<V>(token, (first + lane, 0), kept, weights);
            is_lost[lane] = filled.is_lost;
            row.set_mass(filled.mass);
        }
        match row.weights {
            _ if row.is_made => has_weights = true,
            Weights::Absent => {}
            same => {
                has_weights = true;
                let weight = |class| V::Scalar::from_f64(same.get(class));
                weights.iter_mut().enumerate().for_each(|(class, w)| *w = weight(class));
            }
        }
        let is_kept = kept.get(row.class).is_none_or(|kept| kept.to_f64() != 0.0);
        if row.spike != 0.0 && is_kept {
            #[allow(clippy::cast_precision_loss, reason = "few classes")]
            let number = row.class as f32;
            target.label[lane] = V::Scalar::from_f64(f64::from(number));
        }
        target.scalars.set(lane, &row, job.scale(row.weight));
    }
    if has_weights {
        let rows = Source::from_slice(memory.row_weights);
        outlined!(V, token, from_run::<V>(token, rows, classes, memory.weights));
    }
    has_weights
}
