//! Weights of classes and of rows.

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

/// Largest weights within this and its inverse are ordinary: with them nothing over- or underflows.
const ORDINARY: f64 = 1e18;

/// Copies the only element of the rows from `first` on: all must be finite and ≥ 0. The largest of them.
pub(crate) fn copy_weights(
    elements: &Rows<'_>,
    name: &'static str,
    first: usize,
    weights: &mut [f64],
) -> Result<f64, Error> {
    let mut largest = 0.0_f64;
    for (row, weight) in (first..).zip(weights) {
        *weight = elements.get(row, 0);
        if !(*weight >= 0.0 && weight.is_finite()) {
            return Err(Error::Weight { name, index: vec![row], value: *weight });
        }
        largest = largest.max(*weight);
    }
    Ok(largest)
}

impl WeightValues {
    /// Of weights that were checked, and the largest of them.
    pub(crate) fn new(values: Vec<f64>, largest: f64) -> Self {
        let is_ordinary = (1.0 / ORDINARY..=ORDINARY).contains(&largest) || largest == 0.0;
        let power = largest.clamp(f64::MIN_POSITIVE, 2f64.powi(1022)).to_bits();
        let unit = if is_ordinary { 1.0 } else { f64::from_bits(power & f64::INFINITY.to_bits()) };
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
