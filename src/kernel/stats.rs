//! The reduction of rows: everything an epilogue needs.
//!
//! ```text
//! M      = max z                                         the first sweep
//! others = Σ_{z_k < M} exp(z_k)·2^(H − N)                second sweep
//! ties   = #{k : z_k = M},   top = ties·exp(M)·2^(H − N)
//! S      = others + top,     L = lse − M = log ties + log1p(others / top)
//! dot    = Σ_k w_k (M − z_k),  all terms ≥ 0             the same, if asked for; w = 1: the first
//! ```
//!
//! The maximum is kept out of the sum, so L keeps all its digits when one class
//! dominates; `log(S)` would lose them.
//!
//! Canonical order (what makes the bits independent of everything but the row):
//! lane = class mod LANES; four neighbouring vectors are added as
//! (v0 + v1) + (v2 + v3), products with v1 and v3 fused; quads are added to wide
//! lanes one after another, the terms of `dot` vector by vector, before the low
//! parts of a quad's weights; the lanes of a segment of 16384 classes are joined by
//! a fixed tree; segments follow one another. A missing class adds +0. Where all w
//! are 1, `dot` is K·M − Σ z, and Σ z is formed in this order too, in the first sweep.

use crate::element::Float;
use crate::simd::row::{QUAD, Source};
use crate::simd::{MOST_LANES, Vector};
use crate::wide::{Real, Wide};

/// The weights w of `dot`.
#[derive(Clone, Copy)]
pub(crate) enum Weights<'r, F> {
    /// No `dot`: it stays 0.
    Absent,
    /// w = 1: the sum of all M − z.
    Ones,
    /// One weight for each class, in one or two parts.
    Row { high: Source<'r, F>, low: Option<Source<'r, F>> },
}

impl<'r, F: Float> Weights<'r, F> {
    pub(crate) fn in_two_parts(high: &'r [F], low: &'r [F]) -> Self {
        Weights::Row { high: Source::from_slice(high), low: Some(Source::from_slice(low)) }
    }

    /// Is `dot` of a row of so many classes formed in the wide type? The roundings of w, M − z and
    /// their product average out in a long row, not in a short one.
    #[inline(always)]
    pub(super) fn are_summed_wide(&self, classes: usize) -> bool {
        matches!(self, Weights::Row { .. }) && classes <= F::SHORT_ROW
    }

    /// The weights of at most `len` classes from `start` on.
    #[inline(always)]
    pub(super) fn part(&self, start: usize, len: usize) -> Self {
        match self {
            Weights::Absent => Weights::Absent,
            Weights::Ones => Weights::Ones,
            Weights::Row { high, low } => Weights::Row {
                high: high.part(start, len),
                low: low.as_ref().map(|low| low.part(start, len)),
            },
        }
    }

    /// The low part of w of one class.
    #[inline(always)]
    pub(super) fn low(&self, class: usize) -> F {
        match self {
            Weights::Row { low: Some(low), .. } => low.get(class),
            _ => F::default(),
        }
    }

    /// w of one class.
    pub(crate) fn get(&self, class: usize) -> F::Wide {
        let wide = |row: &Source<'_, F>| F::Wide::new(row.get(class).to_f64());
        match self {
            Weights::Absent => F::Wide::new(0.0),
            Weights::Ones => F::Wide::new(1.0),
            Weights::Row { high, low: None } => wide(high),
            Weights::Row { high, low: Some(low) } => wide(high) + wide(low),
        }
    }
}

/// What kind of numbers a row has; all but `Finite` are answered by the edge-case table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RowClass {
    /// A finite maximum and no NaN; there may be −inf.
    Finite,
    /// At least one NaN.
    NaN,
    /// +inf and no NaN.
    PlusInfinity,
    /// Nothing but −inf.
    AllMinusInfinity,
}

impl RowClass {
    /// The kind of a row of two parts.
    pub(super) fn with(self, other: Self) -> Self {
        match (self, other) {
            (RowClass::NaN, _) | (_, RowClass::NaN) => RowClass::NaN,
            (RowClass::PlusInfinity, _) | (_, RowClass::PlusInfinity) => RowClass::PlusInfinity,
            (RowClass::Finite, _) | (_, RowClass::Finite) => RowClass::Finite,
            _ => RowClass::AllMinusInfinity,
        }
    }
}

/// The sums of one row.
#[derive(Clone, Copy)]
pub(super) struct Sums<F: Float> {
    pub(super) others: F::Wide,
    pub(super) dot: F::Wide,
    pub(super) ties: f64,
}

impl<F: Float> Sums<F> {
    #[inline(always)]
    pub(super) fn zero() -> Self {
        let zero = F::Wide::new(0.0);
        Self { others: zero, dot: zero, ties: 0.0 }
    }

    /// With the sums of the segment that follows.
    #[inline(always)]
    pub(super) fn followed_by(self, next: Self) -> Self {
        Self {
            others: self.others + next.others,
            dot: self.dot + next.dot,
            ties: self.ties + next.ties,
        }
    }

    /// Are these the sums of an ordinary row?
    #[inline(always)]
    pub(super) fn are_finite(&self) -> bool {
        self.others.value().is_finite() && self.dot.value().is_finite()
    }
}

/// The reduction of rows, one in each lane. Of a lane whose row is not finite or was not read all
/// but the class is without meaning.
pub(crate) struct Stats<V: Vector> {
    pub(super) class: [RowClass; MOST_LANES],
    /// M
    pub(super) max: V,
    pub(super) ties: V::Doubles,
    /// exp(M)·2^(H − N) of one maximum.
    pub(super) peak: V::Wide,
    /// The same, more exactly.
    pub(super) exact_peak: V::Wide,
    pub(super) others: V::Wide,
    /// `dot / unit`
    pub(super) dot: V::Wide,
    /// 1, or a power of two where `dot` would overflow.
    pub(super) unit: V::Doubles,
    pub(super) inverse_unit: V::Doubles,
}

impl<V: Vector> Stats<V> {
    /// Of rows that do not count.
    pub(super) fn none(token: V::Token) -> Self {
        let zero = V::splat(token, V::Scalar::default());
        let one = zero.to_doubles().like(1.0);
        let nothing = V::Wide::new(one);
        Self {
            class: [RowClass::Finite; MOST_LANES],
            max: zero,
            ties: one,
            peak: nothing,
            exact_peak: nothing,
            others: nothing,
            dot: nothing,
            unit: one,
            inverse_unit: one,
        }
    }

    /// ties·peak
    #[inline(always)]
    pub(super) fn top(&self) -> V::Wide {
        self.peak * V::Wide::new(self.ties)
    }

    /// S
    #[inline(always)]
    pub(super) fn sum(&self) -> V::Wide {
        self.top() + self.others
    }

    /// L = lse − M ≥ 0
    #[inline(always)]
    pub(super) fn log_excess(&self) -> V::Wide {
        V::outlined(
            self.max.token(),
            #[inline(always)]
            || self.log_excess_of_rows(),
        )
    }

    #[inline(always)]
    fn log_excess_of_rows(&self) -> V::Wide {
        let top = self.exact_peak * V::Wide::new(self.ties);
        let tail = self.others.over(top).log1p();
        let is_alone = self.ties.eq(self.ties.like(1.0));
        if V::Doubles::all(is_alone) {
            return tail;
        }
        V::Wide::select(is_alone, tail, V::Wide::log_count(self.ties) + tail)
    }

    /// Which of the rows that were read are finite.
    #[inline(always)]
    pub(super) fn finite(&self, counted: &[bool; MOST_LANES]) -> [bool; MOST_LANES] {
        std::array::from_fn(|lane| counted[lane] && self.class[lane] == RowClass::Finite)
    }
}

/// The length of a row of exponentials: of their values, padded to whole quads, and as much again for
/// what was lost.
pub(crate) const fn kept_len(classes: usize, lanes: usize) -> usize {
    2 * padded_len(classes, lanes)
}

/// Padded to whole quads.
pub(crate) const fn padded_len(classes: usize, lanes: usize) -> usize {
    classes.next_multiple_of(QUAD * lanes)
}

#[allow(clippy::cast_precision_loss, reason = "counts of lanes and classes are below 2^53")]
pub(crate) fn count_to_f64(count: usize) -> f64 {
    count as f64
}

/// The weights of the rows of a group.
#[derive(Clone, Copy)]
#[allow(clippy::large_enum_variant, reason = "one for a group of rows, passed by reference")]
pub(crate) enum RowWeights<'r, F> {
    /// The same for all.
    Same(Weights<'r, F>),
    /// One for each.
    Each([Weights<'r, F>; MOST_LANES]),
}

impl<'r, F: Float> RowWeights<'r, F> {
    #[inline(always)]
    pub(crate) fn of_row(&self, lane: usize) -> Weights<'r, F> {
        match self {
            RowWeights::Same(weights) => *weights,
            RowWeights::Each(weights) => weights[lane],
        }
    }
}
