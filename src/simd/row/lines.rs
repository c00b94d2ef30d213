//! Prefetches of rows that are read later.

use super::super::instruction_set::prefetch;
use super::super::{Cache, LINE, Rows, Vector};

/// The cache lines of a row of logits that is read later.
#[derive(Clone, Copy)]
pub(crate) struct Lines {
    start: *const u8,
    /// Bytes of an element.
    width: usize,
    /// Bytes from one row to the next.
    stride: isize,
    /// The cache into which they are prefetched; None if they are not.
    cache: Option<Cache>,
}

impl Lines {
    /// The lines of row `row` from `class` on, if there is such a row and its elements are neighbours, of any type.
    pub(crate) fn of(rows: &Rows<'_>, row: usize, class: usize, cache: Option<Cache>) -> Self {
        let width = rows.storage().size();
        if row >= rows.rows() || rows.class_stride != width.cast_signed() {
            return Self { start: std::ptr::null(), width, stride: 0, cache: None };
        }
        Self { start: rows.start_of(row, 1, class), width, stride: rows.outer.inner().1, cache }
    }

    /// Goes on to the next row.
    pub(crate) fn advance(&mut self) {
        self.start = self.start.wrapping_offset(self.stride);
    }

    /// Is anything prefetched?
    pub(crate) fn are_wanted(&self) -> bool {
        self.cache.is_some()
    }

    /// Prefetches the next two vectors, of elements as wide as the scalars or half as wide.
    #[inline(always)]
    pub(crate) fn prefetch_pair<V: Vector>(&mut self) {
        let Some(cache) = self.cache else { return };
        // Two lines. For elements of half the width these are one line and the line after: this avoids a branch.
        for line in [0, LINE] {
            prefetch(cache, self.start.wrapping_add(line));
        }
        self.start = self.start.wrapping_add(self.width * const { 2 * V::LANES });
    }
}
