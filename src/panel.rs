//! Rows wherever and however they lie, as contiguous rows of the compute type; and results back.
//!
//! ```text
//! strides, 16-bit storage     gathered and converted, rows that are neighbours by transposes
//! a mask                      classes that are left out get a logit below every maximum in range
//! a temperature far from 1    times a power of two
//! ```

use crate::simd::{Float, MOST_LANES, Rows, RowsMut, Sink, Source, Vector};

/// Where the rows of a call are read and written.
#[derive(Clone, Copy)]
pub(crate) struct Panel<'p, F> {
    pub(crate) logits: &'p Rows<'p>,
    pub(crate) mask: Option<&'p Rows<'p>>,
    pub(crate) output: Option<&'p RowsMut<'p>>,
    /// What the logits are multiplied by: a power of two.
    pub(crate) shift: f64,
    /// What a class that is masked gets in the output.
    pub(crate) masked: Option<F>,
}

/// The logit of a masked class: finite, so that with a weight of 0 it adds nothing, and below every
/// maximum that is in the kernel's range.
const LOWEST: f64 = -1e30;

impl<F: Float> Panel<'_, F> {
    /// Are the logits contiguous rows of the compute type already?
    pub(crate) fn reads_directly(&self) -> bool {
        self.mask.is_none() && self.shift == 1.0 && self.logits.is_direct::<F>()
    }

    /// Are the outputs?
    pub(crate) fn writes_directly(&self) -> bool {
        self.masked.is_none() && self.output.is_some_and(RowsMut::is_direct::<F>)
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
        self.output.and_then(|output| output.sink(row)).expect("written directly")
    }

    /// Which classes of row `row` are kept, from `class` on: 1 or 0. Nothing without a mask.
    pub(crate) fn kept<V: Vector<Scalar = F>>(
        &self,
        token: V::Token,
        row: usize,
        class: usize,
        kept: &mut [F],
    ) {
        if let Some(mask) = self.mask {
            mask.gather_part(token, row, class, kept);
        }
    }

    /// The classes of row `row` from `class` on. `kept` is empty without a mask.
    pub(crate) fn load<V: Vector<Scalar = F>>(
        &self,
        token: V::Token,
        row: usize,
        class: usize,
        kept: &[F],
        z: &mut [F],
    ) {
        V::outlined(
            token,
            #[inline(always)]
            || self.logits.gather_part(token, row, class, z),
        );
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

    /// Writes the classes of row `row` from `class` on.
    pub(crate) fn store<V: Vector<Scalar = F>>(
        &self,
        token: V::Token,
        row: usize,
        class: usize,
        kept: &[F],
        values: &mut [F],
    ) {
        let Some(output) = self.output else { return };
        if let Some(masked) = self.masked {
            fill_masked(kept, values, masked);
        }
        V::outlined(
            token,
            #[inline(always)]
            || output.scatter_part(token, row, class, values),
        );
    }

    /// Rows from `first` on that are neighbours class by class, to contiguous rows that begin `pitch`
    /// elements apart; false if they are not neighbours.
    pub(crate) fn load_neighbours<V: Vector<Scalar = F>>(
        &self,
        token: V::Token,
        first: usize,
        count: usize,
        pitch: usize,
        rows: &mut [F],
    ) -> bool {
        let (logits, classes) = (self.logits, self.logits.classes());
        let is_plain = self.mask.is_none() && self.shift == 1.0;
        if !is_plain || !logits.are_neighbours::<F>(first, count) {
            return false;
        }
        V::outlined(
            token,
            #[inline(always)]
            || {
                let zero = V::splat(token, F::default());
                for block in (0..classes).step_by(V::LANES) {
                    for lane in (0..count).step_by(V::LANES) {
                        let mut vectors = [zero; MOST_LANES];
                        for class in block..classes.min(block + V::LANES) {
                            let across = logits.across(first, count, class);
                            vectors[class - block] = across.vector(token, lane, F::default());
                        }
                        V::transpose(&mut vectors);
                        let rows = rows[lane * pitch..].chunks_exact_mut(pitch);
                        for (row, vector) in rows.zip(&vectors).take(V::LANES.min(count - lane)) {
                            Sink::from_slice(&mut row[..classes]).set_vector(block, *vector);
                        }
                    }
                }
            },
        );
        true
    }

    /// Contiguous rows to rows from `first` on, as [`Panel::load_neighbours`].
    pub(crate) fn store_neighbours<V: Vector<Scalar = F>>(
        &self,
        token: V::Token,
        (first, count): (usize, usize),
        pitch: usize,
        rows: &[F],
        streams: bool,
    ) -> bool {
        let Some(output) = self.output else { return true };
        let classes = output.classes();
        if self.masked.is_some() || !output.are_neighbours::<F>(first, count) {
            return false;
        }
        V::outlined(
            token,
            #[inline(always)]
            || {
                let zero = V::splat(token, F::default());
                for block in (0..classes).step_by(V::LANES) {
                    for lane in (0..count).step_by(V::LANES) {
                        let mut vectors = [zero; MOST_LANES];
                        let rows = rows[lane * pitch..].chunks_exact(pitch);
                        for (row, vector) in rows.zip(&mut vectors).take(V::LANES.min(count - lane))
                        {
                            let row = Source::from_slice(&row[..classes]);
                            *vector = row.vector(token, block, F::default());
                        }
                        V::transpose(&mut vectors);
                        for class in block..classes.min(block + V::LANES) {
                            let mut across = output.across(first, count, class);
                            let vector = vectors[class - block];
                            if streams {
                                across.stream_vector(lane, vector);
                            } else {
                                across.set_vector(lane, vector);
                            }
                        }
                    }
                }
            },
        );
        true
    }
}

/// `value` for every class that is not kept.
fn fill_masked<F: Float>(kept: &[F], values: &mut [F], value: F) {
    for (kept, target) in kept.iter().zip(values) {
        if kept.to_f64() == 0.0 {
            *target = value;
        }
    }
}
