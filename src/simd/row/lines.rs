//! Memory that is asked for before it is read.

use super::super::partial::prefetch;
use super::super::{Cache, LINE, Rows, Vector};
use super::QUAD;

/// The logits of a row that is read later.
#[derive(Clone, Copy)]
pub(crate) struct Lines {
    start: *const u8,
    /// Bytes of an element.
    width: usize,
    /// Bytes from one row to the next.
    stride: isize,
    /// Where they are wanted, if they are.
    cache: Option<Cache>,
}

impl Lines {
    pub(crate) fn none() -> Self {
        Self { start: std::ptr::null(), width: 0, stride: 0, cache: None }
    }

    /// Of row `row` from `class` on, if there is such a row and its elements are neighbours, whatever their type.
    pub(crate) fn of(rows: &Rows<'_>, row: usize, class: usize, cache: Option<Cache>) -> Self {
        let width = rows.storage().size();
        if row >= rows.rows() || rows.class_stride != width.cast_signed() {
            return Self::none();
        }
        Self { start: rows.start_of(row, 1, class), width, stride: rows.outer.inner().1, cache }
    }

    /// Of the row that is `row` rows further on.
    #[inline(always)]
    pub(crate) fn of_row(&self, row: usize) -> Self {
        let offset = row.cast_signed().wrapping_mul(self.stride);
        Self { start: self.start.wrapping_offset(offset), ..*self }
    }

    /// Is anything asked for?
    pub(crate) fn are_wanted(&self) -> bool {
        self.cache.is_some()
    }

    /// Asks for the next quad of vectors, of elements as wide as the scalars or half as wide.
    #[inline(always)]
    pub(crate) fn prefetch_quad<V: Vector>(&mut self) {
        let Some(cache) = self.cache else { return };
        let pair = self.width * const { QUAD * V::LANES / 2 };
        // Two lines and two more, or, without a branch, two lines and the second again.
        for line in [0, LINE, pair, pair + LINE] {
            prefetch(cache, self.start.wrapping_add(line));
        }
        self.start = self.start.wrapping_add(2 * pair);
    }
}
