//! Work in parts: on several threads, to be given up between two of them.

use crate::error::Error;
use std::array::from_fn;
use std::sync::{Mutex, PoisonError};

const PARTS_AT_ONCE: usize = 64;

/// Who works on the parts.
pub trait Executor {
    /// Runs `body(part)` once for each part, in any order and on several threads. Once the work is
    /// given up, nothing.
    fn each(&mut self, parts: usize, part_bytes: usize, body: &(dyn Fn(usize) + Sync));
    /// Before `bytes` are worked on without [`Executor::each`]: is the work not given up?
    fn may_go_on(&mut self, bytes: usize) -> bool;
    /// Why the work was given up, if it was.
    fn stopped(&mut self) -> &mut Option<Error>;

    /// Gives up the work. What is left of it is without meaning.
    fn stop(&mut self, error: Error) {
        self.stopped().get_or_insert(error);
    }

    /// Nothing, or why the work was given up.
    ///
    /// # Errors
    /// That of the first [`Executor::stop`].
    fn outcome(&mut self) -> Result<(), Error> {
        self.stopped().take().map_or(Ok(()), Err)
    }
}

/// The caller's thread, which nothing interrupts.
#[derive(Debug, Default)]
pub struct Serial {
    stopped: Option<Error>,
}

impl Executor for Serial {
    fn each(&mut self, parts: usize, _part_bytes: usize, body: &(dyn Fn(usize) + Sync)) {
        if self.stopped.is_none() {
            (0..parts).for_each(body);
        }
    }

    fn may_go_on(&mut self, _bytes: usize) -> bool {
        self.stopped.is_none()
    }

    fn stopped(&mut self) -> &mut Option<Error> {
        &mut self.stopped
    }
}

/// Runs `body` on each part of `len` elements of `values`, with the number of its first; `bytes` are
/// read for an element.
pub(crate) fn on_parts<T: Send>(
    executor: &mut (impl Executor + ?Sized),
    values: &mut [T],
    len: usize,
    bytes: usize,
    body: impl Fn(usize, &mut [T]) + Sync,
) {
    let part_bytes = len.min(values.len()).saturating_mul(bytes);
    let body = |part: usize, values: &mut [T]| body(part * len, values);
    in_parts(executor, values.chunks_mut(len), part_bytes, body, |()| {});
}

/// Runs `body` on each of the parts, with its number, and `join` on what it returns, in the order of
/// the parts.
pub(crate) fn in_parts<P: Send, R: Send>(
    executor: &mut (impl Executor + ?Sized),
    mut parts: impl ExactSizeIterator<Item = P>,
    part_bytes: usize,
    body: impl Fn(usize, P) -> R + Sync,
    mut join: impl FnMut(R),
) {
    if parts.len() == 1 {
        // Small, and often: nobody is called together for that.
        if let Some(part) = parts.next().filter(|_| executor.may_go_on(part_bytes)) {
            join(body(0, part));
        }
        return;
    }
    let mut first = 0;
    while parts.len() > 0 && executor.stopped().is_none() {
        // On the stack: it takes no memory that may not be had.
        let count = parts.len().min(PARTS_AT_ONCE);
        let bunch: [_; PARTS_AT_ONCE] = from_fn(|_| Mutex::new((parts.next(), None)));
        executor.each(count, part_bytes, &|index| {
            let (part, result) = &mut *lock(&bunch[index]);
            *result = part.take().map(|part| body(first + index, part));
        });
        bunch.iter().filter_map(|part| lock(part).1.take()).for_each(&mut join);
        first += count;
    }
}

/// Each part has one user at a time; after a panic elsewhere, none that matters.
pub(crate) fn lock<T>(part: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    part.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is wrong in the first of the rows in which something is.
#[derive(Default)]
pub(crate) struct FirstError(Mutex<Option<(usize, Error)>>);

impl FirstError {
    pub(crate) fn report(&self, row: usize, error: Error) {
        let mut first = lock(&self.0);
        if first.as_ref().is_none_or(|(other, _)| row < *other) {
            *first = Some((row, error));
        }
    }

    pub(crate) fn outcome(self) -> Result<(), Error> {
        let first = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        first.map_or(Ok(()), |(_, error)| Err(error))
    }
}
