//! Weights of classes and of rows.

use super::read::NUMBERS_PER_PART;
use crate::alloc::filled;
use crate::crew::{Crew, FirstError, on_parts};
use crate::error::Error;
use crate::simd::memory::Rows;

/// Copies of weights, one a row of `elements`: all must be finite and ≥ 0.
///
/// # Errors
/// [`Error::Weight`] for the first that is not, of the argument `name`; [`Error::OutOfMemory`], or that
/// of the crew.
///
/// # Panics
/// When rows have no element.
pub fn weights(
    elements: &Rows<'_>,
    name: &'static str,
    crew: &mut dyn Crew,
) -> Result<Vec<f64>, Error> {
    let mut weights = filled(elements.rows(), &0.0, crew)?;
    let first_error = FirstError::default();
    on_parts(crew, &mut weights, NUMBERS_PER_PART, size_of::<f64>(), |first, weights| {
        for (row, weight) in (first..).zip(weights) {
            *weight = elements.get(row, 0);
            if !(*weight >= 0.0 && weight.is_finite()) {
                let error = Error::Weight { name, index: vec![row], value: *weight };
                return first_error.report(row, error);
            }
        }
    });
    crew.outcome()?;
    first_error.outcome()?;
    Ok(weights)
}
