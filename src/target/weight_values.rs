//! Weights of classes and of rows.

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
