//! The paper's formulas in plain f64: exact enough for f32, a second opinion for f64.
//!
//! ```text
//! x = z / T     M = max x     L = log Σ exp(x_i − M)     p_k = exp(x_k − M) / Σ exp(x_i − M)
//! q'_k = c_k·[(1 − ε) q_k + ε u_k]                       lse = M + L
//! ℓ    = s·[Σ q'_k (M − x_k + L) + z_loss·lse²]
//! g_k  = s/T·[(Σ q' + 2 z_loss·lse)·p_k − q'_k]
//! ```
#![allow(
    clippy::cast_possible_wrap,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "small integers"
)]

use crate::memory::{epsilon, largest, least_normal};
use crate::options::{Of, Operands, Options, Target};
use crate::rows::{IGNORED, Problem};
use smoothxent::{Float, Reduction, Storage};

/// The softmax of one row.
pub struct Reference {
    pub lse: f64,
    pub max: f64,
    /// L
    pub excess: f64,
    /// M − x
    pub gaps: Vec<f64>,
    /// √p: a p that is no normal number may have a weight that makes it one.
    roots: Vec<f64>,
}

impl Reference {
    pub fn new(logits: &[f64], temperature: f64) -> Self {
        let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let has_nan = logits.iter().any(|z| z.is_nan());
        if has_nan || max.is_infinite() {
            // NaN, +inf and rows of −inf have no probabilities.
            let lse = if has_nan { f64::NAN } else { max };
            let nan = vec![f64::NAN; logits.len()];
            return Self { lse, max, excess: f64::NAN, gaps: nan.clone(), roots: nan };
        }
        let gaps: Vec<f64> = logits.iter().map(|z| (max - z) / temperature).collect();
        let exps: Vec<f64> = gaps.iter().map(|gap| (-gap).exp()).collect();
        let ties = gaps.iter().filter(|gap| **gap == 0.0).count() as f64;
        let others: f64 = exps.iter().zip(&gaps).filter(|of| *of.1 != 0.0).map(|of| of.0).sum();
        let root = (ties + others).sqrt();
        let roots = gaps.iter().map(|gap| (-0.5 * gap).exp() / root).collect();
        // In two parts: next to one dominant class `others` is far below the last bit of 1.
        let excess = ties.ln() + (others / ties).ln_1p();
        let max = max / temperature;
        Self { lse: max + excess, max, excess, gaps, roots }
    }

    /// w·p_k
    pub fn weighted(&self, weight: f64, k: usize) -> f64 {
        weight * self.roots[k] * self.roots[k]
    }

    /// H(q, p), with 0·log 0 = 0.
    pub fn loss(&self, q: &[f64]) -> f64 {
        if self.excess.is_nan() {
            return f64::NAN;
        }
        let parts = self.gaps.iter().zip(q).filter(|(_, q)| **q != 0.0);
        parts.map(|(gap, q)| q * (gap + self.excess)).sum()
    }
}

/// A number and the size of what it is made from.
#[derive(Clone, Copy)]
pub struct Sized {
    pub value: f64,
    pub size: f64,
}

/// Everything that the formulas say about a problem.
pub struct Expected {
    pub softmax: Vec<f64>,
    pub log_softmax: Vec<f64>,
    pub logsumexp: Vec<Sized>,
    /// nll, H(u, p), KL, H(u)
    pub terms: [Vec<Sized>; 4],
    pub losses: Vec<f64>,
    /// Of the reduced loss.
    pub value: f64,
    pub grad: Vec<Sized>,
    /// Whether the gradient is 0 because row or class is not there.
    pub is_absent: Vec<bool>,
}

/// One row, read back from memory; what the mask leaves out is not there.
struct Row {
    /// Whether the row counts.
    counts: bool,
    /// Whether any class is left.
    has_class: bool,
    kept: Vec<bool>,
    p: Reference,
    q: Vec<f64>,
    u: Vec<f64>,
    c: Vec<f64>,
    s: f64,
}

impl Row {
    /// Row `row` of what [`Operands`] hold: logits, q, prior, mask.
    fn new(values: &[Vec<f64>; 4], row: usize, problem: &Problem, options: &Options) -> Self {
        let classes = problem.classes;
        let [logits, q, prior, mask] = values;
        let of = |values: &[f64], of| match of {
            Of::None => vec![1.0; classes],
            Of::AllRows => values.to_vec(),
            Of::EachRow => values[row * classes..][..classes].to_vec(),
        };
        let kept: Vec<bool> = of(mask, options.mask).iter().map(|kept| *kept != 0.0).collect();
        let only_kept = |values: Vec<f64>, other| -> Vec<f64> {
            values.iter().zip(&kept).map(|(v, kept)| if *kept { *v } else { other }).collect()
        };
        let logits = only_kept(of(logits, Of::EachRow), f64::NEG_INFINITY);
        let p = Reference::new(&logits, options.temperature);
        let u = only_kept(of(prior, options.prior), 0.0);
        // A given prior of all classes is used as it is, whatever it sums to.
        let is_whole = options.mask == Of::None && options.prior != Of::None;
        let mass: f64 = if is_whole { 1.0 } else { u.iter().sum() };
        let is_ignored = options.target == Target::Labels && problem.labels[row] == IGNORED;
        let has_class = kept.contains(&true);
        let weighted = |on: bool, weight: f64| if on { weight } else { 1.0 };
        let s = weighted(options.sample_weight, problem.sample_weight[row]);
        Self {
            counts: !is_ignored && has_class && s != 0.0,
            has_class: has_class && !is_ignored,
            p,
            q: of(q, Of::EachRow),
            u: u.iter().map(|u| u / mass).collect(),
            c: problem.class_weight.iter().map(|c| weighted(options.class_weight, *c)).collect(),
            s,
            kept,
        }
    }

    /// q', with 1 for the weights if they are not asked for.
    fn smoothed(&self, label_smoothing: f64, c: Option<&[f64]>) -> Vec<f64> {
        let mix = |(q, u): (&f64, &f64)| {
            // Neither is read where its share is 0.
            let hard = if label_smoothing == 1.0 { 0.0 } else { (1.0 - label_smoothing) * q };
            hard + label_smoothing * u
        };
        let mixed = self.q.iter().zip(&self.u).map(mix).enumerate();
        mixed.map(|(k, mixed)| c.map_or(mixed, |c| c[k] * mixed)).collect()
    }
}

impl Expected {
    /// For rows computed in `F`.
    pub fn new<F: Float>(problem: &Problem, options: &Options, operands: &Operands<'_>) -> Self {
        let values = |buffer: Option<&crate::memory::Buffer>| {
            buffer.map(crate::memory::Buffer::values).unwrap_or_default()
        };
        let values = [
            values(Some(&operands.logits)),
            values(Some(&operands.q)),
            values(operands.prior.as_ref()),
            values(operands.mask.as_ref()),
        ];
        let rows = (0..problem.rows()).map(|row| Row::new(&values, row, problem, options));
        let rows: Vec<Row> = rows.collect();
        let mass = |row: &Row| row.q.iter().zip(&row.c).map(|(q, c)| q * c).sum::<f64>();
        let divisor = match (options.reduction, options.normalizer) {
            (Reduction::None | Reduction::Sum, _) => 1.0,
            (_, Some(normalizer)) => normalizer,
            (Reduction::Mean, None) => {
                rows.iter().filter(|row| row.counts).map(|row| row.s * mass(row)).sum()
            }
            (Reduction::SumByNonzeroWeights, None) => {
                rows.iter().filter(|row| row.counts).count() as f64
            }
        };
        let mut expected = Self {
            softmax: Vec::new(),
            log_softmax: Vec::new(),
            logsumexp: Vec::new(),
            terms: [(); 4].map(|()| Vec::new()),
            losses: Vec::new(),
            value: 0.0,
            grad: Vec::new(),
            is_absent: Vec::new(),
        };
        for row in &rows {
            expected.add_activations::<F>(row);
            expected.add_terms(row);
            expected.add_loss::<F>(row, options, divisor);
        }
        let sum: f64 = expected.losses.iter().sum();
        // 0/0 and x/0 alike: the mean over nothing.
        expected.value = match options.reduction {
            _ if divisor != 0.0 => sum / divisor,
            Reduction::SumByNonzeroWeights => 0.0,
            _ => f64::NAN,
        };
        expected
    }

    fn add_activations<F: Float>(&mut self, row: &Row) {
        let p = &row.p;
        let flushed = |p: f64| if p < F::MIN_POSITIVE { 0.0 } else { p };
        for (k, is_kept) in row.kept.iter().enumerate() {
            self.softmax.push(if *is_kept { flushed(p.weighted(1.0, k)) } else { 0.0 });
            let log_p = if *is_kept { -(p.gaps[k] + p.excess) } else { f64::NEG_INFINITY };
            self.log_softmax.push(log_p);
        }
        self.logsumexp.push(Sized { value: p.lse, size: p.max.abs().max(p.excess) });
    }

    fn add_terms(&mut self, row: &Row) {
        let [nll, prior_cross_entropy, kl, prior_entropy] = &mut self.terms;
        let (mut hard, mut smooth, mut entropy) = (0.0, 0.0, 0.0);
        if row.has_class {
            (hard, smooth) =
                (row.p.loss(&row.smoothed(0.0, None)), row.p.loss(&row.smoothed(1.0, None)));
            entropy = row.u.iter().filter(|u| **u != 0.0).map(|u| -u * u.ln()).sum();
        }
        nll.push(Sized { value: hard, size: hard });
        prior_cross_entropy.push(Sized { value: smooth, size: smooth });
        kl.push(Sized { value: smooth - entropy, size: smooth });
        prior_entropy.push(Sized { value: entropy, size: entropy });
    }

    fn add_loss<F: Float>(&mut self, row: &Row, options: &Options, divisor: f64) {
        let Options { label_smoothing, temperature, z_loss, .. } = *options;
        let counts = row.counts && divisor != 0.0;
        self.is_absent.extend(row.kept.iter().map(|is_kept| !counts || !is_kept));
        if !counts {
            self.losses.push(0.0);
            self.grad.extend(row.kept.iter().map(|_| Sized { value: 0.0, size: 0.0 }));
            return;
        }
        let q = row.smoothed(label_smoothing, Some(&row.c));
        let squared = if z_loss == 0.0 { 0.0 } else { z_loss * row.p.lse * row.p.lse };
        self.losses.push(row.s * (row.p.loss(&q) + squared));
        let lse = if z_loss == 0.0 { 0.0 } else { row.p.lse };
        let weight = q.iter().sum::<f64>() + 2.0 * z_loss * lse;
        let scale = row.s / (temperature * divisor);
        for (k, is_kept) in row.kept.iter().enumerate() {
            let pull = row.p.weighted(scale * weight, k);
            let pull = if pull.abs() < F::MIN_POSITIVE { 0.0 } else { pull };
            let value = if *is_kept { pull - scale * q[k] } else { 0.0 };
            self.grad.push(Sized { value, size: pull.abs().max(scale * q[k]) });
        }
    }
}

/// Asserts that `value`, as it lies in `storage`, is `wanted` within `ulps` units in the last place.
pub fn check(what: &str, value: f64, wanted: Sized, storage: Storage, ulps: f64) {
    let Sized { value: wanted, size } = wanted;
    if value == wanted || value.is_nan() && wanted.is_nan() {
        return;
    }
    // Beyond the largest number there is infinity.
    let overflow = largest(storage) * (1.0 - ulps * epsilon(storage));
    if value.is_infinite() && wanted.abs() >= overflow && value.signum() == wanted.signum() {
        return;
    }
    // No accuracy is promised below the smallest normal number of the type that rows are computed in.
    let least = least_normal(if storage == Storage::F64 { storage } else { Storage::F32 });
    if size.abs() < least && (value - wanted).abs() <= least {
        return;
    }
    let exponent = (size.abs().max(least_normal(storage)).to_bits() >> 52) as i32 - 1023;
    let off = (value - wanted).abs() / (2f64.powi(exponent) * epsilon(storage));
    assert!(off <= ulps, "{what} is {value:e}, {off} ulp from {wanted:e}");
}
