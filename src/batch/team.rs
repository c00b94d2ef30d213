//! The threads that share work in parts, and the looks for Ctrl-C between them.

use super::Checkpoint;
use crate::crew::Crew;
use crate::error::Error;
use crate::pool;
use std::time::{Duration, Instant};

/// Bytes of work between two looks at the clock: microseconds, and more than many a call has.
const BYTES_PER_GLANCE: usize = 1 << 16;

/// The threads of a call.
pub struct Team<'t> {
    threads: usize,
    looks: &'t mut Looks,
    checkpoint: Checkpoint<'t>,
    stopped: Option<Error>,
}

/// When to look for Ctrl-C.
pub(super) struct Looks {
    /// The least time from one to the next.
    pub(super) between: Duration,
    last: Option<Instant>,
    /// Bytes of work since the last look at the clock.
    unclocked: usize,
}

impl Looks {
    pub(super) fn new(between: Duration) -> Self {
        Self { between, last: None, unclocked: 0 }
    }

    /// Is it time to look, before so many bytes are worked on?
    fn are_due(&mut self, bytes: usize) -> bool {
        self.unclocked += bytes;
        if self.unclocked < BYTES_PER_GLANCE {
            return false;
        }
        self.unclocked = 0;
        let now = Instant::now();
        let are_due = now - *self.last.get_or_insert(now) >= self.between;
        if are_due {
            self.last = Some(now);
        }
        are_due
    }
}

impl<'t> Team<'t> {
    pub(super) fn new(threads: usize, looks: &'t mut Looks, checkpoint: Checkpoint<'t>) -> Self {
        Self { threads, looks, checkpoint, stopped: None }
    }
}

impl Crew for Team<'_> {
    fn each(&mut self, parts: usize, part_bytes: usize, body: &(dyn Fn(usize) + Sync)) {
        if self.stopped.is_none() {
            let threads = self.threads;
            pool::for_each_block_while(parts, threads, body, &mut || self.may_go_on(part_bytes));
        }
    }

    /// Looks, if it is time to.
    fn may_go_on(&mut self, bytes: usize) -> bool {
        if self.stopped.is_none()
            && self.looks.are_due(bytes)
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
