//! The largest logits of each row, found while the row is still in a cache.
//!
//! Each thread has a heap of the best classes that it has found, with the worst of them on top. Most vectors of a row
//! are below the logit of that class, and need only a comparison. Classes with equal logits are ordered by their
//! numbers, so it does not matter which thread finds a class, or when.

use super::tiles::lanes;
use super::{Job, Run, Workspace, are_near};
use crate::alloc::with_capacity;
use crate::error::Error;
use crate::kernel::{Part, SEGMENT, find_maxima};
use crate::math::{count, in_halves};
use crate::pool::{lock, try_lock};
use crate::simd::{
    Float, GatherNeighbours, Level, MOST_LANES, Neighbours, QUAD, Rows, RowsMut, Sink, Source,
    Vector, VectorJob, each, inlined,
};
use std::collections::BinaryHeap;
use std::hint::select_unpredictable;
use std::ops::Range;
use std::slice::from_mut;
use std::sync::Mutex;

/// Classes that are sorted between two polls for signals.
const SORTED_AT_ONCE: usize = 1 << 12;

/// The largest number of quads from which the first bar of a row is computed.
const QUADS_BEFORE: usize = 64;

/// Outputs for the largest logits of each row.
pub(crate) struct Top<'t> {
    /// The number of classes of each row, at least one.
    pub(crate) len: usize,
    /// Output for the largest logit of each row, as it is in memory. Arbitrary if one is NaN, or if all are masked: then L
    /// is NaN.
    pub(crate) max: &'t RowsMut<'t>,
    /// Outputs for the classes of each row, the one with the largest logit first, and for their logits.
    pub(crate) sorted: Option<(&'t RowsMut<'t>, &'t RowsMut<'t>)>,
}

/// A class: the [`order`] of its logit, and its number. The smallest entry is the best class.
type Entry = (i64, usize);
/// The order of a masked class: after −inf.
const MASKED: i64 = i64::MAX;

/// The order of a logit: NaN first, then from the largest to the smallest.
fn order(logit: f64) -> i64 {
    if logit.is_nan() {
        return i64::MIN;
    }
    // −0 is 0.
    let bits = (logit + 0.0).to_bits().cast_signed();
    !(if bits < 0 { bits ^ i64::MAX } else { bits })
}

/// The logit of this order; NaN for a masked class.
fn logit(order: i64) -> f64 {
    let bits = if order >= 0 { !order ^ i64::MAX } else { !order };
    f64::from_bits(bits.cast_unsigned())
}

/// A number slightly below `bar` in either type, so that logits equal to `bar` are above it. NaN if it is not finite.
fn below(bar: f64) -> f64 {
    if bar.is_finite() { bar - bar.abs() * 1e-6 - 1e-30 } else { f64::NAN }
}

/// The best classes that one thread has found.
struct Best {
    heap: BinaryHeap<Entry>,
    len: usize,
}

impl Best {
    #[inline(always)]
    fn offer(&mut self, entry: Entry) {
        if self.heap.len() < self.len {
            self.heap.push(entry);
        } else if let Some(mut worst) = self.heap.peek_mut()
            && entry < *worst
        {
            *worst = entry;
        }
    }

    /// Adds classes if there are too few, which happens only if another thread writes the logits meanwhile.
    fn fill(&mut self) {
        (self.heap.len()..self.len).for_each(|class| self.heap.push((MASKED, class)));
    }
}

/// The outputs, and a heap for each thread, which are allocated before anything is written.
pub(super) struct Heaps<'t> {
    top: &'t Top<'t>,
    each: Vec<Mutex<Best>>,
}

impl<'t> Heaps<'t> {
    pub(super) fn new(top: &'t Top<'t>, threads: usize) -> Result<Self, Error> {
        let (len, mut each) = (top.len, with_capacity(threads)?);
        for _ in 0..threads {
            let heap = BinaryHeap::from(with_capacity(len)?);
            each.push(Mutex::new(Best { heap, len }));
        }
        Ok(Self { top, each })
    }

    /// Runs `body` with a heap that no other thread uses.
    fn with(&self, body: impl FnOnce(&mut Best)) {
        body(&mut self.each.iter().find_map(try_lock).expect("a heap for each thread"));
    }

    /// Writes classes of row `row`, at most `most` and the worst first, and removes them from the heap.
    fn put(&self, row: usize, best: &mut Best, most: usize) {
        for _ in 0..most {
            let Some((order, class)) = best.heap.pop() else { return };
            let place = best.heap.len();
            if place == 0 {
                self.top.max.put(row, 0, logit(order));
            }
            if let Some((classes, logits)) = self.top.sorted {
                classes.put(row, place, count(class));
                logits.put(row, place, logit(order));
            }
        }
    }

    /// Finds the largest logits of some rows, on one thread.
    pub(super) fn of_rows<F: Float>(
        &self,
        job: &Job<'_, F>,
        level: Level,
        rows: Range<usize>,
        mut scratch: &mut [F],
    ) {
        let (logits, mask) = (job.panel.logits, job.panel.mask);
        let classes = logits.classes();
        let segments = 0..classes.div_ceil(SEGMENT);
        // Rows that are neighbours in memory are copied together, if there is memory for it and for a segment.
        let (lanes, pitch) = (lanes::<F>(), classes.next_multiple_of(MOST_LANES));
        let len = lanes * pitch;
        let len_of_masks = if mask.is_some() { len } else { 0 };
        let has_room = scratch.len() >= len + len_of_masks + pitch.min(SEGMENT);
        let is_near = has_room && (are_near(logits) || mask.is_some_and(are_near));
        let [mut near, mut kept] = [&mut [][..], &mut [][..]];
        if is_near {
            (near, scratch) = scratch.split_at_mut(len);
            (kept, scratch) = scratch.split_at_mut(len_of_masks);
        }
        self.with(|best| {
            for first in rows.clone().step_by(lanes) {
                let count = lanes.min(rows.end - first);
                let place = Neighbours { first, count, pitch };
                let mut copy = |rows: &Rows<'_>, values: &mut [F]| {
                    let (all, memory) = (0..classes, (&mut *values, &mut *scratch));
                    if !level.run(GatherNeighbours { rows, place, classes: all, memory }) {
                        let each = (first..).zip(values.chunks_exact_mut(pitch)).take(count);
                        each.for_each(|(row, z)| rows.gather_from(row, 0, &mut z[..classes]));
                    }
                };
                if is_near {
                    copy(logits, near);
                    if let Some(mask) = mask {
                        copy(mask, kept);
                    }
                    for (z, kept) in near.iter_mut().zip(&*kept) {
                        *z = if kept.to_f64() == 0.0 { F::NEG_INFINITY } else { *z };
                    }
                }
                for (at, row) in (first..first + count).enumerate() {
                    let own = if is_near { &near[at * pitch..] } else { &[] };
                    let (segments, scratch) = (segments.clone(), &mut *scratch);
                    level.run(Scan { job, row, segments, own, best, scratch });
                    best.fill();
                    self.put(row, best, usize::MAX);
                }
            }
        });
    }

    /// Finds the largest logits of one row, on several threads.
    pub(super) fn of_row<F: Float>(
        &self,
        job: &Job<'_, F>,
        row: usize,
        workspace: &Workspace<F>,
        threads: usize,
        run: &mut Run<'_>,
    ) -> Result<(), Error> {
        let (level, segments) = (run.level, job.panel.logits.classes().div_ceil(SEGMENT));
        run.each(threads, segments, SEGMENT * size_of::<F>(), &|segment| {
            let segments = segment..segment + 1;
            workspace.with(|scratch| {
                let own = &[];
                self.with(|best| level.run(Scan { job, row, segments, own, best, scratch }));
            });
        })?;
        let Some((all, others)) = self.each.split_first() else { return Ok(()) };
        let all = &mut lock(all);
        let bytes = SORTED_AT_ONCE * size_of::<Entry>();
        for other in others {
            for (number, entry) in lock(other).heap.drain().enumerate() {
                if number.is_multiple_of(SORTED_AT_ONCE) {
                    run.poll(bytes)?;
                }
                all.offer(entry);
            }
        }
        all.fill();
        while !all.heap.is_empty() {
            run.poll(bytes)?;
            self.put(row, all, SORTED_AT_ONCE);
        }
        Ok(())
    }
}

/// Offers the classes of some segments of a row.
struct Scan<'s, 'j, F: Float> {
    job: &'s Job<'j, F>,
    row: usize,
    segments: Range<usize>,
    /// The row, if it was copied.
    own: &'s [F],
    best: &'s mut Best,
    scratch: &'s mut [F],
}

impl<F: Float> VectorJob<F> for Scan<'_, '_, F> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Scalar = F>>(self, token: V::Token) {
        let Self { job, row, segments, own, best, scratch } = self;
        let panel = &job.panel;
        let direct = panel.logits.direct(row).filter(|_| panel.mask.is_none());
        for start in segments.map(|segment| segment * SEGMENT) {
            let len = SEGMENT.min(panel.logits.classes() - start);
            let z = match direct {
                Some(row) => row.part(start, len),
                None if !own.is_empty() => Source::from_slice(&own[start..][..len]),
                None => {
                    let own = &mut scratch[..len];
                    if panel.mask.is_some() {
                        panel.reload(row, start, own);
                    } else {
                        panel.logits.gather::<V>(token, row, start, own);
                    }
                    Source::from_slice(own)
                }
            };
            if job.top.is_some_and(|top| top.sorted.is_some()) {
                scan::<V>(token, z, start, best, |class| panel.keeps(row, class));
            } else {
                let mut part = Part::new(z, F::NEG_INFINITY, Sink::from_slice(&mut []));
                find_maxima::<V>(token, false, from_mut(&mut part));
                best.offer((order(part.max.to_f64()), start));
            }
        }
    }
}

/// The first bar of a row: in each of at least `len` lanes, a class is above it. NaN if none is known.
#[inline(always)]
fn least<V: Vector>(token: V::Token, z: Source<'_, V::Scalar>, len: usize) -> f64 {
    if len > V::LANES || z.len() <= QUAD * V::LANES {
        return f64::NAN;
    }
    let mut best = V::splat(token, V::Scalar::NEG_INFINITY);
    for index in 0..QUADS_BEFORE.min(z.len() / (QUAD * V::LANES)) {
        let quad = z.quad::<V>(index * QUAD * V::LANES);
        let vector = |i| quad.nth::<V>(token, i);
        // `best` comes last, so that no NaN is kept.
        best = vector(0).max(vector(1)).max(vector(2).max(vector(3))).max(best);
    }
    let (mut best, mut bar, mut found) = ([best], V::Scalar::NEG_INFINITY, 0);
    while found < len {
        let (max, lanes) = take_largest(token, &mut best);
        (bar, found) = (max, found + lanes.count_ones() as usize);
    }
    below(bar.to_f64())
}

/// Takes the largest lanes, whose values become −inf; returns their value, and a bit for each.
#[inline(always)]
fn take_largest<V: Vector, const N: usize>(
    token: V::Token,
    vectors: &mut [V; N],
) -> (V::Scalar, u64) {
    let lowest = V::splat(token, V::Scalar::NEG_INFINITY);
    let best = vectors.iter().fold(lowest, inlined!(|best: V, vector: &V| best.max(*vector)));
    let larger = inlined!(|a: V::Scalar, b| select_unpredictable(b > a, b, a));
    let max = in_halves(&mut best.to_array()[..V::LANES], larger);
    let (largest, mut lanes) = (V::splat(token, max), 0);
    for (i, vector) in vectors.iter_mut().enumerate() {
        let are_largest = vector.ge(largest);
        lanes |= V::bits(are_largest) << (i * V::LANES);
        *vector = V::select(are_largest, lowest, *vector);
    }
    (max, lanes)
}

/// Takes the best classes of a row of at most QUAD vectors, one after another, if there are none yet; does nothing and
/// returns false if that is not possible, since there is a NaN, or there are too few logits above −inf.
#[inline(always)]
fn take_best<V: Vector>(
    token: V::Token,
    z: Source<'_, V::Scalar>,
    start: usize,
    best: &mut Best,
) -> bool {
    let lowest = V::Scalar::NEG_INFINITY;
    let mut quad = each!(QUAD, |i| z.vector::<V>(token, z.len().min(i * V::LANES), lowest));
    let [a, b, c, d] = each!(QUAD, |i| quad[i].eq(quad[i]));
    if !V::all((a & b) & (c & d)) {
        return false;
    }
    let (mut entries, mut count) = ([(0, 0); MOST_LANES], 0);
    while count < best.len {
        let (max, mut lanes) = take_largest(token, &mut quad);
        if max == lowest {
            return false;
        }
        while lanes != 0 && count < best.len {
            entries[count] = (order(max.to_f64()), start + lanes.trailing_zeros() as usize);
            (lanes, count) = (lanes & (lanes - 1), count + 1);
        }
    }
    // The worst first, which takes the least time.
    best.heap.extend(entries[..count].iter().rev());
    true
}

#[inline(always)]
fn scan<V: Vector>(
    token: V::Token,
    z: Source<'_, V::Scalar>,
    start: usize,
    best: &mut Best,
    is_kept: impl Fn(usize) -> bool,
) {
    let is_short = z.len() <= QUAD * V::LANES && best.len <= V::LANES && !V::IS_COMPACT;
    if is_short && best.heap.is_empty() && take_best::<V>(token, z, start, best) {
        return;
    }
    let all_lanes = (1 << V::LANES) - 1;
    let least = if best.heap.is_empty() { least::<V>(token, z, best.len) } else { f64::NAN };
    // A logit: no class from `at` on with this logit or a smaller one is among the best.
    let bar_from = |best: &Best, at| {
        let worst = best.heap.peek().filter(|_| best.heap.len() == best.len);
        let bar = worst.map_or(least, |&(order, class)| {
            if class < start + at { logit(order) } else { below(logit(order)) }
        });
        V::splat(token, V::Scalar::from_f64(bar))
    };
    let mut bar = bar_from(best, 0);
    for at in (0..z.len()).step_by(QUAD * V::LANES) {
        if at + QUAD * V::LANES <= z.len() {
            let quad = z.quad::<V>(at);
            let below = |i| bar.ge(quad.nth::<V>(token, i));
            if V::all((below(0) & below(1)) & (below(2) & below(3))) {
                continue;
            }
        }
        for at in (at..z.len()).step_by(V::LANES).take(QUAD) {
            // NaN is not below the bar.
            let logits = z.vector::<V>(token, at, V::Scalar::NEG_INFINITY);
            let mut above = !V::bits(bar.ge(logits)) & all_lanes;
            while above != 0 {
                let class = at + above.trailing_zeros() as usize;
                above &= above - 1;
                if class < z.len() {
                    let is_kept = is_kept(start + class);
                    let order = if is_kept { order(z.get(class).to_f64()) } else { MASKED };
                    best.offer((order, start + class));
                }
                if above == 0 {
                    bar = bar_from(best, at + V::LANES);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
