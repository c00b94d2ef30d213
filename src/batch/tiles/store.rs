//! Tiles back to memory.

use super::Memory;
use crate::batch::Job;
use crate::kernel::{store_neighbours, to_run};
use crate::panel::Panel;
use crate::simd::{Float, MOST_LANES, RowsMut, Sink, Vector, outlined};

/// Where the rows of a tile are, and how they are written.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) first: usize,
    pub(super) count: usize,
    /// The end of the block: its last tile writes what is left.
    pub(super) end: usize,
    /// Past the caches?
    pub(super) streams: bool,
}

/// The last elements of a tile, which share their line of memory with the next tile: lines are written whole.
/// Arrays of NumPy seldom begin with a line, and so do their tiles.
#[derive(Clone, Copy)]
pub(super) struct Unwritten<F> {
    values: [F; MOST_LANES],
    len: usize,
}

impl<F: Float> Unwritten<F> {
    pub(super) fn none() -> Self {
        Self { values: [F::default(); MOST_LANES], len: 0 }
    }
}

/// A function of its own: without a Hessian nothing is done for it but to ask.
#[inline(never)]
pub(super) fn store_hessian<V: Vector>(
    token: V::Token,
    job: &Job<'_, V::Scalar>,
    place: Place,
    memory: &mut Memory<'_, V::Scalar>,
) {
    let Some(panel) = job.hessian_panel() else { return };
    let Memory { z, rows, kept, .. } = memory;
    outlined!(V, token, {
        let place = Place { streams: false, ..place };
        store_tile::<V>(token, &panel, place, z, &mut Unwritten::none(), rows, kept);
    });
}

/// Writes the rows of a tile; by way of `rows`, if need be.
#[inline(always)]
pub(super) fn store_tile<V: Vector>(
    token: V::Token,
    panel: &Panel<'_, V::Scalar>,
    place: Place,
    tile: &[V::Scalar],
    unwritten: &mut Unwritten<V::Scalar>,
    rows: &mut [V::Scalar],
    kept: &[V::Scalar],
) {
    let Some(output) = panel.output else { return };
    let (classes, Place { first, count, streams, .. }) = (output.classes(), place);
    if panel.masked.is_none() {
        if streams && stream_tile::<V>(token, tile, output, place, unwritten, rows) {
            return;
        }
        if store_neighbours::<V>(token, tile, output, first, count, streams) {
            return;
        }
        if let Some(mut run) = output.run(first, count) {
            return to_run::<V>(token, tile, classes, &mut run);
        }
    }
    to_run::<V>(token, tile, classes, &mut Sink::from_slice(rows));
    let rows = rows.chunks_exact_mut(classes).zip(kept.chunks_exact(classes));
    let kept_len = if panel.mask.is_some() { classes } else { 0 };
    for (i, (row, kept)) in rows.enumerate().take(count) {
        panel.store::<V>(token, first + i, 0, &kept[..kept_len], row);
    }
}

/// Writes a tile to rows one after another, past the caches; false if they do not lie so. Each line is written
/// whole: the first with what the tile before has left, and what is left of the last is for the next tile.
pub(super) fn stream_tile<V: Vector>(
    token: V::Token,
    tile: &[V::Scalar],
    output: &RowsMut<'_>,
    place: Place,
    unwritten: &mut Unwritten<V::Scalar>,
    rows: &mut [V::Scalar],
) -> bool {
    let Some(mut run) = output.run::<V::Scalar>(0, output.rows()) else { return false };
    if V::IS_COMPACT || !run.has_lines() {
        return false;
    }
    let Place { first, count, end, .. } = place;
    let classes = output.classes();
    outlined!(V, token, {
        // From the beginning of the line on that the first element is in.
        let at = first * classes;
        let before = run.elements_of_line_before(at);
        let len = before + count * classes;
        rows[..before].copy_from_slice(&unwritten.values[..before]);
        to_run::<V>(token, tile, classes, &mut Sink::from_slice(&mut rows[before..]));
        let mut written = 0;
        let is_first_of_block = unwritten.len != before;
        if is_first_of_block {
            // The beginning of the line is not ours.
            written = V::LANES.min(len);
            (before..written).for_each(|i| run.set(at + i - before, rows[i]));
        }
        while len - written >= V::LANES {
            run.stream(at + written - before, V::from_slice(token, &rows[written..]));
            written += V::LANES;
        }
        *unwritten = Unwritten::none();
        if first + count == end {
            (written..len).for_each(|i| run.set(at + i - before, rows[i]));
        } else {
            unwritten.len = len - written;
            unwritten.values[..unwritten.len].copy_from_slice(&rows[written..len]);
        }
    });
    true
}
