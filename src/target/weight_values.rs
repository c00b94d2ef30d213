//! Weights of classes and of rows.

use super::check_entries;
use crate::error::Error;
use crate::simd::Rows;

/// Weights, all finite and ≥ 0.
#[derive(Clone, Debug)]
pub struct WeightValues {
    values: Vec<f64>,
    /// A power of two near the largest, unless that is ordinary.
    unit: f64,
    inverse_unit: f64,
}

/// Sizes within this and its inverse are ordinary: with such weights nothing over- or underflows.
const ORDINARY: f64 = 1e18;

/// Copies the only element of the rows from `first` on: all must be finite and ≥ 0. The largest of them.
pub(crate) fn copy_weights(
    elements: &Rows<'_>,
    name: &'static str,
    first: usize,
    weights: &mut [f64],
) -> Result<f64, Error> {
    (first..).zip(&mut *weights).for_each(|(row, weight)| *weight = elements.get(row, 0));
    check_entries(name, weights, |k| vec![first + k])?;
    Ok(weights.iter().copied().fold(0.0, f64::max))
}

/// A power of two near a size, with an inverse that is a normal number; 1 if the size is ordinary or 0.
pub(super) fn unit_of(size: f64) -> f64 {
    if (1.0 / ORDINARY..=ORDINARY).contains(&size) || size == 0.0 {
        return 1.0;
    }
    let power = size.clamp(f64::MIN_POSITIVE, 2f64.powi(1022)).to_bits();
    f64::from_bits(power & f64::INFINITY.to_bits())
}

impl WeightValues {
    /// Of weights that were checked, and the largest of them.
    pub(crate) fn new(values: Vec<f64>, largest: f64) -> Self {
        let unit = unit_of(largest);
        Self { values, unit, inverse_unit: 1.0 / unit }
    }

    /// One weight, in units.
    #[inline(always)]
    pub(crate) fn get(&self, index: usize) -> f64 {
        self.values[index] * self.inverse_unit
    }

    /// One weight as it was given.
    #[inline(always)]
    pub(crate) fn given(&self, index: usize) -> f64 {
        self.values[index]
    }

    pub(crate) fn unit(&self) -> f64 {
        self.unit
    }
}
