//! The blocks of a call, divided into as many shares as the call has threads.
//!
//! ```text
//! each thread:    the blocks of its own share, then what is left of the shares of the others
//! ```
//!
//! So in successive calls on the same rows, a core mostly works on rows that are in its cache, and need not fetch
//! them from the cache of another core.

use crate::alloc;
use std::iter;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The blocks of a call, each to be claimed once.
pub(super) struct Shares {
    shares: Vec<Share>,
}

/// The next block of a share and its end, on its own cache lines, so that most claims do not touch a line that another
/// thread uses.
#[repr(align(128))]
struct Share {
    next: AtomicUsize,
    end: usize,
}

impl Shares {
    /// Divides the blocks `0..blocks` into shares that differ by one block at most. None if memory runs out.
    pub(super) fn new(blocks: usize, threads: usize) -> Option<Self> {
        let mut shares = alloc::with_capacity(threads).ok()?;
        let (each, rest) = (blocks / threads, blocks % threads);
        let first = |share: usize| share * each + share.min(rest);
        let ends = (0..threads).map(|share| (AtomicUsize::new(first(share)), first(share + 1)));
        shares.extend(ends.map(|(next, end)| Share { next, end }));
        Some(Self { shares })
    }

    /// Claims blocks, beginning with those of the share `own`.
    pub(super) fn claims(&self, own: usize) -> impl Iterator<Item = usize> {
        let count = self.shares.len();
        (0..count).flat_map(move |turn| {
            let Share { next, end } = &self.shares[(own + turn) % count];
            iter::from_fn(|| Some(next.fetch_add(1, Relaxed))).take_while(|block| block < end)
        })
    }

    /// After this, no more blocks can be claimed.
    pub(super) fn close(&self) {
        for share in &self.shares {
            share.next.store(share.end, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_has_its_own_share_first_and_then_the_others() {
        for (blocks, threads, ends) in
            [(10, 3, vec![4, 7, 10]), (9, 3, vec![3, 6, 9]), (2, 3, vec![1, 2, 2]), (0, 1, vec![0])]
        {
            for own in 0..threads {
                let first = if own == 0 { 0 } else { ends[own - 1] };
                let expected: Vec<_> = (first..blocks).chain(0..first).collect();
                let claimed: Vec<_> = Shares::new(blocks, threads).unwrap().claims(own).collect();
                assert_eq!(claimed, expected, "thread {own} of {threads}, {blocks} blocks");
            }
        }
    }

    #[test]
    fn what_one_has_claimed_the_others_have_not() {
        let shares = Shares::new(6, 2).unwrap();
        let mut second = shares.claims(1);
        assert_eq!(second.next(), Some(3));
        assert_eq!(shares.claims(0).take(4).collect::<Vec<_>>(), [0, 1, 2, 4]);
        assert_eq!(second.collect::<Vec<_>>(), [5]);
    }

    #[test]
    fn nothing_is_claimed_once_closed() {
        let shares = Shares::new(6, 2).unwrap();
        let mut own = shares.claims(0);
        assert_eq!(own.next(), Some(0));
        shares.close();
        assert_eq!(own.next(), None);
        assert_eq!(shares.claims(1).next(), None);
    }

    #[test]
    fn without_memory_there_are_none() {
        assert!(Shares::new(usize::MAX, usize::MAX).is_none());
    }
}
