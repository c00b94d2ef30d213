//! The second sweep over one row: the sums in their canonical order, and the exponentials.

use super::exp::{Exp, Kept, PLAIN, TEMPERED};
use super::first::First;
use super::stats::{Sums, Weights, count_to_f64};
use super::terms::{ABSENT, QuadTerms, ROW, TWO_PARTS, Terms, class_terms, without_maxima};
use crate::element::Float;
use crate::simd::row::{QUAD, Sink, Source};
use crate::simd::{LaneSum, Vector};
use crate::wide::Wide;

/// Classes whose lanes are joined at once: the unit in which a long row can be divided.
pub(crate) const SEGMENT: usize = 16_384;

/// What is swept: a row whose largest element is `exp.max()`, at most [`super::exp::LARGEST_MAX`].
#[derive(Clone, Copy)]
pub(super) struct Row<'r, V: Vector> {
    pub(super) exp: Exp<V>,
    pub(super) is_tempered: bool,
    pub(super) z: Source<'r, V::Scalar>,
    pub(super) first: First<V::Scalar>,
    pub(super) fetch: Fetch,
}

/// What is asked of memory while a row is swept: distances in bytes from its logits, 0 for nothing.
#[derive(Clone, Copy, Default)]
pub(super) struct Fetch {
    /// The logits that are needed next.
    pub(super) ahead: usize,
    /// Where this row is written.
    pub(super) out: usize,
    /// Into the nearest cache?
    pub(super) is_near: bool,
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
            sums.dot = wide_dot(self.z, self.first.max, weights, 1.0);
        }
        if matches!(weights, Weights::Ones) {
            sums.dot = self.first.gaps(self.z.len());
        }
        sums
    }

    /// The second sweep, for a part of a long row as well. Weights of 1 were summed in the first.
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
            Weights::Absent | Weights::Ones => sweep::<V, STORE, HEAT, ABSENT>(self, none, exps),
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
            let Row { exp, z, first, fetch, .. } = row;
            let max = first.max;
            Sweep::<V, STORE, HEAT, WEIGHTS> { token, exp, z, weights, max, fetch }.run(exps)
        },
    )
}

/// Where exponentials are kept.
type ExpSinks<'e, V> = Kept<Sink<'e, <V as Vector>::Scalar>>;

/// The second sweep over one row, with everything that stays the same in it.
struct Sweep<'r, V: Vector, const STORE: bool, const HEAT: bool, const WEIGHTS: u8> {
    token: V::Token,
    exp: Exp<V>,
    z: Source<'r, V::Scalar>,
    /// Both parts; anything where there are no weights to read.
    weights: (Source<'r, V::Scalar>, Source<'r, V::Scalar>),
    max: V::Scalar,
    fetch: Fetch,
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
        let (value, lost) = exps.split_at_mut(exps.len() / 2);
        let mut exps = Kept { value: Sink::from_slice(value), lost: Sink::from_slice(lost) };
        let mut sums = Sums::zero();
        let mut at = 0;
        while at < len {
            let segment_end = len.min(at + SEGMENT);
            let mut sum = V::Sum::zero(token);
            let mut dot = V::Sum::zero(token);
            let mut ties = self.splat(0.0);
            while at + Self::QUAD_LEN <= segment_end {
                self.prefetch(at);
                let terms = self.quad(at, &mut exps, &mut ties, &mut dot);
                terms.flush::<WEIGHTS>(&mut sum, &mut dot);
                at += Self::QUAD_LEN;
            }
            if at < segment_end {
                self.prefetch(at);
                let terms = self.last_quad(at, &mut exps, &mut ties, &mut dot);
                terms.flush::<WEIGHTS>(&mut sum, &mut dot);
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

    #[inline(always)]
    fn prefetch(&self, at: usize) {
        let Fetch { ahead, out, is_near } = self.fetch;
        for distance in [ahead, if STORE { out } else { 0 }] {
            if distance == 0 {
                continue;
            }
            if is_near {
                self.z.prefetch::<V, true>(self.token, at, distance);
            } else {
                self.z.prefetch::<V, false>(self.token, at, distance);
            }
        }
    }

    /// Four whole vectors. Few of a row have a maximum in them: the others are spared the look for
    /// it.
    #[inline(always)]
    fn quad(
        &self,
        at: usize,
        exps: &mut ExpSinks<'_, V>,
        ties: &mut V,
        dot: &mut V::Sum,
    ) -> QuadTerms<V> {
        let source = self.z.quad::<V>(at);
        let mut z = [self.exp.max(); QUAD];
        for (i, z) in z.iter_mut().enumerate() {
            *z = source.vector(self.token, i);
        }
        let weights = self.weights();
        let high = weights.0.quad::<V>(at);
        let low = weights.1.quad::<V>(at);
        let mut parts = self.exp.parts_of::<HEAT, QUAD>(z);
        if STORE {
            let mut values = exps.value.quad::<V>(at);
            let mut losts = exps.lost.quad::<V>(at);
            for (i, parts) in parts.iter().enumerate() {
                let Kept { value, lost } = parts.rounded();
                values.set(i, value);
                losts.set(i, lost);
            }
        }
        let largest = z[0].max(z[1]).max(z[2].max(z[3]));
        if V::any(largest.ge(self.exp.max())) {
            for i in 0..QUAD {
                parts[i] = without_maxima(&self.exp, z[i], parts[i], ties);
            }
        }
        let mut terms = [Terms::zero(self.token); QUAD];
        for i in 0..QUAD {
            let weights = (high.vector(self.token, i), low.vector(self.token, i));
            terms[i] = class_terms::<V, WEIGHTS>(&self.exp, z[i], weights, parts[i], dot);
        }
        QuadTerms::of(terms)
    }

    /// The row's last quad: lanes after its end are maxima of weight 0, vectors after it are 0.
    #[inline(always)]
    fn last_quad(
        &self,
        start: usize,
        exps: &mut ExpSinks<'_, V>,
        ties: &mut V,
        dot: &mut V::Sum,
    ) -> QuadTerms<V> {
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
                let Kept { value, lost } = parts.rounded();
                exps.value.set_vector(at, value);
                exps.lost.set_vector(at, lost);
            }
            let parts = without_maxima(&self.exp, z, parts, ties);
            *terms = class_terms::<V, WEIGHTS>(&self.exp, z, weights, parts, dot);
        }
        QuadTerms::of(quad)
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
