//! Work in parts: on several threads, to be given up between two of them.

use crate::alloc::with_capacity;
use crate::error::Error;
use std::sync::{Mutex, PoisonError};

/// Who works on the parts.
pub trait Crew {
    /// Runs `body(part)` once for each part, in any order and on several threads. Once the work is
    /// given up, nothing.
    fn each(&mut self, parts: usize, part_bytes: usize, body: &(dyn Fn(usize) + Sync));
    /// Why the work was given up, if it was.
    fn stopped(&mut self) -> &mut Option<Error>;

    /// Gives up the work. What is left of it is without meaning.
    fn stop(&mut self, error: Error) {
        self.stopped().get_or_insert(error);
    }

    /// Nothing, or why the work was given up.
    ///
    /// # Errors
    /// That of the first [`Crew::stop`].
    fn outcome(&mut self) -> Result<(), Error> {
        self.stopped().take().map_or(Ok(()), Err)
    }
}

/// The caller's thread, which nothing interrupts.
#[derive(Debug, Default)]
pub struct Alone {
    stopped: Option<Error>,
}

impl Crew for Alone {
    fn each(&mut self, parts: usize, _part_bytes: usize, body: &(dyn Fn(usize) + Sync)) {
        if self.stopped.is_none() {
            (0..parts).for_each(body);
        }
    }

    fn stopped(&mut self) -> &mut Option<Error> {
        &mut self.stopped
    }
}

/// Runs `body` on each part of `len` elements of `values`, with the number of its first; `bytes` are
/// read for an element.
pub(crate) fn on_parts<T: Send>(
    crew: &mut (impl Crew + ?Sized),
    values: &mut [T],
    len: usize,
    bytes: usize,
    body: impl Fn(usize, &mut [T]) + Sync,
) {
    if values.is_empty() {
        return;
    }
    if values.len() <= len {
        // Small, and often: no list of parts.
        let (bytes, values) = (values.len().saturating_mul(bytes), Mutex::new(values));
        return crew.each(1, bytes, &|_| body(0, *lock(&values)));
    }
    let mut parts = match with_capacity(values.len().div_ceil(len)) {
        Ok(parts) => parts,
        Err(error) => return crew.stop(error),
    };
    parts.extend(values.chunks_mut(len).map(Mutex::new));
    crew.each(parts.len(), len.saturating_mul(bytes), &|part| {
        body(part * len, *lock(&parts[part]));
    });
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
