//! How a call runs: the threads that share work in parts, and polling for signals between them.

use crate::error::Error;
use crate::pool;
use crate::simd::Level;
use crate::simd::fpenv::with_default_fp_env;
use std::time::{Duration, Instant};

/// A part may take as long again at the slowest level, or longer.
const BETWEEN_POLLS: Duration = Duration::from_millis(20);

/// Bytes of work between two readings of the clock: microseconds, and more than many a call has.
const BYTES_PER_CLOCK: usize = 1 << 16;

/// Asked now and then during long work; an error ends it.
pub type Checkpoint<'r> = &'r mut dyn FnMut() -> Result<(), Error>;

/// How to run: the instruction set, the width, and what to ask now and then.
pub struct Run<'r> {
    /// Instruction set.
    pub level: Level,
    /// Most threads to use, the caller included.
    pub threads: usize,
    /// Called now and then during long work; an error ends the call.
    pub checkpoint: Checkpoint<'r>,
    /// Called when threads could not be started, before anything is written; an error ends the call.
    pub announce: Option<Checkpoint<'r>>,
    /// The least time from one call of `checkpoint` to the next.
    pub between_polls: Duration,
    last_poll: Option<Instant>,
    /// Bytes of work since the clock was read last.
    unclocked: usize,
}

impl<'r> Run<'r> {
    /// `checkpoint` is called as often as Ctrl-C needs it. To be run in the default floating-point
    /// environment: a call sets it once, at its beginning, and the pool for its threads.
    pub fn new(level: Level, threads: usize, checkpoint: Checkpoint<'r>) -> Self {
        let (announce, between_polls, last_poll, unclocked) = (None, BETWEEN_POLLS, None, 0);
        Self { level, threads, checkpoint, announce, between_polls, last_poll, unclocked }
    }

    /// Before the first output is written by `threads` threads: starts them, and says so where that
    /// fails.
    pub(super) fn ready(&mut self, threads: usize) -> Result<(), Error> {
        match &mut self.announce {
            Some(announce) if threads > 1 && !pool::start(threads) => with_default_fp_env(announce),
            _ => Ok(()),
        }
    }

    /// Runs `body(part)` once for each part of some bytes, in any order and on all threads of the call.
    ///
    /// # Errors
    /// That of the checkpoint: then some parts are not worked on.
    pub(crate) fn each(
        &mut self,
        parts: usize,
        part_bytes: usize,
        body: &(dyn Fn(usize) + Sync),
    ) -> Result<(), Error> {
        self.each_on(self.threads, parts, part_bytes, body)
    }

    /// The same on at most so many threads.
    pub(super) fn each_on(
        &mut self,
        threads: usize,
        parts: usize,
        part_bytes: usize,
        body: &(dyn Fn(usize) + Sync),
    ) -> Result<(), Error> {
        let mut outcome = Ok(());
        pool::for_each_block_while(parts, threads, body, &mut || {
            outcome = self.poll(part_bytes);
            outcome.is_ok()
        });
        outcome
    }

    /// Before `bytes` are worked on without [`Run::each`]: calls the checkpoint, if it is time to.
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
        // What it does to the floating-point environment ends with it.
        with_default_fp_env(&mut self.checkpoint)
    }

    /// Runs `body` with the best level, `pool::num_threads()` threads and no checkpoint.
    pub fn with_defaults<R>(body: impl FnOnce(&mut Run<'_>) -> R) -> R {
        let mut checkpoint = || Ok(());
        let mut run = Run::new(Level::current(), pool::num_threads(), &mut checkpoint);
        with_default_fp_env(|| body(&mut run))
    }
}
