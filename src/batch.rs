//! From a batch to rows: blocks, segments, threads, and polls for Ctrl-C between them.
//!
//! ```text
//! few classes:   for blocks of rows, in parallel: for each tile of LANES rows
//! rows:          for blocks of rows, in parallel: for each group of at most eight rows
//! long rows:     for rows, in parallel: for each segment; or for each row: for its segments, in parallel
//! ```
//!
//! A row's result depends on nothing but the row; scalars of rows go to one slot each and are added in
//! the order of the rows. So neither the blocks nor the threads can change a bit.

mod long;
mod parts;
mod plan;
mod rows;
mod run;
mod tiles;
mod top;
mod workspace;

use crate::error::Error;
use crate::kernel::{Formula, Operation, Temperature};
use crate::panel::Panel;
use crate::simd::{Float, MOST_LANES, RowsMut, Vector, VectorJob, fence, outlined};
use crate::target::{RowTarget, SmoothedTargets};
pub(crate) use long::chunk::finish_chunks;
pub use long::chunk::{CHUNK_ROW, ROW_CONSTANTS, SEGMENT_SUMS};
pub(crate) use parts::{NUMBERS_PER_PART, TERMS_PER_PART};
use plan::{Path, Plan};
pub use run::{Checkpoint, Run};
use std::ops::Range;
use top::Heaps;
pub(crate) use top::Top;
use workspace::Workspace;

/// What is done to rows.
pub(crate) struct Job<'j, F: Float> {
    pub(crate) operation: Operation,
    pub(crate) temperature: Temperature<F>,
    pub(crate) panel: Panel<'j, F>,
    pub(crate) targets: Option<Targets<'j, F>>,
    /// Where the lse, the loss or, of log-probabilities, L of each row goes.
    pub(crate) scalars: Option<&'j RowsMut<'j>>,
    /// Where the lse goes besides a loss.
    pub(crate) lse: Option<&'j RowsMut<'j>>,
    /// The diagonal of the Hessian, if it is asked for besides the gradient: of rows of one segment.
    pub(crate) hessian: Option<&'j Hessian<'j>>,
    /// The largest logits, if they are asked for.
    pub(crate) top: Option<&'j Top<'j>>,
    /// Are scalars rounded to the compute type, whatever takes them?
    pub(crate) rounds: bool,
    /// Are the classes a part of those of the rows?
    pub(crate) is_chunk: bool,
}

/// The diagonal of the Hessian.
pub struct Hessian<'a> {
    /// Where it goes.
    pub out: RowsMut<'a>,
    /// What it is multiplied by.
    pub factor: f64,
}

/// The targets of the rows, and what their gradient is divided by.
pub(crate) struct Targets<'j, F: Float> {
    pub(crate) rows: &'j SmoothedTargets<'j, F>,
    pub(crate) divisor: f64,
    /// What the quotient of sums is multiplied by.
    pub(crate) unit: f64,
}

impl<'j, F: Float> Job<'j, F> {
    /// # Errors
    /// [`Error::OutOfMemory`] before anything is written, or the error of `run.checkpoint`.
    pub(crate) fn run(&self, run: &mut Run<'_>) -> Result<(), Error> {
        let (rows, classes) = (self.panel.logits.rows(), self.panel.logits.classes());
        if rows == 0 {
            return Ok(());
        }
        if classes == 0 {
            return self.without_classes(run);
        }
        let plan = Plan::new(self, run.threads);
        let level = run.level;
        // All memory is had, and all threads are there, before anything is written.
        let mut workspace = Workspace::new(plan.scratch, plan.threads)?;
        let heaps = self.top.map(|top| Heaps::new(top, plan.threads)).transpose()?;
        if plan.path == Path::SharedRows {
            return long::share_rows(&plan, &workspace, heaps.as_ref(), run);
        }
        let blocks = rows.div_ceil(plan.block_rows);
        run.ready(plan.threads.min(blocks))?;
        let block = |block: usize, scratch: &mut [F]| {
            let start = block * plan.block_rows;
            let range = start..rows.min(start + plan.block_rows);
            if plan.path == Path::LongRows {
                long::rows(&plan, level, range.clone(), scratch);
            } else {
                let (range, scratch) = (range.clone(), &mut *scratch);
                level.run(&mut Block { plan: &plan, range, scratch });
            }
            if let Some(heaps) = &heaps {
                heaps.of_rows(self, level, range, scratch);
            }
        };
        if blocks == 1 {
            // Small, and often: nobody is called together for that.
            run.poll(plan.block_bytes)?;
            block(0, workspace.own());
            return Ok(());
        }
        run.each_on(plan.threads, blocks, plan.block_bytes, &|part| {
            workspace.with(|scratch| block(part, scratch));
        })
    }

    /// The sum over no class is 0.
    fn without_classes(&self, run: &mut Run<'_>) -> Result<(), Error> {
        let value = if self.targets.is_some() { 0.0 } else { f64::NEG_INFINITY };
        for row in 0..self.panel.logits.rows() {
            run.poll(size_of::<F>())?;
            self.put(row, value, f64::NEG_INFINITY);
        }
        Ok(())
    }

    /// Writes the scalars of a row.
    fn put(&self, row: usize, scalar: f64, lse: f64) {
        self.put_rows(row, &[scalar], &[lse]);
    }

    /// Writes the scalars of at most [`MOST_LANES`] rows from `first` on.
    #[inline(always)]
    fn put_rows(&self, first: usize, scalars: &[f64], lse: &[f64]) {
        for (out, values) in [(self.scalars, scalars), (self.lse, lse)] {
            let Some(out) = out else { continue };
            if self.rounds {
                let mut rounded = [0.0; MOST_LANES];
                for (rounded, value) in rounded.iter_mut().zip(values) {
                    *rounded = F::from_f64(*value).to_f64();
                }
                out.set_rows(first, &rounded[..values.len()]);
            } else {
                out.set_rows(first, values);
            }
        }
    }

    /// The panel whose output the Hessian is.
    fn hessian_panel(&self) -> Option<Panel<'j, F>> {
        self.hessian.map(|hessian| Panel { output: Some(&hessian.out), ..self.panel })
    }

    fn formula(&self) -> Formula<'_, F> {
        let z_loss = self.targets.as_ref().map_or(0.0, |targets| targets.rows.z_loss());
        Formula { operation: self.operation, temperature: &self.temperature, z_loss }
    }

    /// The targets, if they differ in their labels alone.
    fn same(&self) -> Option<Same<'_, F>> {
        let (labels, target) = self.targets.as_ref()?.rows.labels_alone()?;
        Some(Same { labels, scale: self.scale(target.weight), target })
    }

    /// What the gradient of a row of this weight is multiplied by.
    #[inline(always)]
    fn scale(&self, weight: f64) -> f64 {
        let Some(Targets { divisor, unit, .. }) = self.targets else { return 0.0 };
        if divisor == 0.0 {
            return 0.0;
        }
        let inverse = self.temperature.inverse * self.temperature.shift;
        (weight / divisor * unit * inverse).min(f64::MAX)
    }
}

/// Targets that are the same but for their labels.
struct Same<'s, F> {
    labels: &'s [u32],
    /// The target of every row but for its label, and what the gradient is multiplied by.
    target: RowTarget<'s, F>,
    scale: f64,
}

/// A block of rows, to be run at some instruction set.
struct Block<'b, F: Float> {
    plan: &'b Plan<'b, F>,
    range: Range<usize>,
    scratch: &'b mut [F],
}

impl<F: Float> VectorJob<F> for &mut Block<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Scalar = F>>(self, token: V::Token) {
        match self.plan.path {
            Path::Tiles => self.tiles::<V>(token),
            // A function of its own: what rows take of the stack, calls of tiles do not.
            _ => outlined!(V, token, self.rows::<V>(token)),
        }
        if self.plan.streams {
            fence();
        }
    }
}
