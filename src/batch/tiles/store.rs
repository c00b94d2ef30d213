//! Writes tiles back to memory.

use crate::kernel::{store_neighbours, to_run};
use crate::panel::Panel;
use crate::simd::{Float, MOST_LANES, Sink, Source, Vector};

/// Writes the tiles of a block.
pub(super) struct Writer<'m, F> {
    /// Memory for the rows of a tile, or their weights, one after another. For streaming stores they may begin within a
    /// cache line, after elements that the previous tile has left.
    pub(super) rows: &'m mut [F],
    /// The end of the block: the last tile writes all that is left.
    pub(super) end: usize,
    /// The last elements of a tile, which share their cache line with the next tile, and their number. NumPy arrays
    /// seldom begin with a cache line, so neither do the tiles. If a line were written by the streaming stores of two
    /// tiles, it might be written to memory twice.
    unwritten: ([F; MOST_LANES], usize),
}

impl<'m, F: Float> Writer<'m, F> {
    pub(super) fn new(rows: &'m mut [F], end: usize) -> Self {
        Self { rows, end, unwritten: ([F::default(); MOST_LANES], 0) }
    }

    /// Writes `count` rows from `first` on, through `rows` if necessary. `all` is the whole output, if it is one run of
    /// elements; only streaming stores need it.
    #[inline(always)]
    pub(super) fn write<V: Vector<Scalar = F>>(
        &mut self,
        token: V::Token,
        (panel, all): (&Panel<'_, F>, Option<Sink<'_, F>>),
        (first, count): (usize, usize),
        tile: &[F],
        streams: bool,
    ) {
        let Some(output) = panel.output else { return };
        let classes = output.classes();
        if let (Some(all), true) = (all, streams) {
            return self.stream::<V>(token, (all, classes), (first, count), tile);
        }
        if store_neighbours::<V>(token, tile, output, first, count, streams) {
            return;
        }
        to_run::<V>(token, &[tile], classes, &mut Sink::from_slice(self.rows));
        output.scatter::<V>(token, first, 0, &self.rows[..count * classes]);
    }

    /// Writes a tile to contiguous rows by streaming stores of whole cache lines.
    fn stream<V: Vector<Scalar = F>>(
        &mut self,
        token: V::Token,
        (all, classes): (Sink<'_, F>, usize),
        (first, count): (usize, usize),
        tile: &[F],
    ) {
        let (unwritten, before) = &mut self.unwritten;
        let (first_element, len) = (first * classes - *before, *before + count * classes);
        let to = all.part(first_element, len);
        // Through memory that has the same alignment to cache lines as the output.
        let to_line = to.as_source().elements_to_line();
        let rows = &mut self.rows[V::LANES - to_line..];
        // Whole vectors are copied, even if only a part is needed: a copy of a varying length takes longer.
        rows[..V::LANES].copy_from_slice(&unwritten[..V::LANES]);
        to_run::<V>(token, &[tile], classes, &mut Sink::from_slice(&mut rows[*before..]));
        *before = if first + count == self.end { 0 } else { (len - to_line) % V::LANES };
        let written = len - *before;
        to.part(0, written).stream_from::<V>(token, Source::from_slice(rows));
        unwritten[..V::LANES].copy_from_slice(&rows[written..][..V::LANES]);
    }
}
