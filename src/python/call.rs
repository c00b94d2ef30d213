//! Running the core from Python: outputs, aliasing, the interpreter lock, interrupts, panics.
//!
//! An output that lies exactly where the logits do is written in place; one
//! that overlaps an input in any other way is computed elsewhere and copied
//! at the end, so the result is as if there were no overlap.

use super::arrays::Array;
use super::errors::{internal, raise};
use super::numpy::copyto;
use crate::batch::Run;
use crate::error::Error;
use crate::pool;
use crate::simd::Level;
use crate::simd::memory::Storage;
use pyo3::exceptions::PyRuntimeWarning;
use pyo3::prelude::*;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// An array that the core writes, and where its numbers must end up.
pub(super) struct Output<'py> {
    pub(super) array: Array,
    computed: Bound<'py, PyAny>,
    /// The caller's array, where it is not `computed` itself.
    wanted: Option<Bound<'py, PyAny>>,
}

impl<'py> Output<'py> {
    /// A new array of `shape`, or the caller's `out` if it is given and can be written directly.
    pub(super) fn new(
        out: &Bound<'py, PyAny>,
        name: &str,
        shape: &[usize],
        storage: Storage,
        inputs: &Inputs<'_>,
    ) -> PyResult<Self> {
        let py = out.py();
        if out.is_none() {
            let (computed, array) = Array::empty(py, shape, storage)?;
            return Ok(Self { array, computed, wanted: None });
        }
        let array = Array::output(out, name, shape, storage)?;
        // A result is rounded to its own type first, also on its way to a wider array.
        let direct = !inputs.forbid(&array) && (array.storage() == storage || inputs.compute == storage);
        if direct {
            return Ok(Self { array, computed: out.clone(), wanted: None });
        }
        let (computed, array) = Array::empty(py, shape, storage)?;
        Ok(Self { array, computed, wanted: Some(out.clone()) })
    }

    /// The finished array.
    pub(super) fn finish(self) -> PyResult<Bound<'py, PyAny>> {
        match self.wanted {
            None => Ok(self.computed),
            Some(wanted) => {
                copyto(&wanted, &self.computed)?;
                Ok(wanted)
            }
        }
    }
}

/// The arrays that are read while outputs are written.
pub(super) struct Inputs<'a> {
    pub(super) logits: &'a Array,
    pub(super) others: Vec<&'a Array>,
    /// What the rows are computed in.
    pub(super) compute: Storage,
    /// May the output lie exactly where the logits do?
    pub(super) in_place: bool,
}

impl Inputs<'_> {
    fn forbid(&self, output: &Array) -> bool {
        let in_place = self.in_place && output.is_alias_of(self.logits);
        (output.may_overlap(self.logits) && !in_place)
            || self.others.iter().any(|other| output.may_overlap(other))
    }
}

/// Bytes of logits below which the interpreter lock is kept: some 20 µs of work.
const ATTACHED_BYTES: usize = 1 << 18;

/// Runs `body` on `bytes` of logits, detached from the interpreter unless it is short.
pub(super) fn run<R: Send>(
    py: Python<'_>,
    bytes: usize,
    body: impl FnOnce(&mut Run<'_>) -> Result<R, Error> + Send,
) -> PyResult<R> {
    let mut pending: Option<PyErr> = None;
    let mut checkpoint = || {
        Python::attach(|py| py.check_signals()).map_err(|signal| {
            pending = Some(signal);
            Error::Interrupted
        })
    };
    let guarded = || {
        let (level, threads) = (Level::current(), pool::num_threads());
        let mut run = Run { level, threads, checkpoint: &mut checkpoint };
        catch_unwind(AssertUnwindSafe(|| body(&mut run)))
    };
    let outcome = if bytes <= ATTACHED_BYTES { guarded() } else { py.detach(guarded) };
    if let Some(message) = pool::take_spawn_warning() {
        let message = std::ffi::CString::new(message).unwrap_or_default();
        PyErr::warn(py, &py.get_type::<PyRuntimeWarning>(), &message, 2)?;
    }
    match outcome {
        Ok(Ok(result)) => Ok(result),
        Ok(Err(Error::Interrupted)) if pending.is_some() => Err(pending.take().expect("checked")),
        Ok(Err(error)) => Err(raise(py, &error)),
        Err(payload) => Err(internal(py, &*payload)),
    }
}
