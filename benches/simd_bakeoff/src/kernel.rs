//! The kernel that every library runs: smoothed cross-entropy of a row and its gradient.
//!
//! ```text
//! M      = max z                                                      first sweep
//! others = Σ_{z_k < M} exp(z_k)·2^(H − N),   gaps = Σ_k (M − z_k)     second sweep, e_k stored
//! L      = log ties + log1p(others / top)
//! loss   = spike·[(M − z_y) + L] + β·gaps + ε·L                       β = ε/K, spike = 1 − ε
//! g_k    = p_k − β, g_y from S − e_y                                  third sweep
//! ```
//!
//! The sweeps, their order of additions and their constants are those that src/kernel had when the
//! library was chosen; what it does for rows that are not finite is left out.

use std::f64::consts::{LN_2, LOG2_E};

pub const LANES: usize = 16;
const QUAD: usize = 4;
pub const QUAD_LEN: usize = QUAD * LANES;
const BLOCK: usize = 4 * QUAD_LEN;
const SEGMENT: usize = 16_384;

pub const LABEL_SMOOTHING: f64 = 0.1;
const HEADROOM: i32 = 30;
const EXPONENT_BIAS: i32 = 127;
/// 1.5·2^23
const MAGIC: f32 = 12_582_912.0;
/// ln 2 − `LN_2` of f32
const LN2_LOW: f32 = f32::from_bits(0xb102_e308);
/// C2 to C6 of exp(f) − 1 = f + f²(C2 + C3 f + ...), as they were then.
const COEFFICIENTS: [u32; 5] = [0x3eff_fff9, 0x3e2a_aa35, 0x3d2a_b038, 0x3c09_2a89, 0x3ab2_90c8];
/// Probabilities are formed 2^32 times too large.
const GUARD: f64 = 4_294_967_296.0;

/// Proof that an instruction set is present.
pub trait Token: Copy {
    /// Runs `job` in a function compiled for the instruction set.
    fn outlined<R>(self, job: impl FnOnce() -> R) -> R;
}

/// 16 lanes of `f32`.
pub trait Vector: Copy {
    type Token: Token;
    type Mask: Copy;
    /// 16 lanes of `f64`.
    type Sum: Copy;

    fn splat(token: Self::Token, value: f32) -> Self;
    fn load(token: Self::Token, lanes: &[f32; LANES]) -> Self;
    fn store(self, lanes: &mut [f32; LANES]);
    fn add(self, other: Self) -> Self;
    fn sub(self, other: Self) -> Self;
    fn mul(self, other: Self) -> Self;
    /// `self * b + c`, rounded once.
    fn mul_add(self, b: Self, c: Self) -> Self;
    /// `c - self * b`, rounded once.
    fn neg_mul_add(self, b: Self, c: Self) -> Self;
    fn max(self, other: Self) -> Self;
    fn le(self, other: Self) -> Self::Mask;
    /// +0 where `mask` is true.
    fn zero_where(self, mask: Self::Mask) -> Self;
    /// +0 where `mask` is false.
    fn only_where(self, mask: Self::Mask) -> Self;
    /// Adds `bias` to the bits and shifts them to the exponent field.
    fn exponent_from_low_bits(self, bias: u32) -> Self;

    fn no_sum(token: Self::Token) -> Self::Sum;
    /// `sum` with this vector added in `f64`.
    fn flush(self, sum: Self::Sum) -> Self::Sum;
    /// Lane i joined with lane i + 8.
    fn joined(sum: Self::Sum) -> [f64; LANES / 2];
}

/// Rows of logits, what is computed from them, and a row of exponentials.
pub struct Batch {
    pub classes: usize,
    pub logits: Vec<f32>,
    pub labels: Vec<usize>,
    pub losses: Vec<f64>,
    pub grads: Vec<f32>,
    pub exps: Vec<f32>,
}

pub fn losses_and_grads<V: Vector>(token: V::Token, batch: &mut Batch) {
    token.outlined(
        #[inline(always)]
        || {
            let rows =
                batch.logits.chunks(batch.classes).zip(batch.grads.chunks_mut(batch.classes));
            for (((z, grad), label), loss) in rows.zip(&batch.labels).zip(&mut batch.losses) {
                *loss = loss_and_grad::<V>(token, z, *label, grad, &mut batch.exps);
            }
        },
    );
}

#[inline(always)]
fn loss_and_grad<V: Vector>(
    token: V::Token,
    z: &[f32],
    label: usize,
    grad: &mut [f32],
    exps: &mut [f32],
) -> f64 {
    let max = maximum::<V>(token, z);
    let Stats { ties, peak, others, gaps } = sweep::<V>(token, z, max, exps);
    let sum = peak * ties + others;
    let (beta, spike) = (LABEL_SMOOTHING / z.len() as f64, 1.0 - LABEL_SMOOTHING);

    write_grad::<V>(token, sum, beta, exps, grad);
    let at_label = if z[label] == max { peak } else { f64::from(exps[label]) };
    let rest = if z[label] == max { others + peak * (ties - 1.0) } else { sum - at_label };
    grad[label] = ((LABEL_SMOOTHING * at_label - spike * rest) / sum - beta) as f32;

    let excess = ties.ln() + (others / (peak * ties)).ln_1p();
    let gap = f64::from(max) - f64::from(z[label]);
    spike * (gap + excess) + beta * gaps + LABEL_SMOOTHING * excess
}

/// The vector of `part`, `pad` in the lanes after its end.
#[inline(always)]
fn head<V: Vector>(token: V::Token, part: &[f32], pad: f32) -> V {
    if let Ok(lanes) = part.try_into() {
        return V::load(token, lanes);
    }
    let mut lanes = [pad; LANES];
    lanes[..part.len()].copy_from_slice(part);
    V::load(token, &lanes)
}

#[inline(always)]
fn maximum<V: Vector>(token: V::Token, z: &[f32]) -> f32 {
    let mut best = [V::splat(token, f32::NEG_INFINITY); QUAD];
    let (quads, tail) = z.as_chunks::<QUAD_LEN>();
    for quad in quads {
        let (vectors, _) = quad.as_chunks::<LANES>();
        for i in 0..QUAD {
            best[i] = V::load(token, &vectors[i]).max(best[i]);
        }
    }
    for part in tail.chunks(LANES) {
        best[0] = head::<V>(token, part, f32::NEG_INFINITY).max(best[0]);
    }
    let mut lanes = [0.0; LANES];
    best[0].max(best[1]).max(best[2].max(best[3])).store(&mut lanes);
    let mut max = lanes[0];
    for lane in lanes {
        max = if lane > max { lane } else { max };
    }
    max
}

/// exp relative to 2^(N − H), N near M·log2 e.
struct Exp<V: Vector> {
    token: V::Token,
    max: f32,
    cut: V,
    bias: u32,
}

impl<V: Vector> Exp<V> {
    #[inline(always)]
    fn new(token: V::Token, max: f32) -> Self {
        let shift = HEADROOM - (f64::from(max) * LOG2_E).round_ties_even() as i32;
        let cut = f64::from(2 - EXPONENT_BIAS - shift) * LN_2;
        Self { token, max, cut: V::splat(token, cut as f32), bias: (shift + EXPONENT_BIAS) as u32 }
    }

    #[inline(always)]
    fn splat(&self, value: f32) -> V {
        V::splat(self.token, value)
    }

    /// (fraction, scale): the exponential is scale + fraction·scale.
    #[inline(always)]
    fn parts(&self, z: V) -> (V, V) {
        let magic = self.splat(MAGIC);
        let shifted = z.mul_add(self.splat(std::f32::consts::LOG2_E), magic);
        let n = shifted.sub(magic);
        let rest = n.neg_mul_add(self.splat(std::f32::consts::LN_2), z);
        let f = n.neg_mul_add(self.splat(LN2_LOW), rest);
        let mut q = self.splat(f32::from_bits(COEFFICIENTS[4]));
        for i in [3, 2, 1, 0] {
            q = q.mul_add(f, self.splat(f32::from_bits(COEFFICIENTS[i])));
        }
        let fraction = rest.add(n.neg_mul_add(self.splat(LN2_LOW), f.mul(f).mul(q)));
        let scale = shifted.exponent_from_low_bits(self.bias);
        let dropped = z.le(self.cut);
        (fraction.zero_where(dropped), scale.zero_where(dropped))
    }

    /// The terms of up to four vectors of logits; their exponentials are stored.
    #[inline(always)]
    fn terms(&self, z: &[f32], exps: &mut [f32; QUAD_LEN], ties: &mut V) -> Terms<V> {
        let (max, one) = (self.splat(self.max), self.splat(1.0));
        let mut terms = [[self.splat(0.0); 3]; QUAD];
        let (exps, _) = exps.as_chunks_mut::<LANES>();
        for i in 0..QUAD {
            let start = i * LANES;
            if start >= z.len() {
                break;
            }
            let z = head(self.token, &z[start..z.len().min(start + LANES)], self.max);
            let (fraction, scale) = self.parts(z);
            let is_max = max.le(z);
            let scales = scale.zero_where(is_max);
            *ties = ties.add(one.only_where(is_max));
            terms[i] = [scales, fraction.mul(scales), max.sub(z)];
            fraction.mul_add(scale, scale).store(&mut exps[i]);
        }
        plus(plus(terms[0], terms[1]), plus(terms[2], terms[3]))
    }
}

/// What is added up: scales, fractions·scales and gaps.
type Terms<V> = [V; 3];

#[inline(always)]
fn plus<V: Vector>(a: Terms<V>, b: Terms<V>) -> Terms<V> {
    [a[0].add(b[0]), a[1].add(b[1]), a[2].add(b[2])]
}

#[inline(always)]
fn total<V: Vector>(sum: V::Sum) -> f64 {
    let lanes = V::joined(sum);
    let [a, b, c, d] = [0, 1, 2, 3].map(|i| lanes[i] + lanes[i + 4]);
    (a + c) + (b + d)
}

struct Stats {
    ties: f64,
    /// exp(M)·2^(H − N)
    peak: f64,
    others: f64,
    gaps: f64,
}

#[inline(always)]
fn sweep<V: Vector>(token: V::Token, z: &[f32], max: f32, exps: &mut [f32]) -> Stats {
    let exp = Exp::<V>::new(token, max);
    // Classes that do not exist count as maxima.
    let missing = z.len().next_multiple_of(LANES) - z.len();
    let mut stats = Stats { ties: -(missing as f64), peak: 0.0, others: 0.0, gaps: 0.0 };
    for (segment, exps) in z.chunks(SEGMENT).zip(exps.chunks_mut(SEGMENT)) {
        let (mut sum, mut gaps) = (V::no_sum(token), V::no_sum(token));
        let mut ties = V::splat(token, 0.0);
        for (block, exps) in segment.chunks(BLOCK).zip(exps.chunks_mut(BLOCK)) {
            let mut terms = [V::splat(token, 0.0); 3];
            let (quads, tail) = block.as_chunks::<QUAD_LEN>();
            let (exps, _) = exps.as_chunks_mut::<QUAD_LEN>();
            for (quad, exps) in quads.iter().zip(exps.iter_mut()) {
                terms = plus(terms, exp.terms(quad, exps, &mut ties));
            }
            if !tail.is_empty() {
                terms = plus(terms, exp.terms(tail, &mut exps[quads.len()], &mut ties));
            }
            sum = terms[1].flush(terms[0].flush(sum));
            gaps = terms[2].flush(gaps);
        }
        stats.ties += total::<V>(ties.flush(V::no_sum(token)));
        stats.others += total::<V>(sum);
        stats.gaps += total::<V>(gaps);
    }
    let (fraction, scale) = exp.parts(V::splat(token, max));
    let mut lanes = [0.0; LANES];
    scale.store(&mut lanes);
    let scale = f64::from(lanes[0]);
    fraction.store(&mut lanes);
    stats.peak = scale + scale * f64::from(lanes[0]);
    stats
}

/// p_k − β for every class, 1/S in two parts.
#[inline(always)]
fn write_grad<V: Vector>(token: V::Token, sum: f64, beta: f64, exps: &[f32], grad: &mut [f32]) {
    let (inverse, least) = (GUARD / sum, f64::from(f32::MIN_POSITIVE) * sum);
    let remainder = inverse - f64::from(inverse as f32);
    let scale = [inverse, remainder, least, -beta * GUARD, 1.0 / GUARD];
    let scale = scale.map(|value| V::splat(token, value as f32));
    let (exps, _) = exps.as_chunks::<LANES>();
    let (vectors, tail) = grad.as_chunks_mut::<LANES>();
    for (grad, exps) in vectors.iter_mut().zip(exps) {
        gradient(V::load(token, exps), scale).store(grad);
    }
    if !tail.is_empty() {
        let mut last = [0.0; LANES];
        gradient(V::load(token, &exps[vectors.len()]), scale).store(&mut last);
        tail.copy_from_slice(&last[..tail.len()]);
    }
}

#[inline(always)]
fn gradient<V: Vector>(e: V, [high, low, least, minus_beta, unguard]: [V; 5]) -> V {
    let e = e.only_where(least.le(e));
    e.mul_add(high, e.mul_add(low, minus_beta)).mul(unguard)
}
