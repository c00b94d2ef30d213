//! The paper's formulas in plain f64: exact enough for f32, a second opinion for f64.
//!
//! ```text
//! M = max z    L = log Σ exp(z_i − M)    p_k = exp(z_k − M) / Σ exp(z_i − M)
//! H(q, p) = Σ q_k·(M − z_k + L)          ∂H/∂z_k = (Σ q)·p_k − q_k
//! ```
#![allow(
    clippy::cast_possible_wrap,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "small integers"
)]

use smoothxent::{Float, Storage};

/// The reference of one row.
pub struct Reference {
    pub lse: f64,
    pub max: f64,
    /// L
    pub excess: f64,
    /// M − z
    pub gaps: Vec<f64>,
    pub softmax: Vec<f64>,
}

impl Reference {
    /// Probabilities below `least` are 0.
    pub fn new(logits: &[f64], least: f64) -> Self {
        let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let has_nan = logits.iter().any(|z| z.is_nan());
        if has_nan || max.is_infinite() {
            // NaN, +inf and rows of −inf have no probabilities.
            let lse = if has_nan { f64::NAN } else { max };
            let nan = vec![f64::NAN; logits.len()];
            return Self { lse, max, excess: f64::NAN, gaps: nan.clone(), softmax: nan };
        }
        let gaps: Vec<f64> = logits.iter().map(|z| max - z).collect();
        let exps: Vec<f64> = gaps.iter().map(|gap| (-gap).exp()).collect();
        let ties = gaps.iter().filter(|gap| **gap == 0.0).count() as f64;
        let others: f64 = exps.iter().zip(&gaps).filter(|of| *of.1 != 0.0).map(|of| of.0).sum();
        let probabilities = exps.iter().map(|exp| exp / (ties + others));
        let softmax = probabilities.map(|p| if p < least { 0.0 } else { p }).collect();
        // In two parts: next to one dominant class `others` is far below the last bit of 1.
        let excess = ties.ln() + (others / ties).ln_1p();
        Self { lse: max + excess, max, excess, gaps, softmax }
    }

    /// H(q, p), with 0·log 0 = 0.
    pub fn loss(&self, q: &[f64]) -> f64 {
        let parts = self.gaps.iter().zip(q).filter(|(_, q)| **q != 0.0);
        parts.map(|(gap, q)| q * (gap + self.excess)).sum()
    }

    /// ∂H(q, p)/∂z_k
    pub fn grad(&self, q: &[f64], k: usize) -> f64 {
        q.iter().sum::<f64>() * self.softmax[k] - q[k]
    }
}

/// Asserts that `value` is `wanted` within `ulps` units in the last place of `size`.
pub fn check<F: Float>(what: &str, value: F, wanted: f64, size: f64, ulps: f64) {
    let value = value.to_f64();
    if value == F::from_f64(wanted).to_f64() || value.is_nan() && wanted.is_nan() {
        return;
    }
    let exponent = (size.abs().max(F::MIN_POSITIVE).to_bits() >> 52) as i32 - 1023;
    let epsilon = if F::STORAGE == Storage::F32 { f64::from(f32::EPSILON) } else { f64::EPSILON };
    let off = (value - wanted).abs() / (2f64.powi(exponent) * epsilon);
    assert!(off <= ulps, "{what} is {value:e}, {off} ulp from {wanted:e}");
}
