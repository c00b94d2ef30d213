//! Which thread uses which memory, where it begins, and when it is kept.

use super::{LINE, MOST_KEPT, Workspace};
use crate::pool::lock;
use crate::simd::Float;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard};

/// The tests share the memory that is kept, so they run one at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    lock(&ALONE)
}

fn empty<F: Float>() {
    for kept in F::kept() {
        lock(kept).clear();
    }
}

fn workspace<F: Float>(threads: usize, len: usize) -> Workspace<F> {
    let mut workspace = Workspace::new(len);
    workspace.reserve(threads).expect("memory");
    workspace
}

/// The slices that `threads` threads use at the same time.
fn slices<F: Float>(workspace: &Workspace<F>, threads: usize) -> Vec<(usize, usize)> {
    if threads == 0 {
        return Vec::new();
    }
    workspace.with(|slice| {
        let own = (slice.as_ptr().addr(), slice.len());
        [vec![own], slices(workspace, threads - 1)].concat()
    })
}

fn check_slices<F: Float>() {
    for threads in [1, 2, 5] {
        for len in [0, 1, 15, 16, 17, 1000] {
            let mut found = slices(&workspace::<F>(threads, len), threads);
            found.sort_unstable();
            assert_eq!(found.len(), threads);
            for (i, (start, slice_len)) in found.iter().enumerate() {
                assert_eq!((*slice_len, start % LINE), (len, 0), "{len} for {threads}");
                let end = start + len * size_of::<F>();
                let next = found.get(i + 1).map_or(usize::MAX, |next| next.0);
                assert!(end <= next && (len == 0 || *start < next), "two threads in one place");
            }
        }
    }
}

#[test]
fn each_thread_has_lines_of_its_own() {
    let _alone = alone();
    check_slices::<f32>();
    check_slices::<f64>();
}

fn check_reuse<F: Float>() {
    empty::<F>();
    let seven = F::from_f64(7.0);
    let place = |threads, len| {
        workspace::<F>(threads, len).with(|slice| {
            let was_left_over = slice[0] == seven;
            slice.fill(seven);
            (slice.as_ptr().addr(), was_left_over)
        })
    };
    let first = place(2, 1000);
    assert!(!first.1, "new memory is zeros");
    // The same memory for as many elements or fewer, and for more or fewer threads.
    for (threads, len) in [(2, 1000), (2, 10), (1, 1000), (3, 1000)] {
        assert_eq!(place(threads, len), (first.0, true), "{len} for {threads}");
    }
    assert!(!place(1, 2000).1, "more than there was");
}

#[test]
fn the_next_call_has_the_same_memory() {
    let _alone = alone();
    check_reuse::<f32>();
    check_reuse::<f64>();
}

#[test]
fn a_call_on_one_thread_keeps_the_memory_of_the_others() {
    let _alone = alone();
    empty::<f32>();
    drop(workspace::<f32>(3, 100));
    drop(workspace::<f32>(1, 100));
    assert_eq!(lock(&f32::kept()[0]).len(), 3);
}

#[test]
fn large_memory_is_not_kept() {
    let _alone = alone();
    empty::<f32>();
    let most = MOST_KEPT / size_of::<f32>();
    for (len, is_kept) in [(most / 2 - LINE, true), (most / 2 + 1, false)] {
        empty::<f32>();
        drop(workspace::<f32>(2, len));
        assert_eq!(!lock(&f32::kept()[0]).is_empty(), is_kept, "{len}");
    }
}

/// As after a fork while another thread held a lock: no call waits for it, and memory is still kept if the other lock
/// is free.
#[test]
fn a_lock_that_is_never_released() {
    let _alone = alone();
    empty::<f64>();
    let [first, second] = f64::kept();
    let first = lock(first);
    let place = || slices(&workspace::<f64>(2, 100), 2);
    assert_eq!(place(), place());
    assert!(!lock(second).is_empty());
    let second = lock(second);
    assert_eq!(place().len(), 2);
    drop((first, second));
}

/// As after a fork, where the threads that held the slices do not exist: those slices are lost, and the memory of a
/// call that ends with a panic is not kept.
#[test]
fn a_panic_keeps_nothing() {
    let _alone = alone();
    empty::<f32>();
    let call = || {
        let workspace = workspace::<f32>(1, 100);
        workspace.with(|_| panic!("in a block"));
    };
    assert!(catch_unwind(call).is_err());
    assert!(lock(&f32::kept()[0]).is_empty());
    // A call that goes on after a panic can use its slice again, and so can the next call.
    let other = workspace::<f32>(1, 100);
    let block = AssertUnwindSafe(|| other.with(|_| panic!("in a block")));
    assert!(catch_unwind(block).is_err());
    let place = slices(&other, 1);
    drop(other);
    assert_eq!(slices(&workspace::<f32>(1, 100), 1), place);
    empty::<f32>();
}
