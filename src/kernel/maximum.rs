//! The maximum M of a row or of a segment of a row, and the first class that has it.

use super::reduce::Part;
use crate::math::{count, in_halves};
use crate::simd::{Float, QUAD, Source, Vector, each, inlined, outlined};
use std::hint::select_unpredictable;

/// Finds M of each part, and if it `finds_places` the first class that has it, which is left out of the sum. Parts
/// without classes stay as they are.
pub(crate) fn find_maxima<V: Vector>(
    token: V::Token,
    finds_places: bool,
    parts: &mut [Part<'_, V::Scalar>],
) {
    outlined!(V, token, {
        for part in parts.iter_mut().filter(|part| part.z.len() > 0) {
            // Compiled for both cases separately, except in compact code.
            (part.max, part.apart) = match finds_places {
                _ if V::IS_COMPACT => first_maximum::<V>(token, finds_places, part.z),
                true => first_maximum::<V>(token, true, part.z),
                false => first_maximum::<V>(token, false, part.z),
            };
        }
    });
}

/// M, and if it `finds_place` the first class that has it. If there is a NaN, M is arbitrary, and the class is not that
/// of the NaN; it may be `usize::MAX`.
///
/// The row is divided into groups of vectors. For each lane, the first group that has the maximum of the lane is kept,
/// by its first class: a search for M afterwards would end with a branch that cannot be predicted.
#[inline(always)]
fn first_maximum<V: Vector>(
    token: V::Token,
    finds_place: bool,
    z: Source<'_, V::Scalar>,
) -> (V::Scalar, usize) {
    let quad_len = const { QUAD * V::LANES };
    let lowest = V::Scalar::NEG_INFINITY;
    let like = inlined!(|class: usize| V::splat(token, V::Scalar::from_f64(count(class))));
    let (mut best, mut groups) = ([V::splat(token, lowest); QUAD], like(0));
    best[0] = z.vector::<V>(token, 0, lowest);
    // From a cache line on, so that no vector crosses two lines. Some elements are read twice.
    let mut at = z.elements_to_line();
    let (mut group, step) = (like(at), like(quad_len));
    while at + quad_len <= z.len() {
        let quad = z.quad::<V>(at);
        let vector = inlined!(|i: usize| quad.nth::<V>(token, i));
        if finds_place {
            let largest = vector(0).max(vector(1)).max(vector(2)).max(vector(3));
            groups = V::select(best[0].ge(largest), groups, group);
            group = group + step;
            best[0] = best[0].max(largest);
        } else {
            best = each!(QUAD, |i| best[i].max(vector(i)));
        }
        at += quad_len;
    }
    let mut last = z.vector::<V>(token, z.len().saturating_sub(V::LANES), lowest);
    while at + V::LANES < z.len() {
        last = last.max(z.vector::<V>(token, at, lowest));
        at += V::LANES;
    }
    groups = V::select(best[0].ge(last), groups, group);
    let best = best[0].max(best[1]).max(best[2].max(best[3])).max(last);
    // The largest lane, without a branch, which could not be predicted.
    let larger = inlined!(|a: V::Scalar, b| select_unpredictable(b > a, b, a));
    let max = in_halves(&mut best.to_array()[..V::LANES], larger);
    if !finds_place {
        return (max, usize::MAX);
    }
    let largest = V::splat(token, max);
    let (groups, mut lanes) = (groups.to_array(), V::bits(best.ge(largest)));
    let none = V::Scalar::from_f64(f64::INFINITY);
    let mut first = none;
    while lanes != 0 {
        let group = groups[lanes.trailing_zeros() as usize];
        first = if group < first { group } else { first };
        lanes &= lanes - 1;
    }
    if first == none {
        return (max, usize::MAX);
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a class")]
    let at = (first.to_f64() as usize).min(z.len().saturating_sub(quad_len));
    let quad = if z.len() >= quad_len {
        let row = z.quad::<V>(at);
        each!(QUAD, |i| row.nth::<V>(token, i))
    } else {
        each!(QUAD, |i| z.vector::<V>(token, z.len().min(i * V::LANES), lowest))
    };
    let [b0, b1, b2, b3] = each!(QUAD, |i| V::bits(quad[i].ge(largest)) << (i * V::LANES));
    (max, at + ((b0 | b1) | (b2 | b3)).trailing_zeros() as usize)
}

#[cfg(test)]
mod tests;
