//! Copies rows from any layout and storage type to contiguous rows of the compute type, and results back.
//!
//! ```text
//! strides, 16-bit storage     gathered and converted; rows that are neighbours in memory, by transposes
//! a mask                      masked classes get a logit whose probability is 0, so most outputs need no mask
//! a temperature far from 1    the logits are multiplied by a power of two
//! ```

use crate::simd::{Float, Neighbours, Rows, RowsMut, Sink, Source, Vector, outlined};

/// Where the rows of a call are read and written.
#[derive(Clone, Copy)]
pub(crate) struct Panel<'p, F> {
    pub(crate) logits: &'p Rows<'p>,
    pub(crate) mask: Option<&'p Rows<'p>>,
    pub(crate) output: Option<&'p RowsMut<'p>>,
    /// A power of two by which the logits are multiplied.
    pub(crate) prescale: f64,
    /// The value of a masked class in the output.
    pub(crate) masked: F,
    /// May the kernels compute another value for a masked class? Otherwise they do so only in rows that are filled with one
    /// value.
    pub(crate) masks_outputs: bool,
}

/// The logit of a masked class where outputs are probabilities or gradients, or there are none. It is finite, so that
/// times a weight of 0 it is 0, and below every maximum that the kernels handle.
const LOWEST: f64 = -1e30;
/// Logits that are copied and masked at a time: fewer than a first-level cache holds.
const LOADED_AT_ONCE: usize = 1 << 11;

impl<F: Float> Panel<'_, F> {
    /// Can the kernels read the logits where they are, as contiguous rows of the compute type?
    pub(crate) fn reads_directly(&self) -> bool {
        self.is_plain() && self.logits.is_direct::<F>()
    }

    /// Can the kernels write the outputs where they belong?
    pub(crate) fn writes_directly(&self) -> bool {
        let is_masked = self.mask.is_some() && self.masks_outputs;
        !is_masked && self.output.is_some_and(RowsMut::is_direct::<F>)
    }

    /// Are the logits used as they are in memory, without a mask or a factor?
    pub(crate) fn is_plain(&self) -> bool {
        self.mask.is_none() && self.prescale == 1.0
    }

    /// Do all rows have the same mask?
    pub(crate) fn has_one_mask(&self) -> bool {
        self.mask.is_some_and(Rows::are_repeated)
    }

    /// Is this class of a row kept?
    pub(crate) fn keeps(&self, row: usize, class: usize) -> bool {
        self.mask.is_none_or(|mask| mask.get(row, class) != 0.0)
    }

    /// Is the output written over the logits?
    pub(crate) fn is_in_place(&self) -> bool {
        self.logits.rows() > 0 && self.output.is_some_and(|output| output.starts_with(self.logits))
    }

    /// Row `row` of the logits, where it is in memory.
    #[inline(always)]
    pub(crate) fn direct(&self, row: usize) -> Source<'_, F> {
        self.logits.direct(row).expect("read directly")
    }

    /// Row `row` of the output, where it is in memory.
    #[inline(always)]
    pub(crate) fn sink(&self, row: usize) -> Sink<'_, F> {
        self.output.and_then(|output| output.direct(row)).expect("written directly")
    }

    /// Copies the mask of row `row` from `class` on to `own`: 1 for a kept class, 0 for a masked one. Returns an empty
    /// slice without a mask.
    pub(crate) fn kept<'k, V: Vector<Scalar = F>>(
        &self,
        token: V::Token,
        row: usize,
        class: usize,
        own: &'k mut [F],
    ) -> &'k [F] {
        let Some(mask) = self.mask else { return &[] };
        mask.gather::<V>(token, row, class, own);
        own
    }

    /// Writes the mask of row 0 to a tile, with `lanes` of each class.
    #[cold]
    pub(crate) fn keep_alike(&self, tile: &mut [F], lanes: usize) {
        let Some(mask) = self.mask else { return };
        mask.visit(0, 0, mask.classes(), |class, is_kept| {
            tile[class * lanes..][..lanes].fill(F::from_f64(is_kept));
        });
    }

    /// The logit of a masked class, whose probability is 0. Where outputs are log-probabilities it is −inf, as they are.
    fn masked_logit(&self) -> F {
        if self.masked == F::NEG_INFINITY { self.masked } else { F::from_f64(LOWEST) }
    }

    /// Multiplies logits by the power of two, and masks them.
    #[inline(never)] // as `load`
    pub(crate) fn mask_logits<V: Vector<Scalar = F>>(
        &self,
        token: V::Token,
        kept: &[F],
        z: &mut [F],
    ) {
        if self.prescale != 1.0 {
            Sink::from_slice(z).multiply(self.prescale);
        }
        self.mask_values::<V>(token, kept, z, self.masked_logit());
    }

    /// Sets the classes that are not kept to `masked`, which for outputs is [`Panel::masked`]. Without a mask, `kept` is
    /// not read.
    pub(crate) fn mask_values<V: Vector<Scalar = F>>(
        &self,
        token: V::Token,
        kept: &[F],
        values: &mut [F],
        masked: F,
    ) {
        if self.mask.is_some() {
            outlined!(V, token, {
                // A choice between values is vectorised, but not one between references: so this is a copy.
                let masked = { masked };
                for (kept, value) in kept.iter().zip(values) {
                    *value = if kept.to_f64() == 0.0 { masked } else { *value };
                }
            });
        }
    }

    /// Sets the classes of an output that are not kept to [`Panel::masked`]. If `kept` is empty, all are.
    #[inline(never)] // rare
    pub(crate) fn mask_output(&self, kept: &[F], mut out: Sink<'_, F>) {
        for (class, _) in kept.iter().enumerate().filter(|(_, kept)| kept.to_f64() == 0.0) {
            out.set(class, self.masked);
        }
    }

    /// Copies the logits of row `row` from `class` on to `z`.
    #[inline(never)] // a loop of several kinds, called in several places
    pub(crate) fn load<V: Vector<Scalar = F>>(
        &self,
        token: V::Token,
        row: usize,
        class: usize,
        kept: &[F],
        z: &mut [F],
    ) {
        for (part, z) in z.chunks_mut(LOADED_AT_ONCE).enumerate() {
            let at = part * LOADED_AT_ONCE;
            self.logits.gather::<V>(token, row, class + at, z);
            self.mask_logits::<V>(token, kept.get(at..).unwrap_or_default(), z);
        }
    }

    /// Copies the mask of a row to `kept` and its logits to `z`, if there is such memory and they are not there yet, and
    /// masks the logits. Returns the mask.
    pub(crate) fn load_row<'k, V: Vector<Scalar = F>>(
        &self,
        token: V::Token,
        row: usize,
        [has_logits, has_mask, _]: [bool; 3],
        (kept, z): (&'k mut [F], Option<&mut [F]>),
    ) -> &'k [F] {
        let kept = if has_mask { kept } else { self.kept::<V>(token, row, 0, kept) };
        match z {
            Some(z) if has_logits => self.mask_logits::<V>(token, kept, z),
            Some(z) => self.load::<V>(token, row, 0, kept, z),
            None => {}
        }
        kept
    }

    /// Copies the logits of a row as they are in memory, but −inf for masked classes.
    pub(crate) fn reload(&self, row: usize, class: usize, z: &mut [F]) {
        self.logits.gather_from(row, class, z);
        if let Some(mask) = self.mask {
            mask.visit(row, class, z.len(), |k, is_kept| {
                // Read in either case, so that there is no branch and the loop is vectorised.
                let logit = z[k];
                z[k] = if is_kept == 0.0 { F::NEG_INFINITY } else { logit };
            });
        }
    }

    /// The number of rows from `first` on that are neighbours in memory class by class, wherever they are neighbours: in
    /// the logits, the mask or the output. None if nowhere: if the innermost axis of the rows is shorter than `rows`, or
    /// not contiguous.
    pub(crate) fn neighbours_from(&self, first: usize, rows: usize) -> Option<usize> {
        let read = self.logits.neighbours_from(first, rows);
        let masked = self.mask.and_then(|mask| mask.neighbours_from(first, rows));
        let written = self.output.and_then(|output| output.neighbours_from(first, rows));
        read.into_iter().chain(masked).chain(written).min()
    }

    /// Copies contiguous rows to the output, unless they were written there directly: all together if they are neighbours
    /// class by class, others one by one.
    pub(crate) fn store_rows<V: Vector<Scalar = F>>(
        &self,
        token: V::Token,
        place: Neighbours,
        hints: (bool, bool),
        (rows, kept): (&mut [F], &[F]),
        columns: &mut [F],
    ) {
        let Some(output) = self.output.filter(|_| !self.writes_directly()) else { return };
        let Neighbours { first, count, pitch } = place;
        let kept = kept.get(..count * pitch).unwrap_or_default();
        self.mask_values::<V>(token, kept, rows, self.masked);
        if !output.scatter_neighbours::<V>(token, place, (rows, columns), hints) {
            for (row, values) in (first..).zip(rows.chunks_exact(pitch)).take(count) {
                output.scatter::<V>(token, row, 0, &values[..output.classes()]);
            }
        }
    }
}
