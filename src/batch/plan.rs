//! Chooses path, blocks and memory of a call from the shapes of its arguments; has the thresholds of the paths.
//!
//! The number of classes alone decides whether a row is summed in the order of tiles, of rows or of segments. Nothing
//! else that is decided here can change a bit: threads, blocks and groups may be any, but a block has all rows of its
//! sums.

use super::long::SEGMENTS_OF_SCRATCH;
use super::tiles::{lanes, scratch_len};
use super::{Job, rows_per_sum};
use crate::kernel::{MOST_CLASSES, MOST_IN_TILES, MOST_ROWS, SEGMENT};
use crate::simd::{Cache, Float, LINE, MOST_LANES};
use crate::target::{Labels, RowTarget, SmoothedTargets};

/// Bytes of logits for each additional thread: some 50 µs of work. Waking a thread costs 6 to 12 µs, and two
/// threads were faster than one from 40 to 50 µs of work on (empty and timed blocks, 2 cores).
/// Masks, and targets that differ in more than the label, count as four times the work; they take 1.1 to 9 times.
const BYTES_PER_THREAD: usize = 1 << 19;
/// The same for threads that share one row, which must wait for each other two or three times. If a row has
/// enough work for all threads, they share it instead of taking a row each: 8 rows of 2^20 classes took 2.19 ms
/// instead of 2.36.
const BYTES_PER_ROW_THREAD: usize = 1 << 20;
/// For rows of more bytes, exponentials are computed twice instead of being kept: one row of 2^22 classes, on
/// one thread, took 1.8 ms instead of 17.9, of which 16 were for new memory.
pub(super) const BYTES_OF_KEPT_ROW: usize = 1 << 21;
/// Bytes of logits in a block: small enough to balance the threads, large enough that claiming a block costs
/// nothing in comparison.
const BYTES_PER_BLOCK: usize = 1 << 17;
/// If there are more bytes of logits, they are assumed to be in main memory: many last-level caches have this size.
const CACHED_BYTES: usize = 1 << 25;
/// The same if there are outputs of the same size.
const CACHED_BYTES_OF_EACH: usize = CACHED_BYTES / 4 * 3;
/// The same for tiles. They write their outputs in one sweep soon after they read the logits, so the loads of the old
/// outputs that ordinary stores need take longer than the rest (Zen 5, logits and outputs of 16 MB each in a
/// last-level cache of 32 MB: streaming stores take 0.58 to 0.75 of the time, in rows 1.05 to 1.2).
const CACHED_BYTES_IN_TILES: usize = CACHED_BYTES / 8 * 3;
/// The same for tiles of more than [`MOST_CLASSES`] (10 MB of each: 0.46 to 0.95; for ten classes 1.02 to 1.14).
const CACHED_BYTES_IN_WIDE_TILES: usize = CACHED_BYTES / 4;
/// If there are more bytes of logits, they are not in a second-level cache, and are prefetched.
const NEAR_BYTES: usize = 1 << 19;
/// The same for tiles. They read memory in order, which the prefetcher of the processor recognizes within a page, so
/// they gain less (Xeon of model 167 with 2 MB: 0.8 MB of ten classes take 1.03 to 1.05 of the time if they are
/// prefetched, 2.6 MB of 32 classes 0.81 to 0.86).
const NEAR_BYTES_IN_TILES: usize = 1 << 20;
/// For rows of at most so many bytes, if these are not whole cache lines, exponentials are kept in scratch memory in
/// which each row begins a cache line: reading back a vector that was just stored across two lines takes longer
/// (Zen 4: softmax takes 0.90 to 0.96 of the time for 65 to 200 classes, loss and gradient 0.94 to 0.99). It is not
/// done if outputs are prefetched, since the sweep does that where it stores exponentials (4096 rows of 300
/// classes: 1.2 times the time).
const SHORT_ROW: usize = 1 << 10;
/// Bytes of the logits and outputs of a group of rows, which are all reduced before they are finished, and of the
/// logits that are prefetched from main memory meanwhile: the size of a first-level cache.
const BYTES_PER_GROUP: usize = 1 << 15;
/// Bytes of a panel, the rows that are gathered together by transposes. More rows are longer pieces of each class, which
/// matters more than a second-level cache (Zen 5, 1 MB: 2 MB take 0.70 to 0.77 of the time of 1 MB for 8000 classes, and
/// 0.9 for 16000; 4 MB are no better for 8000).
const BYTES_PER_PANEL: usize = 1 << 21;

/// The largest number of rows of a panel. With rows that are neighbours in memory, each class of a panel is some
/// consecutive cache lines, and the next class is far away.
const MOST_NEIGHBOURS: usize = 256;

/// If more of the largest logits of a row are wanted, they are sorted with polls for signals in between: sorting so
/// many takes some milliseconds.
const MOST_SORTED: usize = 1 << 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Path {
    /// Few classes: tiles of LANES rows side by side.
    Tiles,
    /// Rows of one segment.
    Rows,
    /// Rows of several segments, each on one thread.
    LongRows,
    /// Rows of several segments, each on all threads; or a chunk of the classes of such rows, whose segments are
    /// distributed over threads, whichever row they belong to. The exponentials are computed again when they are needed.
    SharedRows,
}

/// A job, and how it runs.
#[allow(clippy::struct_excessive_bools, reason = "answers to questions of the paths")]
pub(super) struct Plan<'p, F: Float> {
    pub(super) job: &'p Job<'p, F>,
    /// The labels, and the target of every row except for its label, if rows differ in nothing else.
    pub(super) same: Option<(&'p Labels, RowTarget<'p, F>)>,
    pub(super) path: Path,
    pub(super) threads: usize,
    pub(super) block_rows: usize,
    pub(super) block_bytes: usize,
    /// The number of rows that are gathered together.
    pub(super) panel_rows: usize,
    /// The number of rows that are all reduced before they are finished.
    pub(super) group_rows: usize,
    /// Elements from one row in scratch memory to the next: whole vectors.
    pub(super) pitch: usize,
    /// Is the output written by streaming stores, past the caches?
    pub(super) streams: bool,
    /// Is memory that is needed next prefetched, and into which cache?
    pub(super) prefetches_into: Option<Cache>,
    /// Does a sweep prefetch the outputs too? Not if they are written over the logits, by streaming stores, or copied
    /// from scratch memory.
    pub(super) prefetches_outputs: bool,
    /// Are the logits copied to scratch memory before they are read?
    pub(super) own_logits: bool,
    /// Are exponentials and outputs written to scratch memory first? True if there is no output.
    pub(super) own_output: bool,
    /// Which kinds of scratch memory rows need, in the order of `rows::Memory`.
    pub(super) memory: [bool; 4],
    /// Elements of scratch memory for each thread.
    pub(super) scratch: usize,
}

impl<'p, F: Float> Plan<'p, F> {
    /// `is_chunk`: do the logits have only a part of the classes of each row?
    pub(super) fn new(job: &'p Job<'p, F>, most_threads: usize, is_chunk: bool) -> Self {
        let panel = &job.panel;
        let (rows, classes) = (panel.logits.rows(), panel.logits.classes());
        let lanes = lanes::<F>();
        let row_bytes = classes.saturating_mul(size_of::<F>());
        let bytes = rows.saturating_mul(row_bytes);
        let same = job.targets.and_then(SmoothedTargets::labels_alone);
        let keeps = job.operation.keeps();
        let are_made = job.targets.is_some_and(SmoothedTargets::are_made);
        let has_mask = panel.mask.is_some();
        let is_simple = !has_mask && (job.targets.is_none() || same.is_some());
        let threads = 1 + bytes.saturating_mul(if is_simple { 1 } else { 4 }) / BYTES_PER_THREAD;
        // The segments of a chunk are independent: their threads do not wait for each other.
        let most_threads_of_rows = if is_chunk { most_threads } else { most_threads.min(rows) };
        let mut threads = most_threads_of_rows.min(threads);
        let row_threads = most_threads.min(1 + row_bytes / BYTES_PER_ROW_THREAD);
        // Rows that are neighbours in memory are gathered together, LANES classes at a time. If fewer rows than half of
        // the lanes are neighbours, reading their elements one by one takes less time.
        let are_neighbours = || job.neighbours_from(0, lanes / 2).is_some();
        let are_long_neighbours = classes > SEGMENT && are_neighbours();
        let chosen = || path(job, is_simple, bytes, (threads, row_threads), are_long_neighbours);
        let path = if is_chunk { Path::SharedRows } else { chosen() };
        let is_near = bytes <= if path == Path::Tiles { NEAR_BYTES_IN_TILES } else { NEAR_BYTES };
        let has_outputs = panel.output.is_some() && !panel.is_in_place();
        let cached_bytes = match path {
            Path::Tiles if classes > MOST_CLASSES => CACHED_BYTES_IN_WIDE_TILES,
            Path::Tiles => CACHED_BYTES_IN_TILES,
            _ if has_outputs => CACHED_BYTES_OF_EACH,
            _ => CACHED_BYTES,
        };
        let is_far = bytes >= cached_bytes;
        let streams = is_far && has_outputs && panel.output.is_some_and(|out| out.is_streamed);
        let lies_across_lines = row_bytes <= SHORT_ROW && !row_bytes.is_multiple_of(LINE);
        let keeps_apart =
            || keeps && (streams || panel.is_in_place() || is_near && lies_across_lines);
        // The rest is for rows: tiles, which are small and many, do without.
        let (has_rows, recomputes) = (path != Path::Tiles, path == Path::SharedRows);
        let own_logits = has_rows && !panel.reads_directly();
        let keeps_rows = recomputes || path == Path::LongRows && has_mask;
        let own_output = keeps_rows || has_rows && (!panel.writes_directly() || keeps_apart());
        let rows_of_each = 1 + usize::from(panel.output.is_some()) + usize::from(is_far);
        let bytes_in_group = row_bytes.saturating_mul(rows_of_each);
        let (mut group_rows, mut panel_rows, mut columns, mut memory) = (1, 1, 0, [false; 4]);
        let pitch = classes.next_multiple_of(MOST_LANES);
        let is_prefetched = !recomputes && !is_near;
        // A prefetched line evicts another from the first-level cache, so all lines of a group must have room.
        let cache = match is_far {
            true if bytes_in_group > BYTES_PER_GROUP => Cache::Second,
            true => Cache::for_main_memory(),
            false => Cache::First,
        };
        let prefetches_into = is_prefetched.then_some(cache);
        let (rows_at_once, rest) = match path {
            Path::Tiles if job.are_summed => (rows_per_sum(classes), scratch_len(classes, lanes)),
            Path::Tiles => (lanes, scratch_len(classes, lanes)),
            Path::Rows => {
                group_rows = (BYTES_PER_GROUP / bytes_in_group.max(1)).clamp(1, MOST_ROWS);
                panel_rows = group_rows;
                if are_neighbours() {
                    let most = (BYTES_PER_PANEL / (row_bytes * lanes) * lanes).min(MOST_NEIGHBOURS);
                    panel_rows = most.min(rows.div_ceil(threads).next_multiple_of(lanes));
                    columns = panel_rows * lanes;
                }
                let hessian = job.hessian_panel().is_some_and(|panel| !panel.writes_directly());
                let own_row = own_logits || own_output && panel.output.is_some();
                memory = [own_row, has_mask, are_made, hessian];
                (panel_rows, pitch)
            }
            Path::LongRows if are_long_neighbours || has_mask || keeps && own_output => {
                memory = [true, has_mask, are_made && are_long_neighbours, false];
                if are_long_neighbours {
                    (panel_rows, columns) = (lanes, lanes * lanes);
                }
                (panel_rows, SEGMENTS_OF_SCRATCH * SEGMENT)
            }
            Path::LongRows | Path::SharedRows => (1, SEGMENTS_OF_SCRATCH * SEGMENT),
        };
        let kinds = memory.map(usize::from).iter().sum::<usize>();
        let scratch = rest + columns + kinds * panel_rows * pitch;
        let mut block_rows = rows;
        if recomputes {
            threads = if is_chunk { threads } else { row_threads };
        } else if bytes > BYTES_PER_BLOCK {
            // As many blocks for each thread, before they are rounded up.
            let blocks = bytes.div_ceil(BYTES_PER_BLOCK).next_multiple_of(threads);
            block_rows = rows.div_ceil(blocks).next_multiple_of(rows_at_once);
            threads = threads.min(rows.div_ceil(block_rows));
        }
        Self {
            job,
            same,
            path,
            threads,
            block_rows,
            block_bytes: block_rows.min(rows).saturating_mul(row_bytes),
            panel_rows,
            group_rows,
            pitch,
            streams,
            prefetches_into,
            prefetches_outputs: is_prefetched && has_outputs && !(streams || own_output),
            own_logits,
            own_output,
            memory,
            scratch,
        }
    }

    /// The targets of the rows, if they differ in more than the label.
    pub(super) fn own_targets(&self) -> Option<&'p SmoothedTargets<'p, F>> {
        self.job.targets.filter(|_| self.same.is_none())
    }
}

/// The path of whole rows, of which `bytes` are read, by as many threads at most: for all rows, or for one.
#[inline(always)]
fn path<F: Float>(
    job: &Job<'_, F>,
    is_simple: bool,
    bytes: usize,
    (threads, row_threads): (usize, usize),
    are_long_neighbours: bool,
) -> Path {
    let (rows, classes) = (job.panel.logits.rows(), job.panel.logits.classes());
    if classes <= MOST_CLASSES || rows >= 2 * lanes::<F>() && may_be_in_tiles(job, is_simple, bytes)
    {
        Path::Tiles
    } else if classes <= SEGMENT {
        Path::Rows
    } else if job.top.is_some_and(|top| top.len > MOST_SORTED)
        || row_threads > 1 && row_threads >= threads && !are_long_neighbours
        || classes.saturating_mul(size_of::<F>()) > BYTES_OF_KEPT_ROW
    {
        Path::SharedRows
    } else {
        Path::LongRows
    }
}

/// May f32 rows with some more classes than tiles are meant for use tiles too? That takes as little as half of the time
/// (256 rows of 65 classes; 4096 of 128: 0.66 to 0.8; of 150: 0.84 to 0.9; with masks 0.5 to 0.8); from 192 classes on it
/// takes longer, and from main memory with AVX2, and for more than 128 classes already from 24 MB on (1.03 to 1.15); for
/// labels with weights, or with priors of each row, already from 5 MB on if others use the cache too (1.1 to 1.4), so
/// their limit is 2 MB.
fn may_be_in_tiles<F: Float>(job: &Job<'_, F>, is_simple: bool, bytes: usize) -> bool {
    let classes = job.panel.logits.classes();
    let have_masses = job.targets.is_some_and(SmoothedTargets::have_masses);
    let are_labels = || job.targets.is_none_or(|targets| targets.labels().is_some());
    let most_bytes = match job.panel.mask {
        None if !is_simple && !have_masses => CACHED_BYTES_IN_WIDE_TILES / 4,
        _ if classes > 128 => CACHED_BYTES_IN_WIDE_TILES,
        _ => CACHED_BYTES,
    };
    // Probabilities are read as well: 12000 rows of 150 classes took 1.1 to 1.26 times as long in tiles.
    let bytes = if have_masses { bytes.saturating_mul(2) } else { bytes };
    !F::IS_DOUBLE && classes <= MOST_IN_TILES && bytes < most_bytes && (have_masses || are_labels())
}
