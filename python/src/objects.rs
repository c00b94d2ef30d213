//! New Python objects, and calls of Python code. Running out of memory is an error here; the corresponding functions of
//! PyO3 panic.
#![allow(
    unsafe_code,
    reason = "a home of unsafe: what the interpreter returns as NULL is an error"
)]

use super::errors::{Raised, Result};
use super::known::Known;
use pyo3::exceptions::PyImportError;
use pyo3::ffi::{self, PyObject, PyTypeObject};
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyDict, PyInt, PyString, PyTuple};
use std::ffi::{c_int, c_uint, c_void};
use std::fmt::{self, Display, Formatter};
use std::hint::black_box;
use std::mem::{forget, transmute};
use std::ptr::{null, null_mut};
use std::thread::park;

/// The object that a function of the interpreter returned, or the exception it has set.
macro_rules! new {
    ($py:expr, $call:expr) => {
        // SAFETY: the interpreter is attached (`$py`), the arguments are objects that are held
        // meanwhile or numbers that describe their memory, and the call returns a new reference, or
        // NULL where it fails.
        unsafe {
            let object = $call;
            // Python 3.11 loses an exception if it has no memory for a traceback.
            if object.is_null() && ffi::PyErr_Occurred().is_null() {
                ffi::PyErr_NoMemory();
            }
            Bound::from_owned_ptr_or_err($py, object).map_err(Raised::from)
        }
    };
}

/// Refuses subinterpreters: a call would attach to the main interpreter and wait for a lock that its own thread holds.
pub(super) fn refuse_subinterpreters(_py: Python<'_>) -> Result<()> {
    // SAFETY: the interpreter is attached (`_py`).
    match unsafe { ffi::PyInterpreterState_GetID(ffi::PyInterpreterState_Get()) } {
        0 => Ok(()),
        _ => Err(PyImportError::new_err("smoothxent cannot be used in a subinterpreter").into()),
    }
}

pub(super) fn text<'py>(py: Python<'py>, text: &str) -> Result<Bound<'py, PyAny>> {
    let (start, len) = (text.as_ptr().cast(), text.len().cast_signed());
    new!(py, ffi::PyUnicode_FromStringAndSize(start, len))
}

pub(super) fn float(py: Python<'_>, value: f64) -> Result<Bound<'_, PyAny>> {
    new!(py, ffi::PyFloat_FromDouble(value))
}

/// The value of an int (not of a subclass), if it fits 64 bits.
#[inline]
pub(super) fn int(obj: &Bound<'_, PyAny>) -> Option<i64> {
    if !obj.is_exact_instance_of::<PyInt>() {
        return None;
    }
    let mut overflow = 0;
    // SAFETY: the interpreter is attached; for an int that does not fit, the function sets `overflow` and
    // no exception.
    let value = unsafe { ffi::PyLong_AsLongLongAndOverflow(obj.as_ptr(), &raw mut overflow) };
    (overflow == 0).then_some(value)
}

/// Has the type of an object `__index__`?
pub(super) fn is_index(obj: &Bound<'_, PyAny>) -> bool {
    // SAFETY: the interpreter is attached.
    unsafe { ffi::PyIndex_Check(obj.as_ptr()) != 0 }
}

/// An integer that a type of NumPy holds.
pub(super) fn integer(py: Python<'_>, value: i128) -> Result<Bound<'_, PyAny>> {
    match i64::try_from(value) {
        Ok(value) => new!(py, ffi::PyLong_FromLongLong(value)),
        Err(_) => {
            new!(py, ffi::PyLong_FromUnsignedLongLong(u64::try_from(value).unwrap_or(u64::MAX)))
        }
    }
}

pub(super) fn tuple<'py, const N: usize>(
    py: Python<'py>,
    items: [Bound<'py, PyAny>; N],
) -> Result<Bound<'py, PyTuple>> {
    tuple_of(py, items.into_iter().map(Ok))
}

/// A tuple of two that is filled later. Until then the garbage collector does not know it: otherwise Python code would
/// find it in `gc.get_objects()`, and could read places that are not set.
pub(super) struct Pair<'py>(Bound<'py, PyTuple>);

impl<'py> Pair<'py> {
    pub(super) fn new(py: Python<'py>) -> Result<Self> {
        let pair = new!(py, ffi::PyTuple_New(2))?;
        // SAFETY: a new object, of a type that the garbage collector tracks.
        unsafe { ffi::PyObject_GC_UnTrack(pair.as_ptr().cast()) };
        Ok(Self(pair.cast_into()?))
    }

    /// Allocates no memory.
    pub(super) fn fill(self, items: [Bound<'py, PyAny>; 2]) -> Bound<'py, PyTuple> {
        for (place, item) in (0..).zip(items) {
            put(&self.0, place, item);
        }
        // SAFETY: an object that the collector does not know, whose places are set.
        unsafe { ffi::PyObject_GC_Track(self.0.as_ptr().cast()) };
        self.0
    }
}

/// A tuple of as many items as the iterator says it has. No Python code may run while they are made: it would find the
/// unfinished tuple in `gc.get_objects()`, read places that are not set, or keep it, and then no place can be set.
pub(super) fn tuple_of<'py>(
    py: Python<'py>,
    items: impl ExactSizeIterator<Item = Result<Bound<'py, PyAny>>>,
) -> Result<Bound<'py, PyTuple>> {
    let tuple = new!(py, ffi::PyTuple_New(items.len().cast_signed()))?.cast_into()?;
    for (place, item) in (0..).zip(items) {
        put(&tuple, place, item?);
    }
    Ok(tuple)
}

/// Sets a place of a new tuple, to which there is no other reference. It allocates no memory.
fn put<'py>(tuple: &Bound<'py, PyTuple>, place: isize, item: Bound<'py, PyAny>) {
    // SAFETY: the tuple takes over the reference to the item and releases it when it is dropped. The function refuses
    // an index out of range, and a tuple with other references.
    let outcome = unsafe { ffi::PyTuple_SetItem(tuple.as_ptr(), place, item.into_ptr()) };
    assert_eq!(outcome, 0, "a place of a new tuple");
}

/// PyArray_NewFromDescr of NumPy's C API: it makes new arrays. A call of `numpy.empty` took 0.15 µs more.
#[repr(transparent)]
pub(super) struct NewArray(NewFromDescr);

type NewFromDescr = unsafe extern "C" fn(
    *mut PyTypeObject,
    *mut PyObject,
    c_int,
    *const usize,
    *const isize,
    *mut c_void,
    c_int,
    *mut PyObject,
) -> *mut PyObject;

impl NewArray {
    /// The version of the binary interface of NumPy 2, which the first function of its table returns.
    const VERSION: c_uint = 0x0200_0000;
    /// The place of this function in the table.
    const PLACE: usize = 94;

    pub(super) fn find(py: Python<'_>) -> Result<Self> {
        let table = py.import("numpy._core._multiarray_umath")?.getattr("_ARRAY_API")?;
        let table = table.cast_into::<PyCapsule>().map_err(PyErr::from)?.pointer_checked(None)?;
        // SAFETY: such a table begins with the address of this function, in every version of NumPy.
        let version = unsafe { table.cast::<unsafe extern "C" fn() -> c_uint>().read()() };
        if version != Self::VERSION {
            let message = "smoothxent needs NumPy 2, whose arrays are made in another way: \
                           install 'numpy>=2,<3'";
            return Err(PyImportError::new_err(message).into());
        }
        // SAFETY: in this version, the table has this entry, the address of a function of this type.
        Ok(unsafe { table.cast::<Self>().add(Self::PLACE).read() })
    }
}

/// A new C-contiguous array, with elements of any value.
pub(super) fn new_array<'py>(
    dtype: &Bound<'py, PyAny>,
    shape: &[usize],
) -> Result<Bound<'py, PyAny>> {
    let (py, known) = (dtype.py(), Known::get());
    let ndim = c_int::try_from(shape.len()).expect("the number of axes of an array");
    let (class, dtype) = (known.ndarray.as_ptr().cast(), dtype.clone().into_ptr());
    // The reference to the dtype is taken over.
    let (strides, data, flags, object) = (null(), null_mut(), 0, null_mut());
    new!(py, (known.new_array.0)(class, dtype, ndim, shape.as_ptr(), strides, data, flags, object))
}

/// `numbers` as Python writes a shape or an index.
pub(super) fn numbers<'py>(py: Python<'py>, numbers: &[usize]) -> Result<Bound<'py, PyAny>> {
    Ok(tuple_of(py, numbers.iter().map(|number| integer(py, *number as i128)))?.into_any())
}

/// Stops the thread for ever when it is dropped.
struct Stop;

impl Drop for Stop {
    fn drop(&mut self) {
        loop {
            park();
        }
    }
}

/// Calls `function`, and returns or stops the thread. All functions that may run Python code are called by this. Other
/// Python code runs only in handlers of signals.
///
/// While Python shuts down, a daemon thread that is about to run Python code again is terminated: before CPython 3.14,
/// by `pthread_exit`, for which the C library of Linux unwinds the stack. In Rust's frames, which catch panics and own
/// Python objects, that would abort the process. So the thread stops here, as it does in CPython 3.14, and in PyO3 when
/// it attaches to the interpreter.
pub(super) fn call_with<'py>(
    function: &Bound<'py, PyAny>,
    arguments: &Bound<'py, PyTuple>,
    keywords: Option<&Bound<'py, PyDict>>,
) -> Result<Bound<'py, PyAny>> {
    type Object = *mut PyObject;
    type Declared = unsafe extern "C" fn(Object, Object, Object) -> Object;
    type Unwinding = unsafe extern "C-unwind" fn(Object, Object, Object) -> Object;
    // SAFETY: the types differ only in that the second one may unwind, which the function does. It is declared not to
    // unwind, so the compiler must not see which function is called.
    let call = black_box(unsafe { transmute::<Declared, Unwinding>(ffi::PyObject_Call) });
    let keywords = keywords.map_or(null_mut(), Bound::as_ptr);
    new!(function.py(), {
        let stop = Stop;
        let result = call(function.as_ptr(), arguments.as_ptr(), keywords);
        forget(stop);
        result
    })
}

/// Calls `function` with arguments by position.
pub(super) fn call<'py, const N: usize>(
    function: &Bound<'py, PyAny>,
    arguments: [&Bound<'py, PyAny>; N],
) -> Result<Bound<'py, PyAny>> {
    call_with(function, &tuple(function.py(), arguments.map(Clone::clone))?, None)
}

/// The attribute of an object, if Python code may compute it.
pub(super) fn attribute<'py>(
    object: &Bound<'py, PyAny>,
    name: &Py<PyString>,
) -> Result<Bound<'py, PyAny>> {
    let py = object.py();
    call(Known::get().getattr.bind(py), [object, name.bind(py)])
}

/// A Python string in a message. The `Display` of `Bound` would call `str`, which first runs the handlers of signals,
/// and drop the exception of a handler.
pub(super) struct Str<'py>(pub(super) Bound<'py, PyString>);

impl Display for Str<'_> {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0.to_string_lossy())
    }
}

/// `repr(object)`
pub(super) fn repr<'py>(object: &Bound<'py, PyAny>) -> Result<Str<'py>> {
    let text = call(Known::get().repr.bind(object.py()), [object])?;
    Ok(Str(text.cast_into().map_err(PyErr::from)?))
}

/// `str(dtype)`
pub(super) fn dtype_name<'py>(dtype: &Bound<'py, PyAny>) -> Result<Str<'py>> {
    let text = call(dtype.py().get_type::<PyString>().as_any(), [dtype])?;
    Ok(Str(text.cast_into().map_err(PyErr::from)?))
}

/// The result of a function of the package for an argument, with its name for error messages; or the error.
pub(super) fn read<'py>(
    function: &Py<PyAny>,
    argument: &Bound<'py, PyAny>,
    name: &str,
) -> Result<Bound<'py, PyAny>> {
    let py = argument.py();
    call(function.bind(py), [argument, &text(py, name)?])
}
