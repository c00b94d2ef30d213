//! The threads that share work in parts, and polling for signals between them.

use super::Checkpoint;
use crate::error::Error;
use crate::executor::Executor;
use crate::pool;
use std::time::{Duration, Instant};

/// Bytes of work between two readings of the clock: microseconds, and more than many a call has.
const BYTES_PER_CLOCK: usize = 1 << 16;

/// The threads of a call.
pub struct Threads<'t> {
    pub(super) count: usize,
    pub(super) polling: &'t mut Polling,
    pub(super) checkpoint: Checkpoint<'t>,
    pub(super) stopped: Option<Error>,
}

/// When to poll for signals.
pub(super) struct Polling {
    /// The least time from one poll to the next.
    pub(super) between: Duration,
    pub(super) last: Option<Instant>,
    /// Bytes of work since the clock was read last.
    pub(super) unclocked: usize,
}

impl Polling {
    /// Is it time to poll, before so many bytes are worked on?
    fn is_due(&mut self, bytes: usize) -> bool {
        self.unclocked += bytes;
        if self.unclocked < BYTES_PER_CLOCK {
            return false;
        }
        self.unclocked = 0;
        let now = Instant::now();
        let is_due = now - *self.last.get_or_insert(now) >= self.between;
        if is_due {
            self.last = Some(now);
        }
        is_due
    }
}

impl Executor for Threads<'_> {
    fn each(&mut self, parts: usize, part_bytes: usize, body: &(dyn Fn(usize) + Sync)) {
        if self.stopped.is_none() {
            let count = self.count;
            pool::for_each_block_while(parts, count, body, &mut || self.may_go_on(part_bytes));
        }
    }

    /// Polls, if it is time to.
    fn may_go_on(&mut self, bytes: usize) -> bool {
        if self.stopped.is_none()
            && self.polling.is_due(bytes)
            && let Err(error) = (self.checkpoint)()
        {
            self.stop(error);
        }
        self.stopped.is_none()
    }

    fn stopped(&mut self) -> &mut Option<Error> {
        &mut self.stopped
    }
}
