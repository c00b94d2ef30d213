//! The threads that share work in parts, and the looks for Ctrl-C between them.

use super::Checkpoint;
use crate::alloc::with_capacity;
use crate::crew::Crew;
use crate::element::Float;
use crate::error::Error;
use crate::pool;

/// Bytes of work between two looks, for each thread: 25 ms of logits at the slowest level.
const BYTES_PER_LOOK: usize = 1 << 23;

/// The threads of a call.
pub struct Team<'t> {
    threads: usize,
    checkpoint: Checkpoint<'t>,
    /// Bytes that were worked on since the last look.
    unseen: usize,
    stopped: Option<Error>,
}

impl<'t> Team<'t> {
    pub(super) fn new(threads: usize, checkpoint: Checkpoint<'t>) -> Self {
        Self { threads, checkpoint, unseen: 0, stopped: None }
    }

    /// `len` zeros; fewer when the work is given up.
    pub(super) fn zeros<F: Float>(&mut self, len: usize) -> Vec<F> {
        let mut values = with_capacity(len).unwrap_or_else(|error| {
            self.stop(error);
            Vec::new()
        });
        while values.len() < len && self.may_go_on(BYTES_PER_LOOK) {
            let part = BYTES_PER_LOOK / size_of::<F>();
            values.resize(len.min(values.len() + part), F::default());
        }
        values
    }

    /// Looks, if it is time to, before `bytes` are worked on.
    fn may_go_on(&mut self, bytes: usize) -> bool {
        if self.unseen >= BYTES_PER_LOOK.saturating_mul(self.threads) && self.stopped.is_none() {
            self.unseen = 0;
            if let Err(error) = (self.checkpoint)() {
                self.stop(error);
            }
        }
        self.unseen += bytes;
        self.stopped.is_none()
    }
}

impl Crew for Team<'_> {
    fn each(&mut self, parts: usize, part_bytes: usize, body: &(dyn Fn(usize) + Sync)) {
        let parts_per_look =
            (BYTES_PER_LOOK.saturating_mul(self.threads) / part_bytes.max(1)).max(1);
        for start in (0..parts).step_by(parts_per_look) {
            let count = parts_per_look.min(parts - start);
            if self.may_go_on(count * part_bytes) {
                pool::for_each_block(count, self.threads, &|part| body(start + part));
            }
        }
    }

    fn stopped(&mut self) -> &mut Option<Error> {
        &mut self.stopped
    }
}
