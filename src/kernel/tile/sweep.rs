//! The exponentials of a tile, and their sums.

use super::{Tile, Tiles, is_in_row_order};
use crate::kernel::Operation;
use crate::kernel::exp::{Base, Exponential};
use crate::kernel::reduce::{WeightKind, add_terms};
use crate::math::{Real, count, in_halves};
use crate::simd::{Cache, Float, LaneSum, MOST_LANES, Vector, inlined, outlined};
use std::mem::swap;

impl<F: Float> Tiles<'_, F> {
    /// Writes the exponentials of the tiles to the memory for their outputs, and prefetches memory if it
    /// `PREFETCHES`.
    #[inline(always)]
    pub(super) fn exponentials<V: Vector<Scalar = F>, const PREFETCHES: bool>(
        &self,
        token: V::Token,
        tiles: &mut [Tile<'_, F>],
    ) {
        let temperature = self.formula.temperature;
        let exp = Exponential::<V>::new(token, temperature);
        let mut at = 0;
        for tile in tiles {
            let (z, out) = (&tile.z[..self.len], &mut tile.out[..self.len]);
            let base = Base::<V>::new(temperature, V::from_slice(token, &tile.max));
            for (z, e) in z.chunks_exact(V::LANES).zip(out.chunks_exact_mut(V::LANES)) {
                if PREFETCHES && let Some([next, outputs]) = self.prefetched {
                    next.prefetch(Cache::First, at);
                    outputs.prefetch(Cache::First, at);
                    at += V::LANES;
                }
                exp.of(V::from_slice(token, z), base).to_slice(e);
            }
        }
    }

    /// The sum of the exponentials of a tile and its rounding error, the dot, and the number of maxima. The maxima are
    /// left out of the sum, except for softmax of f32.
    #[inline(always)]
    pub(super) fn sums<V: Vector<Scalar = F>>(
        &self,
        (operation, weights): (Operation, WeightKind),
        token: V::Token,
        max: V,
        tile: &mut Tile<'_, F>,
    ) -> (V::Doubles, V::Doubles, V::Doubles, V) {
        let one = V::splat(token, F::from_f64(1.0));
        let splits = operation.splits() || F::IS_DOUBLE;
        let zero = V::splat(token, F::default());
        if is_in_row_order::<V>(&tile.z[..self.len]) {
            let what = (operation, weights);
            let (sum, dot) = outlined!(V, token, self.row_sums::<V>(what, max, tile));
            return (sum, sum.like(0.0), dot, one);
        }
        let (z, e) = (&tile.z[..self.len], &tile.out[..self.len]);
        let (mut sum, mut dot) = (LaneSum::<V>::zero(token), LaneSum::<V>::zero(token));
        let (mut ties, mut dot_lost) = (zero, zero);
        // Pairs of classes, and the last class if their number is odd.
        let pair_len = const { 2 * V::LANES };
        let (pairs, last) = z.split_at(z.len() - z.len() % pair_len);
        let (pairs_of_e, last_of_e) = e.split_at(pairs.len());
        let mut term = inlined!(|z: &[F], e: &[F]| {
            let e = V::from_slice(token, e);
            if !splits {
                return e;
            }
            let is_max = V::from_slice(token, z).ge(max);
            ties = V::select(is_max, ties + one, ties);
            e.only_where(!is_max)
        });
        for (z, e) in pairs.chunks_exact(pair_len).zip(pairs_of_e.chunks_exact(pair_len)) {
            sum.add_pair([term(z, e), term(&z[V::LANES..], &e[V::LANES..])]);
        }
        if !last.is_empty() {
            sum.add(term(last, last_of_e));
        }
        let (sum, lost) = sum.lanes();
        if weights == WeightKind::Absent {
            return (sum, lost, V::Doubles::splat(token, 0.0), ties);
        }
        let is_each = weights == WeightKind::Each;
        let all = if is_each { &tile.weights[..z.len()] } else { z };
        let (pairs_of_weights, last_weight) = all.split_at(pairs.len());
        let vector = inlined!(|values: &[F]| V::from_slice(token, values));
        let weight = inlined!(|values: &[F]| if is_each { vector(values) } else { zero });
        for (z, w) in pairs.chunks_exact(pair_len).zip(pairs_of_weights.chunks_exact(pair_len)) {
            let gaps = [max - vector(z), max - vector(&z[V::LANES..])];
            let weights_of_pair = [weight(w), weight(&w[V::LANES..])];
            add_terms(weights, &mut dot, &mut dot_lost, gaps, weights_of_pair);
        }
        if !last.is_empty() {
            let gaps = [max - vector(last), zero];
            add_terms(weights, &mut dot, &mut dot_lost, gaps, [weight(last_weight), zero]);
        }
        if is_each {
            dot.add(dot_lost);
        }
        (sum, lost, dot.lanes().0, ties)
    }

    /// The sum of the exponentials of a tile (except for softmax, without the first maximum) and the dot, of f32 rows,
    /// with the same bits as in the row kernel.
    #[inline(always)]
    fn row_sums<V: Vector<Scalar = F>>(
        &self,
        (operation, weights): (Operation, WeightKind),
        max: V,
        tile: &mut Tile<'_, F>,
    ) -> (V::Doubles, V::Doubles) {
        // All rows here are f32, whose vectors have MOST_LANES lanes.
        let (z, _) = tile.z[..self.len].as_chunks::<MOST_LANES>();
        let (e, _) = tile.out[..self.len].as_chunks_mut::<MOST_LANES>();
        let (token, one) = (max.token(), V::splat(max.token(), F::from_f64(1.0)));
        let mut places = [F::default(); MOST_LANES];
        let mut apart = places;
        if operation.splits() {
            let splat = inlined!(|number: f64| V::splat(token, F::from_f64(number)));
            // From the last class to the first, by turns in two numbers, since each waits for the one before.
            let (last, two) = (count(z.len()) - 1.0, splat(2.0));
            let (mut numbers, mut place) = ([splat(last), splat(last - 1.0)], one);
            for z in z.iter().rev() {
                place = V::select(V::from_slice(token, z).ge(max), numbers[0], place);
                numbers = [numbers[1], numbers[0] - two];
            }
            place.to_slice(&mut places);
            // While the others are added, the exponentials of the first maxima are 0.
            exchange(e, &places, &mut apart);
        }
        let exponential = inlined!(|class: usize| (V::from_slice(token, &e[class]), one));
        let sum = in_row_order(WeightKind::Ones, token, e.len(), exponential);
        if operation.splits() && operation.keeps() {
            exchange(e, &places, &mut apart);
        }
        if weights == WeightKind::Absent {
            return (sum, sum.like(0.0));
        }
        let (all_weights, _) = tile.weights.as_chunks::<MOST_LANES>();
        let weighted = inlined!(|class: usize| {
            let gap = max - V::from_slice(token, &z[class]);
            let is_each = weights == WeightKind::Each;
            (gap, if is_each { V::from_slice(token, &all_weights[class]) } else { one })
        });
        (sum, in_row_order(weights, token, z.len(), weighted))
    }
}

/// Exchanges a number of each lane of a tile, of the class in `places`, for that in `others`.
#[inline(never)] // once for all callers
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "classes")]
fn exchange<F: Float>(
    numbers: &mut [[F; MOST_LANES]],
    places: &[F; MOST_LANES],
    others: &mut [F; MOST_LANES],
) {
    for lane in 0..MOST_LANES {
        // Converting to 32 bits takes a third of the instructions of 64 bits.
        let class = places[lane].to_f64() as u32;
        swap(&mut numbers[class as usize][lane], &mut others[lane]);
    }
}

/// The sum of the terms of all classes. A term is a number and its weight.
#[inline(always)]
fn in_row_order<V: Vector>(
    kind: WeightKind,
    token: V::Token,
    classes: usize,
    terms: impl Fn(usize) -> (V, V),
) -> V::Doubles {
    let zero = V::splat(token, V::Scalar::default());
    let mut lanes = [V::Doubles::splat(token, 0.0); MOST_LANES];
    for lane in 0..V::LANES {
        let (mut sum, mut lost) = (LaneSum::<V>::zero(token), zero);
        let mut class = lane;
        while class < classes {
            // Those of the same lane in two vectors of a row.
            let (first, w0) = terms(class);
            let next = class + V::LANES;
            let (second, w1) = if next < classes { terms(next) } else { (zero, zero) };
            add_terms(kind, &mut sum, &mut lost, [first, second], [w0, w1]);
            class = next + V::LANES;
        }
        sum.add(lost);
        lanes[lane] = sum.lanes().0;
    }
    in_halves(&mut lanes[..V::LANES], inlined!(|a, b| a + b))
}
