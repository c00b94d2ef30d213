//! Blocks of rows on several threads, in a pool that belongs to this process alone.
//!
//! ```text
//! on the caller and on each helper:    while there is a block: claim it; body(block)
//! ```
//!
//! Before each of its blocks the caller checks whether to go on. If not, no more blocks are claimed.
//!
//! 1. **No thread is started before it is needed.** The first call that needs two threads starts them. With
//!    one thread or one block, a call is a plain loop.
//! 2. **Safe to fork.** A child has none of its parent's threads, and a lock that one of them held stays
//!    locked forever. So a `Segment` serves only the process that started it, segments are appended by
//!    compare-and-swap, no state here is behind a lock, and nothing is ever dropped: dropping an inherited
//!    pool would wait for threads that do not exist.
//! 3. **Grows by what is missing.** A call that needs more threads than there are appends a segment with the
//!    missing threads. The total is rounded up to a power of two, so that there are few segments, but not
//!    beyond [`num_threads`].
//! 4. **A call never waits for a helper that has not begun.** A call is offered to idle threads, and the
//!    caller does whatever they do not do. It does not wait for the helpers of another call, nor for a helper
//!    that finds no free processor. Nested calls do not wait for each other. See helper.rs.
//! 5. **A thread that cannot be started is not an error.** There is one warning: see `Segment::start`.
//! 6. **Each thread has its own blocks**, the same in every call, and then takes those of others: see shares.rs.
//!    Which thread runs which block is still a matter of timing, so no result may depend on it.
//! 7. **Helpers stay awake** for a moment, in case another call follows: see helper.rs.
//!
//! rayon's pool starts and names the threads, and makes sure that either all or none of them are started. They
//! run a single rayon job that never ends. The queues of rayon are not used: they would allocate a box for each
//! helper of each call, and rayon's scopes wait for jobs that no thread has begun.

#[allow(unsafe_code, reason = "a home of unsafe: a call lent to threads that outlive it")]
mod helper;
mod shares;
#[cfg(test)]
mod tests;
mod width;

use std::io;
use std::iter;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Barrier, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use memmap2::MmapMut;
use once_cell::race::OnceBox;
use rayon_core::{ThreadBuilder, ThreadPool, ThreadPoolBuilder};

use crate::simd::fpenv::with_default_fp_env;
pub use helper::Forked;
use helper::{Helper, LIMIT, share};
use shares::Shares;
pub use width::{current as width, num_threads, set_num_threads};

/// The largest number of threads of a call, including the caller.
const MAX_THREADS: usize = 1024;

/// The stack of a thread. Kernels use less than 64 KiB, but the default of some C libraries is only 128 KiB.
const STACK_BYTES: usize = 1 << 20;

/// Memory that must be free before a thread is started: its stack, and far more than its first allocations.
const ROOM_BYTES: usize = STACK_BYTES + (4 << 20);

pub(crate) static POOL: Pool = Pool::new(spawn);

/// Initializes what must not be initialized while another thread forks: reads the environment, and sets up the
/// memory reclamation of the work queues. If a child were forked during the latter, its once-cell would make the
/// child hang. Starts no thread.
///
/// To be called while the module is imported. Otherwise both happen at the first use.
pub fn init() {
    width::Initial::get();
    crossbeam_epoch::default_collector();
}

/// To be called in the child after a fork, so that it is not mistaken for an ancestor that had the same process id.
/// After forks that do not call it (from C), only the process id tells the two apart.
pub fn after_fork_in_child() {
    POOL.forks.fetch_add(1, Relaxed);
}

/// Starts the threads that a call on `threads` threads needs. Returns false if there is a warning to be taken by
/// [`take_spawn_warning`].
pub fn start(threads: usize) -> bool {
    POOL.start(POOL.process(), threads, num_threads().max(threads));
    !POOL.unreported.load(Relaxed)
}

/// Locks a mutex even if it is poisoned: after a panic nobody uses the contents that may be incomplete.
pub fn lock<T>(part: &Mutex<T>) -> MutexGuard<'_, T> {
    part.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The same, without waiting: None if another thread holds the lock.
pub(crate) fn try_lock<T>(part: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    match part.try_lock() {
        Ok(part) => Some(part),
        Err(TryLockError::Poisoned(part)) => Some(part.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

/// What `show_config` shows about threads.
#[derive(Debug)]
pub struct PoolState {
    /// One sentence for each environment variable that was ignored.
    pub ignored: &'static [String],
    /// The number of threads that this process has started, not counting callers.
    pub spawned: usize,
    /// Why there are fewer threads than were requested.
    pub degraded: Option<String>,
}

/// The state of the pool in this process.
#[must_use]
pub fn describe() -> PoolState {
    let process = POOL.process();
    PoolState {
        ignored: &width::Initial::get().ignored,
        spawned: POOL.segments(process).map(|segment| segment.helpers.len()).sum(),
        degraded: POOL.degraded(process),
    }
}

/// Returns a message if threads could not be started; only once, to the first caller after it happened.
#[inline]
pub fn take_spawn_warning() -> Option<String> {
    POOL.take_spawn_warning()
}

/// Identifies a process: the number of forks since the process that loaded this library, and the process id.
type Process = u64;

type Spawn = fn(ThreadBuilder) -> io::Result<JoinHandle<()>>;

pub(crate) struct Pool {
    spawn: Spawn,
    /// For how long helpers stay awake after a call.
    awake: Duration,
    /// The number of known forks since the process that loaded the library.
    forks: AtomicU64,
    first: OnceBox<Segment>,
    /// The process in which a thread is appending a segment, or 0. A value that a child inherits names another
    /// process, and so does not block the child.
    growing: AtomicU64,
    unreported: AtomicBool,
}

/// Threads that were started together.
struct Segment {
    process: Process,
    asked: usize,
    /// The helpers, which live as long as the process, as their threads do.
    helpers: &'static [Helper],
    failure: Option<String>,
    next: OnceBox<Segment>,
}

impl Pool {
    const fn new(spawn: Spawn) -> Self {
        Self {
            spawn,
            awake: LIMIT,
            forks: AtomicU64::new(0),
            first: OnceBox::new(),
            growing: AtomicU64::new(0),
            unreported: AtomicBool::new(false),
        }
    }

    /// Runs `body(block)` once for each block in `0..blocks`, on at most `threads` threads including the caller. The
    /// caller calls `may_go_on` before each of its own blocks; once that returns false, no more blocks are begun.
    ///
    /// `body` runs in the default floating-point environment, and may call this function. If it panics, the panic
    /// continues in the caller when all threads are done; the pool stays usable.
    ///
    /// # Panics
    /// With [`Forked`], and no message, if `may_go_on` returns in a forked child and a helper was working on the call at
    /// the time of the fork: the block of that helper would never be finished.
    pub(crate) fn for_each_block_while(
        &self,
        blocks: usize,
        threads: usize,
        width: usize,
        body: &(dyn Fn(usize) + Sync),
        may_go_on: &mut dyn FnMut() -> bool,
    ) {
        if threads <= 1 || blocks <= 1 {
            let blocks = (0..blocks).take_while(|_| may_go_on());
            return with_default_fp_env(|| blocks.for_each(body));
        }
        let process = self.process();
        let threads = threads.min(blocks).min(MAX_THREADS);
        let Some(shares) = Shares::new(blocks, threads) else {
            return self.for_each_block_while(blocks, 1, width, body, may_go_on);
        };
        let task = |helper: usize| {
            let own = 1 + helper % (threads - 1);
            with_default_fp_env(|| shares.claims(own).for_each(body));
        };
        self.start(process, threads, width);
        let helpers = self.segments(process).flat_map(|segment| segment.helpers);
        share(
            helpers,
            threads - 1,
            || self.process() != process,
            &task,
            |offers| {
                let own_blocks = shares.claims(0).take_while(|_| {
                    let may_go_on = may_go_on();
                    if self.forks.load(Relaxed) == process >> 32 {
                        offers.renew();
                    } else {
                        offers.miss_nobody();
                    }
                    may_go_on
                });
                with_default_fp_env(|| own_blocks.for_each(body));
                shares.close(); // they are all claimed, or given up
            },
        );
    }

    fn process(&self) -> Process {
        self.forks.load(Relaxed) << 32 | Process::from(std::process::id())
    }

    /// The segments of every process from the first ancestor to this one.
    fn chain(&self) -> impl Iterator<Item = &Segment> + Clone {
        iter::successors(self.first.get(), |segment| segment.next.get())
    }

    fn segments(&self, process: Process) -> impl Iterator<Item = &Segment> + Clone {
        self.chain().filter(move |segment| segment.process == process)
    }

    fn asked(&self, process: Process) -> usize {
        self.segments(process).map(|segment| segment.asked).sum()
    }

    /// Raises the number of requested threads to what a call on `threads` threads needs. If another thread is doing so
    /// at this moment, the call uses the threads that exist: waiting would need a lock.
    fn start(&self, process: Process, threads: usize, width: usize) {
        let helpers = threads.min(MAX_THREADS).next_power_of_two().min(width) - 1;
        if self.asked(process) >= helpers || self.growing.swap(process, Acquire) == process {
            return;
        }
        let before = self.asked(process); // again: it may have grown since
        if before < helpers {
            let segment = Segment::start(process, before, helpers - before, self.awake, self.spawn);
            let failed = segment.failure.is_some();
            let end = self.chain().last().map_or(&self.first, |last| &last.next);
            let appended = end.set(Box::new(segment));
            debug_assert!(appended.is_ok(), "`growing` lets one thread append at a time");
            self.unreported.fetch_or(failed, Release);
        }
        self.growing.store(0, Release);
    }

    #[cold]
    fn degraded(&self, process: Process) -> Option<String> {
        let failure = self.segments(process).find_map(|segment| segment.failure.as_deref())?;
        let spawned: usize = self.segments(process).map(|segment| segment.helpers.len()).sum();
        let asked = self.asked(process);
        Some(format!("only {spawned} of {asked} threads could be started: {failure}"))
    }

    #[inline]
    fn take_spawn_warning(&self) -> Option<String> {
        // The load spares the usual call a write.
        let unreported = self.unreported.load(Relaxed) && self.unreported.swap(false, Acquire);
        if unreported { self.degraded(self.process()) } else { None }
    }
}

impl Segment {
    /// Starts `asked` threads, which serve calls forever; if that fails, half as many, and so on down to none. It does
    /// not start as many as possible, since the rest of the program needs threads too. The numbers of the helpers begin
    /// with `before`.
    fn start(process: Process, before: usize, asked: usize, awake: Duration, spawn: Spawn) -> Self {
        let mut count = asked;
        let mut helpers: &[Helper] = &[];
        let mut failure = None;
        while count > 0 && helpers.is_empty() {
            match start_threads(before, count, spawn) {
                Ok(threads) => {
                    helpers = Box::leak((before..before + count).map(Helper::new).collect());
                    threads.spawn_broadcast(move |thread| helpers[thread.index()].serve(awake));
                }
                Err(error) => {
                    failure.get_or_insert(error);
                    count /= 2;
                }
            }
        }
        Self { process, asked, helpers, failure, next: OnceBox::new() }
    }
}

/// Starts `count` threads or none. On failure, the threads that were started have ended before it returns, so that they
/// do not count against the next attempt.
fn start_threads(before: usize, count: usize, spawn: Spawn) -> Result<ThreadPool, String> {
    let mut started = Vec::new();
    ThreadPoolBuilder::new()
        .num_threads(count)
        .thread_name(move |k| format!("smoothxent-{}", before + k + 1))
        .spawn_handler(|thread| {
            started.push(spawn(thread)?);
            Ok(())
        })
        .build()
        .map_err(|error| {
            for thread in started {
                let _ = thread.join(); // it has no result
            }
            error.to_string()
        })
}

/// Starts a thread, and waits until it has made its first allocations: the C library ends the process if these fail.
/// So there must be memory for them, and no other new thread may take it meanwhile.
fn spawn(thread: ThreadBuilder) -> io::Result<JoinHandle<()>> {
    // Mapped by the system: free memory of the heap says nothing about room for a stack.
    drop(MmapMut::map_anon(ROOM_BYTES)?);
    let name = thread.name().unwrap_or_default().to_owned();
    let is_up = Arc::new(Barrier::new(2));
    let tell = Arc::clone(&is_up);
    let started = thread::Builder::new().name(name).stack_size(STACK_BYTES).spawn(move || {
        drop(crossbeam_epoch::pin());
        tell.wait();
        thread.run();
    })?;
    is_up.wait();
    Ok(started)
}
