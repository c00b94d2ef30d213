//! The exponentials of a tile, and their sums.

use super::{Tile, is_in_row_order};
use crate::kernel::exp::{Base, Exponential, is_double};
use crate::kernel::reduce::WeightKind;
use crate::kernel::rows::Operation;
use crate::math::{Real, count};
use crate::simd::{DoubleLanes, Float, LaneSum, MOST_LANES, QUAD, Vector, Widened};

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
        let in_row_order = is_in_row_order::<V>(z);
        let mut ties = if in_row_order { one } else { zero };
        // Loops of their own: the constants of the exponential, and what is summed, have no room in the
        // registers of AVX2 together.
        for (z, e) in z.chunks_exact(V::LANES).zip(out.chunks_exact_mut(V::LANES)) {
            exp.of(V::from_slice(token, z), base).to_slice(e);
        }
        // In the order of rows one maximum is left out, the first.
        let number = {
            #[inline(always)]
            |at: usize| V::splat(token, F::from_f64(count(at / V::LANES)))
        };
        let mut place = zero;
        for at in (0..z.len()).step_by(V::LANES).rev().filter(|_| splits && in_row_order) {
            let is_max = V::from_slice(token, &z[at..]).ge(max);
            place = V::select(is_max, number(at), place);
        }
        let [sum, lost] = add_up(
            zero,
            z.len(),
            in_row_order,
            #[inline(always)]
            |sum: Option<V>, at| {
                let mut e = V::from_slice(token, &out[at..]);
                if splits && in_row_order {
                    e = e.only_where(!number(at).eq(place));
                } else if splits {
                    let is_max = V::from_slice(token, &z[at..]).ge(max);
                    ties = V::select(is_max, ties + one, ties);
                    e = e.only_where(!is_max);
                }
                sum.map_or(e, |sum| sum + e)
            },
        );
        let gap = {
            #[inline(always)]
            |at: usize| max - V::from_slice(token, &z[at..])
        };
        if weights == WeightKind::Absent {
            return (sum, lost, sum.like(0.0), ties);
        }
        if const { is_double::<F>() } {
            // Nothing is wider than the type: each class is added alone.
            let mut dot = V::Sum::zero(token);
            for (class, at) in (0..z.len()).step_by(V::LANES).enumerate() {
                match weights {
                    WeightKind::Each => dot.add_product(self.weight::<V>(token, class), gap(at)),
                    _ => dot.add(gap(at)),
                }
            }
            return (sum, lost, dot.lanes().0, ties);
        }
        let [dot, _] = add_up(
            zero,
            z.len(),
            in_row_order,
            #[inline(always)]
            |sum: Option<V>, at| {
                let weight = match weights {
                    WeightKind::Each => self.weight::<V>(token, at / V::LANES),
                    _ => one,
                };
                sum.map_or(weight * gap(at), |sum| weight.mul_add(gap(at), sum))
            },
        );
        (sum, lost, dot, ties)
    }
}

/// What the classes whose vectors begin at 0, LANES, ... below `len` add up to, and what that lost: `with` makes a term,
/// or adds one. By quads of neighbours, or in the order of rows.
#[inline(always)]
fn add_up<V: Vector>(
    zero: V,
    len: usize,
    in_row_order: bool,
    mut with: impl FnMut(Option<V>, usize) -> V,
) -> [V::Doubles; 2] {
    let token = zero.token();
    if !in_row_order {
        let mut sum = V::Sum::zero(token);
        for quad in (0..len).step_by(const { QUAD * V::LANES }) {
            let [first, second] = pairs(zero, (quad, V::LANES, len), &mut with);
            sum.add_pair(first, second);
        }
        return sum.lanes().into();
    }
    // From one vector of a row to the next.
    let stride = const { V::LANES * V::LANES };
    let mut lanes = [V::Doubles::splat(token, 0.0); MOST_LANES];
    for lane in 0..V::LANES {
        for quad in (lane * V::LANES..len).step_by(QUAD * stride) {
            let [first, second] = pairs(zero, (quad, stride, len), &mut with);
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
    [lanes[0], V::Doubles::splat(token, 0.0)]
}

/// What two classes are summed to, twice, of a quad whose vectors begin at `start`, and `stride` from each other, below
/// `len`.
#[inline(always)]
fn pairs<V: Vector>(
    zero: V,
    (start, stride, len): (usize, usize, usize),
    with: &mut impl FnMut(Option<V>, usize) -> V,
) -> [V; 2] {
    let mut pair = {
        #[inline(always)]
        |at: usize, len: usize| {
            if at >= len {
                return zero;
            }
            let first = with(None, at);
            let next = at + stride;
            if next < len { with(Some(first), next) } else { first }
        }
    };
    // A whole quad asks nothing.
    if !V::IS_COMPACT && start + 3 * stride < len {
        return [pair(start, usize::MAX), pair(start + 2 * stride, usize::MAX)];
    }
    [pair(start, len), pair(start + 2 * stride, len)]
}
