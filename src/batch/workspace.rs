//! Scratch memory for the threads of a call: allocated before anything is written, and kept for the next call.

use crate::alloc::{with_capacity, zeros};
use crate::error::Error;
use crate::pool::try_lock;
use crate::simd::{Float, LINE, Slices};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::panicking;

/// One slice for each thread of a call.
pub(crate) struct Workspace<F: Float> {
    /// The slices of earlier calls, which this call holds until it ends.
    kept: Option<MutexGuard<'static, Slices<F>>>,
    /// New slices, used if another call holds those that are kept.
    new: Slices<F>,
    len: usize,
}

/// More bytes than this are not kept.
const MOST_KEPT: usize = 1 << 22;

impl<F: Float> Workspace<F> {
    /// A workspace for slices of `len` elements, which [`Workspace::reserve`] makes: it can fail, and a workspace in a
    /// `Result` would be copied.
    pub(crate) fn new(len: usize) -> Self {
        // If another thread held a lock when this process was forked, it stays locked: the next one is taken.
        let kept = F::kept().iter().find_map(try_lock);
        Self { kept, new: Vec::new(), len }
    }

    /// Makes a slice for each of `threads` threads. Their contents are left over from other calls.
    pub(crate) fn reserve(&mut self, threads: usize) -> Result<(), Error> {
        let slices = self.kept.as_deref_mut().unwrap_or(&mut self.new);
        let len = self.len.saturating_add(LINE / size_of::<F>());
        if slices.capacity() < threads {
            let mut more = with_capacity(threads)?;
            more.append(slices);
            *slices = more;
        }
        // Those of further threads are kept.
        slices.resize_with(threads.max(slices.len()), Mutex::default);
        for slice in slices.iter_mut().take(threads) {
            let slice = slice.get_mut().unwrap_or_else(PoisonError::into_inner);
            if slice.len() < len {
                *slice = zeros(len)?;
            }
        }
        Ok(())
    }

    /// The first slice: the only one, if there is one thread.
    pub(crate) fn first(&mut self) -> &mut [F] {
        let slices = self.kept.as_deref_mut().unwrap_or(&mut self.new);
        let slice = slices[0].get_mut().unwrap_or_else(PoisonError::into_inner);
        from_line(slice, self.len)
    }

    /// Runs `body` with a slice that no other thread uses: the first that is free. If there are more slices than threads,
    /// the last ones, which may be shorter, are never reached. Nothing waits.
    pub(super) fn with<R>(&self, body: impl FnOnce(&mut [F]) -> R) -> R {
        let slices = self.kept.as_deref().unwrap_or(&self.new);
        let mut slice = slices.iter().find_map(try_lock).expect("a slice for each thread");
        body(from_line(&mut slice, self.len))
    }
}

/// `len` elements that begin with a cache line: loading a vector that lies across two lines takes twice as long.
fn from_line<F>(slice: &mut [F], len: usize) -> &mut [F] {
    let first = slice.as_ptr().align_offset(LINE);
    &mut slice[first..][..len]
}

impl<F: Float> Drop for Workspace<F> {
    #[inline]
    fn drop(&mut self) {
        let Some(slices) = self.kept.as_deref_mut() else { return };
        let len = |slice: &mut Mutex<Vec<F>>| slice.get_mut().map_or(0, |slice| slice.len());
        let bytes = slices.iter_mut().map(len).sum::<usize>() * size_of::<F>();
        // A panic may come from a fork that left the threads which hold the locks behind.
        if bytes > MOST_KEPT || panicking() {
            *slices = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests;
