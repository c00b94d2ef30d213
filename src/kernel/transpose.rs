//! Transposes rows into lanes and back: in lanes, there is a vector for each class, with an element of LANES rows.

use crate::simd::{Rows, RowsMut, Sink, Source, Vector, outlined, transpose};

/// Rows from `first` on, at most LANES, that lie one after another or class by class, to a tile; false if
/// they do neither. The last of all rows go by way of `own` memory, which has [`room`]. Lanes without a row have any
/// numbers.
#[inline(always)]
pub(crate) fn load<V: Vector>(
    token: V::Token,
    rows: &Rows<'_>,
    first: usize,
    count: usize,
    own: &mut [V::Scalar],
    tile: &mut [V::Scalar],
) -> bool {
    let (classes, zero) = (rows.classes(), V::Scalar::default());
    if let Some(column) = rows.columns::<V::Scalar>(first, count) {
        for (class, target) in tile.chunks_exact_mut(V::LANES).enumerate().take(classes) {
            column(class).vector::<V>(token, 0, zero).to_slice(target);
        }
        return true;
    }
    if count == 1
        && let Some(row) = rows.direct::<V::Scalar>(first)
    {
        for (class, target) in tile.chunks_exact_mut(V::LANES).enumerate().take(classes) {
            V::splat(token, row.get(class)).to_slice(target);
        }
        return true;
    }
    // As far as there are rows: what a vector has behind its own row is not kept.
    let Some(mut run) = rows.run(first, rows.rows() - first) else { return false };
    if run.len() < room(classes, V::LANES) {
        for at in (0..run.len()).step_by(V::LANES) {
            run.vector::<V>(token, at, zero).to_slice(&mut own[at..]);
        }
        run = Source::from_slice(own);
    }
    from_run::<V>(token, run, classes, tile);
    true
}

/// Elements of LANES rows, and of whole blocks of the last.
pub(crate) const fn room(classes: usize, lanes: usize) -> usize {
    (lanes - 1) * classes + classes.next_multiple_of(lanes)
}

/// LANES rows one after another, and what [`room`] there is besides, to a tile.
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
        transpose::<V>(token, source, classes, &mut Sink::from_slice(tile), V::LANES);
    }
}

/// Writes a tile to rows one after another, as many as `rows` holds.
#[inline(always)]
pub(crate) fn to_run<V: Vector>(
    token: V::Token,
    tile: &[V::Scalar],
    classes: usize,
    rows: &mut Sink<'_, V::Scalar>,
) {
    // The last classes of a row are written with lanes that fall into the next rows' first classes. So
    // these come later: blocks from the last to the first.
    for block in (0..classes.div_ceil(V::LANES)).rev() {
        let tile = Source::from_slice(&tile[block * V::LANES * V::LANES..]);
        let mut rows = rows.reborrow().part(block * V::LANES, usize::MAX);
        // A function of its own: else the places of all rows would be had before the first block.
        outlined!(V, token, transpose::<V>(token, tile, V::LANES, &mut rows, classes));
    }
}

/// Writes a tile to rows from `first` on, at most LANES, that are neighbours class by class, or to one alone;
/// false if they are not. Past the caches, if it `streams`, what are whole lines there: the rest of others is in the
/// next tile, too long after this one for the processor to put them together.
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
        let tile = tile.iter().step_by(V::LANES).take(classes);
        tile.enumerate().for_each(|(class, value)| row.set(class, *value));
        return true;
    }
    let Some(column) = rows.columns::<V::Scalar>(first, count) else { return false };
    for (class, source) in tile.chunks_exact(V::LANES).enumerate().take(classes) {
        let mut column = column(class);
        if streams && column.as_source().elements_to_line() == 0 {
            column.stream_from::<V>(token, Source::from_slice(&source[..count]));
        } else {
            column.set_vector(0, V::from_slice(token, source));
        }
    }
    true
}
