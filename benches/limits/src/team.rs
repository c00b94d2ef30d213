//! Threads that are started once, wait in sleep between requests, and spin within one.

use crate::affinity;
use crate::sweep::{Buffer, Sweep, run};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::JoinHandle;

/// The share of one thread.
struct Task {
    sweep: Sweep,
    source: *mut f32,
    target: *mut f32,
    length: usize,
}

// SAFETY: shares are disjoint, and `Team::run` waits for all before the buffers can be used again.
unsafe impl Send for Task {}

struct Shared {
    /// While this holds, a thread that has nothing to do spins; otherwise it sleeps.
    awake: AtomicBool,
    unfinished: AtomicUsize,
}

/// Waits for the next task: in a loop while the team is awake, in sleep otherwise.
///
/// The loop gives way: on a busy machine another thread of the team may need this very processor.
fn next(receiver: &Receiver<Task>, awake: &AtomicBool) -> Option<Task> {
    while awake.load(Ordering::Acquire) {
        match receiver.try_recv() {
            Ok(task) => return Some(task),
            Err(TryRecvError::Empty) => std::thread::yield_now(),
            Err(TryRecvError::Disconnected) => return None,
        }
    }
    receiver.recv().ok()
}

pub struct Team {
    shared: Arc<Shared>,
    others: Vec<(Sender<Task>, JoinHandle<()>)>,
}

impl Team {
    /// The calling thread is one of them.
    pub fn new(threads: usize) -> Self {
        let shared = Shared { awake: AtomicBool::new(false), unfinished: AtomicUsize::new(0) };
        let shared = Arc::new(shared);
        let team = Team {
            others: (1..threads).map(|index| Self::start(&shared, index, threads)).collect(),
            shared,
        };
        // Last: a thread inherits the processors of the one that starts it.
        affinity::pin(0, threads);
        team
    }

    fn start(shared: &Arc<Shared>, index: usize, threads: usize) -> (Sender<Task>, JoinHandle<()>) {
        let (sender, receiver) = channel::<Task>();
        let shared = Arc::clone(shared);
        let body = move || {
            affinity::pin(index, threads);
            while let Some(task) = next(&receiver, &shared.awake) {
                // SAFETY: `Team::run` made this task of a share that is this thread's alone.
                unsafe { run(task.sweep, task.source, task.target, task.length) };
                shared.unfinished.fetch_sub(1, Ordering::AcqRel);
            }
        };
        (sender, std::thread::spawn(body))
    }

    /// Keeps the threads from falling asleep while `work` runs.
    pub fn awake<T>(&self, work: impl FnOnce() -> T) -> T {
        self.shared.awake.store(true, Ordering::Release);
        let result = work();
        self.shared.awake.store(false, Ordering::Release);
        result
    }

    /// One pass over the whole of both arrays.
    pub fn run(&self, sweep: Sweep, source: &mut Buffer, target: &mut Buffer) {
        let threads = self.others.len() + 1;
        self.shared.unfinished.store(self.others.len(), Ordering::Release);
        for (index, (sender, _)) in self.others.iter().enumerate() {
            let (source, length) = source.share(index + 1, threads);
            let (target, _) = target.share(index + 1, threads);
            sender.send(Task { sweep, source, target, length }).expect("the thread is there");
        }
        let (source, length) = source.share(0, threads);
        let (target, _) = target.share(0, threads);
        // SAFETY: both arrays have this length and begin on a page; the other shares are elsewhere.
        unsafe { run(sweep, source, target, length) };
        while self.shared.unfinished.load(Ordering::Acquire) > 0 {
            std::thread::yield_now();
        }
    }

    pub fn dismiss(self) {
        for (sender, thread) in self.others {
            drop(sender);
            thread.join().expect("the thread did not panic");
        }
    }
}
