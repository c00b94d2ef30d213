//! Runs the core from Python: outputs, aliasing, the interpreter lock, interrupts, panics.
//!
//! An output that has exactly the memory of the logits is written in place. An output that overlaps an input in any
//! other way is computed in other memory and copied at the end, so the result is as if there were no overlap.

use super::arrays::Array;
use super::errors::{Place, Raised, Result, internal, raise};
use super::known::Known;
use super::logits::Logits;
use super::objects::{attribute, call, text};
use super::threads::width;
use pyo3::exceptions::PyMemoryError;
use pyo3::prelude::*;
use smoothxent::fpenv::{set_default_fp_env, with_default_fp_env};
use smoothxent::pool::{self, lock};
use smoothxent::{Error, Level, RowsMut, Run, Storage, copy, touch};
use std::mem::replace;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Mutex;

/// If a single row extends over so many bytes of new memory, it is touched beforehand; less takes no time to speak of.
const WIDE_ROW: usize = 1 << 25;

/// An array that the core writes, and the array in which the results must be at the end.
pub(super) struct Output<'py> {
    pub(super) array: Array<'py>,
    /// Is its memory new, not the caller's?
    is_new: bool,
    /// The object that the caller gets.
    object: Bound<'py, PyAny>,
    /// The array of that object, if the core writes another one, which is copied at the end.
    wanted: Option<Box<Array<'py>>>,
}

impl<'py> Output<'py> {
    /// A new array of `shape`, or the caller's `out` if it is given; made in `place`, so that it is not copied. Without
    /// `storage` the type of a new array is that of the logits, and that of `out` may be any. The logits and `others` are
    /// read while it is written.
    #[inline(never)] // its code would be in a loss twice
    pub(super) fn new<'p>(
        place: &'p mut Option<Self>,
        out: &Bound<'py, PyAny>,
        name: &str,
        shape: &[usize],
        storage: Option<Storage>,
        logits: &Logits<'py>,
        others: &[Option<&Array<'py>>],
    ) -> Result<&'p mut Self> {
        let (py, is_any) = (out.py(), storage.is_none());
        let storage = storage.unwrap_or(logits.array.storage());
        if out.is_none() {
            return Ok(place.insert(Self::fresh(py, shape, storage)?));
        }
        let array = Array::find(out, name, Array::OUTPUT)?.view();
        let output = Self { array, is_new: false, object: out.clone(), wanted: None };
        let output = place.insert(output);
        output.array.refuse_output(py, name, shape)?;
        let array = &output.array;
        let is_in_place = array.is_alias_of(&logits.array);
        let read = (!is_in_place).then_some(&logits.array);
        let mut read = others.iter().copied().flatten().chain(&logits.mask).chain(read);
        // Otherwise a result is rounded to `storage` first, even if `out` is wider.
        let takes_it = is_any || array.storage() == storage || logits.compute == storage;
        if takes_it && !read.any(|input| array.may_overlap(input)) {
            return Ok(output);
        }
        // In other memory, and copied at the end; but rounded to the caller's type by the core: NumPy might round a second
        // time.
        let aside = Array::empty(py, shape, if takes_it { array.storage() } else { storage })?;
        output.wanted = Some(Box::new(replace(&mut output.array, aside)));
        output.is_new = true;
        Ok(output)
    }

    /// A new array.
    pub(super) fn fresh(py: Python<'py>, shape: &[usize], storage: Storage) -> Result<Self> {
        let array = Array::empty(py, shape, storage)?;
        Ok(Self { is_new: true, object: array.object(py), array, wanted: None })
    }

    /// Rows along `axis`, for writing. Memory of the caller has been written before, so streaming stores are faster.
    /// New memory is touched here from one end to the other if single rows extend over all of it: otherwise the first
    /// of them would touch all of it, without a poll for signals.
    pub(super) fn rows_mut(&self, py: Python<'_>, axis: usize) -> Result<RowsMut<'_>> {
        if self.is_new {
            let (shape, item) = (self.array.shape(), self.array.storage().size());
            let narrower: usize = shape[axis + 1..].iter().product();
            if narrower > 1 && shape[axis] * narrower * item >= WIDE_ROW {
                let mut elements = self.array.elements_mut();
                run(py, self.array.bytes(), None, |run| touch(&mut elements, run))?;
            }
        }
        let mut rows = self.array.rows_mut(axis);
        rows.is_streamed = !self.is_new;
        Ok(rows)
    }

    /// The array that the caller gets.
    pub(super) fn result(&self) -> &Array<'py> {
        self.wanted.as_deref().unwrap_or(&self.array)
    }

    /// The finished array. Nothing can fail except by Ctrl-C: a copy needs no memory, and neither does the lookup of the
    /// number of threads.
    pub(super) fn finish(&self, py: Python<'py>) -> Result<Bound<'py, PyAny>> {
        let Self { array, wanted, object, .. } = self;
        if let Some(wanted) = wanted {
            let last = array.shape().len().saturating_sub(1);
            let (from, mut to) = (array.rows(last), wanted.rows_mut(last));
            run_silently(py, array.bytes(), None, &mut |run| copy(&from, &mut to, run))?;
        }
        Ok(object.clone())
    }
}

/// Runs a whole call in the default floating-point environment, and restores that of the caller. A panic is turned into
/// `InternalError`.
pub(super) fn guard<R>(py: Python<'_>, body: impl FnOnce() -> Result<R>) -> PyResult<R> {
    let result = with_default_fp_env(|| {
        // The exception is created here, where a panic for lack of memory is caught.
        let create = |raised: &Raised| _ = raised.0.value(py);
        catch_unwind(AssertUnwindSafe(|| body().inspect_err(create)))
            .unwrap_or_else(|payload| Err(internal(py, &*payload)))
    });
    result.map_err(|raised| *raised.0)
}

/// Bytes of logits below which the interpreter lock is kept: some 20 µs of work.
const ATTACHED_BYTES: usize = 1 << 18;

/// Up to this many bytes of logits, no call has work for two threads, so the number of threads is not looked up: in a
/// program with `num_threads` blocks, that takes 0.1 µs.
const ALONE_BYTES: usize = 1 << 16;

/// Runs `body` on `bytes` of numbers, detached from the interpreter unless it is short. `place` converts its errors.
pub(super) fn run<R: Send>(
    py: Python<'_>,
    bytes: usize,
    place: Option<&Place<'_>>,
    mut body: impl FnMut(&mut Run<'_>) -> Result<R, Error> + Send,
) -> Result<R> {
    warn_of_threads(py)?;
    let mut result = None;
    let mut body = |run: &mut Run<'_>| {
        result = Some(body(run)?);
        Ok(())
    };
    run_silently(py, bytes, place, &mut body)?;
    Ok(result.expect("what the body returned"))
}

/// The same without the initial warning that threads could not be started, which may be turned into an error.
fn run_silently(
    py: Python<'_>,
    bytes: usize,
    place: Option<&Place<'_>>,
    body: &mut (dyn FnMut(&mut Run<'_>) -> Result<(), Error> + Send),
) -> Result<()> {
    let pending: Mutex<Option<Raised>> = Mutex::new(None);
    let ask = |question: &mut dyn FnMut(Python<'_>) -> Result<()>| {
        // While the interpreter shuts down, no thread can attach to it, and no handler runs.
        Python::try_attach(question).unwrap_or(Ok(())).map_err(|error| {
            *lock(&pending) = Some(error);
            Error::Interrupted
        })
    };
    let threads = if bytes <= ALONE_BYTES { 1 } else { width(py)?.0 };
    let mut work = || {
        // Does this thread run handlers of signals? Known after the first poll.
        let mut runs_handlers = true;
        let mut checkpoint = || {
            if !runs_handlers {
                return Ok(());
            }
            ask(&mut |py| {
                py.check_signals()?;
                // Runs Python code, so perhaps a handler. If that lacks memory, the next poll tries again: outputs may have
                // been written.
                runs_handlers = is_main_thread(py).or_else(|raised| {
                    let lacks_memory = raised.0.is_instance_of::<PyMemoryError>(py);
                    if lacks_memory { Ok(true) } else { Err(raised) }
                })?;
                Ok(())
            })
        };
        let mut announce = || ask(&mut warn_of_threads);
        let mut run = Run::new(Level::current(), threads, &mut checkpoint);
        run.announce = Some(&mut announce);
        // Python code may have set another one since the call began, in a handler or a method of an argument.
        set_default_fp_env();
        body(&mut run)
    };
    let outcome = if bytes <= ATTACHED_BYTES {
        work()
    } else {
        py.check_signals()?;
        catch_unwind(AssertUnwindSafe(|| py.detach(work))).unwrap_or_else(|payload| {
            if payload.is::<pool::Forked>() { Err(Error::Forked) } else { resume_unwind(payload) }
        })
    };
    outcome.map_err(|error| match (error, lock(&pending).take()) {
        (Error::Interrupted | Error::Forked, Some(signal)) => signal,
        (mut error, _) => {
            if let Some(place) = place {
                place.translate(&mut error);
            }
            raise(py, &error)
        }
    })
}

/// Is this the thread in which Python runs handlers of signals? The others need not poll: each time they would wait for
/// the interpreter lock, for as long as threads that run Python code keep it.
fn is_main_thread(py: Python<'_>) -> Result<bool> {
    let known = Known::get();
    let main = attribute(&call(known.main_thread.bind(py), [])?, &known.ident)?;
    Ok(call(known.get_ident.bind(py), [])?.eq(main)?)
}

/// Warns if threads could not be started: once, and before anything is written, since a warning may be turned into an
/// error.
#[inline(always)]
fn warn_of_threads(py: Python<'_>) -> Result<()> {
    pool::take_spawn_warning().map_or(Ok(()), |message| warn(py, &message))
}

/// Issues a RuntimeWarning at the line that calls the package.
pub(super) fn warn(py: Python<'_>, message: &str) -> Result<()> {
    call(Known::get().warn.bind(py), [&text(py, message)?]).map(drop)
}
