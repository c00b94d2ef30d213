//! Copies rows that are neighbours in memory, class by class, to contiguous rows and back, by transposes.

use super::{Rows, RowsMut};
use crate::simd::{Float, Sink, Source, Vector, VectorJob, transpose};
use std::ops::Range;

/// Rows that are neighbours in memory, class by class, and where they are contiguous.
#[derive(Clone, Copy)]
pub(crate) struct Neighbours {
    pub(crate) first: usize,
    pub(crate) count: usize,
    /// Elements from one contiguous row to the next.
    pub(crate) pitch: usize,
}

impl Neighbours {
    /// The number of rows, rounded up to whole vectors, if there is room for them; in `columns`, for LANES classes.
    fn len<V: Vector>(self, rows: &[V::Scalar], columns: &[V::Scalar]) -> Option<usize> {
        let len = self.count.next_multiple_of(V::LANES);
        (len * self.pitch <= rows.len() && len * V::LANES <= columns.len()).then_some(len)
    }
}

/// The LANES classes after those from `class` on, at most up to `end`; none unless it `prefetches` them.
fn next<V: Vector>(class: usize, end: usize, prefetches: bool) -> Range<usize> {
    let end = if prefetches { end.min(class + 2 * V::LANES) } else { 0 };
    class + V::LANES..end
}

impl Rows<'_> {
    /// Copies some classes of neighbours to contiguous rows, through `columns`. Returns false if they are not neighbours,
    /// or if there is no room for LANES rows and LANES classes at a time. If it `prefetches`, memory of the next classes
    /// is prefetched.
    pub(crate) fn gather_neighbours<V: Vector>(
        &self,
        token: V::Token,
        place: Neighbours,
        classes: Range<usize>,
        (rows, columns): (&mut [V::Scalar], &mut [V::Scalar]),
        prefetches: bool,
    ) -> bool {
        let Neighbours { first, count, pitch } = place;
        let Some(len) = place.len::<V>(rows, columns) else { return false };
        let Some(all) = self.transposed(first, count) else { return false };
        outlined!(V, token, {
            for class in classes.clone().step_by(V::LANES) {
                // One class after another: the cache lines of a class are consecutive.
                let some = V::LANES.min(classes.end - class);
                all.gather_rows::<V>(token, class, len, &mut columns[..some * len]);
                // The lines of the next classes are far away, so the processor does not prefetch them by itself. In the
                // first-level cache they would not last until they are read. A class that does not begin a line has
                // one line more than vectors: that of its last row.
                let next = next::<V>(class, classes.end, prefetches);
                all.prefetch(next.clone(), count - 1);
                for row in (0..count).step_by(V::LANES) {
                    all.prefetch(next.clone(), row);
                    let rows = &mut rows[row * pitch + class - classes.start..];
                    let columns = Source::from_slice(&columns[row..]);
                    let rows = &mut Sink::from_slice(rows);
                    transpose::<V>(token, columns, (len, V::LANES), rows, pitch);
                }
            }
        });
        true
    }
}

/// [`Rows::gather_neighbours`] at some level, with prefetches.
pub(crate) struct GatherNeighbours<'g, F> {
    pub(crate) rows: &'g Rows<'g>,
    pub(crate) place: Neighbours,
    pub(crate) classes: Range<usize>,
    pub(crate) memory: (&'g mut [F], &'g mut [F]),
}

impl<F: Float> VectorJob<F> for GatherNeighbours<'_, F> {
    type Output = bool;

    #[inline(always)]
    fn run<V: Vector<Scalar = F>>(self, token: V::Token) -> bool {
        let Self { rows, place, classes, memory } = self;
        rows.gather_neighbours::<V>(token, place, classes, memory, true)
    }
}

impl RowsMut<'_> {
    /// Copies contiguous rows to neighbours, like [`Rows::gather_neighbours`]. If it `streams`, with streaming stores.
    pub(crate) fn scatter_neighbours<V: Vector>(
        &self,
        token: V::Token,
        place: Neighbours,
        (rows, columns): (&[V::Scalar], &mut [V::Scalar]),
        (streams, prefetches): (bool, bool),
    ) -> bool {
        let Neighbours { first, count, pitch } = place;
        let Some(len) = place.len::<V>(rows, columns) else { return false };
        let Some(all) = self.transposed(first, count) else { return false };
        outlined!(V, token, {
            let classes = self.classes();
            for class in (0..classes).step_by(V::LANES) {
                let next = next::<V>(class, classes, prefetches);
                all.prefetch(next.clone(), count - 1);
                for row in (0..count).step_by(V::LANES) {
                    all.prefetch(next.clone(), row);
                    let rows = Source::from_slice(&rows[row * pitch + class..]);
                    let columns = &mut columns[row..];
                    let columns = &mut Sink::from_slice(columns);
                    transpose::<V>(token, rows, (pitch, V::LANES), columns, len);
                }
                let some = V::LANES.min(classes - class);
                let columns = &columns[..some * len];
                if !streams || !all.is_direct::<V::Scalar>() {
                    all.scatter_rows::<V>(token, class, len, columns);
                    continue;
                }
                for (class, values) in (class..).zip(columns.chunks_exact(len)) {
                    if let Some(mut column) = all.direct(class) {
                        column.stream_from::<V>(token, Source::from_slice(&values[..count]));
                    }
                }
            }
        });
        true
    }
}
