//! The sweeps over one row: the maximum, then the sums in their canonical order.

use super::exp::{Exp, PLAIN, Parts, TEMPERED};
use super::stats::{Sums, Weights, count_to_f64};
use crate::element::Float;
use crate::simd::row::{QUAD, Sink, Source};
use crate::simd::{LaneSum, Vector};
use crate::wide::Wide;

/// Classes whose lanes are joined at once: the unit in which a long row can be divided.
pub(crate) const SEGMENT: usize = 16_384;

/// M, ignoring or keeping NaN as the hardware does: the sums find NaN.
#[inline(always)]
pub(super) fn maximum<V: Vector>(token: V::Token, z: Source<'_, V::Scalar>) -> V::Scalar {
    V::outlined(
        token,
        #[inline(always)]
        move || {
            let lowest = V::Scalar::NEG_INFINITY;
            let mut best = [V::splat(token, lowest); QUAD];
            let mut at = 0;
            while at + QUAD * V::LANES <= z.len() {
                let quad = z.quad::<V>(at);
                for (i, best) in best.iter_mut().enumerate() {
                    *best = quad.vector::<V>(token, i).max(*best);
                }
                at += QUAD * V::LANES;
            }
            while at < z.len() {
                best[0] = z.vector::<V>(token, at, lowest).max(best[0]);
                at += V::LANES;
            }
            largest_lane(best[0].max(best[1]).max(best[2].max(best[3])))
        },
    )
}

/// A tree: the order of maxima cannot be seen.
#[inline(always)]
fn largest_lane<V: Vector>(vector: V) -> V::Scalar {
    let mut lanes = vector.to_array();
    let mut half = V::LANES / 2;
    while half > 0 {
        for index in 0..half {
            if lanes[index + half] > lanes[index] {
                lanes[index] = lanes[index + half];
            }
        }
        half /= 2;
    }
    lanes[0]
}

/// What is swept: a row whose largest element is `exp.max()`, at most [`super::exp::LARGEST_MAX`].
#[derive(Clone, Copy)]
pub(super) struct Row<'r, V: Vector> {
    pub(super) exp: Exp<V>,
    pub(super) is_tempered: bool,
    pub(super) z: Source<'r, V::Scalar>,
    pub(super) max: V::Scalar,
    /// How many bytes further on the logits lie that are needed next; 0 for near.
    pub(super) ahead: usize,
}

impl<V: Vector> Row<'_, V> {
    /// The sums of a row with these weights.
    #[inline(always)]
    pub(super) fn sums<const STORE: bool>(
        self,
        weights: Weights<'_, V::Scalar>,
        exps: &mut [V::Scalar],
    ) -> Sums<V::Scalar> {
        let is_wide = weights.are_summed_wide(self.z.len());
        let mut sums = self.swept::<STORE>(if is_wide { Weights::Absent } else { weights }, exps);
        if is_wide {
            sums.dot = wide_dot(self.z, self.max, weights, 1.0);
        }
        sums
    }

    /// The second sweep, with whatever weights there are in it: for a part of a long row as well.
    #[inline(always)]
    pub(super) fn swept<const STORE: bool>(
        self,
        weights: Weights<'_, V::Scalar>,
        exps: &mut [V::Scalar],
    ) -> Sums<V::Scalar> {
        if self.is_tempered {
            self.heated::<STORE, TEMPERED>(weights, exps)
        } else {
            self.heated::<STORE, PLAIN>(weights, exps)
        }
    }

    #[inline(always)]
    fn heated<const STORE: bool, const HEAT: bool>(
        self,
        weights: Weights<'_, V::Scalar>,
        exps: &mut [V::Scalar],
    ) -> Sums<V::Scalar> {
        let none = (self.z, self.z);
        match weights {
            Weights::Absent => sweep::<V, STORE, HEAT, ABSENT>(self, none, exps),
            Weights::Ones => sweep::<V, STORE, HEAT, ONES>(self, none, exps),
            Weights::Row { high, low: None } => {
                sweep::<V, STORE, HEAT, ROW>(self, (high, high), exps)
            }
            Weights::Row { high, low: Some(low) } => {
                sweep::<V, STORE, HEAT, TWO_PARTS>(self, (high, low), exps)
            }
        }
    }
}

/// Σ w_k (M − z_k) / unit, one class after the other, every term wide.
#[inline(always)]
pub(super) fn wide_dot<F: Float>(
    z: Source<'_, F>,
    max: F,
    weights: Weights<'_, F>,
    unit: f64,
) -> F::Wide {
    wide_dot_after(F::Wide::new(0.0), z, max, weights, unit)
}

/// As [`wide_dot`], for classes that follow those of which `sum` is the sum.
#[inline(always)]
pub(super) fn wide_dot_after<F: Float>(
    sum: F::Wide,
    z: Source<'_, F>,
    max: F,
    weights: Weights<'_, F>,
    unit: f64,
) -> F::Wide {
    let max = F::Wide::new(max.to_f64() / unit);
    let gap = |k: usize| max - F::Wide::new(z.get(k).to_f64() / unit);
    (0..z.len())
        .filter(|&k| weights.get(k).value() != 0.0)
        .fold(sum, |sum, k| sum + weights.get(k) * gap(k))
}

/// Compiled once for all operations.
#[inline(always)]
fn sweep<V: Vector, const STORE: bool, const HEAT: bool, const WEIGHTS: u8>(
    row: Row<'_, V>,
    weights: (Source<'_, V::Scalar>, Source<'_, V::Scalar>),
    exps: &mut [V::Scalar],
) -> Sums<V::Scalar> {
    let token = row.exp.max().token();
    V::outlined(
        token,
        #[inline(always)]
        move || {
            let Row { exp, z, max, ahead, .. } = row;
            Sweep::<V, STORE, HEAT, WEIGHTS> { token, exp, z, weights, max, ahead }.run(exps)
        },
    )
}

/// Kinds of weights.
pub(super) const ABSENT: u8 = 0;
pub(super) const ONES: u8 = 1;
pub(super) const ROW: u8 = 2;
pub(super) const TWO_PARTS: u8 = 3;

/// What one vector adds to the sums: exp = scales + fractions, without the maxima.
#[derive(Clone, Copy)]
pub(super) struct Terms<V> {
    scales: V,
    fractions: V,
    dots: V,
}

impl<V: Vector> Terms<V> {
    #[inline(always)]
    pub(super) fn zero(token: V::Token) -> Self {
        let zero = V::splat(token, V::Scalar::default());
        Self { scales: zero, fractions: zero, dots: zero }
    }

    #[inline(always)]
    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            scales: self.scales.add(other.scales),
            fractions: self.fractions.add(other.fractions),
            dots: self.dots.add(other.dots),
        }
    }

    /// To wide lanes. A quad at a time: where one class dominates, each addition of narrow
    /// numbers before this may round the others away by half an ulp of it.
    #[inline(always)]
    pub(super) fn flush(self, sum: &mut V::Sum, dot: &mut V::Sum) {
        sum.add(self.scales);
        sum.add(self.fractions);
        dot.add(self.dots);
    }
}

/// What the vector `z` adds to the sums.
#[inline(always)]
pub(super) fn class_terms<V: Vector, const WEIGHTS: u8>(
    exp: &Exp<V>,
    z: V,
    (high, low): (V, V),
    parts: Parts<V>,
    ties: &mut V,
) -> Terms<V> {
    let token = z.token();
    let zero = V::splat(token, V::Scalar::default());
    let is_max = z.ge(exp.max());
    let scales = parts.scale.zero_where(is_max);
    *ties = ties.add(V::splat(token, V::Scalar::from_f64(1.0)).only_where(is_max));
    let gap = exp.max().sub(z);
    let dots = match WEIGHTS {
        ABSENT => zero,
        ONES => gap,
        // 0·log 0 = 0: a class without weight adds nothing, not even inf·0.
        ROW => high.mul(gap).zero_where(high.eq(zero)),
        _ => high.mul_add(gap, low.mul(gap)).zero_where(high.eq(zero)),
    };
    Terms { scales, fractions: parts.fraction.mul(scales), dots }
}

/// The second sweep over one row, with everything that stays the same in it.
struct Sweep<'r, V: Vector, const STORE: bool, const HEAT: bool, const WEIGHTS: u8> {
    token: V::Token,
    exp: Exp<V>,
    z: Source<'r, V::Scalar>,
    /// Both parts; anything where there are no weights to read.
    weights: (Source<'r, V::Scalar>, Source<'r, V::Scalar>),
    max: V::Scalar,
    ahead: usize,
}

impl<V: Vector, const STORE: bool, const HEAT: bool, const WEIGHTS: u8>
    Sweep<'_, V, STORE, HEAT, WEIGHTS>
{
    const QUAD_LEN: usize = QUAD * V::LANES;

    /// The whole row.
    #[inline(always)]
    fn run(&self, exps: &mut [V::Scalar]) -> Sums<V::Scalar> {
        let token = self.token;
        let len = self.z.len();
        let mut exps = Sink::from_slice(exps);
        let mut sums = Sums::zero();
        let mut at = 0;
        while at < len {
            let segment_end = len.min(at + SEGMENT);
            let mut sum = V::Sum::zero(token);
            let mut dot = V::Sum::zero(token);
            let mut ties = self.splat(0.0);
            while at + Self::QUAD_LEN <= segment_end {
                if self.ahead > 0 {
                    self.z.prefetch::<V>(token, at, self.ahead);
                }
                self.quad(at, &mut exps, &mut ties).flush(&mut sum, &mut dot);
                at += Self::QUAD_LEN;
            }
            if at < segment_end {
                if self.ahead > 0 {
                    self.z.prefetch::<V>(token, at, self.ahead);
                }
                self.last_quad(at, &mut exps, &mut ties).flush(&mut sum, &mut dot);
                // Classes that do not exist were counted as maxima.
                let rest = len - at;
                sums.ties -= count_to_f64(rest.next_multiple_of(V::LANES) - rest);
                at = len;
            }
            let mut count = V::Sum::zero(token);
            count.add(ties);
            sums.ties += count.total().value();
            sums.others = sums.others + sum.total();
            if WEIGHTS != ABSENT {
                sums.dot = sums.dot + dot.total();
            }
        }
        sums
    }

    /// Four whole vectors: (t0 + t1) + (t2 + t3).
    #[inline(always)]
    fn quad(&self, at: usize, exps: &mut Sink<'_, V::Scalar>, ties: &mut V) -> Terms<V> {
        let source = self.z.quad::<V>(at);
        let weights = self.weights();
        let high = weights.0.quad::<V>(at);
        let low = weights.1.quad::<V>(at);
        let mut z = [self.exp.max(); QUAD];
        for (i, z) in z.iter_mut().enumerate() {
            *z = source.vector(self.token, i);
        }
        let parts = self.exp.parts_of::<HEAT, QUAD>(z);
        let mut terms = [Terms::zero(self.token); QUAD];
        for i in 0..QUAD {
            if STORE {
                exps.quad::<V>(at).set(i, parts[i].rounded());
            }
            let weights = (high.vector(self.token, i), low.vector(self.token, i));
            terms[i] = class_terms::<V, WEIGHTS>(&self.exp, z[i], weights, parts[i], ties);
        }
        let [a, b, c, d] = terms;
        a.plus(b).plus(c.plus(d))
    }

    /// The row's last quad: lanes after its end are maxima of weight 0, vectors after it are 0.
    #[inline(always)]
    fn last_quad(&self, start: usize, exps: &mut Sink<'_, V::Scalar>, ties: &mut V) -> Terms<V> {
        let mut quad = [Terms::zero(self.token); QUAD];
        for (i, terms) in quad.iter_mut().enumerate() {
            let at = start + i * V::LANES;
            if at >= self.z.len() {
                break;
            }
            let z = self.z.vector::<V>(self.token, at, self.max);
            let zero = V::Scalar::default();
            let (high, low) = self.weights();
            let weights = (high.vector(self.token, at, zero), low.vector(self.token, at, zero));
            let parts = self.exp.parts::<HEAT>(z);
            if STORE {
                exps.set_vector(at, parts.rounded());
            }
            *terms = class_terms::<V, WEIGHTS>(&self.exp, z, weights, parts, ties);
        }
        quad[0].plus(quad[1]).plus(quad[2].plus(quad[3]))
    }

    /// z itself where there are no weights to read: its bounds are checked anyway.
    #[inline(always)]
    fn weights(&self) -> (Source<'_, V::Scalar>, Source<'_, V::Scalar>) {
        if WEIGHTS == ROW || WEIGHTS == TWO_PARTS { self.weights } else { (self.z, self.z) }
    }

    #[inline(always)]
    fn splat(&self, value: f64) -> V {
        V::splat(self.token, V::Scalar::from_f64(value))
    }
}
