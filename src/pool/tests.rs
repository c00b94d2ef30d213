//! The pool with various numbers of threads, callers and failures.

use std::cell::RefCell;
use std::collections::HashSet;
use std::hint;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Barrier, Mutex};
use std::time::Instant;

use super::*;

mod helpers;

/// Waits for other threads; fails rather than hang.
fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(30), "still not so: {what}");
        thread::yield_now();
    }
}

thread_local! {
    /// How many threads that [`limited`] started for this thread may live at once.
    static ROOM: RefCell<Arc<AtomicUsize>> = RefCell::default();
}

/// Starts a thread, or fails as the system does at a limit on the number of threads.
fn limited(thread: ThreadBuilder) -> io::Result<JoinHandle<()>> {
    let room = ROOM.with_borrow(Arc::clone);
    let take = |room: usize| room.checked_sub(1);
    room.fetch_update(Relaxed, Relaxed, take).map_err(|_| io::ErrorKind::WouldBlock)?;
    Ok(thread::spawn(move || {
        thread.run();
        room.fetch_add(1, Relaxed);
    }))
}

/// Runs a call and checks that it ran each block once. Returns the names of the threads at work.
fn check(pool: &Pool, blocks: usize, threads: usize) -> HashSet<Option<String>> {
    let runs: Vec<_> = (0..blocks).map(|_| AtomicUsize::new(0)).collect();
    let names = Mutex::new(HashSet::new());
    pool.for_each_block(blocks, threads, threads, &|block| {
        runs[block].fetch_add(1, Relaxed);
        names.lock().unwrap().insert(thread::current().name().map(str::to_owned));
    });
    for (block, runs) in runs.iter().enumerate() {
        assert_eq!(runs.load(Relaxed), 1, "block {block} of {blocks}, {threads} threads");
    }
    names.into_inner().unwrap()
}

/// A body that returns when `parties` threads have been in it at once.
fn rendezvous(parties: usize) -> impl Fn(usize) + Sync {
    let present = AtomicUsize::new(0);
    move |_| {
        present.fetch_add(1, Relaxed);
        wait_until("every thread is there", || present.load(Relaxed) >= parties);
    }
}

impl Pool {
    fn for_each_block(
        &self,
        blocks: usize,
        threads: usize,
        width: usize,
        body: &(dyn Fn(usize) + Sync),
    ) {
        self.for_each_block_while(blocks, threads, width, body, &mut || true);
    }
}

fn spawned(pool: &Pool) -> usize {
    pool.segments(pool.process()).map(|segment| segment.helpers.len()).sum()
}

fn helpers(pool: &Pool) -> impl Iterator<Item = &'static Helper> {
    pool.segments(pool.process()).flat_map(|segment| segment.helpers)
}

fn idle(pool: &Pool) -> usize {
    helpers(pool).filter(|helper| helper.is_idle()).count()
}

#[test]
fn each_block_runs_once() {
    let pool = Pool::new(spawn);
    for threads in [1, 2, 3, 8, 2, 1] {
        for blocks in [0, 1, 2, 3, 7, 8, 9, 1000] {
            assert!(check(&pool, blocks, threads).len() <= threads);
        }
    }
}

#[test]
fn one_thread_or_one_block_starts_nothing() {
    let pool = Pool::new(spawn);
    let own = HashSet::from([thread::current().name().map(str::to_owned)]);
    assert_eq!(check(&pool, 100, 1), own);
    assert_eq!(check(&pool, 1, 8), own);
    assert!(check(&pool, 0, 8).is_empty());
    assert!(pool.first.get().is_none());
}

#[test]
fn all_threads_work_at_once() {
    for threads in [2, 3, 8] {
        // Each with a new pool: a helper that was late, on a busy machine, is not offered the next call.
        Pool::new(spawn).for_each_block(threads, threads, threads, &rendezvous(threads));
    }
}

#[test]
fn no_more_threads_than_allowed() {
    let pool = Pool::new(spawn);
    check(&pool, 8, 3);
    check(&pool, 8, 8); // 2 + 5 threads are there now
    for threads in [1, 2, 3, 4, 5] {
        let (present, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        pool.for_each_block(40, threads, 8, &|_| {
            most.fetch_max(present.fetch_add(1, Relaxed) + 1, Relaxed);
            thread::sleep(Duration::from_millis(1));
            present.fetch_sub(1, Relaxed);
        });
        assert!(most.into_inner() <= threads);
    }
}

#[test]
fn grows_by_the_difference() {
    let pool = Pool::new(spawn);
    for (threads, width, expected) in [
        (2, 8, 1),
        (2, 2, 1),
        (3, 8, 3),
        (4, 8, 3),
        (5, 6, 5),
        (2, 6, 5),
        (7, 7, 6),
        (9, 9, 8),
        (20, 1, 8),
    ] {
        pool.for_each_block(100, threads, width, &|_| ());
        assert_eq!(spawned(&pool), expected);
    }
    pool.for_each_block(2, usize::MAX, usize::MAX, &|_| ());
    assert_eq!((spawned(&pool), idle(&pool)), (8, 8));
    assert_eq!(pool.chain().count(), 5);
}

#[test]
fn a_panic_reaches_the_caller() {
    let pool = Pool::new(spawn);
    for threads in [1, 2, 8] {
        for bad in 0..10 {
            let running = AtomicUsize::new(0);
            let caught = catch_unwind(AssertUnwindSafe(|| {
                pool.for_each_block(10, threads, threads, &|block| {
                    running.fetch_add(1, Relaxed);
                    thread::sleep(Duration::from_micros(10));
                    running.fetch_sub(1, Relaxed);
                    assert!(block != bad, "block {block}");
                });
            }));
            let message = *caught.unwrap_err().downcast::<String>().unwrap();
            assert_eq!(message, format!("block {bad}"));
            assert_eq!(running.load(Relaxed), 0, "returned before a thread was done");
            check(&pool, 100, threads);
        }
    }
    assert_eq!(idle(&pool), 7);
}

#[test]
fn many_callers() {
    let pool = Pool::new(spawn);
    let barrier = Barrier::new(8);
    thread::scope(|scope| {
        for caller in 0..8 {
            let (pool, barrier) = (&pool, &barrier);
            scope.spawn(move || {
                barrier.wait();
                for call in 0..200 {
                    check(pool, (caller + call) % 17, 1 + call % 4);
                }
            });
        }
    });
    assert!(spawned(&pool) <= 3);
    assert_eq!(idle(&pool), spawned(&pool));
}

#[test]
fn nothing_is_begun_once_given_up() {
    const BLOCKS: usize = 4000;
    let pool = Pool::new(spawn);
    for threads in [1, 2, 3] {
        let (caller, asked) = (thread::current().id(), AtomicUsize::new(0));
        let given_up = AtomicBool::new(false);
        let [own, helped, late] = [const { AtomicUsize::new(0) }; 3];
        let body = |_| {
            if thread::current().id() == caller {
                own.fetch_add(1, Relaxed);
                wait_until("a helper is there", || threads == 1 || helped.load(Relaxed) > 0);
            } else {
                helped.fetch_add(1, Relaxed);
                late.fetch_add(usize::from(given_up.load(Relaxed)), Relaxed);
                thread::sleep(Duration::from_millis(1));
            }
        };
        let mut may_go_on = || {
            assert_eq!(thread::current().id(), caller);
            given_up.store(asked.fetch_add(1, Relaxed) == 2, Relaxed);
            !given_up.load(Relaxed)
        };
        helpers(&pool).for_each(|helper| helper.set_misses(0)); // even if they were late
        pool.for_each_block_while(BLOCKS, threads, threads, &body, &mut may_go_on);
        assert_eq!((asked.into_inner(), own.into_inner()), (3, 2), "{threads} threads");
        // Those that helpers claimed while the caller gave up.
        assert!(late.into_inner() < BLOCKS / 2, "{threads} threads");
        assert_eq!(idle(&pool), threads - 1);
    }
}

#[test]
fn calls_may_nest() {
    let pool = Pool::new(spawn);
    let runs = AtomicUsize::new(0);
    for _ in 0..20 {
        pool.for_each_block(4, 3, 3, &|_| {
            pool.for_each_block(4, 4, 4, &|_| {
                pool.for_each_block(4, 3, 3, &|_| {
                    runs.fetch_add(1, Relaxed);
                });
            });
        });
    }
    assert_eq!(runs.into_inner(), 20 * 4 * 4 * 4);
    assert_eq!((spawned(&pool), idle(&pool)), (3, 3));
}

#[test]
fn a_call_does_not_wait_for_busy_helpers() {
    let pool = Pool::new(spawn);
    let busy = AtomicUsize::new(0);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            pool.for_each_block(2, 2, 2, &|_| {
                busy.fetch_add(1, Relaxed);
                wait_until("the short call is done", || done.load(Relaxed));
            });
        });
        wait_until("the only helper is in the long call", || busy.load(Relaxed) == 2);
        let names = check(&pool, 10, 2);
        done.store(true, Relaxed);
        assert_eq!(names.len(), 1);
    });
}

#[test]
fn threads_that_cannot_be_started_are_done_without() {
    for asked in [1, 2, 3, 7, 8] {
        for room in 0..=asked {
            ROOM.set(Arc::new(AtomicUsize::new(room)));
            let pool = Pool::new(limited);
            for _ in 0..3 {
                check(&pool, 100, asked + 1);
            }
            let mut expected = asked;
            while expected > room {
                expected /= 2;
            }
            assert_eq!(spawned(&pool), expected, "asked {asked}, room {room}");
            let warning = pool.take_spawn_warning();
            assert_eq!(warning, pool.degraded(pool.process()));
            assert_eq!(warning.is_some(), room < asked);
            if let Some(warning) = warning {
                let begin = format!("only {expected} of {asked} threads could be started: ");
                assert!(warning.starts_with(&begin), "{warning}");
            }
            assert_eq!(pool.take_spawn_warning(), None, "it warns once");
            assert_eq!(pool.chain().count(), 1, "it does not try again");
        }
    }
}

#[test]
fn a_call_may_ask_for_any_number_of_threads() {
    ROOM.take();
    let pool = Pool::new(limited);
    pool.start(pool.process(), usize::MAX, usize::MAX);
    assert_eq!(pool.asked(pool.process()), MAX_THREADS - 1);
}

#[test]
fn a_child_starts_its_own_threads() {
    ROOM.set(Arc::new(AtomicUsize::new(2)));
    let mut pool = Pool::new(limited);
    check(&pool, 10, 6); // two of five threads, of which the child does not warn
    pool.spawn = spawn;
    let parent = pool.process();
    pool.growing.store(parent, Relaxed); // as if another thread had been growing it during the fork
    pool.forks.fetch_add(1, Relaxed);
    assert_eq!((spawned(&pool), pool.take_spawn_warning()), (0, None));
    pool.for_each_block(3, 3, 3, &rendezvous(3));
    assert_eq!(spawned(&pool), 2);
    assert_eq!(pool.segments(parent).map(|segment| segment.helpers.len()).sum::<usize>(), 2);
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[test]
fn blocks_find_the_default_fp_environment() {
    use crate::simd::fpenv::tests::under_flush_to_zero;

    let pool = Pool::new(spawn);
    let meet = rendezvous(2);
    let body = |block| {
        assert!(hint::black_box(f32::MIN_POSITIVE) / 2.0 > 0.0, "denormals are flushed");
        meet(block);
    };
    // The helper is started under the caller's environment and keeps it for the second call.
    under_flush_to_zero(|| pool.for_each_block(2, 2, 2, &body));
    pool.for_each_block(2, 2, 2, &body);
    under_flush_to_zero(|| pool.for_each_block(2, 1, 2, &body));
}

#[test]
fn the_public_pool() {
    init();
    set_num_threads(3);
    assert_eq!(num_threads(), 3);
    let runs = AtomicUsize::new(0);
    let count = |_| {
        runs.fetch_add(1, Relaxed);
    };
    POOL.for_each_block(100, 3, 3, &count);
    assert_eq!(runs.into_inner(), 100);
    assert_eq!(width(), (3, "set_num_threads"));
    let state = describe();
    assert_eq!(state.spawned, 2);
    assert_eq!((state.degraded, take_spawn_warning()), (None, None));
}
