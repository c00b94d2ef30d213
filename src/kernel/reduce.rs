//! The reduction of a row, or of a segment of one.
//!
//! ```text
//! M      = max z                                         sweep 1
//! e_k    = exp(z_k/T)·2^(H − N)                          sweep 2; kept if asked for
//! sum    = Σ e_k, or Σ e_k but for the first maximum
//! dot    = Σ w_k (M − z_k)                               if there are weights: all terms ≥ 0
//! ```
//!
//! L = lse − M/T = log1p((e_M + others) / e_M) needs the sum without one maximum: with it, others that
//! are small would be rounded away. That maximum is found by its place, and only the quad that holds
//! it is summed with a mask; to the others it costs nothing.
//!
//! The order of summation (it makes the bits independent of everything but the row):
//!
//! ```text
//! for each segment of 16384 classes:
//!     for each quad of 4 vectors, LANES classes each:
//!         lanes[i] += (v0[i] + v1[i]) + (v2[i] + v3[i])       the products of `dot` with v1 and v3 fused;
//!                                                             for f64 pairs, and exact products, one by one
//!     joined: lanes i and i + 8 (f32 only), then i + 4, i + 2, i + 1; f64 one after another, compensated
//! segments: the first, then each that follows, compensated
//! ```
//!
//! The lanes are doubles (f32), or doubles with what their additions lost (f64). A class that is left
//! out, or that does not exist, adds +0.

use super::exp::{Base, Exponential, Temperature};
use crate::simd::{Cache, Float, LaneSum, Lines, QUAD, Sink, Source, Vector, outlined, with_value};
use crate::target::Weights;

/// Classes of a segment: the unit in which long rows are divided.
pub(crate) const SEGMENT: usize = 16_384;
/// So many vectors further on, outputs are asked for: some 100 ns.
const OUTPUTS_AHEAD: usize = 4 * QUAD;
/// Rows that are finished together: their scalars are formed side by side.
pub(crate) const MOST_ROWS: usize = 8;

/// Which weights there are, without them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum WeightKind {
    Absent,
    Ones,
    Each,
}

/// What a row or a segment is reduced to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Partial {
    /// Σ exp(z/T)·2^(H − N), or the same but for the first maximum. NaN where M is out of range.
    pub(crate) sum: f64,
    /// What the sum of float64 rows lost.
    pub(crate) lost: f64,
    /// Σ w (M − z)
    pub(crate) dot: f64,
}

impl Partial {
    /// Is it of an ordinary row? Else it has NaN or infinities, or overflows.
    pub(crate) fn is_ordinary(&self) -> bool {
        self.sum.is_finite() && self.dot.is_finite()
    }
}

/// A row or a segment to be reduced.
#[derive(Clone, Copy)]
pub(crate) struct Part<'p, F> {
    pub(crate) z: Source<'p, F>,
    pub(crate) weights: Weights<'p, F>,
    /// M of the row.
    pub(crate) max: F,
    /// Is the first maximum left out of the sum?
    pub(crate) splits: bool,
}

/// Memory that a sweep asks for, since it is needed soon.
pub(crate) struct Ahead<'a, F> {
    /// The logits of the same classes in a row that is read soon.
    pub(crate) logits: Lines,
    /// The outputs, where the sweep stores its exponentials or what is written after it; else empty.
    pub(crate) outputs: Source<'a, F>,
}

impl<F: Float> Ahead<'_, F> {
    pub(crate) fn nothing() -> Self {
        Self { logits: Lines::none(), outputs: Source::from_slice(&[]) }
    }
}

/// Reduces a part. Its exponentials go to `exps`, if there is such.
pub(crate) fn reduce<V: Vector>(
    token: V::Token,
    temperature: &Temperature<V::Scalar>,
    part: &Part<'_, V::Scalar>,
    exps: Option<&mut Sink<'_, V::Scalar>>,
    ahead: &Ahead<'_, V::Scalar>,
) -> Partial {
    let Part { z, weights, max, splits } = *part;
    if !temperature.is_in_range(max) {
        return Partial { sum: f64::NAN, ..Partial::default() };
    }
    let apart = if splits { place::<V>(token, z, max) } else { usize::MAX };
    let row = Row { temperature, max, z, apart, ahead };
    let (kind, weights) = match weights {
        Weights::Absent => (WeightKind::Absent, z),
        Weights::Ones => (WeightKind::Ones, z),
        Weights::Row(weights) => (WeightKind::Each, weights),
    };
    sweep::<V>(token, row, kind, weights, exps)
}

/// M; of rows with NaN, which the second sweep finds, anything.
pub(crate) fn maximum<V: Vector>(token: V::Token, z: Source<'_, V::Scalar>) -> V::Scalar {
    outlined!(V, token, move {
        let lowest = V::Scalar::NEG_INFINITY;
        let mut best = [V::splat(token, lowest); QUAD];
        // From a line of memory on, no vector lies in two. Some elements are read twice.
        let mut at = z.elements_to_line();
        best[0] = z.vector::<V>(token, 0, lowest);
        while at + QUAD * V::LANES <= z.len() {
            let quad = z.quad::<V>(at);
            for (i, best) in best.iter_mut().enumerate() {
                *best = best.max(quad.vector::<V>(token, i));
            }
            at += QUAD * V::LANES;
        }
        while at < z.len() {
            best[0] = best[0].max(z.vector::<V>(token, at, lowest));
            at += V::LANES;
        }
        let mut lanes = best[0].max(best[1]).max(best[2].max(best[3])).to_array();
        let mut half = V::LANES / 2;
        while half > 0 {
            for lane in 0..half {
                if lanes[lane + half] > lanes[lane] {
                    lanes[lane] = lanes[lane + half];
                }
            }
            half /= 2;
        }
        lanes[0]
    })
}

/// The class of the first maximum.
fn place<V: Vector>(token: V::Token, z: Source<'_, V::Scalar>, max: V::Scalar) -> usize {
    outlined!(V, token, move {
        let largest = V::splat(token, max);
        let mut at = 0;
        while at + QUAD * V::LANES <= z.len() {
            let quad = z.quad::<V>(at);
            let vector = |i| quad.vector::<V>(token, i);
            let best = vector(0).max(vector(1)).max(vector(2).max(vector(3)));
            if V::any(best.ge(largest)) {
                break;
            }
            at += QUAD * V::LANES;
        }
        while at < z.len() {
            let bits = V::bits(z.vector::<V>(token, at, V::Scalar::NEG_INFINITY).ge(largest));
            if bits != 0 {
                return at + bits.trailing_zeros() as usize;
            }
            at += V::LANES;
        }
        usize::MAX
    })
}

/// What is swept: a row with a maximum in range.
#[derive(Clone, Copy)]
struct Row<'r, V: Vector> {
    temperature: &'r Temperature<V::Scalar>,
    max: V::Scalar,
    z: Source<'r, V::Scalar>,
    /// The class that is left out of the sum.
    apart: usize,
    /// By reference: a copy waits for the stores before it, which may be many and past the caches.
    ahead: &'r Ahead<'r, V::Scalar>,
}

/// Compiled once for all operations.
fn sweep<V: Vector>(
    token: V::Token,
    row: Row<'_, V>,
    kind: WeightKind,
    weights: Source<'_, V::Scalar>,
    exps: Option<&mut Sink<'_, V::Scalar>>,
) -> Partial {
    use WeightKind::{Absent, Each, Ones};
    let (keeps, mut nowhere) = (exps.is_some(), Sink::from_slice(&mut []));
    let mut exps = exps.unwrap_or(&mut nowhere).reborrow();
    // Compiled for each case that is named, with what it does not do left out.
    macro_rules! sweep {
        ($keeps:expr, $kind:expr) => {
            outlined!(V, token, move swept::<V>($keeps, $kind, token, row, weights, &mut exps))
        };
    }
    if V::IS_COMPACT {
        return sweep!(keeps, kind);
    }
    match (keeps, kind) {
        (false, Absent) => sweep!(false, Absent),
        (false, Ones) => sweep!(false, Ones),
        (false, Each) => sweep!(false, Each),
        (true, Absent) => sweep!(true, Absent),
        (true, Ones) => sweep!(true, Ones),
        (true, Each) => sweep!(true, Each),
    }
}

#[inline(always)]
#[allow(clippy::too_many_lines, reason = "one function from the logits to the sums")]
fn swept<V: Vector>(
    keeps: bool,
    kind: WeightKind,
    token: V::Token,
    row: Row<'_, V>,
    weights: Source<'_, V::Scalar>,
    exps: &mut Sink<'_, V::Scalar>,
) -> Partial {
    let quad_len = const { QUAD * V::LANES };
    let Row { temperature, max, z, apart, ahead } = row;
    let mut next = ahead.logits;
    let base = Base::<V>::new(temperature, V::splat(token, max));
    let exp = Exponential::<V>::new(token, temperature);
    let register_base = Base::new(temperature, V::Register::splat(token, max));
    let exp_of_register = Exponential::<V::Register>::new(token, temperature);
    let (top, zero) = (V::splat(token, max), V::splat(token, V::Scalar::default()));
    let (mut sum, mut dot) = (V::Sum::zero(token), V::Sum::zero(token));
    // The class that is left out adds 0.
    let leave_out = {
        #[inline(always)]
        |e: V, at: usize| with_value(e, at, Some((apart, V::Scalar::default())))
    };
    let mut add_quad = {
        #[inline(always)]
        |at: usize, has_apart: bool| {
            let registers = const { QUAD * V::LANES / V::Register::LANES };
            let (mut quad, weight) = (z.quad::<V>(at), weights.quad::<V>(at));
            if registers == QUAD {
                quad = quad.in_one_register();
            }
            next.prefetch_quad::<V>(token);
            if ahead.outputs.len() > 0 {
                for i in 0..QUAD {
                    let at = at + (OUTPUTS_AHEAD + i) * V::LANES;
                    ahead.outputs.prefetch::<V>(token, Cache::First, at);
                }
            }
            let mut kept = keeps.then(|| exps.quad::<V>(at));
            let mut w = [zero; QUAD];
            if kind == WeightKind::Each {
                for i in 0..QUAD {
                    w[i] = weight.vector::<V>(token, i);
                }
            }
            // The constants of the exponential, a vector of two registers and the sums have no room in the
            // registers of AVX2: there exponentials that are kept are formed register by register, and
            // loaded again. They may be written over the logits, so the gaps come first.
            if registers > QUAD
                && let Some(mut kept) = kept.take()
            {
                let gap = {
                    #[inline(always)]
                    |i: usize| top.sub(quad.vector::<V>(token, i))
                };
                match kind {
                    WeightKind::Absent => {}
                    WeightKind::Ones => dot.add_pair(gap(0).add(gap(1)), gap(2).add(gap(3))),
                    WeightKind::Each => dot.add_products(w, [gap(0), gap(1), gap(2), gap(3)]),
                }
                for i in 0..registers {
                    let z = quad.vector::<V::Register>(token, i);
                    kept.set(i, exp_of_register.of(z, register_base));
                }
                let kept = kept.read_again();
                let e = {
                    #[inline(always)]
                    |i: usize| {
                        let e = kept.vector::<V>(token, i);
                        if has_apart { leave_out(e, at + i * V::LANES) } else { e }
                    }
                };
                sum.add_pair(e(0).add(e(1)), e(2).add(e(3)));
                return;
            }
            // Vector by vector, down to the sum of each pair: the registers of AVX2 hold no more.
            let mut term = {
                #[inline(always)]
                |i: usize| {
                    let z = quad.vector::<V>(token, i);
                    let gap = top.sub(z);
                    let e = exp.of(z, base);
                    if let Some(kept) = &mut kept {
                        kept.set(i, e);
                    }
                    (if has_apart { leave_out(e, at + i * V::LANES) } else { e }, gap)
                }
            };
            let ((e0, g0), (e1, g1)) = (term(0), term(1));
            let (e01, g01) = (e0.add(e1), g0.add(g1));
            let ((e2, g2), (e3, g3)) = (term(2), term(3));
            let (e23, g23) = (e2.add(e3), g2.add(g3));
            sum.add_pair(e01, e23);
            if kind == WeightKind::Ones {
                dot.add_pair(g01, g23);
            }
            if kind == WeightKind::Each {
                dot.add_products(w, [g0, g1, g2, g3]);
            }
        }
    };
    let whole = z.len() - z.len() % quad_len;
    let mut at = 0;
    while at < whole {
        let end = if apart >= at { apart - apart % quad_len } else { whole }.min(whole);
        while at < end {
            add_quad(at, false);
            at += quad_len;
        }
        if at < whole {
            add_quad(at, true);
            at += quad_len;
        }
    }
    if at < z.len() {
        // The last quad, pair by pair, as far as it goes. Classes that do not exist have the logit −inf for
        // the sum, and the maximum or no weight for the dot.
        let (mut e_pairs, mut gap_quad) = ([zero; 2], zero);
        while at < z.len() {
            let (mut e_pair, mut gap_pair) = (zero, zero);
            for _ in 0..2 {
                if at >= z.len() {
                    break;
                }
                let is_whole = at + V::LANES <= z.len();
                let logits = z.vector::<V>(token, at, V::Scalar::NEG_INFINITY);
                let e = exp.of(logits, base);
                e_pair = e_pair.add(leave_out(e, at));
                if kind != WeightKind::Absent {
                    let logits = if is_whole { logits } else { z.head::<V>(token, at, max) };
                    let gap = top.sub(logits);
                    gap_pair = if kind == WeightKind::Each {
                        let weight = weights.vector::<V>(token, at, V::Scalar::default());
                        weight.mul_add(gap, gap_pair)
                    } else {
                        gap_pair.add(gap)
                    };
                }
                // The exponentials may go where the logits are, which are not read again.
                if keeps {
                    exps.set_vector(at, e);
                }
                at += V::LANES;
            }
            (e_pairs, gap_quad) = ([e_pairs[1], e_pair], gap_quad.add(gap_pair));
        }
        sum.add_pair(e_pairs[0], e_pairs[1]);
        if kind != WeightKind::Absent {
            dot.add(gap_quad);
        }
    }
    let (sum, lost) = sum.total();
    Partial { sum, lost, dot: if kind == WeightKind::Absent { 0.0 } else { dot.total().0 } }
}
