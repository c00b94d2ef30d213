//! A helper thread, and the atomic word through which calls are offered to it.
//!
//! ```text
//! caller:    offer the call; work; withdraw the offers; wait for the helpers that are inside
//! helper:    poll for an offer, asleep after a while; enter; work; leave
//!
//!            idle ──────── offer ───────> offered ── enter ──> inside
//!             ^ ^───────── withdraw ─────────┘                   │
//!             └──────────────────────── leave ───────────────────┘
//! ```
//!
//! A call does not wait for a helper that has not begun when the others are done: this helper finds the
//! offer withdrawn. But it must wait for a helper that has begun and is then preempted by another program,
//! for a time slice of milliseconds. So a helper for which calls had to wait is offered only calls that take
//! long, and now and then another call. So is a helper that came too late because it was asleep, but only until
//! it is awake: then it is there at once for the next call.
//!
//! Waking a thread takes longer than many calls. Softmax of 256 x 1000 float32 on two cores, repeated,
//! takes 79 µs, but 128 µs if helpers go to sleep at once. A polling thread yields its processor to any
//! other thread that wants it.
//!
//! This file contains `unsafe`: a helper outlives the calls it works for, so it cannot borrow them. Why this
//! is sound: a word holds the address of a call only from `offer` to `withdraw`, or to the end of the
//! helper's work, and [`share`] returns or unwinds only when no word holds this address any more. A helper
//! that comes later accesses nothing but its own word, which is never freed.

use super::lock;
use std::any::Any;
use std::hint;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How long a thread polls before it sleeps: about the time that it takes to wake a thread. So polling in vain loses
/// no more than waking would.
pub(super) const LIMIT: Duration = Duration::from_micros(100);

/// A call that has taken so long is offered to every helper: the time that it may lose to a late helper is small in
/// comparison.
const LASTING: Duration = Duration::from_micros(500);

/// A helper that was of no use for n > 1 calls in a row, and is asleep or was late, is offered one call in 2^n at its
/// beginning. This is the largest n.
const MOST_MISSES: u32 = 3;

/// Polls before a thread yields its processor: about a microsecond.
const POLLS: usize = 32;

/// Polls until `is_so` returns true or `limit` is over; returns whether it is so.
fn poll(limit: Duration, is_so: impl Fn() -> bool) -> bool {
    let start = Instant::now();
    loop {
        for _ in 0..POLLS {
            if is_so() {
                return true;
            }
            hint::spin_loop();
        }
        if start.elapsed() >= limit {
            return false;
        }
        thread::yield_now();
    }
}

/// The work of a call.
pub(super) struct Call<'c> {
    /// Does the work of the helper with this number.
    task: &'c (dyn Fn(usize) + Sync),
    /// The first panic of a helper.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

/// The state of a helper: one of the two constants, or the address of a [`Call`], a multiple of 4, plus marks.
type Word = *mut Call<'static>;
const AWAKE: Word = ptr::null_mut();
const ASLEEP: Word = ptr::without_provenance_mut(1);
const _: () = assert!(align_of::<Call<'static>>() >= 4);

/// Mark: the helper works for this call.
const INSIDE: usize = 1;
/// Mark: the caller sleeps until the helper has left.
const AWAITED: usize = 2;

fn marked(call: Word, mark: usize) -> Word {
    call.map_addr(|address| address | mark)
}

fn is_idle(word: Word) -> bool {
    word == AWAKE || word == ASLEEP
}

/// A helper, on its own cache lines; [`AWAKE`] at first.
#[derive(Default)]
#[repr(align(128))]
pub(super) struct Helper {
    number: usize,
    word: AtomicPtr<Call<'static>>,
    /// The number of successive calls for which it was of no use; calls that had to wait for it count twice. A single
    /// miss may be because it was asleep.
    misses: AtomicU32,
    /// Did one of these calls have to wait for it?
    was_late: AtomicBool,
    /// The number of calls that came while it had more than one miss, and was late or asleep.
    calls_after: AtomicU32,
    /// For the thread that sleeps until the word changes: the helper, or the caller that waits for it.
    lock: Mutex<()>,
    changed: Condvar,
}

impl Helper {
    pub(super) fn new(number: usize) -> Self {
        Self { number, ..Self::default() }
    }

    /// Works for the calls that are offered, forever. It polls for the time `awake` after each call, then sleeps.
    pub(super) fn serve(&self, awake: Duration) -> ! {
        loop {
            poll(awake, || !is_idle(self.word.load(Relaxed)));
            if self.word.compare_exchange(AWAKE, ASLEEP, Relaxed, Relaxed).is_ok() {
                self.sleep_while(ASLEEP);
            }
            let offered = self.word.load(Relaxed);
            if is_idle(offered) {
                continue; // withdrawn
            }
            let inside = marked(offered, INSIDE);
            if let Ok(call) = self.word.compare_exchange(offered, inside, Acquire, Relaxed) {
                // SAFETY: the call was offered at this moment, so it is one that `share` has
                // borrowed, and `share` ends only when the word is no longer that of the call
                // inside, which is after the last use of this reference.
                let Call { task, panic } = unsafe { &*call };
                if let Err(payload) = catch_unwind(AssertUnwindSafe(|| task(self.number))) {
                    lock(panic).get_or_insert(payload);
                }
                if self.word.swap(AWAKE, Release).addr() & AWAITED == 0 {
                    self.set_misses(0);
                } else {
                    self.notify();
                }
            }
        }
    }

    /// Is no call offered to this helper, and does it work for none?
    pub(super) fn is_idle(&self) -> bool {
        is_idle(self.word.load(Relaxed))
    }

    #[cfg(test)]
    pub(super) fn is_asleep(&self) -> bool {
        self.word.load(Relaxed) == ASLEEP
    }

    /// Offers the call to the helper, unless it has another call.
    fn offer(&self, call: Word) -> bool {
        let before = self.word.fetch_update(Release, Relaxed, |word| is_idle(word).then_some(call));
        if before == Ok(ASLEEP) {
            self.notify();
        }
        before.is_ok()
    }

    /// Withdraws the offer, if there is one and the helper has not begun.
    fn withdraw(&self, call: Word) {
        // Mostly the helper has begun, or is done: after a load, its cache line is not written.
        if self.word.load(Relaxed) == call
            && self.word.compare_exchange(call, AWAKE, Relaxed, Relaxed).is_ok()
        {
            self.set_misses(self.misses.load(Relaxed) + 1);
        }
    }

    /// Should a call be offered to this helper at the beginning of the call?
    pub(super) fn is_of_use(&self) -> bool {
        let misses = self.misses.load(Relaxed);
        if misses <= 1 || !self.was_late.load(Relaxed) && self.word.load(Relaxed) == AWAKE {
            return true;
        }
        self.calls_after.fetch_add(1, Relaxed).wrapping_add(1).is_multiple_of(1 << misses)
    }

    pub(super) fn set_misses(&self, misses: u32) {
        let misses = misses.min(MOST_MISSES);
        if self.misses.load(Relaxed) != misses {
            self.misses.store(misses, Relaxed); // otherwise its cache line is not written
            if misses == 0 {
                self.was_late.store(false, Relaxed);
            }
        }
    }

    /// Only the caller may ask, before it sleeps until the helper has left.
    fn is_inside(&self, call: Word) -> bool {
        // Acquire: once the helper has left, all that it has written is visible.
        self.word.load(Acquire) == marked(call, INSIDE)
    }

    /// Waits until the helper has left the call. `worked` is the time for which the caller has worked on it. Returns
    /// false if the helper will never leave.
    fn wait(&self, call: Word, worked: Duration, is_lost: impl Fn() -> bool) -> bool {
        if !self.is_inside(call) || poll(LIMIT, || !self.is_inside(call)) {
            return true;
        }
        if is_lost() {
            return false;
        }
        let start = Instant::now();
        let awaited = marked(call, INSIDE | AWAITED);
        if self.word.compare_exchange(marked(call, INSIDE), awaited, AcqRel, Acquire).is_ok() {
            self.sleep_while(awaited);
        }
        // If the wait took longer than the caller's work, the caller alone would have been done sooner.
        if start.elapsed() <= worked {
            self.set_misses(0);
        } else {
            self.was_late.store(true, Relaxed);
            self.set_misses(self.misses.load(Relaxed) + 2);
        }
        true
    }

    fn sleep_while(&self, word: Word) {
        let mut guard = lock(&self.lock);
        while self.word.load(Acquire) == word {
            guard = self.changed.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn notify(&self) {
        drop(lock(&self.lock)); // a thread that saw the word before its change is waiting after this
        self.changed.notify_all();
    }
}

/// The payload of the panic when a call lost its helpers: this process was forked during the call, without them.
#[derive(Debug)]
pub struct Forked;

/// A call and the helpers to which it may be offered.
pub(super) struct Offers<H> {
    helpers: H,
    /// The number of additional helpers that the call can use.
    wanted: usize,
    call: Word,
    start: Instant,
}

impl<H: Iterator<Item = &'static Helper> + Clone> Offers<H> {
    fn offer(&mut self, is_for: impl Fn(&Helper) -> bool) {
        for helper in self.helpers.clone() {
            if self.wanted == 0 {
                break;
            }
            let is_taken = helper.is_idle() && is_for(helper) && helper.offer(self.call);
            self.wanted -= usize::from(is_taken);
        }
    }

    /// To be called between blocks: offers a call that takes long to more helpers.
    pub(super) fn renew(&mut self) {
        if self.wanted > 0 && self.start.elapsed() > LASTING {
            self.offer(|_| true);
            self.wanted = 0;
        }
    }

    /// To be called in a forked child: unwinds with [`Forked`] if the call has lost helpers.
    pub(super) fn miss_nobody(&self) {
        if self.helpers.clone().any(|helper| helper.is_inside(self.call)) {
            resume_unwind(Box::new(Forked));
        }
    }
}

/// Runs `own_task` on the caller, and meanwhile `task`, with the number of the helper, on at most `count` idle
/// `helpers`. Returns when none of them works on it any more. Then a panic of either continues in the caller, or
/// [`Forked`] if a helper was lost.
pub(super) fn share<H: Iterator<Item = &'static Helper> + Clone>(
    helpers: H,
    count: usize,
    is_forked: impl Fn() -> bool,
    task: &(dyn Fn(usize) + Sync),
    own_task: impl FnOnce(&mut Offers<H>),
) {
    let call = Call { task, panic: Mutex::new(None) };
    let word = ptr::from_ref(&call).cast::<Call<'static>>().cast_mut();
    let start = Instant::now();
    let mut offers = Offers { helpers: helpers.clone(), wanted: count, call: word, start };
    // Nothing unwinds out of here before the helpers have left.
    let own = catch_unwind(AssertUnwindSafe(|| {
        offers.offer(Helper::is_of_use);
        own_task(&mut offers);
    }));
    let worked = offers.start.elapsed();
    helpers.clone().for_each(|helper| helper.withdraw(word));
    let are_lost = helpers.filter(|helper| !helper.wait(word, worked, &is_forked)).count() > 0;
    if let Err(payload) = own {
        resume_unwind(payload);
    }
    if are_lost {
        resume_unwind(Box::new(Forked));
    }
    if let Some(payload) = call.panic.into_inner().unwrap_or_else(PoisonError::into_inner) {
        resume_unwind(payload);
    }
}
