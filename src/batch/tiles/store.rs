//! Writes tiles back to memory.

use crate::kernel::{MOST_TILES, store_neighbours, to_run};
use crate::panel::Panel;
use crate::simd::{Float, MOST_LANES, Sink, Source, Vector};

/// The number of tiles that are streamed together, which are all transposed before the first is read back: a vector that
/// was just stored in parts is not read before all of these are in the cache (Xeon, model 167, rows in main memory: softmax of
/// two classes takes 0.7 to 0.8 of the time, of six 0.85 to 0.93). With longer rows there are more stores at once, which wait
/// for memory (1.03 to 1.06 for 16 and 32 classes).
pub(super) fn streamed_at_once(classes: usize) -> usize {
    if classes <= 8 { MOST_TILES } else { 1 }
}

/// Writes the tiles of a block.
pub(super) struct Writer<'m, F> {
    /// Memory for the rows of a tile, or their weights, one after another; for streaming stores of all tiles that are
    /// streamed together. Then they may begin within a cache line, after elements that the previous tiles have left.
    pub(super) rows: &'m mut [F],
    /// The end of the block: the last tile writes all that is left.
    pub(super) end: usize,
    /// The last elements of the tiles, which share their cache line with the next tiles, and their number. NumPy arrays
    /// seldom begin with a cache line, so neither do the tiles. If a line were written by streaming stores at two times,
    /// it might be written to memory twice.
    unwritten: ([F; MOST_LANES], usize),
}

impl<'m, F: Float> Writer<'m, F> {
    pub(super) fn new(rows: &'m mut [F], end: usize) -> Self {
        Self { rows, end, unwritten: ([F::default(); MOST_LANES], 0) }
    }

    /// Writes `count` rows from `first` on, through `rows` if necessary.
    #[inline(always)]
    pub(super) fn write<V: Vector<Scalar = F>>(
        &mut self,
        token: V::Token,
        panel: &Panel<'_, F>,
        (first, count): (usize, usize),
        tile: &[F],
        streams: bool,
    ) {
        let Some(output) = panel.output else { return };
        let classes = output.classes();
        if store_neighbours::<V>(token, tile, output, first, count, streams) {
            return;
        }
        to_run::<V>(token, &[tile], classes, &mut Sink::from_slice(self.rows));
        output.scatter::<V>(token, first, 0, &self.rows[..count * classes]);
    }

    /// Writes tiles, which have `count` rows from `first` on, to contiguous rows by streaming stores of whole cache lines.
    pub(super) fn stream<V: Vector<Scalar = F>>(
        &mut self,
        token: V::Token,
        (mut all, classes): (Sink<'_, F>, usize),
        (mut first, count): (usize, usize),
        tiles: &[&[F]],
    ) {
        let (end, (unwritten, before)) = (first + count, &mut self.unwritten);
        for tiles in tiles.chunks(streamed_at_once(classes)) {
            let count = (tiles.len() * V::LANES).min(end - first);
            let (first_element, len) = (first * classes - *before, *before + count * classes);
            let to = all.reborrow().part(first_element, len);
            first += count;
            // Through memory that has the same alignment to cache lines as the output.
            let to_line = to.as_source().elements_to_line();
            let rows = &mut self.rows[V::LANES - to_line..];
            // Whole vectors are copied, even if only a part is needed: a copy of a varying length takes longer.
            rows[..V::LANES].copy_from_slice(&unwritten[..V::LANES]);
            to_run::<V>(token, tiles, classes, &mut Sink::from_slice(&mut rows[*before..]));
            *before = if first == self.end { 0 } else { (len - to_line) % V::LANES };
            let written = len - *before;
            to.part(0, written).stream_from::<V>(token, Source::from_slice(rows));
            unwritten[..V::LANES].copy_from_slice(&rows[written..][..V::LANES]);
        }
    }
}
