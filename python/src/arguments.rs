//! Arguments that are not arrays of numbers to fill: options, and targets and priors against
//! the logits they belong to.

use super::arrays::{Array, broadcasts};
use super::call::run;
use super::dtype;
use super::errors::{Place, Shape, answer, type_error, value_error, wrong_type};
use super::known::Known;
use super::numpy::axis_error;
use super::objects::{call, int, integer as size, label, numbers, text};
use pyo3::exceptions::{PyOverflowError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyFloat, PyInt, PyString};
use smoothxent::{
    Batch, Error, Number, Prior, Reduction, Run, Storage, Targets, WeightValues, read_labels,
    read_prior, read_probabilities,
};

/// Logits, and how their rows are computed.
pub(super) struct Logits<'py> {
    pub(super) array: Array<'py>,
    /// Of the classes.
    pub(super) axis: usize,
    pub(super) compute: Storage,
    pub(super) temperature: f64,
    pub(super) mask: Option<Array<'py>>,
}

impl<'py> Logits<'py> {
    /// Of a single axis, whose length may be 0.
    pub(super) fn new(logits: &Bound<'py, PyAny>, axis: &Bound<'_, PyAny>) -> PyResult<Self> {
        let given = integer(axis, "axis")?;
        let found = Array::find_logits(logits)?;
        let dimensions = found.ndim() as i128;
        if !(-dimensions..dimensions).contains(&given) {
            return Err(axis_error(axis, found.ndim()));
        }
        let given = if given < 0 { given + dimensions } else { given };
        let axis = usize::try_from(given).expect("an axis of the shape");
        let compute = found.compute();
        Ok(Self { array: found.view(), axis, compute, temperature: 1.0, mask: None })
    }

    /// With classes along the last axis.
    pub(super) fn last(logits: &Bound<'py, PyAny>) -> PyResult<Self> {
        let given = Self::new(logits, &label(logits.py(), -1)?)?;
        given.refuse_no_classes(logits.py())?;
        Ok(given)
    }

    #[inline(always)]
    pub(super) fn refuse_no_classes(&self, py: Python<'_>) -> PyResult<()> {
        if self.lack_classes() {
            return Err(value_error!(
                py,
                "logits has 0 classes along axis {}, expected at least 1",
                self.axis
            ));
        }
        Ok(())
    }

    /// Are there rows, but none of them has classes?
    pub(super) fn lack_classes(&self) -> bool {
        // Rows are there where no other length is 0.
        let shape = self.shape();
        self.classes() == 0 && shape.iter().filter(|len| **len == 0).count() == 1
    }

    pub(super) fn shape(&self) -> &[usize] {
        self.array.shape()
    }

    pub(super) fn classes(&self) -> usize {
        self.shape()[self.axis]
    }

    /// The shape of one number a row.
    pub(super) fn row_shape(&self) -> Vec<usize> {
        let mut shape = self.shape().to_vec();
        shape.remove(self.axis);
        shape
    }

    #[inline(always)] // made where it stays
    pub(super) fn batch(&self) -> Batch<'_> {
        Batch {
            logits: self.array.rows(self.axis),
            mask: self.mask.as_ref().map(|mask| mask.rows_broadcast(self.axis, self.shape())),
            temperature: self.temperature,
            compute: self.compute,
        }
    }

    /// Runs `body` on these logits. An error in a row has its place in the logits without their class axis.
    pub(super) fn run<R: Send>(
        &self,
        py: Python<'_>,
        mut body: impl FnMut(&Batch<'_>, &mut Run<'_>) -> Result<R, Error> + Send,
    ) -> PyResult<R> {
        let batch = self.batch();
        let place = Place { shape: self.shape(), axis: self.axis, own: &[] };
        run(py, self.array.bytes(), Some(&place), |run| body(&batch, run))
    }

    /// Labels or probabilities, checked against the logits; in `place`, where they stay.
    pub(super) fn targets<'p, 'a>(
        &self,
        py: Python<'_>,
        array: &'a Array<'_>,
        ignore_index: Option<&i128>,
        class_weight: Option<&WeightValues>,
        place: &'p mut Targets<'a>,
    ) -> PyResult<&'p Targets<'a>> {
        let (shape, given, axis) = (self.shape(), array.shape(), self.axis);
        let is_label = !array.storage().is_float();
        let left_out = if is_label { axis } else { shape.len() };
        // One by one: vectors of lengths would wait for these to be written.
        let expected = (0..shape.len()).filter(|at| *at != left_out).map(|at| &shape[at]);
        if given.iter().ne(expected) {
            let (shape, given) = (numbers(py, shape)?.into_any(), numbers(py, given)?.into_any());
            let (axis, kind) =
                (size(py, axis)?, text(py, dtype::name(array.storage()))?.into_any());
            let error = call(Known::get().shape_error.bind(py), [&given, &kind, &shape, &axis])?;
            return Err(PyErr::from_value(error));
        }
        let validate = |run: &mut Run<'_>| {
            if let (Targets::Labels(labels), true) = (&mut *place, is_label) {
                let (elements, ignored) = (array.elements(given), ignore_index.copied());
                return read_labels(&elements, "targets", self.classes(), ignored, labels, run);
            }
            let probabilities = read_probabilities(array.rows(axis), class_weight, run)?;
            *place = Targets::Probabilities(probabilities);
            Ok(())
        };
        run(py, array.bytes(), Some(&Place { shape, axis, own: given }), validate)?;
        Ok(place)
    }

    /// The array of a prior, whose shape fits the logits.
    pub(super) fn prior_array<'p>(&self, prior: &Bound<'p, PyAny>) -> PyResult<Array<'p>> {
        let py = prior.py();
        let array = Array::real(prior, "prior")?;
        let (shape, given) = (self.shape(), array.shape());
        let fits = if given.len() == 1 {
            given[0] == self.classes()
        } else {
            let axis = (self.axis + given.len()).checked_sub(shape.len());
            broadcasts(given, shape) && axis.is_some_and(|axis| given[axis] == self.classes())
        };
        if fits {
            return Ok(array);
        }
        Err(value_error!(
            py,
            "prior must have shape ({},) or be broadcastable to logits of shape {}, got {}",
            self.classes(),
            Shape(shape),
            Shape(given)
        ))
    }

    /// The checked prior; without an array, the uniform one.
    pub(super) fn prior<'a>(
        &self,
        py: Python<'_>,
        array: Option<&'a Array<'_>>,
    ) -> PyResult<Prior<'a>> {
        let Some(array) = array else { return Ok(Prior::Uniform) };
        let given = array.shape();
        // That of all rows, whichever axis their classes are along.
        let (shape, axis) = if given.len() == 1 { (given, 0) } else { (self.shape(), self.axis) };
        let rows = array.rows_broadcast(axis, shape);
        if rows.rows() == 0 || rows.classes() == 0 {
            return Ok(Prior::Uniform);
        }
        let place = Place { shape, axis, own: given };
        run(py, array.bytes(), Some(&place), |run| read_prior(rows.clone(), run))
    }
}

/// Is this an integer, not None, a tuple or what is neither?
#[inline]
pub(super) fn is_one_axis(axis: &Bound<'_, PyAny>) -> PyResult<bool> {
    Ok(axis.is_exact_instance_of::<PyInt>()
        || (!axis.is_instance_of::<PyBool>() && axis.hasattr(&Known::get().__index__)?))
}

/// A Python integer, by `__index__`; bool is refused. One beyond all axes and counts is refused, if not for being one,
/// then for its size.
#[inline]
pub(super) fn integer(obj: &Bound<'_, PyAny>, name: &str) -> PyResult<i128> {
    int(obj).map_or_else(|| integer_like(obj, name), |small| Ok(i128::from(small)))
}

#[cold]
fn integer_like(obj: &Bound<'_, PyAny>, name: &str) -> PyResult<i128> {
    let refused = || wrong_type(obj, name, "an integer");
    if obj.is_instance_of::<PyBool>() {
        return Err(refused());
    }
    let (py, known) = (obj.py(), Known::get());
    if let Some(small) = answer(py, obj.extract::<i64>())? {
        return Ok(i128::from(small));
    }
    if !obj.hasattr(&known.__index__)? {
        return Err(refused());
    }
    // An exception of the object's own __index__ is the caller's, and goes through.
    let exact = obj.call_method0(&known.__index__)?;
    answer(py, exact.extract())?.ok_or_else(|| beyond_64_bits(obj, name))
}

#[cold]
fn beyond_64_bits(obj: &Bound<'_, PyAny>, name: &str) -> PyErr {
    match obj.repr() {
        Ok(given) => value_error!(obj.py(), "{name} must fit 64 bits, got {given}"),
        Err(error) => error,
    }
}

#[inline]
pub(super) fn ignore_index(obj: &Bound<'_, PyAny>) -> PyResult<Option<i128>> {
    if obj.is_none() {
        return Ok(None);
    }
    let labels = i128::from(i64::MIN)..=i128::from(u64::MAX);
    let ignored = integer(obj, "ignore_index")?;
    if !labels.contains(&ignored) {
        return Err(beyond_64_bits(obj, "ignore_index"));
    }
    Ok(Some(ignored))
}

pub(super) fn reduction(obj: &Bound<'_, PyAny>) -> PyResult<Reduction> {
    // Most often: the default, which is one object.
    if obj.is(&Known::get().mean) {
        return Ok(Reduction::Mean);
    }
    let expected = "reduction must be \"none\", \"sum\", \"mean\" or \"sum_by_nonzero_weights\"";
    let py = obj.py();
    Err(match obj.cast::<PyString>() {
        Ok(text) => match text.to_cow()?.as_ref() {
            "none" => return Ok(Reduction::None),
            "sum" => return Ok(Reduction::Sum),
            "mean" => return Ok(Reduction::Mean),
            "sum_by_nonzero_weights" => return Ok(Reduction::SumByNonzeroWeights),
            other => value_error!(py, "{expected}, got \"{other}\""),
        },
        Err(_) => value_error!(py, "{expected}, got {}", obj.repr()?),
    })
}

/// A real number; bool is refused.
#[inline]
pub(super) fn number(obj: &Bound<'_, PyAny>, name: &str) -> PyResult<f64> {
    match obj.cast_exact::<PyFloat>() {
        Ok(float) => Ok(float.value()),
        Err(_) => number_like(obj, name),
    }
}

#[cold]
fn number_like(obj: &Bound<'_, PyAny>, name: &str) -> PyResult<f64> {
    let refused = || wrong_type(obj, name, "a real number");
    if obj.is_instance_of::<PyBool>() || obj.get_type().name()? == "bool" {
        return Err(refused());
    }
    obj.extract().map_err(|error: PyErr| {
        // Not a number at all, or an integer beyond all floats; any other exception is the object's
        // own, and goes through.
        if error.is_instance_of::<PyTypeError>(obj.py()) {
            refused()
        } else if error.is_instance_of::<PyOverflowError>(obj.py()) {
            value_error!(obj.py(), "{name} is too large for a float64")
        } else {
            error
        }
    })
}

/// `value`, unless it is refused.
#[inline(always)]
fn accept(py: Python<'_>, is_such: bool, name: &str, expected: &str, value: f64) -> PyResult<f64> {
    if is_such {
        return Ok(value);
    }
    Err(value_error!(py, "{name} must be {expected}, got {}", Number(value)))
}

/// ε, which a prior must not be without.
#[inline]
pub(super) fn label_smoothing(obj: &Bound<'_, PyAny>, prior: &Bound<'_, PyAny>) -> PyResult<f64> {
    if obj.is_none() {
        if prior.is_none() {
            return Ok(0.0);
        }
        let remedy = "pass how much goes to it, for example label_smoothing=0.1";
        return Err(type_error!(obj.py(), "prior is given without label_smoothing; {remedy}"));
    }
    let value = number(obj, "label_smoothing")? + 0.0; // −0 is 0
    accept(obj.py(), (0.0..=1.0).contains(&value), "label_smoothing", "in [0, 1]", value)
}

fn is_positive(value: f64) -> bool {
    value > 0.0 && value.is_finite()
}

/// T, whose inverse must be an ordinary number in float32 too.
#[inline]
pub(super) fn temperature(obj: &Bound<'_, PyAny>) -> PyResult<f64> {
    let (py, name, value) = (obj.py(), "temperature", number(obj, "temperature")?);
    accept(py, is_positive(value), name, "a positive finite number", value)?;
    accept(py, (1e-30..=1e30).contains(&value), name, "between 1e-30 and 1e+30", value)
}

#[inline]
pub(super) fn z_loss(obj: &Bound<'_, PyAny>) -> PyResult<f64> {
    let value = number(obj, "z_loss")?;
    let is_such = value >= 0.0 && value.is_finite();
    accept(obj.py(), is_such, "z_loss", "finite and non-negative", value)
}

#[inline]
pub(super) fn normalizer(obj: &Bound<'_, PyAny>, reduction: Reduction) -> PyResult<Option<f64>> {
    if obj.is_none() {
        return Ok(None);
    }
    let value = number(obj, "normalizer")?;
    accept(obj.py(), is_positive(value), "normalizer", "a positive finite number", value)?;
    let given = match reduction {
        Reduction::Mean | Reduction::SumByNonzeroWeights => return Ok(Some(value)),
        Reduction::None => "none",
        Reduction::Sum => "sum",
    };
    Err(value_error!(
        obj.py(),
        "normalizer is the divisor of reduction \"mean\" or \"sum_by_nonzero_weights\", got reduction \"{given}\""
    ))
}

pub(super) fn flag(obj: &Bound<'_, PyAny>, name: &str) -> PyResult<bool> {
    if let Ok(flag) = obj.cast::<PyBool>() {
        return Ok(flag.is_true());
    }
    if obj.get_type().is(&Known::get().numpy_bool) {
        return obj.is_truthy();
    }
    Err(wrong_type(obj, name, "a bool"))
}
