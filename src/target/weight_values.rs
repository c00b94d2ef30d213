//! Weights of classes and of rows.

use super::read::NUMBERS_PER_PART;
use crate::alloc::filled;
use crate::error::Error;
use crate::executor::{Executor, FirstError, on_parts};
use crate::simd::Rows;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

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

impl WeightValues {
    /// One for each of `elements`: all must be finite and ≥ 0.
    ///
    /// # Errors
    /// [`Error::Weight`] for the first that is not, of the argument `name`; [`Error::OutOfMemory`], or
    /// that of the executor.
    ///
    /// # Panics
    /// When rows have no element.
    pub fn new(
        elements: &Rows<'_>,
        name: &'static str,
        executor: &mut dyn Executor,
    ) -> Result<Self, Error> {
        let mut values = filled(elements.rows(), &0.0, executor)?;
        let first_error = FirstError::default();
        let largest = AtomicU64::new(0);
        on_parts(executor, &mut values, NUMBERS_PER_PART, size_of::<f64>(), |first, weights| {
            let mut most = 0.0_f64;
            for (row, weight) in (first..).zip(weights) {
                *weight = elements.get(row, 0);
                if !(*weight >= 0.0 && weight.is_finite()) {
                    let error = Error::Weight { name, index: vec![row], value: *weight };
                    return first_error.report(row, error);
                }
                most = most.max(*weight);
            }
            // The bits of numbers ≥ 0 are in their order.
            largest.fetch_max(most.to_bits(), Relaxed);
        });
        executor.outcome()?;
        first_error.outcome()?;
        let largest = f64::from_bits(largest.into_inner());
        let is_ordinary = (1.0 / ORDINARY..=ORDINARY).contains(&largest) || largest == 0.0;
        let power = largest.clamp(f64::MIN_POSITIVE, 2f64.powi(1022)).to_bits();
        let unit = if is_ordinary { 1.0 } else { f64::from_bits(power & f64::INFINITY.to_bits()) };
        Ok(Self { values, unit, inverse_unit: 1.0 / unit })
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
