//! The reduction of one row: everything an epilogue needs.
//!
//! ```text
//! M      = max z                                         first sweep
//! others = Σ_{z_k < M} exp(z_k)·2^(H − N)                second sweep
//! ties   = #{k : z_k = M},   top = ties·exp(M)·2^(H − N)
//! S      = others + top,     L = lse − M = log ties + log1p(others / top)
//! dot    = Σ_k w_k (M − z_k),  all terms ≥ 0             the same sweep, if asked for
//! ```
//!
//! The maximum is kept out of the sum, so L keeps all its digits when one class
//! dominates; `log(S)` would lose them.
//!
//! Canonical order (what makes the bits independent of everything but the row):
//! lane = class mod LANES; four neighbouring vectors are added as
//! (v0 + v1) + (v2 + v3); quads are added to wide lanes one after another; the
//! lanes of a segment of 16384 classes are joined by a fixed tree; segments follow
//! one another. A missing class adds +0.

use super::exp::Temperature;
use super::odd;
use super::sweep::{low_dot, maximum, weighted};
use crate::element::{Float, Wide};
use crate::simd::Vector;
use crate::simd::row::{QUAD, Source};

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

/// The reduction of one row.
pub(crate) struct RowStats<F: Float> {
    pub(crate) class: RowClass,
    /// M
    pub(crate) max: f64,
    pub(crate) ties: f64,
    /// exp(M)·2^(H − N) of one maximum.
    pub(crate) peak: F::Wide,
    /// The same, more exactly.
    pub(crate) exact_peak: F::Wide,
    /// The same as it is stored among the exponentials.
    pub(crate) stored_peak: F,
    pub(crate) others: F::Wide,
    /// `dot / unit`
    pub(crate) dot: F::Wide,
    /// 1, or a power of two where `dot` would overflow.
    pub(crate) unit: f64,
}

impl<F: Float> RowStats<F> {
    pub(crate) fn of_class(class: RowClass, max: f64) -> Self {
        let zero = F::Wide::new(0.0);
        Self {
            class,
            max,
            ties: 1.0,
            peak: F::Wide::new(1.0),
            exact_peak: F::Wide::new(1.0),
            stored_peak: F::from_f64(1.0),
            others: zero,
            dot: zero,
            unit: 1.0,
        }
    }

    /// ties·peak
    #[inline(always)]
    pub(crate) fn top(&self) -> F::Wide {
        self.peak * F::Wide::new(self.ties)
    }

    /// S
    #[inline(always)]
    pub(crate) fn sum(&self) -> F::Wide {
        self.top() + self.others
    }

    /// L = lse − M ≥ 0
    #[inline(always)]
    pub(crate) fn log_excess(&self) -> F::Wide {
        let top = self.exact_peak * F::Wide::new(self.ties);
        let tail = self.others.over(top).log1p();
        if self.ties == 1.0 { tail } else { F::Wide::log_count(self.ties) + tail }
    }
}

/// Where a row's intermediate values go: both in memory of our own.
pub(crate) struct Workspace<'s, F> {
    /// The exponentials, padded to whole quads.
    pub(crate) exps: &'s mut [F],
    /// A row shifted by its maximum.
    pub(crate) shifted: &'s mut [F],
}

/// Padded length of [`Workspace::exps`].
pub(crate) const fn padded_len(classes: usize, lanes: usize) -> usize {
    classes.next_multiple_of(QUAD * lanes)
}

/// Reduces row `z`; with `STORE` the exponentials go to `workspace.exps`.
///
/// Rows outside the kernel's range are shifted by M first (exact wherever the
/// result is not 0: neighbours of a huge M differ from it by a multiple of its ulp).
#[inline(always)]
pub(crate) fn reduce<V: Vector, const STORE: bool>(
    token: V::Token,
    z: Source<'_, V::Scalar>,
    weights: Weights<'_, V::Scalar>,
    temperature: &Temperature<V::Scalar>,
    workspace: &mut Workspace<'_, V::Scalar>,
) -> RowStats<V::Scalar> {
    let max = maximum::<V>(token, z);
    // Written so that a NaN maximum is odd too.
    if temperature.divide(max.to_f64().abs()) <= temperature.largest_max() {
        let exps = &mut *workspace.exps;
        // The roundings of w, M − z and their product average out in a long row, not in a short one.
        let is_short = matches!(weights, Weights::Row { .. }) && z.len() <= V::Scalar::SHORT_ROW;
        let swept = if is_short { Weights::Absent } else { weights };
        let mut stats = weighted::<V, STORE>(token, z, max, swept, temperature, exps);
        if is_short {
            stats.dot = odd::wide_dot(z, max, weights, 1.0);
        } else if let Weights::Row { low: Some(low), .. } = weights {
            stats.dot = stats.dot + low_dot::<V>(token, z, max, low);
        }
        if stats.others.value().is_finite() && stats.dot.value().is_finite() {
            return stats;
        }
    }
    odd::reduce::<V, STORE>(token, z, max, weights, temperature, workspace)
}

#[allow(clippy::cast_precision_loss, reason = "counts of lanes and classes are below 2^53")]
pub(crate) fn count_to_f64(count: usize) -> f64 {
    count as f64
}
