//! Rows whose classes are on several machines: the steps for a chunk, and the step that joins the chunks.

use super::Batch;
use crate::alloc::zeros;
use crate::batch::{CHUNK_ROW, ROW_CONSTANTS, Run, SEGMENT_SUMS};
use crate::error::Error;
use crate::kernel::{Operation, SEGMENT};
use crate::simd::{Rows, RowsMut, Source, Storage};
use crate::target::{LossTerms, SmoothedTargets, Targets, Weights};

/// What smoothing adds to the loss of a label.
#[derive(Clone, Copy)]
pub enum Smoothing<'a> {
    /// Nothing.
    None,
    /// The same for every class.
    Uniform,
    /// That of a prior: one row, of the classes of the chunk.
    Prior(&'a Rows<'a>),
}

/// A batch whose classes are a chunk of those of the rows, without a mask and with T = 1.
impl Batch<'_> {
    /// The sums of each segment of the chunk, [`SEGMENT_SUMS`] numbers each, for `operation`. `rows` has
    /// [`CHUNK_ROW`] numbers of each row: its maximum in all chunks, or NaN for a row that is not read; the segment of
    /// this chunk with the first maximum; 1 where a logit is −inf and the prior is given; the label. -1 for no segment
    /// and no class.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], or the error of `run.checkpoint`.
    ///
    /// # Panics
    /// When the views disagree in rows or have other lengths.
    pub fn reduce_chunk(
        &self,
        operation: Operation,
        rows: &Rows<'_>,
        smoothing: Smoothing<'_>,
        out: &mut RowsMut<'_>,
        run: &mut Run<'_>,
    ) -> Result<(), Error> {
        let classes = self.logits.classes();
        assert!(self.mask.is_none() && self.temperature == 1.0, "a chunk as it is");
        assert!(
            [rows.rows(), out.rows()] == [self.logits.rows(); 2] && rows.classes() == CHUNK_ROW
        );
        assert!(out.classes() == classes.div_ceil(SEGMENT) * SEGMENT_SUMS);
        computed_in!(self.compute, F => {
            let mut own;
            let weights = match smoothing {
                Smoothing::None => Weights::Absent,
                Smoothing::Uniform => Weights::Ones,
                Smoothing::Prior(prior) => {
                    assert!(prior.rows() == 1 && prior.classes() == classes);
                    own = zeros::<F>(classes)?;
                    prior.gather_from(0, 0, &mut own);
                    Weights::Row(Source::from_slice(&own))
                }
            };
            self.job::<F>(operation, None).reduce_chunk(rows, weights, out, run)
        })
    }

    /// The outputs of the chunk. `rows` has the maximum of each row and its [`ROW_CONSTANTS`].
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], or the error of `run.checkpoint`.
    ///
    /// # Panics
    /// When the views disagree in rows or have other lengths.
    pub fn write_chunk(
        &self,
        operation: Operation,
        rows: &Rows<'_>,
        out: &mut RowsMut<'_>,
        run: &mut Run<'_>,
    ) -> Result<(), Error> {
        self.assert_same_shape(Some(out));
        assert!(self.mask.is_none() && self.temperature == 1.0, "a chunk as it is");
        assert!(rows.classes() == 1 + ROW_CONSTANTS && rows.rows() == self.logits.rows());
        computed_in!(self.compute, F => {
            self.job::<F>(operation, Some(out)).write_chunk(rows, run)
        })
    }
}

/// Joins the segments of all chunks, in their order, to [`ROW_CONSTANTS`] of each row: the lse or the loss, or
/// the constants of its outputs. The first number of `rows` is the maximum. The `terms` are those of the losses of rows
/// of `classes` classes, without weights; of a prior only the sum is read.
///
/// # Errors
/// The error of `run.checkpoint`.
///
/// # Panics
/// When the views disagree in rows or have other lengths.
pub fn finish_chunks(
    compute: Storage,
    operation: Operation,
    (terms, classes): (&LossTerms<'_>, usize),
    sums: &Rows<'_>,
    rows: &Rows<'_>,
    out: &mut RowsMut<'_>,
    run: &mut Run<'_>,
) -> Result<(), Error> {
    assert!(sums.classes().is_multiple_of(SEGMENT_SUMS) && sums.rows() == rows.rows());
    assert!(out.classes() == ROW_CONSTANTS && out.rows() == rows.rows());
    computed_in!(compute, F => {
        let labels = Targets::none();
        let share = || Ok((Vec::new(), 0.0)); // the weights are in the sums
        let targets = SmoothedTargets::<F>::new(&labels, terms, None, classes, share)?;
        let (_, target) = targets.labels_alone().expect("labels without weights");
        crate::batch::finish_chunks(operation, &target, sums, rows, out, run)
    })
}
