//! The exponentials of a tile, and their sums.

use super::{Tile, is_in_row_order};
use crate::kernel::exp::{Base, Exponential, is_double};
use crate::kernel::reduce::WeightKind;
use crate::kernel::rows::Operation;
use crate::math::{Real, count};
use crate::simd::{Float, LaneSum, MOST_LANES, QUAD, Vector, Widened, outlined};

impl<F: Float> Tile<'_, F> {
    /// The sum of the exponentials (without all maxima, unless it is for softmax), the dot, and the
    /// number of maxima.
    #[inline(always)]
    #[allow(clippy::too_many_arguments, reason = "of the tile and of its function")]
    pub(super) fn sweep<V: Vector<Scalar = F>>(
        &self,
        operation: Operation,
        weights: WeightKind,
        exp: Exponential<V>,
        base: Base<V>,
        max: V,
        z: &[F],
        out: &mut [F],
    ) -> (V::Doubles, V::Doubles, V::Doubles, V) {
        let token = exp.token();
        let splits = operation != Operation::Softmax || const { Operation::Softmax.splits::<F>() };
        let zero = V::splat(token, F::default());
        let one = V::splat(token, F::from_f64(1.0));
        let (mut sum, mut dot) = (V::Sum::zero(token), V::Sum::zero(token));
        let mut ties = zero;
        // Loops of their own: the constants of the exponential, and what is summed, have no room in the
        // registers of AVX2 together.
        for (z, e) in z.chunks_exact(V::LANES).zip(out.chunks_exact_mut(V::LANES)) {
            exp.of(V::from_slice(token, z), base).to_slice(e);
        }
        if is_in_row_order::<V>(z) {
            let (sum, dot) = outlined!(V, token, self.row_sums::<V>(splits, weights, max, z, out));
            return (sum, sum.like(0.0), dot, one);
        }
        let quad_len = const { QUAD * V::LANES };
        for (z, e) in z.chunks(quad_len).zip(out.chunks(quad_len)) {
            let e = &e[..z.len()];
            let [first, second] = pairs(
                zero,
                z.len(),
                #[inline(always)]
                |sum: Option<V>, at| {
                    let mut e = V::from_slice(token, &e[at..]);
                    if splits {
                        let is_max = V::from_slice(token, &z[at..]).ge(max);
                        ties = V::select(is_max, ties + one, ties);
                        e = e.only_where(!is_max);
                    }
                    sum.map_or(e, |sum| sum + e)
                },
            );
            sum.add_pair(first, second);
        }
        let (sum, lost) = sum.lanes();
        if weights == WeightKind::Absent {
            return (sum, lost, dot.lanes().0, ties);
        }
        for (quad, z) in z.chunks(quad_len).enumerate() {
            let [first, second] = pairs(
                zero,
                z.len(),
                #[inline(always)]
                |sum: Option<V>, at| {
                    let gap = max - V::from_slice(token, &z[at..]);
                    let weight = (weights == WeightKind::Each)
                        .then(|| self.weight::<V>(token, quad * QUAD + at / V::LANES));
                    // Of float64 nothing is wider than the type: each class is added alone.
                    if const { is_double::<F>() } {
                        match weight {
                            Some(weight) => dot.add_product(weight, gap),
                            None => dot.add(gap),
                        }
                        return zero;
                    }
                    match (weight, sum) {
                        (Some(weight), Some(sum)) => weight.mul_add(gap, sum),
                        (Some(weight), None) => weight * gap,
                        (None, Some(sum)) => sum + gap,
                        (None, None) => gap,
                    }
                },
            );
            if const { !is_double::<F>() } {
                dot.add(first + second);
            }
        }
        (sum, lost, dot.lanes().0, ties)
    }

    /// The sum of the exponentials `e`, if it `splits` without the first maximum, and the dot, of rows of f32: the same
    /// bits as of rows that are summed one by one.
    #[inline(always)]
    fn row_sums<V: Vector<Scalar = F>>(
        &self,
        splits: bool,
        weights: WeightKind,
        max: V,
        z: &[F],
        e: &[F],
    ) -> (V::Doubles, V::Doubles) {
        let (token, one) = (max.token(), V::splat(max.token(), F::from_f64(1.0)));
        let number = {
            #[inline(always)]
            |at: usize| V::splat(token, F::from_f64(count(at / V::LANES)))
        };
        let mut place = one;
        if splits {
            for at in (0..z.len()).step_by(V::LANES).rev() {
                let is_max = V::from_slice(token, &z[at..]).ge(max);
                place = V::select(is_max, number(at), place);
            }
        }
        let sum = in_row_order(one, z.len(), {
            #[inline(always)]
            |at| {
                let e = V::from_slice(token, &e[at..]);
                if splits { (e.only_where(!number(at).eq(place)), one) } else { (e, one) }
            }
        });
        if weights == WeightKind::Absent {
            return (sum, sum.like(0.0));
        }
        let dot = in_row_order(one, z.len(), {
            #[inline(always)]
            |at| {
                let gap = max - V::from_slice(token, &z[at..]);
                let is_each = weights == WeightKind::Each;
                (gap, if is_each { self.weight::<V>(token, at / V::LANES) } else { one })
            }
        });
        (sum, dot)
    }
}

/// The sum of the products of which `factors` are, of the classes whose vectors begin at 0, LANES, ... below `len`.
#[inline(always)]
fn in_row_order<V: Vector>(one: V, len: usize, factors: impl Fn(usize) -> (V, V)) -> V::Doubles {
    let (token, zero) = (one.token(), V::splat(one.token(), V::Scalar::default()));
    // From one vector of a row to the next.
    let stride = const { V::LANES * V::LANES };
    let add = {
        #[inline(always)]
        |sum: V, at: usize| {
            if at >= len {
                return sum;
            }
            let (a, b) = factors(at);
            a.mul_add(b, sum)
        }
    };
    let mut lanes = [V::Doubles::splat(token, 0.0); MOST_LANES];
    for lane in 0..V::LANES {
        for quad in (lane * V::LANES..len).step_by(QUAD * stride) {
            let first = add(add(zero, quad), quad + stride);
            let second = add(add(zero, quad + 2 * stride), quad + 3 * stride);
            lanes[lane] = lanes[lane] + V::Doubles::widen(first + second);
        }
    }
    let mut half = V::LANES / 2;
    while half > 0 {
        for lane in 0..half {
            lanes[lane] = lanes[lane] + lanes[lane + half];
        }
        half /= 2;
    }
    lanes[0]
}

/// What two classes are summed to, twice, of a quad whose vectors begin at 0, LANES, ... below `len`: `with`
/// makes a term, or adds one.
#[inline(always)]
fn pairs<V: Vector>(zero: V, len: usize, mut with: impl FnMut(Option<V>, usize) -> V) -> [V; 2] {
    let mut pair = {
        #[inline(always)]
        |at: usize, len: usize| {
            if at >= len {
                return zero;
            }
            let first = with(None, at);
            let next = at + V::LANES;
            if next < len { with(Some(first), next) } else { first }
        }
    };
    // A whole quad asks nothing.
    if !V::IS_COMPACT && len == QUAD * V::LANES {
        return [pair(0, QUAD * V::LANES), pair(2 * V::LANES, QUAD * V::LANES)];
    }
    [pair(0, len), pair(2 * V::LANES, len)]
}
