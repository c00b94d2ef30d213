//! From a batch to rows: blocks, threads, and the fixed order of reductions over rows.
//!
//! ```text
//! for blocks of rows, in parallel: for each row: load, operate, store
//! long rows:
//!     for each row: for its segments, in parallel
//! between blocks or segments of the caller's thread, now and then: a look for Ctrl-C
//! ```
//!
//! A row's result depends on nothing but the row; scalars of rows go to one
//! slot each and are added in the order of the rows. So neither the blocks nor
//! the threads can change a bit.

mod needs;
mod run;
mod team;

use crate::alloc::{filled, with_capacity, zeros};
use crate::crew::{Crew, in_parts, on_parts};
use crate::element::Float;
use crate::error::Error;
use crate::kernel::exp::{Kept, Temperature};
use crate::kernel::group::{Flow, Group, RowGroup};
use crate::kernel::long::{LongRow, RowMemory, SEGMENT, segments_of};
use crate::kernel::tile::{self, Tile};
use crate::kernel::transpose::{self, MOST_TILES};
use crate::simd::fpenv::with_default_fp_env;
use crate::simd::memory::{Rows, RowsMut};
use crate::simd::row::{Sink, Source};
use crate::simd::{MOST_LANES, Vector, VectorJob};
use crate::target::{SmoothedTargets, TargetScratch};
use needs::Needs;
pub use run::{Checkpoint, Run};
use std::array::from_fn;
use std::ops::Range;
use std::sync::Mutex;
pub use team::Team;

/// Bytes of logits worth one more thread: some 50 µs of work. Waking it costs 6 to 12 µs, and two
/// threads overtook one from 40 to 50 µs on (empty and timed blocks, 2 cores).
const BYTES_PER_THREAD: usize = 1 << 19;
/// The same for one row, for which threads meet three times. Where all threads have enough of one
/// row, they share it rather than take one each: 8 rows of 2^20 classes took 2.19 ms, not 2.36.
const BYTES_PER_ROW_THREAD: usize = 1 << 20;
/// Exponentials of a row of more bytes are computed twice rather than kept: one row of 2^22
/// classes, one thread, took 1.8 ms, not 17.9, of which 16 went into getting memory; softmax of eight
/// rows of 2^20, also with memory at hand, 0.7 times as long.
const BYTES_OF_KEPT_ROW: usize = 1 << 21;
/// Bytes of logits in a block: small enough to balance, large enough to make claiming free.
const BYTES_PER_BLOCK: usize = 1 << 17;

/// What is done to each row.
pub(crate) trait RowOp<F: Float>: Sync {
    /// What a class that the mask leaves out gets in the row output.
    fn masked_value(&self) -> F {
        F::default()
    }

    fn temperature(&self) -> &Temperature<F>;

    /// The targets of the rows, if there are any: rows may be in lanes where theirs allow it.
    fn targets(&self) -> Option<&SmoothedTargets<'_, F>> {
        None
    }

    /// Are the exponentials of rows kept?
    fn keeps_exps(&self) -> bool;

    /// Elements of a row's target scratch: a prior, a mixture.
    fn target_scratch(&self) -> (usize, usize) {
        (0, 0)
    }

    /// Reads the rows (if it wants to), and writes all of their outputs, if there are any.
    fn group<V: Vector<Scalar = F>, G: Group<V>>(&self, group: &mut G, rows: GroupRows<'_, F>);
}

/// Which rows a group has, and memory of our own for them.
pub(crate) struct GroupRows<'s, F> {
    /// The number of the first.
    pub(crate) first: usize,
    /// 1 for each class that the mask keeps, else 0, row after row; empty without a mask.
    pub(crate) kept: &'s [F],
    pub(crate) target: TargetScratch<'s, F>,
}

/// Applies `op` to every row of `logits`, with row outputs to `output` if there is one.
pub(crate) fn for_each_row<F: Float, O: RowOp<F>>(
    logits: &Rows<'_>,
    mask: Option<&Rows<'_>>,
    output: Option<&RowsMut<'_>>,
    op: &O,
    run: &mut Run<'_>,
) -> Result<(), Error> {
    let (rows, classes) = (logits.rows(), logits.classes());
    if rows == 0 {
        return Ok(());
    }
    let row_bytes = classes.saturating_mul(F::STORAGE.size()).max(1);
    let threads = run.threads.min(1 + rows.saturating_mul(row_bytes) / BYTES_PER_THREAD).min(rows);
    let needs = Needs::new::<F, O>(logits, mask, output, op);
    let row_threads = run.threads.min(1 + row_bytes / BYTES_PER_ROW_THREAD);
    let are_shared = row_threads > 1 && row_threads >= threads;
    if are_shared || row_bytes > BYTES_OF_KEPT_ROW {
        return for_each_long_row(logits, mask, output, op, needs, row_threads, run);
    }
    let block_rows = (BYTES_PER_BLOCK / row_bytes).max(1).next_multiple_of(needs.unit::<F>());
    let blocks = rows.div_ceil(block_rows);

    let flow = needs.flow::<F>(logits, output);
    let mut scratch = with_capacity(threads)?;
    for _ in 0..threads {
        scratch.push(Mutex::new(zeros::<F>(needs.len::<F>())?));
    }

    run.ready(threads.min(blocks))?;
    let level = run.level;
    let mut team = run.team_of(threads);
    team.each(blocks, block_rows.min(rows) * row_bytes, &|block| {
        let start = block * block_rows;
        let range = start..rows.min(start + block_rows);
        // One scratch per thread exists, so one is always free: no waiting.
        let mut scratch = scratch
            .iter()
            .find_map(|scratch| scratch.try_lock().ok())
            .expect("a scratch for each thread");
        let (scratch, team) = (&mut scratch[..], None);
        let block = Block { logits, mask, output, op, range, needs, flow, scratch, team };
        F::dispatch(level, block);
    });
    team.outcome()
}

/// As [`for_each_row`], with all threads on one row after another.
fn for_each_long_row<F: Float, O: RowOp<F>>(
    logits: &Rows<'_>,
    mask: Option<&Rows<'_>>,
    output: Option<&RowsMut<'_>>,
    op: &O,
    needs: Needs,
    threads: usize,
    run: &mut Run<'_>,
) -> Result<(), Error> {
    let flow = needs.flow::<F>(logits, output);
    let needs = Needs { exps: 0, ..needs };
    let level = run.level;
    let row_bytes = logits.classes().saturating_mul(F::STORAGE.size());
    let mut scratch = filled(needs.row(), &F::default(), &mut run.team_of(threads))?;
    // All memory is had, and all threads are there, before the first row is written.
    let mut memory = RowMemory::new(logits.rows(), logits.classes())?;
    run.ready(threads)?;
    let mut team = run.team_of(threads);
    for row in 0..logits.rows() {
        // Also before rows that are not read, of which there may be many.
        if !team.may_go_on(row_bytes) {
            break;
        }
        let (range, scratch, team) =
            (row..row + 1, &mut scratch[..], Some((&mut team, &mut memory)));
        let block = Block { logits, mask, output, op, range, needs, flow, scratch, team };
        with_default_fp_env(|| F::dispatch(level, block));
    }
    team.outcome()
}

/// A block of rows, to be run at some instruction set.
struct Block<'b, 't, F: Float, O> {
    logits: &'b Rows<'b>,
    mask: Option<&'b Rows<'b>>,
    output: Option<&'b RowsMut<'b>>,
    op: &'b O,
    range: Range<usize>,
    needs: Needs,
    flow: Flow,
    scratch: &'b mut [F],
    /// Those who share each row.
    team: Option<(&'b mut Team<'t>, &'b mut RowMemory<F>)>,
}

impl<F: Float, O: RowOp<F>> VectorJob<F> for Block<'_, '_, F, O> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Scalar = F>>(mut self, token: V::Token) {
        let mut first = self.range.start;
        while self.needs.is_tiled && first + V::LANES <= self.range.end {
            let count = self.needs.tiles.min((self.range.end - first) / V::LANES);
            self.tiles::<V>(token, first, count);
            first += count * V::LANES;
        }
        self.groups::<V>(token, first..self.range.end);
        if self.flow.streams {
            V::fence(token);
        }
    }
}

impl<F: Float, O: RowOp<F>> Block<'_, '_, F, O> {
    /// `count` times LANES rows, in lanes; those that are not for that one by one.
    #[inline(always)]
    fn tiles<V: Vector<Scalar = F>>(&mut self, token: V::Token, first: usize, count: usize) {
        let len = self.needs.classes * V::LANES;
        let op = self.op;
        let (z, rest) = self.scratch.split_at_mut(self.needs.tiles * len);
        let (exps, lost) = rest.split_at_mut(self.needs.tiles * len);
        let (z, exps, lost) = (&mut z[..count * len], &mut exps[..count * len], &mut lost[..len]);
        transpose::load::<V>(token, self.logits, first, z);
        let mut done = [false; MOST_TILES];
        for (tile, (z, exps)) in z.chunks_exact_mut(len).zip(exps.chunks_exact_mut(len)).enumerate()
        {
            let first = first + tile * V::LANES;
            done[tile] = Self::on_tile::<V>(op, token, first, z, Kept { value: exps, lost });
        }
        if let Some(output) = self.output {
            transpose::store::<V>(token, exps, output, first, &done, self.flow.streams);
        }
        for tile in (0..count).filter(|tile| !done[*tile]) {
            let first = first + tile * V::LANES;
            self.groups::<V>(token, first..first + V::LANES);
        }
    }

    /// False where a row is not for a tile, and nothing is done.
    #[inline(always)]
    fn on_tile<V: Vector<Scalar = F>>(
        op: &O,
        token: V::Token,
        first: usize,
        z: &mut [F],
        exps: Kept<&mut [F]>,
    ) -> bool {
        let (targets, temperature) = (op.targets(), op.temperature());
        let least = targets.map_or(F::NEG_INFINITY, SmoothedTargets::least_in_tile);
        let mut max = tile::ordinary_maxima::<V>(token, z, least, temperature);
        if max.is_none()
            && let Some(targets) = targets
        {
            // Rows that are not read may hold anything.
            for lane in (0..V::LANES).filter(|lane| !targets.reads(first + lane)) {
                z.iter_mut().skip(lane).step_by(V::LANES).for_each(|z| *z = F::default());
            }
            max = tile::ordinary_maxima::<V>(token, z, least, temperature);
        }
        let Some(max) = max else { return false };
        let mut group = Tile::<V>::new(token, z, exps, max);
        let target = TargetScratch { prior: &mut [], mixture: &mut [] };
        op.group(&mut group, GroupRows { first, kept: &[], target });
        true
    }

    #[inline(always)]
    fn groups<V: Vector<Scalar = F>>(&mut self, token: V::Token, range: Range<usize>) {
        for first in range.clone().step_by(self.needs.group) {
            let len = self.needs.group.min(range.end - first);
            V::outlined(
                token,
                #[inline(always)]
                || self.rows::<V>(token, first, len),
            );
        }
    }

    /// A group of rows, swept one by one.
    #[inline(always)]
    fn rows<V: Vector<Scalar = F>>(&mut self, token: V::Token, first: usize, len: usize) {
        let needs = self.needs;
        let mut rest = &mut self.scratch[..];
        let mut take = |len: usize| rest.split_off_mut(..needs.group * len).unwrap_or_default();
        let exps = take(needs.exps);
        let gathered = take(needs.gathered);
        let unscattered = take(needs.unscattered);
        let kept = take(needs.kept);
        let target = TargetScratch { prior: take(needs.prior), mixture: take(needs.mixture) };
        if let Some(mask) = self.mask {
            for (row, kept) in (first..first + len).zip(kept.chunks_exact_mut(needs.classes)) {
                in_segments(&mut self.team, kept, |class, part| {
                    mask.gather_part(token, row, class, part);
                });
            }
        }
        let kept = &kept[..len * needs.kept];
        let kept_row = |lane: usize| &kept[lane * needs.kept..][..needs.kept];
        for (lane, gathered) in gathered.chunks_exact_mut(needs.classes).enumerate().take(len) {
            in_segments(&mut self.team, gathered, |class, part| {
                V::outlined(
                    token,
                    #[inline(always)]
                    || self.logits.gather_part(token, first + lane, class, part),
                );
                // As if the class were not there: nothing of its logit is left.
                fill_masked(kept_row(lane), class, part.len(), |k| part[k] = F::NEG_INFINITY);
            });
        }
        let mut z = [Source::from_slice(&[]); MOST_LANES];
        let mut own = gathered.chunks_exact(needs.classes.max(1));
        for (row, z) in (first..first + len).zip(&mut z) {
            *z = match own.next() {
                Some(own) => Source::from_slice(own),
                None if needs.classes == 0 => continue,
                None => self.logits.direct(row).expect("what is not gathered is direct"),
            };
        }
        let has_output = self.output.is_some();
        let mut out: [Sink<'_, F>; MOST_LANES] = from_fn(|_| Sink::from_slice(&mut []));
        if let Some(output) = self.output {
            let mut own = unscattered.chunks_exact_mut(needs.classes.max(1));
            for (row, out) in (first..first + len).zip(&mut out) {
                *out = match own.next() {
                    Some(own) => Sink::from_slice(own),
                    None if needs.classes == 0 => continue,
                    None => output.sink(row).expect("what is not scattered is direct"),
                };
            }
        }
        let rows = GroupRows { first, kept, target };
        if let Some((team, memory)) = &mut self.team {
            let [out, ..] = out;
            let out = has_output.then_some(out);
            let (op, flow) = (self.op, self.flow);
            memory.on_row(
                z[0],
                out,
                #[inline(always)]
                |z, segments, odd| {
                    let mut group = LongRow::<V>::new(token, z, segments, odd, flow, &mut **team);
                    op.group(&mut group, rows);
                },
            );
        } else {
            let out = if has_output { &mut out[..len] } else { &mut [] };
            let mut group =
                RowGroup::<V>::new(token, &z[..len], out, exps, needs.exps, rest, self.flow);
            self.op.group(&mut group, rows);
        }
        let Some(output) = self.output else { return };
        let masked = self.op.masked_value();
        if needs.unscattered > 0 {
            for (lane, own) in unscattered.chunks_exact_mut(needs.classes).enumerate().take(len) {
                in_segments(&mut self.team, own, |class, part| {
                    fill_masked(kept_row(lane), class, part.len(), |k| part[k] = masked);
                    V::outlined(
                        token,
                        #[inline(always)]
                        || output.scatter_part(token, first + lane, class, part),
                    );
                });
            }
        } else if needs.kept > 0 {
            for lane in 0..len {
                let mut out = output.sink(first + lane).expect("what is not scattered is direct");
                let fill = |part: usize, mut out: Sink<'_, F>| {
                    fill_masked(kept_row(lane), part * SEGMENT, out.len(), |k| out.set(k, masked));
                };
                match &mut self.team {
                    Some((team, _)) => {
                        let parts = (0..segments_of(needs.classes)).map(|_| out.split_off(SEGMENT));
                        in_parts(*team, parts, SEGMENT * size_of::<F>(), fill, |()| {});
                    }
                    None => fill(0, out),
                }
            }
        }
    }
}

/// Runs `body` on a row: whole, or on its segments where several threads share it.
#[inline(always)]
fn in_segments<F: Float>(
    team: &mut Option<(&mut Team<'_>, &mut RowMemory<F>)>,
    row: &mut [F],
    body: impl Fn(usize, &mut [F]) + Sync,
) {
    match team {
        Some((team, _)) => on_parts(*team, row, SEGMENT, size_of::<F>(), body),
        None => body(0, row),
    }
}

/// `fill(k)` for every class `start + k`, of `len`, that is not kept.
#[inline(always)]
fn fill_masked<F: Float>(kept: &[F], start: usize, len: usize, mut fill: impl FnMut(usize)) {
    if kept.is_empty() {
        return;
    }
    for (k, is_kept) in kept[start..][..len].iter().enumerate() {
        if is_kept.to_f64() == 0.0 {
            fill(k);
        }
    }
}
