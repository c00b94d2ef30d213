//! From the shapes of a call to its path, its blocks and its memory: the thresholds of the paths.
//!
//! Nothing here can change a bit but the number of classes: it alone decides whether a row is summed in the order of
//! tiles, of rows or of segments. Threads, blocks and groups may be any.

use super::tiles::scratch_len;
use super::{Job, Same};
use crate::kernel::{MOST_CLASSES, MOST_IN_TILES, MOST_ROWS, SEGMENT};
use crate::simd::{Cache, Float, LINE, MOST_LANES, RowsMut};

/// Bytes of logits worth one more thread: some 50 µs of work. Waking it costs 6 to 12 µs, and two
/// threads overtook one from 40 to 50 µs on (empty and timed blocks, 2 cores).
const BYTES_PER_THREAD: usize = 1 << 19;
/// The same for one row, for which threads meet two or three times. Where all threads have enough of one
/// row, they share it rather than take one each: 8 rows of 2^20 classes took 2.19 ms, not 2.36.
const BYTES_PER_ROW_THREAD: usize = 1 << 20;
/// Exponentials of a row of more bytes are computed twice rather than kept: one row of 2^22
/// classes, one thread, took 1.8 ms, not 17.9, of which 16 went into getting memory.
const BYTES_OF_KEPT_ROW: usize = 1 << 21;
/// Bytes of logits in a block: small enough to balance, large enough to make claiming free.
const BYTES_PER_BLOCK: usize = 1 << 17;
/// Logits of more bytes come from memory: many a last-level cache has so many.
const CACHED_BYTES: usize = 1 << 25;
/// Logits and outputs of more bytes each come from there and go there.
const CACHED_BYTES_OF_EACH: usize = CACHED_BYTES / 4 * 3;
/// Logits of more bytes are not in a second-level cache, and are asked for early. Tiles read them one after another:
/// within a page the processor foresees that, which is enough unless they come from memory.
const NEAR_BYTES: usize = 1 << 19;
/// Exponentials of rows of at most so many bytes, which are not whole lines of memory, are kept in memory of our own,
/// where each row begins a line: to read back a vector that was just stored across two takes longer (Zen 4: softmax
/// 0.90 to 0.96 of the time for 65 to 200 classes, loss and gradient 0.94 to 0.99). Not where outputs would be asked for
/// early, which the sweep does where it stores exponentials (4096 rows of 300 classes: 1.2).
const SHORT_ROW: usize = 1 << 10;
/// Bytes of the logits and outputs of rows that are reduced before they are finished, and of the logits that come from
/// memory meanwhile: a nearest cache.
const BYTES_PER_GROUP: usize = 1 << 15;
/// Bytes of rows that are brought together by transposes: half of a second-level cache.
const BYTES_PER_PANEL: usize = 1 << 20;

/// Rows that are brought together at most: a class has so many neighbours, some lines of memory that lie one
/// after another; those of the next class are far away.
const MOST_NEIGHBOURS: usize = 256;

/// More of the largest logits of a row are sorted with polls for Ctrl-C in between: these take some milliseconds.
const MOST_SORTED: usize = 1 << 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Path {
    /// Few classes: LANES rows side by side.
    Tiles,
    /// Rows of one segment.
    Rows,
    /// Rows of several segments, each on one thread.
    LongRows,
    /// Rows of several segments, each on all threads.
    SharedRows,
    /// A chunk of the classes of such rows: segments, whichever row they are of.
    Chunk,
}

/// A job, and how it runs.
#[allow(clippy::struct_excessive_bools, reason = "answers to questions of the paths")]
pub(super) struct Plan<'p, F: Float> {
    pub(super) job: &'p Job<'p, F>,
    pub(super) same: Option<Same<'p, F>>,
    pub(super) path: Path,
    pub(super) threads: usize,
    pub(super) block_rows: usize,
    pub(super) block_bytes: usize,
    /// Rows that are brought together.
    pub(super) panel: usize,
    /// Rows that are reduced before they are finished.
    pub(super) group: usize,
    /// From one row of our own to the next: whole vectors.
    pub(super) pitch: usize,
    /// Is the output written past the caches?
    pub(super) streams: bool,
    /// Is what is needed next asked for early, and into which cache?
    pub(super) asks_ahead: Option<Cache>,
    /// Does a sweep ask for the outputs too? Not for those that are written past the caches, or by way of memory of
    /// our own.
    pub(super) asks_for_outputs: bool,
    /// Are the exponentials of long rows computed again when they are needed?
    pub(super) recomputes: bool,
    /// Are all those of a long row kept in memory of our own?
    pub(super) keeps_row: bool,
    /// Are the logits that are read in memory of our own, and the exponentials and outputs?
    pub(super) own_logits: bool,
    pub(super) own_output: bool,
    /// Which memory there is for rows, in the order of `rows::Memory`.
    pub(super) memory: [bool; 4],
    /// Elements of memory for each thread.
    pub(super) scratch: usize,
}

impl<'p, F: Float> Plan<'p, F> {
    pub(super) fn new(job: &'p Job<'p, F>, most_threads: usize) -> Self {
        let panel = &job.panel;
        let (rows, classes) = (panel.logits.rows(), panel.logits.classes());
        let lanes = MOST_LANES * size_of::<f32>() / size_of::<F>();
        let row_bytes = classes.saturating_mul(size_of::<F>());
        let bytes = rows.saturating_mul(row_bytes);
        let threads = 1 + bytes / BYTES_PER_THREAD;
        // Segments of a row of a chunk are independent; their threads do not meet.
        let most_threads_of_rows = if job.is_chunk { most_threads } else { most_threads.min(rows) };
        let threads = most_threads_of_rows.min(threads);
        let is_near = bytes <= NEAR_BYTES;
        let same = job.same();
        // Rows of more classes than tiles are meant for may be in tiles as well, if they are of f32: that takes as little
        // as half of the time (256 rows of 65 classes), within the second-level cache; from 128 classes on, more. Not
        // those whose targets differ in more than the label, or that are masked.
        let may_be_in_tiles = size_of::<F>() == size_of::<f32>()
            && panel.mask.is_none()
            && (job.targets.is_none() || same.is_some());
        let row_threads = most_threads.min(1 + row_bytes / BYTES_PER_ROW_THREAD);
        let path = if job.is_chunk {
            Path::Chunk
        } else if classes <= MOST_CLASSES
            || classes <= MOST_IN_TILES && is_near && rows >= 2 * lanes && may_be_in_tiles
        {
            Path::Tiles
        } else if classes <= SEGMENT {
            Path::Rows
        } else if job.top.is_some_and(|top| top.len > MOST_SORTED)
            || row_threads > 1 && row_threads >= threads
            || row_bytes > BYTES_OF_KEPT_ROW
        {
            Path::SharedRows
        } else {
            Path::LongRows
        };
        let has_outputs = panel.output.is_some() && !panel.is_in_place();
        let is_far = bytes >= if has_outputs { CACHED_BYTES_OF_EACH } else { CACHED_BYTES };
        let streams = is_far && has_outputs && panel.output.is_some_and(RowsMut::is_streamed);
        let keeps = job.operation.keeps();
        let lies_across_lines = row_bytes <= SHORT_ROW && !row_bytes.is_multiple_of(LINE);
        let keeps_apart = || streams || panel.is_in_place() || is_near && lies_across_lines;
        // Of tiles, which are small and many, nothing more is asked.
        let has_rows = path != Path::Tiles;
        let own_logits = has_rows && !panel.reads_directly();
        let has_own_output = || !panel.writes_directly() || keeps && keeps_apart();
        let recomputes = matches!(path, Path::SharedRows | Path::Chunk);
        let own_output = has_rows && panel.output.is_some() && (recomputes || has_own_output());
        let rows_of_each = 1 + usize::from(panel.output.is_some()) + usize::from(is_far);
        let bytes_in_group = row_bytes.saturating_mul(rows_of_each);
        let group = (BYTES_PER_GROUP / bytes_in_group.max(1)).clamp(1, MOST_ROWS);
        let (mut panel_rows, mut columns, mut memory) = (group, 0, [false; 4]);
        if path == Path::Rows {
            // Rows that are neighbours are brought together by way of memory for LANES of their classes. Fewer than
            // half of the lanes do not count: they are read one by one in less time.
            if panel.neighbours_from(0, lanes / 2).is_some() {
                let most = (BYTES_PER_PANEL / (row_bytes * lanes) * lanes).min(MOST_NEIGHBOURS);
                panel_rows = most.min(rows.div_ceil(threads).next_multiple_of(lanes));
                columns = panel_rows * lanes;
            }
            let are_made = job.targets.as_ref().is_some_and(|targets| targets.rows.are_made());
            let hessian = job.hessian_panel().is_some_and(|panel| !panel.writes_directly());
            memory = [own_logits || own_output, panel.mask.is_some(), are_made, hessian];
        }
        let pitch = classes.next_multiple_of(MOST_LANES);
        let keeps_row = keeps && own_output && !recomputes;
        let is_asked_for = is_far || has_rows && !is_near;
        // A line that is had from memory early takes the place of others in the nearest cache: only where all of them
        // have room does that beat the next cache (Zen 4, 0.74 to 0.91 of its time for 200 and 1000 classes).
        let has_room = bytes_in_group <= BYTES_PER_GROUP;
        let cache = if is_far && !has_room { Cache::Second } else { Cache::First };
        let asks_ahead = (!recomputes && is_asked_for).then_some(cache);
        let is_direct = panel.writes_directly() && !own_output;
        let (unit, scratch) = match path {
            Path::Tiles => (lanes, scratch_len(classes, lanes)),
            Path::Rows => {
                let count = memory.iter().filter(|is_needed| **is_needed).count();
                (panel_rows, (count * panel_rows + 1) * pitch + columns)
            }
            // Of each segment, or of the whole row.
            _ => (1, 3 * SEGMENT + if keeps_row { classes } else { SEGMENT }),
        };
        let block_rows = if bytes <= BYTES_PER_BLOCK {
            rows
        } else {
            (BYTES_PER_BLOCK / row_bytes.max(1)).max(1).next_multiple_of(unit)
        };
        Self {
            job,
            same,
            path,
            threads: if path == Path::SharedRows { row_threads } else { threads },
            block_rows,
            block_bytes: block_rows.min(rows).saturating_mul(row_bytes),
            panel: panel_rows,
            group,
            pitch,
            streams,
            asks_ahead,
            asks_for_outputs: asks_ahead.is_some() && is_direct && !streams,
            recomputes,
            keeps_row,
            own_logits,
            own_output,
            memory,
            scratch,
        }
    }
}
