//! Transposes rows into tiles and back: a tile has a vector for each class, with one element of each of LANES rows.

use super::tile::MOST_TILES;
use crate::simd::{Cache, Rows, RowsMut, Sink, Source, Vector, outlined, transpose};
use std::hint::black_box;

/// Loads rows from `first` on, at most LANES, into a tile. They are copied to the workspace `own` first, which has
/// [`room`], unless they follow one another in memory or are neighbours class by class. Lanes without a row have arbitrary
/// numbers.
pub(crate) fn load<V: Vector>(
    token: V::Token,
    rows: &Rows<'_>,
    (first, count): (usize, usize),
    own: &mut [V::Scalar],
    tile: &mut [V::Scalar],
) {
    outlined!(V, token, {
        let (classes, zero) = (rows.classes(), V::Scalar::default());
        if let Some(columns) = rows.transposed(first, count) {
            let tile = &mut tile[..classes * V::LANES];
            let Some(column) = columns.all_direct::<V::Scalar>() else {
                return columns.gather_rows::<V>(token, 0, V::LANES, tile);
            };
            for (class, target) in tile.chunks_exact_mut(V::LANES).enumerate() {
                let column = column(class);
                // The next tiles. The classes are far apart in memory, and the processor's own prefetcher follows only few
                // such streams.
                column.prefetch(Cache::First, const { MOST_TILES * V::LANES });
                column.vector::<V>(token, 0, zero).to_slice(target);
            }
            return;
        }
        if count == 1
            && let Some(row) = rows.direct::<V::Scalar>(first)
        {
            // The length of the row bounds the loop, so that the check of each access is compiled away; below as well.
            for (class, target) in (0..row.len()).zip(tile.chunks_exact_mut(V::LANES)) {
                V::splat(token, row.get(class)).to_slice(target);
            }
            return;
        }
        // Up to the last row: vectors may read beyond the end of their own row; these elements are not used.
        match rows.run(first, rows.rows() - first) {
            Some(run) if run.len() >= room(classes, V::LANES) => {
                return from_run::<V>(token, run, classes, tile);
            }
            Some(run) => {
                for at in (0..run.len()).step_by(V::LANES) {
                    run.vector::<V>(token, at, zero).to_slice(&mut own[at..]);
                }
            }
            None => rows.gather::<V>(token, first, 0, &mut own[..count * classes]),
        }
        from_own::<V>(token, own, classes, tile);
    });
}

/// Elements of LANES rows, of which the last is padded to whole blocks.
pub(crate) const fn room(classes: usize, lanes: usize) -> usize {
    (lanes - 1) * classes + classes.next_multiple_of(lanes)
}

/// Loads LANES rows that follow one another, in at least [`room`] elements, into a tile.
#[inline(always)]
pub(crate) fn from_run<V: Vector>(
    token: V::Token,
    run: Source<'_, V::Scalar>,
    classes: usize,
    tile: &mut [V::Scalar],
) {
    let blocks = tile.chunks_exact_mut(V::LANES * V::LANES);
    for (block, tile) in blocks.enumerate().take(classes.div_ceil(V::LANES)) {
        let source = run.part(block * V::LANES, usize::MAX);
        // If the compiler knew that the stride is the same in each iteration, it would compute the addresses of all
        // rows before the loop, and keep them in memory where a vector is one register.
        let stride = if V::IS_ONE_REGISTER { black_box(classes) } else { classes };
        let columns = stride - block * V::LANES;
        transpose::<V>(token, source, (stride, columns), &mut Sink::from_slice(tile), V::LANES);
    }
}

/// Loads LANES rows that have been copied to the workspace `own`, into a tile. One function for all callers.
pub(crate) fn from_own<V: Vector>(
    token: V::Token,
    own: &[V::Scalar],
    classes: usize,
    tile: &mut [V::Scalar],
) {
    outlined!(V, token, from_run::<V>(token, Source::from_slice(own), classes, tile));
}

/// Writes tiles, one after the other, to rows that follow one another, as many as `rows` holds.
#[inline(always)]
pub(crate) fn to_run<V: Vector>(
    token: V::Token,
    tiles: &[&[V::Scalar]],
    classes: usize,
    rows: &mut Sink<'_, V::Scalar>,
) {
    let len = V::LANES * classes;
    if classes <= V::LANES {
        return outlined!(V, token, {
            for (i, tile) in tiles.iter().enumerate() {
                let (tile, rows) =
                    (Source::from_slice(tile), &mut rows.reborrow().part(i * len, len));
                transpose::<V>(token, tile, (V::LANES, V::LANES), rows, classes);
            }
        });
    }
    for (i, tile) in tiles.iter().enumerate() {
        // The last vector of a row also overwrites the first classes of the next rows. So these are written later: the
        // blocks of a tile go from the last to the first.
        for block in (0..classes.div_ceil(V::LANES)).rev() {
            let tile = Source::from_slice(&tile[block * V::LANES * V::LANES..]);
            let rows = &mut rows.reborrow().part(i * len + block * V::LANES, usize::MAX);
            // A separate function: in this loop, the addresses of all rows would be computed before the first block.
            outlined!(V, token, transpose::<V>(token, tile, (V::LANES, V::LANES), rows, classes));
        }
    }
}

/// Writes a tile to rows from `first` on, at most LANES, if they are neighbours class by class or a single row;
/// otherwise returns false. If it `streams`, whole cache lines are written by streaming stores; the rest of a partial
/// line is in the next tile, which comes too late for the processor to combine both stores.
#[inline(always)]
pub(crate) fn store_neighbours<V: Vector>(
    token: V::Token,
    tile: &[V::Scalar],
    rows: &RowsMut<'_>,
    first: usize,
    count: usize,
    streams: bool,
) -> bool {
    let classes = rows.classes();
    if count == 1
        && let Some(mut row) = rows.direct::<V::Scalar>(first)
    {
        let len = row.as_source().len();
        for (class, source) in (0..len).zip(tile.chunks_exact(V::LANES)) {
            row.set(class, source[0]);
        }
        return true;
    }
    let Some(columns) = rows.transposed(first, count) else { return false };
    let tile = &tile[..classes * V::LANES];
    let Some(column) = columns.all_direct::<V::Scalar>() else {
        columns.scatter_rows::<V>(token, 0, V::LANES, tile);
        return true;
    };
    for (class, source) in tile.chunks_exact(V::LANES).enumerate() {
        let mut column = column(class);
        if streams && column.as_source().elements_to_line() == 0 {
            column.stream_from::<V>(token, Source::from_slice(&source[..count]));
        } else {
            column.set_vector(0, V::from_slice(token, source));
        }
    }
    true
}
