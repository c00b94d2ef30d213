//! The maximum M of a row or of a segment of a row, and the first class that has it.

use super::reduce::Part;
use crate::simd::{Float, QUAD, Source, Vector, outlined};

/// M of a row or a segment; arbitrary if there is a NaN, which the sweep detects.
#[inline(always)]
pub(crate) fn maximum<V: Vector>(token: V::Token, z: Source<'_, V::Scalar>) -> V::Scalar {
    let lowest = V::Scalar::NEG_INFINITY;
    let mut best = [V::splat(token, lowest); QUAD];
    // From a cache line on, so that no vector crosses two lines. Some elements are read twice.
    let mut at = z.elements_to_line();
    best[0] = z.vector::<V>(token, 0, lowest);
    while at + QUAD * V::LANES <= z.len() {
        let quad = z.quad::<V>(at);
        for (i, best) in best.iter_mut().enumerate() {
            *best = best.max(quad.nth::<V>(token, i));
        }
        at += QUAD * V::LANES;
    }
    while at + V::LANES < z.len() {
        best[0] = best[0].max(z.vector::<V>(token, at, lowest));
        at += V::LANES;
    }
    best[1] = best[1].max(z.vector::<V>(token, z.len().saturating_sub(V::LANES), lowest));
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
}

/// Finds the class of the first maximum of each part.
pub(super) fn find_places<V: Vector>(token: V::Token, parts: &mut [Part<'_, V::Scalar>]) {
    outlined!(V, token, {
        for part in parts {
            part.apart = place::<V>(token, part.z, part.max);
        }
    });
}

#[inline(always)]
fn place<V: Vector>(token: V::Token, z: Source<'_, V::Scalar>, max: V::Scalar) -> usize {
    let (largest, lowest) = (V::splat(token, max), V::Scalar::NEG_INFINITY);
    let mut at = 0;
    while at + QUAD * V::LANES <= z.len() {
        let quad = z.quad::<V>(at);
        let vector = |i| quad.nth::<V>(token, i);
        let best = vector(0).max(vector(1)).max(vector(2).max(vector(3)));
        if V::any(best.ge(largest)) {
            break;
        }
        at += QUAD * V::LANES;
    }
    // All four vectors, without a branch: which of them has the maximum cannot be predicted.
    let (mut bits, end) = (0, z.len().min(at + QUAD * V::LANES));
    for (i, at) in (at..end).step_by(V::LANES).enumerate() {
        bits |= V::bits(z.vector::<V>(token, at, lowest).ge(largest)) << (i * V::LANES);
    }
    if bits == 0 { usize::MAX } else { at + bits.trailing_zeros() as usize }
}
