//! Rows wherever and however they lie, as contiguous rows of the compute type; and results back.
//!
//! ```text
//! strides, 16-bit storage     gathered and converted, rows that are neighbours by transposes
//! a mask                      classes that are left out get a logit below every maximum in range
//! a temperature far from 1    times a power of two
//! ```

use crate::simd::{Cache, Float, Rows, RowsMut, Sink, Source, Vector, outlined, transpose};
use crate::target::fill_masked;

/// Where the rows of a call are read and written.
#[derive(Clone, Copy)]
pub(crate) struct Panel<'p, F> {
    pub(crate) logits: &'p Rows<'p>,
    pub(crate) mask: Option<&'p Rows<'p>>,
    pub(crate) output: Option<&'p RowsMut<'p>>,
    /// What the logits are multiplied by: a power of two.
    pub(crate) shift: f64,
    /// What a class that is masked gets in the output.
    pub(crate) masked: F,
}

/// The logit of a masked class: finite, so that with a weight of 0 it adds nothing, and below every
/// maximum that is in the kernel's range.
const LOWEST: f64 = -1e30;

impl<F: Float> Panel<'_, F> {
    /// Are the logits contiguous rows of the compute type already?
    pub(crate) fn reads_directly(&self) -> bool {
        self.is_plain() && self.logits.is_direct::<F>()
    }

    /// Are the outputs?
    pub(crate) fn writes_directly(&self) -> bool {
        self.mask.is_none() && self.output.is_some_and(RowsMut::is_direct::<F>)
    }

    /// Are logits what is in memory, all of them and as they are?
    pub(crate) fn is_plain(&self) -> bool {
        self.mask.is_none() && self.shift == 1.0
    }

    /// Is this class of a row kept?
    pub(crate) fn keeps(&self, row: usize, class: usize) -> bool {
        self.mask.is_none_or(|mask| mask.get(row, class) != 0.0)
    }

    /// Do all rows lie one after another, as one row would? Then several are loaded and stored as one.
    pub(crate) fn are_one(&self) -> bool {
        self.logits.are_one() && self.output.is_none_or(RowsMut::are_one)
    }

    /// Is the output the memory of the logits?
    pub(crate) fn is_in_place(&self) -> bool {
        self.logits.rows() > 0 && self.output.is_some_and(|output| output.starts_with(self.logits))
    }

    /// Row `row` where it lies.
    #[inline(always)]
    pub(crate) fn direct(&self, row: usize) -> Source<'_, F> {
        self.logits.direct(row).expect("read directly")
    }

    /// Where row `row` is written.
    #[inline(always)]
    pub(crate) fn sink(&self, row: usize) -> Sink<'_, F> {
        self.output.and_then(|output| output.direct(row)).expect("written directly")
    }

    /// Which classes of row `row` are kept, from `class` on, or of it and the next rows: 1 or 0, to memory of our own.
    /// None without a mask.
    pub(crate) fn kept<'k, V: Vector<Scalar = F>>(
        &self,
        token: V::Token,
        row: usize,
        class: usize,
        own: &'k mut [F],
    ) -> &'k [F] {
        let Some(mask) = self.mask else { return &[] };
        let at_once = if mask.are_one() { own.len() } else { mask.classes() };
        for (i, own) in own.chunks_mut(at_once.max(1)).enumerate() {
            mask.gather::<V, F>(token, row + i, class, own);
        }
        own
    }

    /// The classes of row `row` from `class` on, or of it and the next rows. `kept` is empty without a mask.
    pub(crate) fn load<V: Vector<Scalar = F>>(
        &self,
        token: V::Token,
        row: usize,
        class: usize,
        kept: &[F],
        z: &mut [F],
    ) {
        self.logits.gather::<V, F>(token, row, class, z);
        if self.shift != 1.0 {
            for z in &mut *z {
                *z = F::from_f64(z.to_f64() * self.shift);
            }
        }
        fill_masked(kept, z, F::from_f64(LOWEST));
    }

    /// The same as the logits are: −inf where they are masked.
    pub(crate) fn reload(&self, row: usize, class: usize, z: &mut [F]) {
        self.logits.gather_from(row, class, z);
        if let Some(mask) = self.mask {
            mask.visit(row, class, z.len(), |k, is_kept| {
                if is_kept == 0.0 {
                    z[k] = F::NEG_INFINITY;
                }
            });
        }
    }

    /// Writes the classes of row `row` from `class` on, or of it and the next rows. `kept` is not read without a mask.
    pub(crate) fn store<V: Vector<Scalar = F>>(
        &self,
        token: V::Token,
        row: usize,
        class: usize,
        kept: &[F],
        values: &mut [F],
    ) {
        let Some(output) = self.output else { return };
        if self.mask.is_some() {
            fill_masked(kept, values, self.masked);
        }
        outlined!(V, token, output.scatter_part(token, row, class, values));
    }

    /// How many rows from `first` on are neighbours class by class, where at least `rows` are: where they are read,
    /// where they are written, or both.
    pub(crate) fn neighbours_from(&self, first: usize, rows: usize) -> Option<usize> {
        let read = self.logits.neighbours_from::<F>(first, rows);
        let written = self.output.and_then(|output| output.neighbours_from::<F>(first, rows));
        read.into_iter().chain(written).min()
    }

    /// `count` rows from `first` on that are neighbours class by class, to contiguous rows that begin `pitch`
    /// elements apart, by way of `columns`; false if they are not neighbours, or if `rows` has no room for LANES
    /// at a time. Memory of the next classes is asked for early, if it `asks_ahead`.
    pub(crate) fn load_neighbours<V: Vector<Scalar = F>>(
        &self,
        token: V::Token,
        (first, count, pitch): (usize, usize, usize),
        rows: &mut [F],
        columns: &mut [F],
        asks_ahead: bool,
    ) -> bool {
        let len = count.next_multiple_of(V::LANES);
        let has_room = len * pitch <= rows.len() && len * V::LANES <= columns.len();
        let column = self.logits.columns::<F>(first, count);
        let Some(column) = column.filter(|_| self.is_plain() && has_room) else { return false };
        outlined!(V, token, {
            let classes = self.logits.classes();
            for class in (0..classes).step_by(V::LANES) {
                // All of one class before the next: lines of memory that lie one after another.
                let some = V::LANES.min(classes - class);
                for (i, values) in columns.chunks_exact_mut(len).enumerate().take(some) {
                    let column = column(class + i);
                    for (row, values) in values.chunks_exact_mut(V::LANES).enumerate() {
                        column.vector::<V>(token, row * V::LANES, F::default()).to_slice(values);
                    }
                }
                // Their lines are far from these: nothing but we can ask for them early.
                let end = if asks_ahead { classes.min(class + 2 * V::LANES) } else { 0 };
                for row in (0..count).step_by(V::LANES) {
                    for class in class + V::LANES..end {
                        column(class).prefetch(Cache::First, row);
                    }
                    let rows = &mut rows[row * pitch + class..];
                    let columns = Source::from_slice(&columns[row..]);
                    transpose::<V>(token, columns, len, &mut Sink::from_slice(rows), pitch);
                }
            }
        });
        true
    }

    /// Contiguous rows to `count` rows from `first` on, as [`Panel::load_neighbours`].
    pub(crate) fn store_neighbours<V: Vector<Scalar = F>>(
        &self,
        token: V::Token,
        (first, count, pitch): (usize, usize, usize),
        rows: &[F],
        columns: &mut [F],
        (streams, asks_ahead): (bool, bool),
    ) -> bool {
        let Some(output) = self.output else { return true };
        let len = count.next_multiple_of(V::LANES);
        let has_room = len * pitch <= rows.len() && len * V::LANES <= columns.len();
        let is_plain = self.mask.is_none();
        let column = output.columns::<F>(first, count);
        let Some(column) = column.filter(|_| is_plain && has_room) else { return false };
        outlined!(V, token, {
            let classes = output.classes();
            for class in (0..classes).step_by(V::LANES) {
                let asks = asks_ahead && !streams;
                let end = if asks { classes.min(class + 2 * V::LANES) } else { 0 };
                for row in (0..count).step_by(V::LANES) {
                    for class in class + V::LANES..end {
                        column(class).as_source().prefetch(Cache::First, row);
                    }
                    let rows = Source::from_slice(&rows[row * pitch + class..]);
                    let columns = &mut columns[row..];
                    transpose::<V>(token, rows, pitch, &mut Sink::from_slice(columns), len);
                }
                let some = V::LANES.min(classes - class);
                for (i, values) in columns.chunks_exact(len).enumerate().take(some) {
                    let mut column = column(class + i);
                    if streams {
                        column.stream_from::<V>(token, Source::from_slice(&values[..count]));
                        continue;
                    }
                    for (row, values) in values.chunks_exact(V::LANES).enumerate() {
                        column.set_vector(row * V::LANES, V::from_slice(token, values));
                    }
                }
            }
        });
        true
    }
}
