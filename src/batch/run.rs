//! How a call runs.

use super::threads::{Polling, Threads};
use crate::error::Error;
use crate::pool;
use crate::simd::Level;
use crate::simd::fpenv::with_default_fp_env;
use std::time::Duration;

/// A part may take as long again at the slowest level, or longer.
const BETWEEN_POLLS: Duration = Duration::from_millis(20);

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
    announce: Option<Checkpoint<'r>>,
    polling: Polling,
}

impl<'r> Run<'r> {
    /// `checkpoint` is called as often as Ctrl-C needs it. To be run in the default floating-point
    /// environment: a call sets it once, at its beginning, and the pool for its threads.
    pub fn new(level: Level, threads: usize, checkpoint: Checkpoint<'r>) -> Self {
        let polling = Polling { between: BETWEEN_POLLS, last: None, unclocked: 0 };
        Self { level, threads, checkpoint, announce: None, polling }
    }

    /// With so much time, at least, from one call of `checkpoint` to the next.
    #[must_use]
    pub fn polling_every(mut self, between: Duration) -> Self {
        self.polling.between = between;
        self
    }

    /// With `announce` called where threads cannot be started, before anything is written.
    #[must_use]
    pub fn announcing(mut self, announce: Checkpoint<'r>) -> Self {
        self.announce = Some(announce);
        self
    }

    /// Before the first output is written by `threads` threads: starts them, and says so where that
    /// fails.
    pub(super) fn ready(&mut self, threads: usize) -> Result<(), Error> {
        match &mut self.announce {
            Some(announce) if threads > 1 && !pool::start(threads) => announce(),
            _ => Ok(()),
        }
    }

    /// Those who do the work.
    pub fn executor(&mut self) -> Threads<'_> {
        self.executor_of(self.threads)
    }

    /// The same, at most `count` of them.
    pub(super) fn executor_of(&mut self, count: usize) -> Threads<'_> {
        let (polling, checkpoint) = (&mut self.polling, &mut *self.checkpoint);
        Threads { count, polling, checkpoint, stopped: None }
    }

    /// Runs `body` with the best level, `pool::num_threads()` threads and no checkpoint.
    pub fn with_defaults<R>(body: impl FnOnce(&mut Run<'_>) -> R) -> R {
        let mut checkpoint = || Ok(());
        let mut run = Run::new(Level::current(), pool::num_threads(), &mut checkpoint);
        with_default_fp_env(|| body(&mut run))
    }
}
