//! ε, u, c, s, T and the weight of lse².

use super::{Prior, WeightValues};

/// What the loss is made of besides its targets; validated.
#[derive(Clone, Copy)]
pub struct LossTerms<'a> {
    /// ε in [0, 1]
    pub label_smoothing: f64,
    /// u
    pub prior: &'a Prior<'a>,
    /// c: a weight for each class, finite and ≥ 0.
    pub class_weight: Option<&'a WeightValues>,
    /// s: a weight for each row, finite and ≥ 0. A row of weight 0 is never read.
    pub sample_weight: Option<&'a WeightValues>,
    /// T > 0, which the logits are divided by.
    pub temperature: f64,
    /// The weight of lse² in each row's loss.
    pub z_loss: f64,
}

impl<'a> LossTerms<'a> {
    /// Nothing but smoothing: no weights, T = 1, no z_loss.
    #[must_use]
    pub fn new(label_smoothing: f64, prior: &'a Prior<'a>) -> Self {
        let (class_weight, sample_weight) = (None, None);
        let (temperature, z_loss) = (1.0, 0.0);
        Self { label_smoothing, prior, class_weight, sample_weight, temperature, z_loss }
    }
}
