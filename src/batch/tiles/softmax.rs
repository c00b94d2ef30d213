//! Softmax of two tiles at a time.

use super::store::{Place, stream_tile};
use super::{Memory, State};
use crate::batch::Job;
use crate::kernel::{Tile, WeightKind, from_run, room, to_run};
use crate::simd::{Source, Vector};

/// Softmax of the two tiles at a place; false if their rows do not lie one after another.
#[inline(always)]
pub(super) fn pair<V: Vector>(
    job: &Job<'_, V::Scalar>,
    token: V::Token,
    place: Place,
    memory: &mut Memory<'_, V::Scalar>,
    state: &mut State<'_, V::Scalar>,
) -> bool {
    let Place { first, streams, .. } = place;
    let Memory { z, out, next_z, next_out, rows, .. } = memory;
    let (panel, classes) = (&job.panel, job.panel.logits.classes());
    let (next, len) = (first + V::LANES, classes * V::LANES);
    let is_plain = panel.mask.is_none() && panel.shift == 1.0;
    let has_room = |run: &Source<'_, _>| run.len() >= len + room(classes, V::LANES);
    let source = panel.logits.run(first, panel.logits.rows() - first).filter(has_room);
    let (Some(source), Some(output), true) = (source, panel.output, is_plain) else { return false };
    let Some(mut sink) = output.run(first, 2 * V::LANES) else { return false };
    let reread =
        |first: usize| move |lane: usize, row: &mut [V::Scalar]| panel.reload(first + lane, 0, row);
    let (reread, reread_next) = (reread(first), reread(next));
    let tile = Tile {
        formula: job.formula(),
        hessian: None,
        target: &state.target,
        weight_kind: WeightKind::Absent,
        weights: &[],
        is_lost: &state.is_lost,
        reread: &reread,
    };
    let next_tile = Tile { reread: &reread_next, ..tile };
    from_run::<V>(token, source, classes, z);
    from_run::<V>(token, source.part(len, usize::MAX), classes, next_z);
    state.ask::<V>(first * classes..(first + 2 * V::LANES) * classes);
    let (lanes, next_lanes) =
        ((&mut z[..len], &mut out[..len]), (&mut next_z[..len], &mut next_out[..len]));
    tile.softmax_pair::<V>(&next_tile, token, lanes, next_lanes);
    for (i, out) in [out, next_out].into_iter().enumerate() {
        let place = Place { first: first + i * V::LANES, count: V::LANES, ..place };
        if !(streams && stream_tile::<V>(token, out, output, place, &mut state.unwritten, rows)) {
            to_run::<V>(token, out, classes, &mut sink.reborrow().part(i * len, len));
        }
    }
    true
}
