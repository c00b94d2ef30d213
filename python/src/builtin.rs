//! Built-in functions that replace Python functions whose body is a call of a native function. They put the arguments
//! into the order of the native function. Unusual calls are passed on to the Python function.
//!
//! The reason is speed: in every call of a Python function, the default of each keyword-only argument is looked up in
//! a dictionary. For the 15 arguments of a loss this took half as long as the loss of a row of ten classes.
#![allow(unsafe_code, reason = "a home of unsafe: functions that Python calls with raw arguments")]

use super::call::guard;
use super::errors::{Raised, Result};
use super::objects::{call_with, tuple_of};
use super::{Argument, NATIVE};
use pyo3::ffi::{self, PyCFunctionFastWithKeywords as Function, PyObject};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyNotImplemented, PyTuple};
use std::ptr::null_mut;
use std::slice;
use std::sync::atomic::{AtomicPtr, Ordering};

const MOST_ARGUMENTS: usize = 15;
type Arguments = [*mut PyObject; MOST_ARGUMENTS];

/// A native function that a builtin calls with all arguments in order.
pub(super) type Native = for<'py> fn(&[Borrowed<'_, 'py, PyAny>]) -> Result<Bound<'py, PyAny>>;

/// Each builtin has a separate function, since Python does not pass which builtin it calls.
const ENTRIES: [Function; NATIVE.len()] =
    [enter::<0>, enter::<1>, enter::<2>, enter::<3>, enter::<4>];

/// The functions that they replace. They are never released, and neither are the objects in them.
static REPLACED: [AtomicPtr<Replaced>; NATIVE.len()] =
    [const { AtomicPtr::new(null_mut()) }; NATIVE.len()];

struct Replaced {
    python: *mut PyObject,
    native: Native,
    /// Names of the parameters, in the order of both functions; interned. NULL after the last.
    names: Arguments,
    /// NULL for the first parameters, which are required.
    defaults: Arguments,
    required: usize,
    len: usize,
}

/// The builtin of `ENTRIES[place]`, which replaces `python`. It calls `NATIVE[place]` with all arguments in order; if
/// they are unusual, or if that returns NotImplemented, it calls `python`. `text` is its documentation.
#[pyfunction]
#[pyo3(signature = (place, python, names, defaults, text, /), pass_module)]
pub(super) fn _builtin<'py>(
    module: &Bound<'py, PyModule>,
    place: usize,
    python: Argument<'_, 'py>,
    names: Argument<'_, 'py>,
    defaults: Argument<'_, 'py>,
    text: Argument<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let [name, module_name] = ["__name__", "__module__"].map(|key| python.getattr(key));
    let (name, module_name) = (name?.into_ptr(), module_name?);
    let (names, defaults) = (names.cast::<PyTuple>()?, defaults.cast::<PyTuple>()?);
    let held = |object: Argument<'_, 'py>| object.clone().into_ptr();
    let arguments = |start: usize, objects: &Bound<'py, PyTuple>| {
        let mut all = [null_mut(); MOST_ARGUMENTS];
        all[start..].iter_mut().zip(objects).for_each(|(one, object)| *one = object.into_ptr());
        all
    };
    let required = names.len() - defaults.len();
    // SAFETY: the function has the signature that the flags say. The definition is never released, and neither are its
    // texts, which belong to objects that are held.
    unsafe {
        let replaced = Box::new(Replaced {
            python: held(python),
            native: NATIVE[place],
            names: arguments(0, names),
            defaults: arguments(required, defaults),
            required,
            len: names.len(),
        });
        REPLACED[place].store(Box::into_raw(replaced), Ordering::Release);
        let definition = Box::leak(Box::new(ffi::PyMethodDef {
            ml_name: ffi::PyUnicode_AsUTF8AndSize(name, null_mut()),
            ml_meth: ffi::PyMethodDefPointer { PyCFunctionFastWithKeywords: ENTRIES[place] },
            ml_flags: ffi::METH_FASTCALL | ffi::METH_KEYWORDS,
            ml_doc: ffi::PyUnicode_AsUTF8AndSize(held(text), null_mut()),
        }));
        let builtin = ffi::PyCFunction_NewEx(definition, module.as_ptr(), module_name.as_ptr());
        Bound::from_owned_ptr_or_err(module.py(), builtin)
    }
}

/// # Safety
///
/// Only Python may call it: with the arguments by position and then those by keyword, the number of those by position,
/// and a tuple of the keywords or NULL. Python holds references to all of them meanwhile.
unsafe extern "C" fn enter<const PLACE: usize>(
    _module: *mut PyObject,
    arguments: *const *mut PyObject,
    by_position: isize,
    keywords: *mut PyObject,
) -> *mut PyObject {
    // SAFETY: a thread that calls a builtin is attached. `REPLACED` is set before its builtin is made; without arguments,
    // their address may be NULL.
    let (py, result) = unsafe {
        let given = by_position.unsigned_abs();
        let named = if keywords.is_null() { 0 } else { ffi::PyTuple_Size(keywords).unsigned_abs() };
        let len = given + named;
        let all = if len == 0 { &[] } else { slice::from_raw_parts(arguments, len) };
        let replaced = &*REPLACED[PLACE].load(Ordering::Acquire);
        let py = Python::assume_attached();
        (py, replaced.call(py, all.split_at(given), keywords))
    };
    let raise = |raised: Raised| {
        // Releases objects that PyO3 keeps, since it does not know that the thread is attached; `attach` is documented to
        // panic while the interpreter shuts down.
        Python::try_attach(|_| ());
        raised.0.restore(py);
    };
    result.map_err(raise).map_or(null_mut(), Bound::into_ptr)
}

impl Replaced {
    /// The place of a parameter.
    #[inline(never)] // unrolled, with all names in memory
    fn place(&self, keyword: *mut PyObject) -> Option<usize> {
        self.names.iter().position(|name| *name == keyword)
    }

    /// # Safety
    ///
    /// Python holds references to the arguments by position and by keyword, and to the tuple of as many keywords.
    unsafe fn call<'py>(
        &self,
        py: Python<'py>,
        (given, named): (&[*mut PyObject], &[*mut PyObject]),
        keywords: *mut PyObject,
    ) -> Result<Bound<'py, PyAny>> {
        // SAFETY: a place of the tuple.
        let keyword = |place| unsafe { ffi::PyTuple_GetItem(keywords, place) };
        let named = || (0..).zip(named).map(|(place, one)| (keyword(place), one));
        let mut all = self.defaults;
        // Some if the required arguments are given, none is given twice, and the keywords are known by their addresses:
        // those in source code are interned.
        let mut in_order = || {
            all.get_mut(..self.required)?.get_mut(..given.len())?.copy_from_slice(given);
            for (keyword, one) in named() {
                *all.get_mut(self.place(keyword).filter(|place| *place >= given.len())?)? = *one;
            }
            (!all.get(given.len()..self.required)?.contains(&null_mut())).then_some(())
        };
        if in_order().is_some() {
            let all = &all[..self.len];
            // SAFETY: objects that are held; a `Borrowed` is the address of one.
            let all = unsafe { slice::from_raw_parts(all.as_ptr().cast(), all.len()) };
            let result = guard(py, || (self.native)(all))?;
            if !result.is(PyNotImplemented::get(py)) {
                return Ok(result);
            }
        }
        // SAFETY: objects that are held.
        let object = |one: &*mut PyObject| unsafe { Bound::from_borrowed_ptr(py, *one) };
        let by_position = tuple_of(py, given.iter().map(|one| Ok(object(one))))?;
        let by_keyword = py.get_type::<PyDict>().call0()?.cast_into::<PyDict>()?;
        for (keyword, one) in named() {
            by_keyword.set_item(object(&keyword), object(one))?;
        }
        call_with(&object(&self.python), &by_position, Some(&by_keyword))
    }
}
