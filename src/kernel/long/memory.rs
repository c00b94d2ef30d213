//! Memory for long rows.

use super::{Segment, kept_len, segments_of};
use crate::alloc::with_capacity;
use crate::element::Float;
use crate::error::Error;
use crate::simd::MOST_LANES;
use crate::simd::row::{Sink, Source};
use std::mem::take;
use std::sync::Mutex;

/// Memory for one long row after another, so that none of it is missing once a row is written.
pub(crate) struct RowMemory<F: Float> {
    segments: Vec<Mutex<Segment<'static, F>>>,
    /// Of an odd row. Untouched until there is one.
    odd: Vec<F>,
}

impl<F: Float> RowMemory<F> {
    /// For `rows` rows. A single row finds out whether it is odd before anything is written.
    pub(crate) fn new(rows: usize, classes: usize) -> Result<Self, Error> {
        let odd = if rows > 1 { odd_len(classes) } else { 0 };
        Ok(Self { segments: with_capacity(segments_of(classes))?, odd: with_capacity(odd)? })
    }

    /// Runs `body` on the segments of the row `z` and the memory of an odd one.
    #[inline(always)]
    pub(crate) fn on_row<'z>(
        &mut self,
        z: Source<'z, F>,
        out: Option<Sink<'z, F>>,
        body: impl for<'s> FnOnce(Source<'s, F>, &[Mutex<Segment<'s, F>>], &'s mut Vec<F>),
    ) where
        F: 'z,
    {
        let mut segments = emptied(take(&mut self.segments));
        Segment::of_row(z, out, &mut segments);
        body(z, &segments, &mut self.odd);
        self.segments = emptied(segments);
    }
}

/// Exponentials and a shifted row.
pub(super) const fn odd_len(classes: usize) -> usize {
    kept_len(classes, MOST_LANES).saturating_add(classes)
}

/// The same memory, for other borrowed things.
fn emptied<A, B>(mut vector: Vec<A>) -> Vec<B> {
    vector.clear();
    vector.into_iter().map(|_| unreachable!("there are none")).collect()
}
