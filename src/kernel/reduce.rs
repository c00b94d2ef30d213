//! The reduction of rows, or of a segment of one.
//!
//! ```text
//! M      = max z                                         sweep 1: maximum.rs
//! e_k    = exp(z_k/T)·2^(H − N)                          sweep 2; kept if needed
//! sum    = Σ e_k, or Σ e_k without the first maximum
//! dot    = Σ w_k (M − z_k)                               if there are weights: all terms ≥ 0
//! ```
//!
//! L = lse − M/T = log1p(others / e_M) needs the sum of the other exponentials, without that of one maximum: if e_M
//! were included, small others would be rounded away. The maximum is left out by its index: only the quad of vectors
//! that contains it is summed with a mask, so the other quads cost nothing more. It is summed first: the loop over the
//! others has the same length for all rows, which the processor can predict.
//!
//! The order of summation is fixed, so that the bits depend only on the row:
//!
//! ```text
//! for each segment of 16384 classes:
//!     for each pair of vectors, LANES classes each, in their order; but the four vectors, a quad, that hold the maximum come
//!     first, unless they are the last and not whole, or the row is f32 with at most 160 classes:
//!         f32: lanes[i] += v0[i] + v1[i]                      dot: w0·g0 is rounded, fma(w1, g1, w0·g0) is added;
//!                                                             the rounding errors of w0·g0 are added at the end
//!         f64: lanes[i] += v0[i], lanes[i] += v1[i]           compensated
//!     then the lanes: f32: i and i + 8, then i + 4, i + 2, i + 1; f64: one after another, compensated
//! then the segments, one after another, compensated
//! ```
//!
//! For f32 the lanes are doubles; for f64 they are doubles with the sums of their rounding errors. So in a sum only one
//! addition is rounded to the type of the rows, that of a pair. A second rounding would be too much for the loss of a
//! row in which one class has nearly the whole sum without the maximum. A class that is left out or missing adds +0.

use super::exp::{Base, Exponential, Temperature};
use super::maximum::find_maxima;
use super::special::{GAP_UNIT, shift, weighted_gaps};
use crate::simd::{
    Cache, Float, LaneSum, Lines, QUAD, Sink, Source, Vector, each, inlined, outlined, with_value,
};
use crate::target::Weights;
use std::hint::select_unpredictable;
use std::slice::from_mut;

/// f32 rows of at most so many classes may be computed in tiles.
pub(crate) const MOST_IN_TILES: usize = 160;
/// Classes of a segment: the unit in which long rows are divided.
pub const SEGMENT: usize = 16_384;
/// How many vectors ahead outputs are prefetched: some 100 ns.
const OUTPUTS_AHEAD: usize = 4 * QUAD;
/// The largest number of rows that are finished together, their scalars side by side.
pub(crate) const MOST_ROWS: usize = 8;

/// The kind of [`Weights`], without their values.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum WeightKind {
    Absent,
    Ones,
    Each,
}

impl WeightKind {
    pub(crate) fn of<F>(weights: &Weights<'_, F>) -> Self {
        match weights {
            Weights::Absent => WeightKind::Absent,
            Weights::Ones => WeightKind::Ones,
            Weights::Row(_) => WeightKind::Each,
        }
    }
}

/// Adds two vectors of terms to `sum`: for the dot, gaps M − z. Weights are read only if they differ; then the rounding
/// errors of f32 products are added to `lost`, which is added to `sum` at the end.
#[inline(always)]
pub(super) fn add_terms<V: Vector>(
    kind: WeightKind,
    sum: &mut LaneSum<V>,
    lost: &mut V,
    terms: [V; 2],
    weights: [V; 2],
) {
    match kind {
        WeightKind::Absent => {}
        WeightKind::Ones => sum.add_pair(terms),
        WeightKind::Each => sum.add_products(weights, terms, lost),
    }
}

/// A row or a segment to be reduced, and the result.
pub(crate) struct Part<'p, F> {
    pub(crate) z: Source<'p, F>,
    pub(crate) weights: Weights<'p, F>,
    /// M of the row; at first that of the part.
    pub(crate) max: F,
    /// Where exponentials are stored if they are kept, and where the outputs are prefetched.
    pub(crate) exps: Sink<'p, F>,
    /// The class that is left out of the sum; `usize::MAX` if none is.
    pub(crate) apart: usize,
    pub(crate) partial: Partial,
}

impl<'p, F: Float> Part<'p, F> {
    /// Without weights.
    pub(crate) fn new(z: Source<'p, F>, max: F, exps: Sink<'p, F>) -> Self {
        let (weights, apart, partial) = (Weights::Absent, usize::MAX, Partial::default());
        Self { z, weights, max, exps, apart, partial }
    }

    /// Without classes.
    pub(crate) fn none() -> Self {
        Self::new(Source::from_slice(&[]), F::default(), Sink::from_slice(&mut []))
    }
}

/// The result of reducing a row or a segment. By default zeros: nothing has been reduced.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Partial {
    /// Σ exp(z/T)·2^(H − N), or the same without the first maximum. NaN if M is out of range.
    pub(crate) sum: f64,
    /// The rounding error of the sum; 0 for float32 rows.
    pub(crate) lost: f64,
    /// Σ w (M − z), in units.
    pub(crate) dot: f64,
    /// The unit of `dot`: 1, or [`GAP_UNIT`] for rows that are not ordinary.
    pub(crate) unit: f64,
}

impl Partial {
    /// Is the row ordinary? Otherwise it has NaN, infinities or huge logits, or an infinite weight, or a sum overflows.
    pub(crate) fn is_ordinary(&self) -> bool {
        self.sum.is_finite() && self.dot.is_finite()
    }
}

/// How parts are reduced.
#[derive(Clone, Copy)]
pub(crate) struct Reducer<'r, F> {
    pub(crate) temperature: &'r Temperature<F>,
    /// Is the first maximum left out of the sum?
    pub(crate) splits: bool,
    /// Are the exponentials kept?
    pub(crate) keeps: bool,
    /// The logits of a row that is read soon, which are prefetched; for each further part, those of the next row.
    pub(crate) next: Lines,
    /// Are the outputs prefetched too? They are where the exponentials are stored.
    pub(crate) prefetches_outputs: bool,
}

impl<F: Float> Reducer<'_, F> {
    /// Reduces parts of at most [`MOST_ROWS`] rows, each with the class that is left out, if there is one.
    pub(crate) fn rows<V: Vector<Scalar = F>>(
        mut self,
        token: V::Token,
        parts: &mut [Part<'_, F>],
    ) {
        use WeightKind::{Absent, Each, Ones};
        let kind = |part: &Part<'_, F>| WeightKind::of(&part.weights);
        for parts in parts.chunk_by_mut(|a, b| kind(a) == kind(b)) {
            // Compiled for each named case separately, without the code that it does not need.
            macro_rules! sweep {
                ($keeps:expr, $kind:expr) => {
                    outlined!(V, token, {
                        for part in &mut *parts {
                            if !self.temperature.is_in_range(part.max) {
                                part.partial.sum = f64::NAN;
                            } else if part.z.len() > 0 {
                                part.partial = sweep_part::<V>($keeps, $kind, token, self, part);
                            }
                            self.next.advance();
                        }
                    })
                };
            }
            match (self.keeps, kind(&parts[0])) {
                (keeps, kind) if V::IS_COMPACT => sweep!(keeps, kind),
                (false, Absent) => sweep!(false, Absent),
                (false, Ones) => sweep!(false, Ones),
                (false, Each) => sweep!(false, Each),
                (true, Absent) => sweep!(true, Absent),
                (true, Ones) => sweep!(true, Ones),
                (true, Each) => sweep!(true, Each),
            }
        }
    }

    /// Reduces one part. If the first maximum is left out, it is in this part; it is looked for unless it is known.
    pub(crate) fn part<V: Vector<Scalar = F>>(
        self,
        token: V::Token,
        mut part: Part<'_, F>,
    ) -> Partial {
        if self.splits && part.apart == usize::MAX {
            find_maxima::<V>(token, true, from_mut(&mut part));
        }
        self.rows::<V>(token, from_mut(&mut part));
        part.partial
    }

    /// Reduces again a part of a row that is not ordinary, from its logits as they are in memory and the maximum of the
    /// row: its weighted gaps, in [`GAP_UNIT`]s, and its sum if the row is shifted by the maximum. Then the logits in
    /// `z` are shifted as well.
    #[inline(always)]
    pub(crate) fn special<V: Vector<Scalar = F>>(
        self,
        token: V::Token,
        part: &mut Part<'_, F>,
        z: &mut [F],
        max: f64,
    ) {
        let dot = weighted_gaps(z, max, |class| part.weights.get(class));
        if self.temperature.shifts(max) {
            shift(z, max, self.temperature.prescale);
            // The exponentials do not need the weights. The maximum is 0 now.
            let shifted = Part::new(Source::from_slice(z), F::default(), part.exps.reborrow());
            part.partial = self.part::<V>(token, shifted);
        }
        (part.partial.dot, part.partial.unit) = (dot, GAP_UNIT);
    }
}

#[inline(always)]
#[allow(clippy::too_many_lines, reason = "one function from the logits to the sums")]
fn sweep_part<V: Vector>(
    keeps: bool,
    kind: WeightKind,
    token: V::Token,
    how: Reducer<'_, V::Scalar>,
    part: &mut Part<'_, V::Scalar>,
) -> Partial {
    let quad_len = const { QUAD * V::LANES };
    let Reducer { temperature, mut next, prefetches_outputs, .. } = how;
    let Part { z, max, apart, .. } = *part;
    let weights = if let Weights::Row(weights) = part.weights { weights } else { z };
    let mut exps = part.exps.reborrow();
    let prefetches = prefetches_outputs || next.are_wanted();
    assert!(weights.len() == z.len() && (!keeps || exps.as_source().len() == z.len()));
    let base = Base::<V>::new(temperature, V::splat(token, max));
    let exp = Exponential::<V>::new(token, temperature);
    let (top, zero) = (V::splat(token, max), V::splat(token, V::Scalar::default()));
    let (mut sum, mut dot, mut dot_lost) =
        (LaneSum::<V>::zero(token), LaneSum::<V>::zero(token), zero);
    // The class that is left out adds 0.
    let leave_out = inlined!(|e: V, at: usize| with_value(e, at, (apart, V::Scalar::default())));
    // If there are enough registers, the exponentials of a quad are added while those of the next are computed.
    let is_put_off = const { V::IS_ONE_REGISTER && !V::Scalar::IS_DOUBLE };
    let mut pairs = [zero; 2];
    let mut add_quad = inlined!(|at: usize, has_apart: bool| {
        let (mut quad, weight) = (z.quad::<V>(at), weights.quad::<V>(at));
        if V::IS_ONE_REGISTER {
            quad = quad.in_one_register();
        }
        if prefetches {
            // For f32 with AVX-512 the other pair follows in between the exponentials: the loss of rows of 32000 classes from
            // main memory takes 0.68 to 0.80 of the time that it takes if four lines are prefetched here, with the gradient
            // 0.82 to 0.88 (Xeon, model 167). If the compiler moves the pairs together, nothing is gained.
            next.prefetch_pair::<V>();
            if !is_put_off {
                next.prefetch_pair::<V>();
            }
            for i in (0..QUAD).filter(|_| prefetches_outputs) {
                let at = at + (OUTPUTS_AHEAD + i) * V::LANES;
                exps.as_source().prefetch(Cache::First, at);
            }
        }
        let mut kept = keeps.then(|| exps.quad::<V>(at));
        let z = each!(QUAD, |i| quad.nth::<V>(token, i));
        let gaps = each!(QUAD, |i| top - z[i]);
        let e = exp.of_each(
            z,
            base,
            inlined!(|| {
                if is_put_off {
                    next.prefetch_pair::<V>();
                    sum.add(pairs[0]);
                    sum.add(pairs[1]);
                }
                let [w0, w1, w2, w3] = each!(QUAD, |i| weight.nth::<V>(token, i));
                add_terms(kind, &mut dot, &mut dot_lost, [gaps[0], gaps[1]], [w0, w1]);
                add_terms(kind, &mut dot, &mut dot_lost, [gaps[2], gaps[3]], [w2, w3]);
            }),
        );
        let mut term = inlined!(|i: usize| {
            if let Some(kept) = &mut kept {
                kept.set_vector(i * V::LANES, e[i]);
            }
            if has_apart { leave_out(e[i], at + i * V::LANES) } else { e[i] }
        });
        let [e0, e1, e2, e3] = each!(QUAD, |i| term(i));
        if is_put_off {
            pairs = [e0 + e1, e2 + e3];
        } else {
            sum.add_pair([e0, e1]);
            sum.add_pair([e2, e3]);
        }
    });
    let (first, whole) = (apart - apart % quad_len, z.len() - z.len() % quad_len);
    // The quads that are summed first, with a mask. In tiles the order cannot depend on the maximum: in rows that may be
    // computed there, all are summed with a mask, in their order.
    let masked = match first < whole {
        true if !V::Scalar::IS_DOUBLE && z.len() <= MOST_IN_TILES => 0..whole,
        true => first..first + quad_len,
        false => 0..0,
    };
    let after = |at: usize| select_unpredictable(at == masked.start, masked.end, at);
    if V::IS_COMPACT {
        // With one call, so that it is compiled once.
        let others = (0..whole).step_by(quad_len).filter(|at| !masked.contains(at));
        masked.clone().step_by(quad_len).chain(others).for_each(|at| add_quad(at, true));
    } else {
        let mut at = masked.start;
        while at < masked.end {
            add_quad(at, true);
            at += quad_len;
        }
        at = after(0);
        while at < whole {
            add_quad(at, false);
            at = after(at + quad_len);
        }
    }
    if is_put_off {
        sum.add(pairs[0]);
        sum.add(pairs[1]);
    }
    if whole < z.len() {
        // The last quad, which is not whole. Missing classes have the logit −inf for the sum; for the dot their gap and
        // their weight are 0.
        let mut term = inlined!(|i: usize| {
            let at = whole + i * V::LANES;
            if at >= z.len() {
                return (zero, zero, zero);
            }
            let gap = top - z.vector::<V>(token, at, max);
            let weight = weights.vector::<V>(token, at, V::Scalar::default());
            let e = exp.of(z.vector::<V>(token, at, V::Scalar::NEG_INFINITY), base);
            // This may overwrite the logits, which are not read again.
            if keeps {
                exps.set_vector(at, e);
            }
            let has_apart = apart.wrapping_sub(at) < V::LANES;
            (if has_apart { leave_out(e, at) } else { e }, gap, weight)
        });
        let [(e0, g0, w0), (e1, g1, w1), (e2, g2, w2), (e3, g3, w3)] = each!(QUAD, |i| term(i));
        sum.add_pair([e0, e1]);
        sum.add_pair([e2, e3]);
        add_terms(kind, &mut dot, &mut dot_lost, [g0, g1], [w0, w1]);
        add_terms(kind, &mut dot, &mut dot_lost, [g2, g3], [w2, w3]);
    }
    if kind == WeightKind::Each {
        dot.add(dot_lost);
    }
    let (sum, lost) = sum.total();
    let dot = if kind == WeightKind::Absent { 0.0 } else { dot.total().0 };
    Partial { sum, lost, dot, unit: 1.0 }
}
