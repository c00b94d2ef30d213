//! From a batch to rows: blocks, threads, and the fixed order of reductions over rows.
//!
//! ```text
//! for slices of rows short enough to answer Ctrl-C between them
//!     for blocks of rows, in parallel: for each row: load, operate, store
//! ```
//!
//! A row's result depends on nothing but the row; scalars of rows go to one
//! slot each and are added in the order of the rows. So neither the blocks nor
//! the threads can change a bit.

use crate::alloc::zeros;
use crate::element::Float;
use crate::error::Error;
use crate::kernel::stats::{Workspace, padded_len};
use crate::pool;
use crate::simd::memory::{Rows, RowsMut};
use crate::simd::row::{Sink, Source};
use crate::simd::{Level, Vector, VectorJob};
use crate::target::TargetScratch;
use std::ops::Range;
use std::sync::Mutex;

/// Bytes of logits worth one more thread: some 50 µs of work. Waking it costs 6 to 12 µs, and two
/// threads overtook one from 40 to 50 µs on (empty and timed blocks, 2 cores).
const BYTES_PER_THREAD: usize = 1 << 19;
/// Bytes of logits in a block: small enough to balance, large enough to make claiming free.
const BYTES_PER_BLOCK: usize = 1 << 17;
/// Bytes of logits between two looks for Ctrl-C: 50 ms at the slowest level and one thread.
const BYTES_PER_SLICE: usize = 1 << 24;
/// A row of few classes takes as long as one of so many bytes.
const LEAST_ROW_BYTES: usize = 256;

/// Asked now and then during long work; an error ends it.
pub type Checkpoint<'r> = &'r mut dyn FnMut() -> Result<(), Error>;

/// How to run: the instruction set, the width, and what to ask between slices.
pub struct Run<'r> {
    /// Instruction set.
    pub level: Level,
    /// Most threads to use, the caller included.
    pub threads: usize,
    /// Called between slices of long work; an error ends the call.
    pub checkpoint: Checkpoint<'r>,
}

impl Run<'_> {
    /// Runs `body` with the best level, `pool::num_threads()` threads and no checkpoint.
    pub fn with_defaults<R>(body: impl FnOnce(&mut Run<'_>) -> R) -> R {
        let mut checkpoint = || Ok(());
        body(&mut Run {
            level: Level::current(),
            threads: pool::num_threads(),
            checkpoint: &mut checkpoint,
        })
    }
}

/// What is done to each row.
pub(crate) trait RowOp<F: Float>: Sync {
    /// What a class that the mask leaves out gets in the row output.
    fn masked_value(&self) -> F {
        F::default()
    }

    /// Elements of the row's target scratch: a prior, a mixture.
    fn target_scratch(&self) -> (usize, usize) {
        (0, 0)
    }

    /// Reads `z` (if it wants to), writes all of `out` (empty where the operation has no row output).
    fn row<V: Vector<Scalar = F>>(
        &self,
        token: V::Token,
        row: usize,
        z: Source<'_, F>,
        out: Sink<'_, F>,
        memory: &mut RowMemory<'_, F>,
    );
}

/// Memory of our own that one row may use.
pub(crate) struct RowMemory<'s, F> {
    /// 1 for each class that the mask keeps, else 0; empty without a mask.
    pub(crate) kept: &'s mut [F],
    pub(crate) workspace: Workspace<'s, F>,
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
    let block_rows = (BYTES_PER_BLOCK / row_bytes).max(1);
    let slice_rows = (BYTES_PER_SLICE / row_bytes.max(LEAST_ROW_BYTES))
        .max(threads)
        .next_multiple_of(block_rows);

    let mut scratch = Vec::new();
    scratch.try_reserve_exact(threads).map_err(|_| Error::OutOfMemory { bytes: 0 })?;
    for _ in 0..threads {
        scratch.push(Mutex::new(Scratch::<F>::new(classes, mask.is_some(), op.target_scratch())?));
    }

    for slice_start in (0..rows).step_by(slice_rows) {
        if slice_start > 0 {
            (run.checkpoint)()?;
        }
        let slice_end = rows.min(slice_start + slice_rows);
        let blocks = (slice_end - slice_start).div_ceil(block_rows);
        let level = run.level;
        pool::for_each_block(blocks, threads, &|block| {
            let start = slice_start + block * block_rows;
            let range = start..slice_end.min(start + block_rows);
            // One scratch per thread exists, so one is always free: no waiting.
            let mut scratch = scratch
                .iter()
                .find_map(|scratch| scratch.try_lock().ok())
                .expect("a scratch for each thread");
            F::dispatch(level, Block { logits, mask, output, op, range, scratch: &mut *scratch });
        });
    }
    Ok(())
}

/// One thread's memory, in one allocation.
struct Scratch<F> {
    memory: Vec<F>,
    classes: usize,
    kept: usize,
    target: (usize, usize),
}

/// Upper bound of the lanes of any vector.
const MOST_LANES: usize = 16;

impl<F: Float> Scratch<F> {
    fn new(classes: usize, is_masked: bool, target: (usize, usize)) -> Result<Self, Error> {
        let kept = if is_masked { classes } else { 0 };
        let len = padded_len(classes, MOST_LANES)
            .saturating_add(classes.saturating_mul(3) + kept + target.0 + target.1);
        Ok(Self { memory: zeros(len)?, classes, kept, target })
    }
}

/// A block of rows, to be run at some instruction set.
struct Block<'b, F, O> {
    logits: &'b Rows<'b>,
    mask: Option<&'b Rows<'b>>,
    output: Option<&'b RowsMut<'b>>,
    op: &'b O,
    range: Range<usize>,
    scratch: &'b mut Scratch<F>,
}

impl<F: Float, O: RowOp<F>> VectorJob<F> for Block<'_, F, O> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Scalar = F>>(self, token: V::Token) {
        let classes = self.scratch.classes;
        let (prior_len, mixture_len) = self.scratch.target;
        let (exps, rest) = self.scratch.memory.split_at_mut(padded_len(classes, MOST_LANES));
        let (shifted, rest) = rest.split_at_mut(classes);
        let (gathered, rest) = rest.split_at_mut(classes);
        let (unscattered, rest) = rest.split_at_mut(classes);
        let (kept, rest) = rest.split_at_mut(self.scratch.kept);
        let (prior, rest) = rest.split_at_mut(prior_len);
        let (mixture, _) = rest.split_at_mut(mixture_len);
        let mut memory = RowMemory {
            kept,
            workspace: Workspace { exps, shifted },
            target: TargetScratch { prior, mixture },
        };
        for row in self.range {
            let z = match self.mask {
                None => self.logits.source(row, gathered),
                Some(mask) => {
                    mask.gather(row, memory.kept);
                    self.logits.gather(row, gathered);
                    // As if the class were not there: nothing of its logit is left.
                    fill_masked(memory.kept, F::NEG_INFINITY, |k, value| gathered[k] = value);
                    Source::from_slice(gathered)
                }
            };
            let Some(output) = self.output else {
                self.op.row::<V>(token, row, z, Sink::from_slice(&mut []), &mut memory);
                continue;
            };
            let masked = self.op.masked_value();
            if let Some(out) = output.sink(row) {
                self.op.row::<V>(token, row, z, out, &mut memory);
                if let Some(mut out) = output.sink(row) {
                    fill_masked(memory.kept, masked, |k, value| out.set(k, value));
                }
            } else {
                self.op.row::<V>(token, row, z, Sink::from_slice(unscattered), &mut memory);
                fill_masked(memory.kept, masked, |k, value| unscattered[k] = value);
                output.scatter(row, unscattered);
            }
        }
    }
}

/// Gives `value` to every class that is not kept.
#[inline(always)]
fn fill_masked<F: Float>(kept: &[F], value: F, mut set: impl FnMut(usize, F)) {
    for (class, is_kept) in kept.iter().enumerate() {
        if is_kept.to_f64() == 0.0 {
            set(class, value);
        }
    }
}
