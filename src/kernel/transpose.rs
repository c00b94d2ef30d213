//! Rows into tiles and back: a vector of LANES rows for each class.

use crate::simd::memory::{Rows, RowsMut};
use crate::simd::{MOST_LANES, Vector};

/// Tiles that are loaded and stored together.
pub(crate) const MOST_TILES: usize = 4;

/// Rows from `first` on to tiles, as many as there are.
#[inline(always)]
pub(crate) fn load<V: Vector>(
    token: V::Token,
    rows: &Rows<'_>,
    first: usize,
    tiles: &mut [V::Scalar],
) {
    let len = rows.classes() * V::LANES;
    let count = tiles.len() / len;
    if rows.are_neighbours::<V::Scalar>(first, count * V::LANES) {
        for class in 0..rows.classes() {
            let across = rows.across(first, count * V::LANES, class);
            for tile in 0..count {
                let vector: V = across.vector(token, tile * V::LANES, V::Scalar::default());
                vector.to_slice(&mut tiles[tile * len + class * V::LANES..]);
            }
        }
        return;
    }
    for (tile, target) in tiles.chunks_exact_mut(len).enumerate() {
        load_one::<V>(token, rows, first + tile * V::LANES, target);
    }
}

/// LANES rows from `first` on, class by class.
#[inline(always)]
fn load_one<V: Vector>(token: V::Token, rows: &Rows<'_>, first: usize, tile: &mut [V::Scalar]) {
    let classes = rows.classes();
    let (run, zero) = (rows.run(first, V::LANES), V::Scalar::default());
    for block in (0..classes).step_by(V::LANES) {
        let mut vectors = [V::splat(token, zero); MOST_LANES];
        for row in 0..V::LANES {
            vectors[row] = if let Some(run) = run {
                // Past the end of the row lie the next ones, which the tile does not keep.
                run.vector(token, row * classes + block, zero)
            } else {
                let mut part = [zero; MOST_LANES];
                rows.gather_part(
                    token,
                    first + row,
                    block,
                    &mut part[..V::LANES.min(classes - block)],
                );
                V::from_slice(token, &part)
            };
        }
        transpose(&mut vectors);
        let targets = tile[block * V::LANES..].chunks_exact_mut(V::LANES).take(V::LANES);
        for (column, target) in targets.enumerate() {
            vectors[column].to_slice(target);
        }
    }
}

/// Writes the tiles in `written` to the rows from `first` on; past the caches, if it `streams`, what
/// are whole lines there.
#[inline(always)]
pub(crate) fn store<V: Vector>(
    token: V::Token,
    tiles: &[V::Scalar],
    rows: &RowsMut<'_>,
    first: usize,
    written: &[bool; MOST_TILES],
    streams: bool,
) {
    let len = rows.classes() * V::LANES;
    let count = tiles.len() / len;
    if rows.are_neighbours::<V::Scalar>(first, count * V::LANES) {
        for class in 0..rows.classes() {
            let mut across = rows.across(first, count * V::LANES, class);
            for tile in (0..count).filter(|tile| written[*tile]) {
                let vector = V::from_slice(token, &tiles[tile * len + class * V::LANES..]);
                if streams {
                    across.stream_vector(tile * V::LANES, vector);
                } else {
                    across.set_vector(tile * V::LANES, vector);
                }
            }
        }
        return;
    }
    for (tile, source) in tiles.chunks_exact(len).enumerate().filter(|tile| written[tile.0]) {
        store_one::<V>(token, source, rows, first + tile * V::LANES);
    }
}

/// Writes the tile to LANES rows from `first` on.
#[inline(always)]
fn store_one<V: Vector>(token: V::Token, tile: &[V::Scalar], rows: &RowsMut<'_>, first: usize) {
    let classes = rows.classes();
    let mut run = rows.run(first, V::LANES);
    // The last classes of a row in a run are written with lanes that fall into the next rows' first
    // classes. So these come later: blocks from the last to the first, rows from the first on.
    for block in (0..classes).step_by(V::LANES).rev() {
        let mut vectors = [V::splat(token, V::Scalar::default()); MOST_LANES];
        let sources = tile[block * V::LANES..].chunks_exact(V::LANES).take(V::LANES);
        for (column, source) in sources.enumerate() {
            vectors[column] = V::from_slice(token, source);
        }
        transpose(&mut vectors);
        for row in 0..V::LANES {
            if let Some(run) = &mut run {
                run.set_vector(row * classes + block, vectors[row]);
            } else {
                let part = &vectors[row].to_array()[..V::LANES.min(classes - block)];
                rows.scatter_part(token, first + row, block, part);
            }
        }
    }
}

/// Rows to columns, by a perfect shuffle for each bit of a lane's number (Stone 1971, "Parallel
/// processing with the perfect shuffle").
#[inline(always)]
fn transpose<V: Vector>(vectors: &mut [V; MOST_LANES]) {
    let mut step = 1;
    while step < V::LANES {
        let rows = *vectors;
        for i in 0..V::LANES / 2 {
            (vectors[2 * i], vectors[2 * i + 1]) = rows[i].zip(rows[i + V::LANES / 2]);
        }
        step *= 2;
    }
}
