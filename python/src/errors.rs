//! Errors of the core as Python exceptions, with indices into the arrays as the user passed them.
//!
//! Exceptions are created immediately, not when the call has ended. If there is no memory for one, a MemoryError is
//! raised instead.

use super::known::Known;
use super::objects::{call, integer, numbers, read, repr, text};
use pyo3::PyTypeInfo;
use pyo3::exceptions::{PyMemoryError, PyOverflowError, PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use smoothxent::Error;
use std::fmt::{self, Write};
use std::result;

/// The result of a step of a call.
pub(super) type Result<T, E = Raised> = result::Result<T, E>;

/// An exception in a box. Each step of a call would otherwise move a large value, and the code for that would lie between
/// the steps, in the way of calls that raise none.
pub(super) struct Raised(pub(super) Box<PyErr>);

impl<E: Into<PyErr>> From<E> for Raised {
    #[cold]
    #[inline(never)]
    fn from(error: E) -> Self {
        Self(Box::new(error.into()))
    }
}

/// Converts row numbers of the core to indices into an array of the user, whose shape is `own`. It was broadcast to
/// `shape`, with the classes along `axis`, or, if it has one number for each row, to the rows.
pub(super) struct Place<'a> {
    pub(super) shape: &'a [usize],
    pub(super) axis: usize,
    pub(super) own: &'a [usize],
}

impl Place<'_> {
    /// Converts the index of an error, `[row]` or `[row, class]`, to an index into the array. The class may be
    /// [`Error::ALL`].
    #[cold]
    pub(super) fn translate(&self, error: &mut Error) {
        let (index, is_of_own) = match error {
            Error::Label { index, .. }
            | Error::Entry { index, .. }
            | Error::PriorSum { index, .. } => (index, true),
            Error::MaskedPrior { index } => (index, false),
            _ => return,
        };
        let (mut row, class) = (index[0], index.get(1).copied());
        index.clear();
        for (place, &len) in self.shape.iter().enumerate().rev() {
            if place != self.axis {
                index.insert(0, row % len);
                row /= len;
            } else if let Some(class) = class {
                index.insert(0, class);
            }
        }
        if is_of_own {
            index.drain(..index.len() - self.own.len());
            let axes = index.iter_mut().zip(self.own);
            axes.filter(|(at, len)| **len == 1 && **at != Error::ALL).for_each(|(at, _)| *at = 0);
        }
    }
}

/// The Python exception for `error`, whose index is already one into the array of the user.
#[cold]
pub(super) fn raise(py: Python<'_>, error: &Error) -> Raised {
    match error {
        Error::Label { index, value, .. } => made(|| {
            let message = written(py, format_args!("{error}"))?;
            let class = Known::get().label_error.bind(py);
            call(class, [&message, &numbers(py, index)?, &integer(py, **value)?])
        }),
        Error::OutOfMemory { .. } => self::error::<PyMemoryError>(py, format_args!("{error}")),
        Error::Forked => self::error::<PyRuntimeError>(py, format_args!("{error}")),
        _ => value_error!(py, "{error}"),
    }
}

/// `smoothxent.InternalError`: a bug of ours.
pub(super) fn internal(py: Python<'_>, payload: &(dyn std::any::Any + Send)) -> Raised {
    let message = payload
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| payload.downcast_ref::<&str>().copied())
        .unwrap_or("unknown panic");
    let message = format_args!("a bug in smoothxent, please report it: {message}");
    exception(Known::get().internal_error.bind(py), message)
}

/// A ValueError with a message as [`format!`] writes it.
macro_rules! value_error {
    ($py:expr, $($message:tt)+) => {
        $crate::errors::error::<pyo3::exceptions::PyValueError>($py, format_args!($($message)+))
    };
}
pub(super) use value_error;

/// The same, a TypeError.
macro_rules! type_error {
    ($py:expr, $($message:tt)+) => {
        $crate::errors::error::<pyo3::exceptions::PyTypeError>($py, format_args!($($message)+))
    };
}
pub(super) use type_error;

/// An exception of one of Python's own classes.
#[cold]
pub(super) fn error<T: PyTypeInfo>(py: Python<'_>, message: fmt::Arguments<'_>) -> Raised {
    exception(&T::type_object(py), message)
}

fn exception(class: &Bound<'_, PyAny>, message: fmt::Arguments<'_>) -> Raised {
    made(|| call(class, [&written(class.py(), message)?]))
}

/// The exception that `make` creates, or the error of `make`.
fn made<'py>(make: impl FnOnce() -> Result<Bound<'py, PyAny>>) -> Raised {
    make().map_or_else(|error| error, |value| PyErr::from_value(value).into())
}

/// `message` as a Python string.
fn written<'py>(py: Python<'py>, message: fmt::Arguments<'_>) -> Result<Bound<'py, PyAny>> {
    let mut written = Text(String::new());
    match written.write_fmt(message) {
        Ok(()) => text(py, &written.0),
        Err(_) => Err(made(|| Ok(py.get_type::<PyMemoryError>().call0()?))),
    }
}

/// A string for which running out of memory is an error.
struct Text(String);

impl Write for Text {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        self.0.try_reserve(part.len()).map_err(|_| fmt::Error)?;
        self.0.push_str(part);
        Ok(())
    }
}

/// The answer, or None if it was refused. Any other exception, such as that of an interrupt, is passed on.
pub(super) fn answer<T>(py: Python<'_>, answer: Result<T, impl Into<Raised>>) -> Result<Option<T>> {
    answer.map(Some).or_else(|error| {
        let raised: Raised = error.into();
        let error = &raised.0;
        let is_refused = error.is_instance_of::<PyTypeError>(py)
            || error.is_instance_of::<PyValueError>(py)
            || error.is_instance_of::<PyOverflowError>(py);
        if is_refused { Ok(None) } else { Err(raised) }
    })
}

/// `{must_have} {shape}, got {given}`
#[cold]
pub(super) fn wrong_shape(
    py: Python<'_>,
    must_have: fmt::Arguments<'_>,
    shape: &[usize],
    given: &[usize],
) -> Raised {
    made(|| {
        let (shape, given) = (repr(&numbers(py, shape)?)?, repr(&numbers(py, given)?)?);
        Err(value_error!(py, "{must_have} {shape}, got {given}"))
    })
}

/// numpy.exceptions.AxisError
#[cold]
pub(super) fn axis_error(axis: &Bound<'_, PyAny>, ndim: usize) -> Raised {
    let (py, known) = (axis.py(), Known::get());
    made(|| {
        let axis = read(&known.integer, axis, "axis")?;
        call(known.axis_error.bind(py), [&axis, &integer(py, ndim as i128)?, known.logits.bind(py)])
    })
}
