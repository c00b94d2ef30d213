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
//! (v0 + v1) + (v2 + v3); four such quads follow one another in a block; blocks
//! are flushed to wide lanes; the lanes of a segment of 16384 classes are joined
//! by a fixed tree; segments follow one another. A missing class adds +0.

use super::exp::{LARGEST_MAX, RowExp};
use super::odd;
use crate::element::{Float, Wide};
use crate::simd::row::{Sink, Source};
use crate::simd::{LaneSum, Vector};

/// Vectors that are summed as a balanced tree.
pub(super) const QUAD: usize = 4;
/// Quads between two flushes to wide lanes: few enough additions to lose less than an ulp.
const QUADS_PER_BLOCK: usize = 4;
/// Classes whose lanes are joined at once: the unit in which a long row can be divided.
const SEGMENT: usize = 16_384;

/// The weights w of `dot`.
#[derive(Clone, Copy)]
pub(crate) enum Weights<'r, F> {
    /// No `dot`: it stays 0.
    Absent,
    /// w = 1: the sum of all M − z.
    Ones,
    /// One weight for each class, in one or two parts; `dot` takes the high part alone.
    Row {
        high: Source<'r, F>,
        low: Option<Source<'r, F>>,
    },
}

impl<'r, F: Float> Weights<'r, F> {
    pub(crate) fn in_two_parts(high: &'r [F], low: &'r [F]) -> Self {
        Weights::Row {
            high: Source::from_slice(high),
            low: Some(Source::from_slice(low)),
        }
    }

    /// w of one class.
    pub(crate) fn get(&self, class: usize) -> F::Wide {
        let wide = |row: &Source<'_, F>| F::Wide::new(row.get(class).to_f64());
        match self {
            Weights::Absent => F::Wide::new(0.0),
            Weights::Ones => F::Wide::new(1.0),
            Weights::Row { high, low: None } => wide(high),
            Weights::Row {
                high,
                low: Some(low),
            } => wide(high) + wide(low),
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
pub(crate) struct RowStats<W> {
    pub(crate) class: RowClass,
    /// M
    pub(crate) max: f64,
    /// M, or 0 where the row was shifted by M before the kernel.
    pub(crate) kernel_max: f64,
    pub(crate) ties: f64,
    /// exp(M)·2^(H − N) of one maximum.
    pub(crate) peak: W,
    pub(crate) others: W,
    /// `dot / unit`
    pub(crate) dot: W,
    /// 1, or a power of two where `dot` would overflow.
    pub(crate) unit: f64,
}

impl<W: Wide> RowStats<W> {
    pub(crate) fn of_class(class: RowClass, max: f64) -> Self {
        let zero = W::new(0.0);
        Self {
            class,
            max,
            kernel_max: max,
            ties: 1.0,
            peak: W::new(1.0),
            others: zero,
            dot: zero,
            unit: 1.0,
        }
    }

    /// ties·peak
    #[inline(always)]
    pub(crate) fn top(&self) -> W {
        self.peak * W::new(self.ties)
    }

    /// S
    #[inline(always)]
    pub(crate) fn sum(&self) -> W {
        self.top() + self.others
    }

    /// L = lse − M ≥ 0
    #[inline(always)]
    pub(crate) fn log_excess(&self) -> W {
        let tail = self.others.over(self.top()).log1p();
        if self.ties == 1.0 {
            tail
        } else {
            W::log_count(self.ties) + tail
        }
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
    workspace: &mut Workspace<'_, V::Scalar>,
) -> RowStats<<V::Scalar as Float>::Wide> {
    let max = V::outlined(
        token,
        #[inline(always)]
        || maximum::<V>(token, z),
    );
    // Written so that a NaN maximum is odd too.
    if max.to_f64().abs() <= LARGEST_MAX {
        let stats = weighted::<V, STORE>(token, z, max, weights, workspace.exps);
        if stats.others.value().is_finite() && stats.dot.value().is_finite() {
            return stats;
        }
    }
    odd::reduce::<V, STORE>(token, z, max, weights, workspace)
}

/// M, ignoring or keeping NaN as the hardware does: the sums find NaN.
#[inline(always)]
fn maximum<V: Vector>(token: V::Token, z: Source<'_, V::Scalar>) -> V::Scalar {
    let lowest = V::Scalar::NEG_INFINITY;
    let mut best = [V::splat(token, lowest); QUAD];
    let mut at = 0;
    while at + QUAD * V::LANES <= z.len() {
        let quad = z.quad::<V>(token, at);
        for (best, z) in best.iter_mut().zip(quad) {
            *best = z.max(*best);
        }
        at += QUAD * V::LANES;
    }
    while at < z.len() {
        best[0] = z.vector::<V>(token, at, lowest).max(best[0]);
        at += V::LANES;
    }
    let best = best[0].max(best[1]).max(best[2].max(best[3]));
    let mut max = best.lane(0);
    for index in 1..V::LANES {
        let lane = best.lane(index);
        max = if lane > max { lane } else { max };
    }
    max
}

/// The second sweep for |max| ≤ [`LARGEST_MAX`].
#[inline(always)]
pub(super) fn weighted<V: Vector, const STORE: bool>(
    token: V::Token,
    z: Source<'_, V::Scalar>,
    max: V::Scalar,
    weights: Weights<'_, V::Scalar>,
    exps: &mut [V::Scalar],
) -> RowStats<<V::Scalar as Float>::Wide> {
    match weights {
        Weights::Absent => V::outlined(
            token,
            #[inline(always)]
            || sweep::<V, STORE, ABSENT>(token, z, max, z, exps),
        ),
        Weights::Ones => V::outlined(
            token,
            #[inline(always)]
            || sweep::<V, STORE, ONES>(token, z, max, z, exps),
        ),
        Weights::Row { high, .. } => V::outlined(
            token,
            #[inline(always)]
            || sweep::<V, STORE, ROW>(token, z, max, high, exps),
        ),
    }
}

const ABSENT: u8 = 0;
const ONES: u8 = 1;
const ROW: u8 = 2;

/// What one vector adds to the sums: exp = scales + fractions, without the maxima.
#[derive(Clone, Copy)]
struct Terms<V> {
    scales: V,
    fractions: V,
    dots: V,
}

impl<V: Vector> Terms<V> {
    #[inline(always)]
    fn zero(token: V::Token) -> Self {
        let zero = V::splat(token, V::Scalar::default());
        Self {
            scales: zero,
            fractions: zero,
            dots: zero,
        }
    }

    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        Self {
            scales: self.scales.add(other.scales),
            fractions: self.fractions.add(other.fractions),
            dots: self.dots.add(other.dots),
        }
    }
}

/// The terms of one vector of logits, and its exponentials if they are stored.
#[inline(always)]
fn terms<V: Vector, const STORE: bool, const WEIGHTS: u8>(
    token: V::Token,
    exp: &RowExp<V>,
    z: V,
    weights: V,
    ties: &mut V,
) -> (Terms<V>, V) {
    let zero = V::splat(token, V::Scalar::default());
    let parts = exp.parts(z);
    let is_max = z.ge(exp.max());
    let scales = parts.scale.zero_where(is_max);
    *ties = ties.add(V::splat(token, V::Scalar::from_f64(1.0)).only_where(is_max));
    let gap = exp.max().sub(z);
    let dots = match WEIGHTS {
        ABSENT => zero,
        ONES => gap,
        // 0·log 0 = 0: a class without weight adds nothing, not even inf·0.
        _ => weights.mul(gap).zero_where(weights.eq(zero)),
    };
    let terms = Terms {
        scales,
        fractions: parts.fraction.mul(scales),
        dots,
    };
    (terms, if STORE { parts.rounded() } else { zero })
}

#[inline(always)]
fn sweep<V: Vector, const STORE: bool, const WEIGHTS: u8>(
    token: V::Token,
    z: Source<'_, V::Scalar>,
    max: V::Scalar,
    weights: Source<'_, V::Scalar>,
    exps: &mut [V::Scalar],
) -> RowStats<<V::Scalar as Float>::Wide> {
    let exp = RowExp::<V>::new(token, max);
    let zero = V::Scalar::default();
    let quad_len = QUAD * V::LANES;
    let mut exps = Sink::from_slice(exps);
    let mut stats = RowStats::of_class(RowClass::Finite, max.to_f64());
    let mut ties = 0.0;
    let mut at = 0;

    while at < z.len() {
        let segment_end = z.len().min(at + SEGMENT);
        let mut sum = V::Sum::zero(token);
        let mut dot = V::Sum::zero(token);
        let mut segment_ties = V::splat(token, zero);
        while at < segment_end {
            let block_end = segment_end.min(at + QUADS_PER_BLOCK * quad_len);
            let mut block = Terms::zero(token);
            while at < block_end {
                let mut quad = [Terms::zero(token); QUAD];
                let mut stored = [V::splat(token, zero); QUAD];
                if at + quad_len <= z.len() {
                    let logits = z.quad::<V>(token, at);
                    let weights = if WEIGHTS == ROW {
                        weights.quad::<V>(token, at)
                    } else {
                        logits
                    };
                    for i in 0..QUAD {
                        (quad[i], stored[i]) = terms::<V, STORE, WEIGHTS>(
                            token,
                            &exp,
                            logits[i],
                            weights[i],
                            &mut segment_ties,
                        );
                    }
                } else {
                    // The row's last quad: classes that do not exist are maxima of weight 0 ...
                    let mut next = at;
                    for i in 0..QUAD {
                        if next >= z.len() {
                            break;
                        }
                        let logits = z.head::<V>(token, next, max);
                        let weights = if WEIGHTS == ROW {
                            weights.head::<V>(token, next, zero)
                        } else {
                            logits
                        };
                        (quad[i], stored[i]) = terms::<V, STORE, WEIGHTS>(
                            token,
                            &exp,
                            logits,
                            weights,
                            &mut segment_ties,
                        );
                        next += V::LANES;
                    }
                    // ... and are taken off the count of maxima.
                    ties -= count_to_f64(next - z.len());
                }
                if STORE {
                    exps.set_quad(at, stored);
                }
                block = block.plus(quad[0].plus(quad[1]).plus(quad[2].plus(quad[3])));
                at += quad_len;
            }
            at = at.min(z.len());
            sum.add(block.scales);
            sum.add(block.fractions);
            if WEIGHTS != ABSENT {
                dot.add(block.dots);
            }
        }
        let mut count = V::Sum::zero(token);
        count.add(segment_ties);
        ties += count.total().value();
        stats.others = stats.others + sum.total();
        if WEIGHTS != ABSENT {
            stats.dot = stats.dot + dot.total();
        }
    }
    stats.ties = ties;
    let peak = exp.parts(exp.max());
    let fraction = Wide::new(peak.fraction.lane(0).to_f64());
    let scale: <V::Scalar as Float>::Wide = Wide::new(peak.scale.lane(0).to_f64());
    stats.peak = scale + scale * fraction;
    stats
}

#[allow(
    clippy::cast_precision_loss,
    reason = "counts of lanes and classes are below 2^53"
)]
pub(crate) fn count_to_f64(count: usize) -> f64 {
    count as f64
}
