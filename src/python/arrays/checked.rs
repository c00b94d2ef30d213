//! Arrays that are what they must be: real, labels, masks, or to be written.

use super::{Array, Elements, elements, is_exact_ndarray, is_ndarray};
use crate::python::errors::{type_error, value_error, wrong_shape};
use crate::python::kind::Kind;
use crate::python::known::Known;
use crate::python::numpy::{self, Dtype};
use crate::python::objects::{call, text};
use crate::python::overlap::overlaps;
use pyo3::prelude::*;

/// The ndarray to write: `obj` itself, or the memory of a tensor.
#[inline(always)]
pub(in crate::python) fn writable<'py>(
    obj: &Bound<'py, PyAny>,
    name: &str,
) -> PyResult<Bound<'py, PyAny>> {
    if is_exact_ndarray(obj) { Ok(obj.clone()) } else { writable_like(obj, name) }
}

#[cold]
fn writable_like<'py>(obj: &Bound<'py, PyAny>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    let (py, known) = (obj.py(), Known::get());
    if obj.is_instance(known.ndarray.bind(py))? {
        return Ok(obj.clone());
    }
    call(known.as_output.bind(py), [obj, &text(py, name)?.into_any()])
}

/// What `converter` makes of `obj`: an ndarray.
#[cold]
fn converted<'py>(
    obj: &Bound<'py, PyAny>,
    name: &str,
    converter: &Py<PyAny>,
) -> PyResult<(Bound<'py, PyAny>, Elements)> {
    let py = obj.py();
    let array = call(converter.bind(py), [obj, &text(py, name)?.into_any()])?;
    match if is_exact_ndarray(&array) { elements(&array)? } else { None } {
        Some(elements) => Ok((array, elements)),
        None => Err(type_error!(py, "{name} cannot be read as an array of numbers")),
    }
}

impl Array {
    /// A new C-contiguous array and its view.
    pub(in crate::python) fn empty<'py>(
        py: Python<'py>,
        shape: &[usize],
        dtype: &Dtype<'py>,
    ) -> PyResult<(Bound<'py, PyAny>, Self)> {
        let object = numpy::empty(py, shape, dtype)?;
        match Self::of(&object)? {
            Some(array) => Ok((object, array)),
            None => Err(type_error!(py, "numpy.empty returned no array of numbers")),
        }
    }

    /// A real array: `obj` itself where it is one, else what `converter` makes of it.
    #[inline(always)]
    pub(in crate::python) fn real(
        obj: &Bound<'_, PyAny>,
        name: &str,
        converter: &Py<PyAny>,
    ) -> PyResult<Self> {
        Self::read(obj, name, converter, |kind| matches!(kind, Kind::Float(_)))
    }

    /// A real array of `shape`.
    pub(in crate::python) fn real_of_shape(
        obj: &Bound<'_, PyAny>,
        name: &str,
        shape: &[usize],
    ) -> PyResult<Self> {
        let array = Self::real(obj, name, &Known::get().as_real)?;
        if array.shape() == shape {
            return Ok(array);
        }
        Err(wrong_shape(obj.py(), name, shape, array.shape()))
    }

    /// Labels or probabilities.
    #[inline(always)]
    pub(in crate::python) fn targets(obj: &Bound<'_, PyAny>) -> PyResult<Self> {
        Self::read(obj, "targets", &Known::get().as_targets, |kind| kind != Kind::Bool)
    }

    /// Classes.
    pub(in crate::python) fn indices(obj: &Bound<'_, PyAny>) -> PyResult<Self> {
        let is_integer = |kind| matches!(kind, Kind::Signed(_) | Kind::Unsigned(_));
        Self::read(obj, "indices", &Known::get().as_indices, is_integer)
    }

    /// Booleans.
    pub(in crate::python) fn mask(obj: &Bound<'_, PyAny>, name: &str) -> PyResult<Self> {
        Self::read(obj, name, &Known::get().as_mask, |kind| kind == Kind::Bool)
    }

    /// `obj` itself where it is an ndarray, and no instance of a subclass, of such elements; else what
    /// `converter` makes of it.
    #[inline(always)]
    fn read(
        obj: &Bound<'_, PyAny>,
        name: &str,
        converter: &Py<PyAny>,
        are_such: impl FnOnce(Kind) -> bool,
    ) -> PyResult<Self> {
        let own = if is_exact_ndarray(obj) { elements(obj)? } else { None };
        // A view is made where it stays: it is too large to be handed on as a result.
        let (owner, elements) = match own.filter(|own| are_such(own.0)) {
            Some(own) => (obj.clone(), own),
            None => converted(obj, name, converter)?,
        };
        Ok(Self::view(owner, elements))
    }

    /// An array to write: an ndarray or a tensor of `shape` in a floating type that the core stores.
    #[inline(always)]
    pub(in crate::python) fn output(
        obj: &Bound<'_, PyAny>,
        name: &str,
        shape: &[usize],
    ) -> PyResult<Self> {
        let (py, known) = (obj.py(), Known::get());
        let obj = writable(obj, name)?;
        if !is_exact_ndarray(&obj) && obj.hasattr(&known.mask)? {
            let text = "is a masked array; pass an ordinary one, or its .data";
            return Err(type_error!(py, "{name} {text}"));
        }
        let array = match if is_ndarray(&obj)? { elements(&obj)? } else { None } {
            Some(real @ (Kind::Float(_), _)) => Self::view(obj, real),
            _ => {
                let given: Vec<usize> = obj.getattr(&known.shape)?.extract()?;
                if given != shape {
                    return Err(wrong_shape(py, name, shape, &given));
                }
                return Err(numpy::refuse_output_dtype(&obj, name)?);
            }
        };
        // What the array itself has counts; an attribute of a subclass may say anything.
        if array.shape() != shape {
            return Err(wrong_shape(py, name, shape, array.shape()));
        }
        if !array.is_writable {
            return Err(value_error!(py, "{name} is read-only"));
        }
        array.refuse_overlap(py, name)?;
        Ok(array)
    }

    /// Refuses an array two of whose elements share memory.
    #[inline]
    pub(in crate::python) fn refuse_overlap(&self, py: Python<'_>, name: &str) -> PyResult<()> {
        if self.is_contiguous {
            return Ok(());
        }
        let reason = match overlaps(self.axes(), self.kind.size()) {
            Some(false) => return Ok(()),
            Some(true) => "overlaps itself (two of its elements share memory)",
            None => "has strides of which it takes too long to tell whether it overlaps itself",
        };
        Err(value_error!(py, "{name} {reason}"))
    }
}
