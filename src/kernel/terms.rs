//! What vectors of logits add to the sums of a row, in their canonical order.

use super::exp::{Exp, Parts};
use crate::element::Float;
use crate::simd::row::QUAD;
use crate::simd::{LaneSum, Vector};

/// Kinds of weights.
pub(super) const ABSENT: u8 = 0;
pub(super) const ONES: u8 = 1;
pub(super) const ROW: u8 = 2;
pub(super) const TWO_PARTS: u8 = 3;

/// What one vector adds to the sums of narrow numbers.
#[derive(Clone, Copy)]
pub(super) struct Terms<V> {
    /// exp, without the maxima.
    exp: Parts<V>,
    /// The low parts of the weights, times M − z.
    low_dots: V,
}

impl<V: Vector> Terms<V> {
    #[inline(always)]
    pub(super) fn zero(token: V::Token) -> Self {
        let zero = V::splat(token, V::Scalar::default());
        Self { exp: Parts { fraction: zero, scale: zero }, low_dots: zero }
    }

    #[inline(always)]
    pub(super) fn alone(self) -> QuadTerms<V> {
        let Self { exp: Parts { fraction, scale }, low_dots } = self;
        QuadTerms { scales: scale, fractions: fraction.mul(scale), low_dots }
    }

    #[inline(always)]
    fn pair(self, other: Self) -> QuadTerms<V> {
        let Parts { fraction, scale } = other.exp;
        let Self { exp, low_dots } = self;
        QuadTerms {
            scales: exp.scale.add(scale),
            fractions: fraction.mul_add(scale, exp.fraction.mul(exp.scale)),
            low_dots: low_dots.add(other.low_dots),
        }
    }
}

/// What four vectors add to the sums of narrow numbers: exp = scales + fractions.
#[derive(Clone, Copy)]
pub(super) struct QuadTerms<V> {
    scales: V,
    fractions: V,
    low_dots: V,
}

impl<V: Vector> QuadTerms<V> {
    /// (t0 + t1) + (t2 + t3), where the second product of a pair is added unrounded.
    #[inline(always)]
    pub(super) fn of([a, b, c, d]: [Terms<V>; QUAD]) -> Self {
        let (first, second) = (a.pair(b), c.pair(d));
        Self {
            scales: first.scales.add(second.scales),
            fractions: first.fractions.add(second.fractions),
            low_dots: first.low_dots.add(second.low_dots),
        }
    }

    /// To wide lanes. A quad at a time: where one class dominates, each addition of narrow
    /// numbers before this may round the others away by half an ulp of it.
    #[inline(always)]
    pub(super) fn flush<const WEIGHTS: u8>(self, sum: &mut V::Sum, dot: &mut V::Sum) {
        sum.add(self.scales);
        sum.add(self.fractions);
        if WEIGHTS == TWO_PARTS {
            dot.add(self.low_dots);
        }
    }
}

/// Counts the maxima in `z`, and takes them out of its exponentials. What is left of one is a product
/// with 0, which changes no sum: they begin at +0.
#[inline(always)]
pub(super) fn without_maxima<V: Vector>(
    exp: &Exp<V>,
    z: V,
    parts: Parts<V>,
    ties: &mut V,
) -> Parts<V> {
    let is_max = z.ge(exp.max());
    let one = V::splat(z.token(), V::Scalar::from_f64(1.0));
    *ties = ties.add(one.only_where(is_max));
    Parts { scale: parts.scale.zero_where(is_max), ..parts }
}

/// What the vector `z` adds to the sums; to `dot` at once. `parts` is [`without_maxima`].
#[inline(always)]
pub(super) fn class_terms<V: Vector, const WEIGHTS: u8>(
    exp: &Exp<V>,
    z: V,
    (high, low): (V, V),
    parts: Parts<V>,
    dot: &mut V::Sum,
) -> Terms<V> {
    let token = z.token();
    let zero = V::splat(token, V::Scalar::default());
    let mut terms = Terms { exp: parts, low_dots: zero };
    if WEIGHTS == ABSENT || WEIGHTS == ONES {
        return terms;
    }
    // Rounded once, which is all the error that the loss can bear where all roundings go one way.
    let gap = exp.max().sub(z);
    // 0·log 0 = 0: a class without weight adds nothing, not even inf·0.
    let gap = gap.zero_where(high.eq(zero));
    dot.add_product(high, gap);
    if WEIGHTS == TWO_PARTS {
        terms.low_dots = low.mul(gap);
    }
    terms
}
