//! Divides a batch into blocks of rows, or rows into segments, runs these on threads, and polls for signals.
//!
//! ```text
//! few classes:   for blocks of rows, in parallel: for each tile of LANES rows
//! rows:          for blocks of rows, in parallel: for each group of at most eight rows
//! long rows:     for blocks of rows, in parallel: for each row: for each of its segments
//!                or, for few very long rows: for each row: for its segments, in parallel
//! ```
//!
//! The result of a row depends on nothing but the row. The scalars of rows (their losses, for example) are added in the
//! order of the rows, [`rows_per_sum`] at a time, and then these sums. A block whose rows are added has all rows of its
//! sums. So neither the division into blocks nor the number of threads can change a bit.

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
use crate::simd::{Float, Level, RowsMut, Vector, VectorJob, fence};
use crate::target::SmoothedTargets;
pub(crate) use long::chunk::finish_chunks;
pub use long::chunk::{CHUNK_ROW, ROW_CONSTANTS, SEGMENT_SUMS};
pub(crate) use parts::{
    LONG_ROW, NUMBERS_PER_PART, SUMS_PER_PART, TERMS_PER_PART, are_near, rows_per_sum,
};
use plan::{Path, Plan};
pub use run::{Checkpoint, Run};
use std::ops::Range;
use top::Heaps;
pub(crate) use top::Top;
pub(crate) use workspace::Workspace;

/// An operation on the rows of a batch, with its inputs and outputs.
pub(crate) struct Job<'j, F: Float> {
    pub(crate) operation: Operation,
    pub(crate) temperature: Temperature<F>,
    pub(crate) panel: Panel<'j, F>,
    pub(crate) targets: Option<&'j SmoothedTargets<'j, F>>,
    /// Output for one scalar of each row: the lse, the loss or, for log-probabilities, L.
    pub(crate) scalars: Option<&'j RowsMut<'j>>,
    /// Does `scalars` have the sums of each [`rows_per_sum`] rows instead? Only for rows that are always computed in
    /// tiles.
    pub(crate) are_summed: bool,
    /// Output for the lse of each row, in addition to the loss.
    pub(crate) lse: Option<&'j RowsMut<'j>>,
    /// Output for the diagonal of the Hessian, in addition to the gradient; only for rows of one segment.
    pub(crate) hessian: Option<&'j Hessian<'j>>,
    /// Output for the largest logits of each row.
    pub(crate) top: Option<&'j Top<'j>>,
    /// Are scalars rounded to the compute type, even if their output has a wider type?
    pub(crate) rounds: bool,
}

/// The diagonal of the Hessian as an output.
pub struct Hessian<'a> {
    /// Where it is written.
    pub out: RowsMut<'a>,
    /// A factor by which it is multiplied.
    pub factor: f64,
}

impl<'j, F: Float> Job<'j, F> {
    /// Runs the job.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] before anything is written, or the error of `run.checkpoint`.
    pub(crate) fn run(&self, run: &mut Run<'_>) -> Result<(), Error> {
        let (rows, classes) = (self.panel.logits.rows(), self.panel.logits.classes());
        if rows == 0 {
            return Ok(());
        }
        assert!(classes > 0, "rows without classes");
        let plan = Plan::new(self, run.threads, false);
        let level = run.level;
        // All memory is allocated and all threads are started before anything is written.
        let mut workspace = Workspace::new(plan.scratch);
        workspace.reserve(plan.threads)?;
        let heaps = self.top.map(|top| Heaps::new(top, plan.threads)).transpose()?;
        if plan.path == Path::SharedRows {
            return long::share_rows(&plan, &workspace, heaps.as_ref(), run);
        }
        let blocks = rows.div_ceil(plan.block_rows);
        run.ready(plan.threads.min(blocks))?;
        let block = |block: usize, scratch: &mut [F]| {
            let start = block * plan.block_rows;
            let range = start..rows.min(start + plan.block_rows);
            level.run(Block { plan: &plan, level, range: range.clone(), scratch });
            if let Some(heaps) = &heaps {
                heaps.of_rows(self, level, range, scratch);
            }
        };
        if blocks == 1 {
            // The most frequent case, and small: it is run without the pool.
            run.poll(plan.block_bytes)?;
            block(0, workspace.first());
            return Ok(());
        }
        run.each(plan.threads, blocks, plan.block_bytes, &|part| {
            workspace.with(|scratch| block(part, scratch));
        })
    }

    /// Writes the scalar and the lse of a row.
    fn put(&self, row: usize, scalar: f64, lse: f64) {
        self.put_rows(self.scalars, row, &mut [scalar]);
        self.put_rows(self.lse, row, &mut [lse]);
    }

    /// Writes the scalars or the lse of rows from `first` on, if there is an output for them.
    #[inline(always)]
    fn put_rows(&self, out: Option<&RowsMut<'_>>, first: usize, values: &mut [f64]) {
        let Some(out) = out else { return };
        if self.rounds {
            for value in &mut *values {
                *value = F::from_f64(*value).to_f64();
            }
        }
        out.set_rows(first, values);
    }

    /// The panel with the Hessian as its output.
    fn hessian_panel(&self) -> Option<Panel<'j, F>> {
        self.hessian.map(|hessian| Panel { output: Some(&hessian.out), ..self.panel })
    }

    /// The number of rows from `first` on that are neighbours in memory class by class, wherever they are: see
    /// [`Panel::neighbours_from`].
    fn neighbours_from(&self, first: usize, rows: usize) -> Option<usize> {
        let probabilities = self.targets.and_then(SmoothedTargets::probabilities);
        let of_targets = probabilities.and_then(|all| all.neighbours_from(first, rows));
        self.panel.neighbours_from(first, rows).into_iter().chain(of_targets).min()
    }

    fn formula(&self) -> Formula<'_, F> {
        let z_loss = self.targets.map_or(0.0, SmoothedTargets::z_loss);
        Formula { operation: self.operation, temperature: &self.temperature, z_loss }
    }

    /// The factor of the gradient of a row with this weight.
    fn scale(&self, weight: f64) -> f64 {
        self.scales()(weight)
    }

    /// [`Job::scale`] for many rows.
    fn scales(&self) -> impl Fn(f64) -> f64 + use<F> {
        let (divisor, unit) = self.targets.map_or((1.0, 0.0), |all| (all.divisor, all.unit));
        let of_memory = self.temperature.of_memory();
        // The unit is a power of two, and the order is the one in which nothing underflows that is in range at the end.
        move |weight: f64| {
            let share =
                if divisor > 1.0 { weight * unit / divisor } else { weight / divisor * unit };
            (share * of_memory).min(f64::MAX)
        }
    }
}

/// A block of rows, to be computed at some instruction-set level.
struct Block<'b, F: Float> {
    plan: &'b Plan<'b, F>,
    /// The level at which it is run.
    level: Level,
    range: Range<usize>,
    scratch: &'b mut [F],
}

impl<F: Float> VectorJob<F> for Block<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Scalar = F>>(mut self, token: V::Token) {
        match self.plan.path {
            Path::Tiles => self.tiles::<V>(token),
            Path::Rows => self.rows::<V>(token),
            Path::LongRows => self.long_rows::<V>(token),
            Path::SharedRows => unreachable!("segments are run one by one"),
        }
        if self.plan.streams {
            fence();
        }
    }
}
