//! Arguments that are not arrays: the options.

use super::errors::{Raised, Result, answer, type_error, value_error};
use super::known::Known;
use super::objects::{Str, int, is_index, read, repr};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyFloat, PyInt};
use smoothxent::{Number, Reduction};

/// Is `axis` one integer, rather than None, a tuple or anything else?
#[inline]
pub(super) fn is_one_axis(axis: &Bound<'_, PyAny>) -> bool {
    let is_int = axis.is_exact_instance_of::<PyInt>();
    is_int || is_index(axis) && !axis.is_instance_of::<PyBool>()
}

/// An integer; bool is refused. All axes and counts fit 64 bits; an integer that does not fit 128 bits is refused here.
#[inline]
pub(super) fn integer(obj: &Bound<'_, PyAny>, name: &str) -> Result<i128> {
    int(obj).map_or_else(|| integer_like(obj, name), |small| Ok(i128::from(small)))
}

#[cold]
fn integer_like(obj: &Bound<'_, PyAny>, name: &str) -> Result<i128> {
    let exact = read(&Known::get().integer, obj, name)?;
    answer(obj.py(), exact.extract())?.map_or_else(|| beyond_64_bits(obj, name), Ok)
}

#[cold]
fn beyond_64_bits<T>(obj: &Bound<'_, PyAny>, name: &str) -> Result<T> {
    Err(value_error!(obj.py(), "{name} must fit 64 bits, got {}", repr(obj)?))
}

#[inline(always)] // made in its final place
pub(super) fn ignore_index(obj: &Bound<'_, PyAny>) -> Result<Option<i128>> {
    if obj.is_none() {
        return Ok(None);
    }
    let labels = i128::from(i64::MIN)..=i128::from(u64::MAX);
    let ignored = integer(obj, "ignore_index")?;
    if !labels.contains(&ignored) {
        return beyond_64_bits(obj, "ignore_index");
    }
    Ok(Some(ignored))
}

pub(super) fn reduction(obj: &Bound<'_, PyAny>) -> Result<Reduction> {
    // The most frequent case: the default, which is always the same object.
    if obj.is(&Known::get().mean) {
        return Ok(Reduction::Mean);
    }
    let expected = "reduction must be \"none\", \"sum\", \"mean\" or \"sum_by_nonzero_weights\"";
    let py = obj.py();
    // None if it is no string, or one with a lone surrogate, which has no UTF-8.
    Err(match answer(py, obj.extract())? {
        Some("none") => return Ok(Reduction::None),
        Some("sum") => return Ok(Reduction::Sum),
        Some("mean") => return Ok(Reduction::Mean),
        Some("sum_by_nonzero_weights") => return Ok(Reduction::SumByNonzeroWeights),
        Some(other) => value_error!(py, "{expected}, got \"{other}\""),
        None => value_error!(py, "{expected}, got {}", repr(obj)?),
    })
}

/// A real number; bool is refused.
#[inline]
pub(super) fn number(obj: &Bound<'_, PyAny>, name: &str) -> Result<f64> {
    // numpy.float64 is a subclass of float.
    match obj.cast::<PyFloat>() {
        Ok(float) => Ok(float.value()),
        Err(_) => number_like(obj, name),
    }
}

/// The `__float__` of others may be Python code, or drop an imaginary part.
#[cold]
fn number_like(obj: &Bound<'_, PyAny>, name: &str) -> Result<f64> {
    match int(obj) {
        Some(_) => Ok(obj.extract()?),
        None => Ok(read(&Known::get().number, obj, name)?.extract()?),
    }
}

/// Returns `value` if `is_such`, else an error.
fn accept(py: Python<'_>, is_such: bool, name: &str, expected: &str, value: f64) -> Result<f64> {
    if is_such { Ok(value) } else { Err(refuse(py, name, expected, value)) }
}

/// It takes the number by value: a number that is formatted in place would be stored before every check.
#[cold]
fn refuse(py: Python<'_>, name: &str, expected: &str, value: f64) -> Raised {
    value_error!(py, "{name} must be {expected}, got {}", Number(value))
}

/// ε, which is required if a prior is given.
pub(super) fn label_smoothing(obj: &Bound<'_, PyAny>, prior: &Bound<'_, PyAny>) -> Result<f64> {
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

/// T, whose inverse must be a normal number in float32 too.
#[inline]
pub(super) fn temperature(obj: &Bound<'_, PyAny>) -> Result<f64> {
    let (py, name, value) = (obj.py(), "temperature", number(obj, "temperature")?);
    let is_such = (1e-30..=1e30).contains(&value);
    accept(py, is_such || is_positive(value), name, "a positive finite number", value)?;
    accept(py, is_such, name, "between 1e-30 and 1e+30", value)
}

pub(super) fn z_loss(obj: &Bound<'_, PyAny>) -> Result<f64> {
    let value = number(obj, "z_loss")?;
    accept(obj.py(), (0.0..=f64::MAX).contains(&value), "z_loss", "finite and non-negative", value)
}

pub(super) fn normalizer(obj: &Bound<'_, PyAny>, reduction: Reduction) -> Result<Option<f64>> {
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

pub(super) fn flag(obj: &Bound<'_, PyAny>, name: &str) -> Result<bool> {
    if obj.is_instance_of::<PyBool>() || obj.get_type().is(&Known::get().numpy_bool) {
        return Ok(obj.is_truthy()?);
    }
    let given = Str(obj.get_type().name()?);
    Err(type_error!(obj.py(), "{name} must be a bool, got {given}"))
}
