//! Memory for the threads of a call: had before anything is written, and kept for the next call.

use crate::alloc::{with_capacity, zeros};
use crate::error::Error;
use crate::simd::Float;
use std::mem::take;
use std::sync::{Mutex, PoisonError, TryLockError};

/// One slice for each thread of a call.
pub(super) struct Workspace<F: Float> {
    slices: Vec<Mutex<Vec<F>>>,
    len: usize,
}

/// Slices begin with a line of memory: a vector that lies across two takes twice as long.
const LINE: usize = 64;

/// More bytes than this are not kept.
const MOST_KEPT: usize = 1 << 22;

impl<F: Float> Workspace<F> {
    /// `len` elements for each of `threads` threads. What is in them is left over from other calls.
    pub(super) fn new(threads: usize, len: usize) -> Result<Self, Error> {
        let padded = len.saturating_add(LINE / size_of::<F>());
        // A lock that another thread held when this process was forked is never had: then there is
        // nothing kept.
        let mut slices = F::kept().try_lock().map(|mut kept| take(&mut *kept)).unwrap_or_default();
        if slices.capacity() < threads {
            let mut more = with_capacity(threads)?;
            more.append(&mut slices);
            slices = more;
        }
        slices.truncate(threads);
        for slice in &mut slices {
            let slice = slice.get_mut().unwrap_or_else(PoisonError::into_inner);
            if slice.len() < padded {
                *slice = zeros(padded)?;
            }
        }
        while slices.len() < threads {
            slices.push(Mutex::new(zeros(padded)?));
        }
        Ok(Self { slices, len })
    }

    /// The slice of a call on one thread.
    pub(super) fn own(&mut self) -> &mut [F] {
        let slice = self.slices[0].get_mut().unwrap_or_else(PoisonError::into_inner);
        from_line(slice, self.len)
    }

    /// Runs `body` with a slice that no other thread has. One for each thread exists, so one is always
    /// free: no waiting.
    pub(super) fn with<R>(&self, body: impl FnOnce(&mut [F]) -> R) -> R {
        let free = self.slices.iter().find_map(|slice| match slice.try_lock() {
            Ok(slice) => Some(slice),
            // After a panic in another block: what is in it does not matter.
            Err(TryLockError::Poisoned(slice)) => Some(slice.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        });
        let mut slice = free.expect("a slice for each thread");
        body(from_line(&mut slice, self.len))
    }
}

/// `len` elements from the first line on.
fn from_line<F>(slice: &mut [F], len: usize) -> &mut [F] {
    let first = slice.as_ptr().align_offset(LINE);
    &mut slice[first..][..len]
}

impl<F: Float> Drop for Workspace<F> {
    fn drop(&mut self) {
        // A panic may come from a fork that left the threads which hold the locks behind.
        if std::thread::panicking() {
            return;
        }
        let len = |slice: &mut Mutex<Vec<F>>| slice.get_mut().map_or(0, |slice| slice.len());
        let bytes = self.slices.iter_mut().map(len).sum::<usize>() * size_of::<F>();
        if bytes <= MOST_KEPT
            && let Ok(mut kept) = F::kept().try_lock()
        {
            *kept = take(&mut self.slices);
        }
    }
}

#[cfg(test)]
mod tests;
