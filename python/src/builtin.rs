//! Built-in functions that replace Python functions whose body is a call of a native function. They put the arguments
//! into the order of the native function. Unusual calls are passed on to the Python function.
//!
//! The reason is speed: in every call of a Python function, the default of each keyword-only argument is looked up in
//! a dictionary. For the 15 arguments of a loss this took half as long as the loss of a row of ten classes.
#![allow(unsafe_code, reason = "a home of unsafe: functions that Python calls with raw arguments")]

use super::call::guard;
use super::objects::{call_with, dict, tuple_of};
use super::{Argument, NATIVE};
use pyo3::ffi::{self, PyCFunctionFastWithKeywords as Function, PyObject};
use pyo3::prelude::*;
use pyo3::types::{PyNotImplemented, PyTuple};
use std::ptr::null_mut;
use std::slice;
use std::sync::atomic::{AtomicPtr, Ordering};

const FLAGS: i32 = ffi::METH_FASTCALL | ffi::METH_KEYWORDS;
const MOST_ARGUMENTS: usize = 15;
type Arguments = [*mut PyObject; MOST_ARGUMENTS];

/// What a builtin calls, with all arguments in order.
pub(super) type Native = for<'py> fn(&[Bound<'py, PyAny>]) -> PyResult<Bound<'py, PyAny>>;

/// Each builtin has a function of its own: Python does not say which it calls.
const ENTRIES: [Function; NATIVE.len()] =
    [enter::<0>, enter::<1>, enter::<2>, enter::<3>, enter::<4>];

/// What they take the place of: never released, nor are the objects in it.
static REPLACED: [AtomicPtr<Replaced>; NATIVE.len()] =
    [const { AtomicPtr::new(null_mut()) }; NATIVE.len()];

struct Replaced {
    python: *mut PyObject,
    native: Native,
    /// Names of the parameters, in the order of both functions; interned.
    names: Arguments,
    /// NULL for the first parameters, which are required.
    defaults: Arguments,
    required: usize,
    len: usize,
}

/// The builtin of `ENTRIES[place]`, in the place of `python`: it calls `NATIVE[place]` with all arguments in order, and
/// `python` where they are unusual or that returns NotImplemented. `text` is its documentation.
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
    let (len, required) = (names.len(), names.len() - defaults.len());
    let held = |object: Argument<'_, 'py>| object.clone().into_ptr();
    let arguments = |objects: &Bound<'py, PyTuple>, first: usize| {
        let mut all = [null_mut(); MOST_ARGUMENTS];
        all[first..len].iter_mut().zip(objects).for_each(|(one, object)| *one = object.into_ptr());
        all
    };
    // SAFETY: the function is what the flags say. The definition is never released, nor are its texts, in objects
    // that are held.
    unsafe {
        let replaced = Box::new(Replaced {
            python: held(python),
            native: NATIVE[place],
            names: arguments(names, 0),
            defaults: arguments(defaults, required),
            required,
            len,
        });
        let function = ENTRIES[place];
        REPLACED[place].store(Box::into_raw(replaced), Ordering::Release);
        let definition = Box::new(ffi::PyMethodDef {
            ml_name: ffi::PyUnicode_AsUTF8AndSize(name, null_mut()),
            ml_meth: ffi::PyMethodDefPointer { PyCFunctionFastWithKeywords: function },
            ml_flags: FLAGS,
            ml_doc: ffi::PyUnicode_AsUTF8AndSize(held(text), null_mut()),
        });
        let definition = Box::into_raw(definition);
        let builtin = ffi::PyCFunction_NewEx(definition, module.as_ptr(), module_name.as_ptr());
        Bound::from_owned_ptr_or_err(module.py(), builtin)
    }
}

/// # Safety
///
/// For Python to call: with the arguments by position and then those by keyword, the number by position, and
/// a tuple of the keywords or NULL. It holds them all meanwhile.
unsafe extern "C" fn enter<const PLACE: usize>(
    _module: *mut PyObject,
    arguments: *const *mut PyObject,
    by_position: isize,
    keywords: *mut PyObject,
) -> *mut PyObject {
    Python::attach(|py| {
        // SAFETY: what is replaced is set before its builtin is made, and the address of no arguments may be NULL.
        let result = unsafe {
            let keywords =
                Borrowed::from_ptr_or_opt(py, keywords).map(|one| one.cast_unchecked::<PyTuple>());
            let len =
                by_position.unsigned_abs() + keywords.map_or(0, |all| PyTupleMethods::len(&*all));
            let given = if len == 0 { &[] } else { slice::from_raw_parts(arguments, len) };
            let given = given.split_at(by_position.unsigned_abs());
            let replaced = &*REPLACED[PLACE].load(Ordering::Acquire);
            replaced.call(py, given, keywords)
        };
        result.map_err(|error| error.restore(py)).map_or(null_mut(), Bound::into_ptr)
    })
}

impl Replaced {
    /// # Safety
    ///
    /// Of arguments by position and by keyword that Python holds.
    unsafe fn call<'py>(
        &self,
        py: Python<'py>,
        (given, named): (&[*mut PyObject], &[*mut PyObject]),
        keywords: Option<Borrowed<'_, 'py, PyTuple>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let named = || keywords.iter().flat_map(|all| all.iter_borrowed()).zip(named);
        // If those required are there, none is there twice and the keywords are known by their addresses:
        // in source code they are interned.
        let in_order = |all: &mut Arguments| {
            for (i, one) in given.iter().enumerate() {
                *all[..self.required].get_mut(i)? = *one;
            }
            for (keyword, one) in named() {
                // From the last, where the outputs are.
                let place = self.names.iter().rposition(|name| *name == keyword.as_ptr())?;
                *all[given.len()..].get_mut(place.checked_sub(given.len())?)? = *one;
            }
            (!all[..self.required].contains(&null_mut())).then_some(())
        };
        let mut all = self.defaults;
        if in_order(&mut all).is_some() {
            // SAFETY: as many objects, that are held; a `Bound` is the address of one.
            let all = unsafe { slice::from_raw_parts(all.as_ptr().cast(), self.len) };
            let result = guard(py, || (self.native)(all))?;
            if !result.is(PyNotImplemented::get(py)) {
                return Ok(result);
            }
        }
        // SAFETY: objects that are held.
        let object = |one: &*mut PyObject| unsafe { Bound::from_borrowed_ptr(py, *one) };
        let by_position = tuple_of(py, given.iter().map(|one| Ok(object(one))))?;
        let by_keyword = dict(py)?;
        for (keyword, one) in named() {
            by_keyword.set_item(&*keyword, object(one))?;
        }
        call_with(&object(&self.python), &by_position, &by_keyword)
    }
}
