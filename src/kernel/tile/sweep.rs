//! The exponentials of a tile, and their sums.

use super::Tile;
use crate::kernel::exp::{Base, Exponential, is_double};
use crate::kernel::reduce::WeightKind;
use crate::kernel::rows::Operation;
use crate::simd::{Float, LaneSum, QUAD, Vector};

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
        let zero = max.sub(max);
        let one = V::splat(token, F::from_f64(1.0));
        let (mut sum, mut dot) = (V::Sum::zero(token), V::Sum::zero(token));
        let mut ties = zero;
        // Two loops: the constants of the exponential and the sums have no room in the registers of AVX2
        // together.
        for (z, out) in z.chunks_exact(V::LANES).zip(out.chunks_exact_mut(V::LANES)) {
            exp.of(V::from_slice(token, z), base).to_slice(out);
        }
        // What is added of a class: its exponential, and its M − z.
        let mut term = {
            #[inline(always)]
            |z: &[F], e: &[F]| {
                let (z, mut e) = (V::from_slice(token, z), V::from_slice(token, e));
                if splits {
                    let is_max = z.ge(max);
                    ties = V::select(is_max, ties.add(one), ties);
                    e = e.zero_where(is_max);
                }
                (e, max.sub(z))
            }
        };
        // Of float64 nothing is wider than the type: each class is added to the dot alone.
        let is_double = const { is_double::<F>() };
        let add_alone = {
            #[inline(always)]
            |dot: &mut V::Sum, gap: V, class: usize| match weights {
                WeightKind::Absent => {}
                WeightKind::Ones => dot.add(gap),
                WeightKind::Each => dot.add_product(self.weight(token, class), gap),
            }
        };
        let weight = {
            #[inline(always)]
            |class| self.weight::<V>(token, class)
        };
        let classes = z.len() / V::LANES;
        let mut class = 0;
        while class < classes {
            let at = {
                #[inline(always)]
                |i: usize| (class + i) * V::LANES
            };
            let (z, exps) = (&z[at(0)..], &out[at(0)..z.len()]);
            let (mut e, mut gap) = ([zero; 2], zero);
            if class + QUAD <= classes {
                let (e0, g0) = term(z, exps);
                let (e1, g1) = term(&z[V::LANES..], &exps[V::LANES..]);
                let (e2, g2) = term(&z[2 * V::LANES..], &exps[2 * V::LANES..]);
                let (e3, g3) = term(&z[3 * V::LANES..], &exps[3 * V::LANES..]);
                e = [e0.add(e1), e2.add(e3)];
                if is_double {
                    add_alone(&mut dot, g0, class);
                    add_alone(&mut dot, g1, class + 1);
                    add_alone(&mut dot, g2, class + 2);
                    add_alone(&mut dot, g3, class + 3);
                }
                gap = if weights == WeightKind::Each {
                    let first = weight(class + 1).mul_add(g1, weight(class).mul(g0));
                    first.add(weight(class + 3).mul_add(g3, weight(class + 2).mul(g2)))
                } else {
                    g0.add(g1).add(g2.add(g3))
                };
            } else {
                let pair = QUAD / 2 * V::LANES;
                for (i, (z, exps)) in z.chunks(pair).zip(exps.chunks(pair)).enumerate() {
                    let (mut e_pair, mut gap_pair) = term(z, exps);
                    if is_double {
                        add_alone(&mut dot, gap_pair, class + 2 * i);
                    }
                    if weights == WeightKind::Each {
                        gap_pair = gap_pair.mul(weight(class + 2 * i));
                    }
                    if z.len() > V::LANES {
                        let (e, gap) = term(&z[V::LANES..], &exps[V::LANES..]);
                        e_pair = e_pair.add(e);
                        if is_double {
                            add_alone(&mut dot, gap, class + 2 * i + 1);
                        }
                        gap_pair = if weights == WeightKind::Each {
                            weight(class + 2 * i + 1).mul_add(gap, gap_pair)
                        } else {
                            gap_pair.add(gap)
                        };
                    }
                    (e, gap) = ([e[1], e_pair], gap.add(gap_pair));
                }
            }
            sum.add_pair(e[0], e[1]);
            if weights != WeightKind::Absent && !is_double {
                dot.add(gap);
            }
            class += QUAD;
        }
        let (sum, lost) = sum.lanes();
        (sum, lost, dot.lanes().0, ties)
    }
}
