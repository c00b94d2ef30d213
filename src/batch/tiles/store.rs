//! Tiles back to memory.

use super::Memory;
use crate::batch::Job;
use crate::kernel::{store_neighbours, to_run};
use crate::panel::Panel;
use crate::simd::{MOST_LANES, RowsMut, Sink, Source, Vector, outlined};

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

/// The last elements of a tile, which share their line of memory with the next tile. Arrays of NumPy seldom begin with
/// a line, and so do their tiles. Elements of a line that are written past the caches in two tiles may be two writes.
#[derive(Default)]
pub(super) struct Unwritten<F> {
    values: [F; MOST_LANES],
    len: usize,
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
        store_tile::<V>(token, &panel, place, z, &mut Unwritten::default(), rows, kept);
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
    if panel.mask.is_none() {
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
    for (i, (row, kept)) in rows.enumerate().take(count) {
        panel.store::<V>(token, first + i, 0, kept, row);
    }
}

/// Writes a tile to rows one after another, past the caches, line by line of memory; false if they do not lie so.
pub(super) fn stream_tile<V: Vector>(
    token: V::Token,
    tile: &[V::Scalar],
    output: &RowsMut<'_>,
    Place { first, count, end, .. }: Place,
    unwritten: &mut Unwritten<V::Scalar>,
    rows: &mut [V::Scalar],
) -> bool {
    let Some(all) = output.run::<V::Scalar>(0, output.rows()) else { return false };
    let (classes, before) = (output.classes(), unwritten.len);
    let len = before + count * classes;
    let to = all.part(first * classes - before, len);
    // By way of memory in which lines begin where they do there.
    let to_line = to.as_source().elements_to_line();
    let rows = &mut rows[V::LANES - to_line..];
    // Whole vectors, whatever is of use in them: a copy of a varying length takes longer.
    rows[..V::LANES].copy_from_slice(&unwritten.values[..V::LANES]);
    to_run::<V>(token, tile, classes, &mut Sink::from_slice(&mut rows[before..]));
    unwritten.len = if first + count == end { 0 } else { (len - to_line) % V::LANES };
    let written = len - unwritten.len;
    to.part(0, written).stream_from::<V>(token, Source::from_slice(rows));
    unwritten.values[..V::LANES].copy_from_slice(&rows[written..][..V::LANES]);
    true
}
