//! The first sweep over one row: what the second needs to know.

use super::stats::{Weights, count_to_f64};
use super::sweep::SEGMENT;
use crate::element::Float;
use crate::simd::row::{QUAD, Source};
use crate::simd::{LaneSum, Vector};
use crate::wide::Wide;

/// The first sweep over a row or a part of one.
#[derive(Clone, Copy)]
pub(super) struct First<F: Float> {
    /// M, ignoring or keeping NaN as the hardware does: the second sweep finds NaN.
    pub(super) max: F,
    /// Σ z where it is asked for, else 0.
    pub(super) sum: F::Wide,
}

impl<F: Float> First<F> {
    /// Of no classes.
    #[inline(always)]
    pub(super) fn none() -> Self {
        Self { max: F::NEG_INFINITY, sum: F::Wide::new(0.0) }
    }

    /// With the sweep over the classes that follow.
    #[inline(always)]
    pub(super) fn followed_by(self, next: Self) -> Self {
        let max = if next.max > self.max { next.max } else { self.max };
        Self { max, sum: self.sum + next.sum }
    }

    /// Σ (M − z), of Σ z that was asked for.
    #[inline(always)]
    pub(super) fn gaps(self, classes: usize) -> F::Wide {
        gaps(classes, F::Wide::new(self.max.to_f64()), self.sum)
    }
}

/// M, and Σ z for weights of 1.
#[inline(always)]
pub(super) fn first<V: Vector>(
    token: V::Token,
    z: Source<'_, V::Scalar>,
    weights: Weights<'_, V::Scalar>,
) -> First<V::Scalar> {
    match weights {
        Weights::Ones => first_of::<V, true>(token, z),
        Weights::Absent | Weights::Row { .. } => first_of::<V, false>(token, z),
    }
}

#[inline(always)]
fn first_of<V: Vector, const SUM: bool>(
    token: V::Token,
    z: Source<'_, V::Scalar>,
) -> First<V::Scalar> {
    V::outlined(
        token,
        #[inline(always)]
        move || {
            let (lowest, zero) = (V::Scalar::NEG_INFINITY, V::Scalar::default());
            let mut best = [V::splat(token, lowest); QUAD];
            let mut total = <V::Scalar as Float>::Wide::new(0.0);
            let mut at = 0;
            while at < z.len() {
                let end = if SUM { z.len().min(at + SEGMENT) } else { z.len() };
                let mut sum = V::Sum::zero(token);
                while at + QUAD * V::LANES <= end {
                    let quad = z.quad::<V>(at);
                    for (i, best) in best.iter_mut().enumerate() {
                        let vector = quad.vector::<V>(token, i);
                        *best = vector.max(*best);
                        if SUM {
                            sum.add(vector);
                        }
                    }
                    at += QUAD * V::LANES;
                }
                while at < end {
                    best[0] = z.vector::<V>(token, at, lowest).max(best[0]);
                    if SUM {
                        sum.add(z.vector::<V>(token, at, zero));
                    }
                    at += V::LANES;
                }
                if SUM {
                    total = total + sum.total();
                }
            }
            let max = largest_lane(best[0].max(best[1]).max(best[2].max(best[3])));
            First { max, sum: total }
        },
    )
}

/// Σ (M − z) over all classes, of the sums of the first sweep.
///
/// Never below 0, and off by no more than 2^-52 K of itself: K·M (K < 2^29 in f32) and Σ z are exact,
/// unless some |z| is far smaller than another, and then some M − z is about as large as the largest |z|.
#[inline(always)]
pub(super) fn gaps<W: Wide>(classes: usize, max: W, sum: W) -> W {
    max.constant(count_to_f64(classes)) * max - sum
}

/// A tree: the order of maxima cannot be seen.
#[inline(always)]
fn largest_lane<V: Vector>(vector: V) -> V::Scalar {
    let mut lanes = vector.to_array();
    let mut half = V::LANES / 2;
    while half > 0 {
        for index in 0..half {
            if lanes[index + half] > lanes[index] {
                lanes[index] = lanes[index + half];
            }
        }
        half /= 2;
    }
    lanes[0]
}
