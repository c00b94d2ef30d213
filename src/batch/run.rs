//! Runs a call: distributes parts of the work over threads, and polls for signals between the parts.

use crate::error::Error;
use crate::pool::{self, POOL};
use crate::simd::Level;
use crate::simd::fpenv::with_default_fp_env;
use std::time::{Duration, Instant};

/// The least time between two polls. At the slowest level a single part may take as long, or longer.
const BETWEEN_POLLS: Duration = Duration::from_millis(20);

/// Bytes of work between two readings of the clock. They take microseconds, and many calls have fewer.
const BYTES_PER_CLOCK: usize = 1 << 16;

/// A function that is called from time to time during long work; if it returns an error, the work ends.
pub type Checkpoint<'r> = &'r mut dyn FnMut() -> Result<(), Error>;

/// How a call runs: the instruction set, the number of threads, and the functions that are called meanwhile.
pub struct Run<'r> {
    /// The instruction-set level.
    pub level: Level,
    /// The largest number of threads to use, including the caller.
    pub threads: usize,
    /// Called from time to time during long work; if it returns an error, the call ends.
    pub checkpoint: Checkpoint<'r>,
    /// Called if threads could not be started, before anything is written; if it returns an error, the call ends.
    pub announce: Option<Checkpoint<'r>>,
    /// The least time between two calls of `checkpoint`.
    pub between_polls: Duration,
    last_poll: Option<Instant>,
    /// Bytes of work since the last reading of the clock.
    unclocked: usize,
}

impl<'r> Run<'r> {
    /// `checkpoint` is called often enough to answer Ctrl-C in time. The call must run in the default floating-point
    /// environment: the caller sets it once at the beginning, and the pool sets it in its threads.
    pub fn new(level: Level, threads: usize, checkpoint: Checkpoint<'r>) -> Self {
        let (announce, between_polls, last_poll, unclocked) = (None, BETWEEN_POLLS, None, 0);
        Self { level, threads, checkpoint, announce, between_polls, last_poll, unclocked }
    }

    /// Starts `threads` threads, before the first output is written; calls `announce` if that fails.
    pub(super) fn ready(&mut self, threads: usize) -> Result<(), Error> {
        match &mut self.announce {
            Some(announce) if threads > 1 && !pool::start(threads) => with_default_fp_env(announce),
            _ => Ok(()),
        }
    }

    /// Runs `body(part)` once for each part, of `part_bytes` bytes each, in any order and on at most `threads` threads.
    ///
    /// # Errors
    /// The error of the checkpoint. Some parts have not been processed then.
    pub(crate) fn each(
        &mut self,
        threads: usize,
        parts: usize,
        part_bytes: usize,
        body: &(dyn Fn(usize) + Sync),
    ) -> Result<(), Error> {
        let mut outcome = Ok(());
        let width = pool::num_threads().max(threads);
        POOL.for_each_block_while(parts, threads, width, body, &mut || {
            outcome = self.poll(part_bytes);
            outcome.is_ok()
        });
        outcome
    }

    /// Calls the checkpoint if it is time to. To be called before `bytes` are processed without [`Run::each`].
    #[inline]
    pub(crate) fn poll(&mut self, bytes: usize) -> Result<(), Error> {
        self.unclocked += bytes;
        if self.unclocked < BYTES_PER_CLOCK {
            return Ok(());
        }
        self.unclocked = 0;
        let now = Instant::now();
        if now - *self.last_poll.get_or_insert(now) < self.between_polls {
            return Ok(());
        }
        self.last_poll = Some(now);
        // If it changes the floating-point environment, the change is undone.
        with_default_fp_env(&mut self.checkpoint)
    }

    /// Runs `body` with the best level, `pool::num_threads()` threads and no checkpoint.
    pub fn with_defaults<R>(body: impl FnOnce(&mut Run<'_>) -> R) -> R {
        let mut checkpoint = || Ok(());
        let mut run = Run::new(Level::current(), pool::num_threads(), &mut checkpoint);
        with_default_fp_env(|| body(&mut run))
    }
}
