//! The arithmetic on contiguous rows of the compute type: a reduction, and for each operation an epilogue that writes
//! the outputs. Threads and memory layouts are handled by the layers above.
//!
//! | file | contents |
//! |---|---|
//! | `exp` | the exponential, relative to a power of two near the maximum |
//! | `maximum` | the maximum M of a row or of a segment of a row, and the first class that has it |
//! | `reduce` | the sums over a row or segment: Σ exp, Σ w (M − z) |
//! | `rows` | collects the sums of at most eight rows, so that `finish` computes them side by side |
//! | `finish` | the scalars of a row: S, L, the loss, the constants of the gradient |
//! | `scalars` | these numbers of several rows, and those they are computed from, side by side |
//! | `write` | the epilogues |
//! | `hessian` | an additional output: the diagonal of the Hessian |
//! | `tile` | all steps for few classes, with LANES rows side by side |
//! | `transpose` | rows into lanes and back |
//! | `special` | rows with infinities or huge logits |

mod exp;
mod finish;
mod hessian;
mod maximum;
mod reduce;
mod rows;
mod scalars;
mod special;
mod tile;
mod transpose;
mod write;

pub(crate) use exp::Temperature;
pub(crate) use finish::Formula;
pub(crate) use hessian::write_hessian;
pub(crate) use maximum::find_maxima;
pub use reduce::SEGMENT;
pub(crate) use reduce::{MOST_IN_TILES, MOST_ROWS, Part, Partial, Reducer, WeightKind};
pub(crate) use rows::{Reduced, ReducedRows};
pub(crate) use scalars::TargetLanes;
pub(crate) use special::{GAP_UNIT, exact_max, larger, shift, shifted_log_probability};
pub(crate) use tile::{IGNORED, MOST_CLASSES, MOST_TILES, NO_LABEL, Tile, Tiles, tiles_at_once};
pub(crate) use transpose::{from_own, from_run, load, room, store_neighbours, to_run};
pub(crate) use write::{Epilogue, Output, log_probability, write};

/// What is computed for rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// p
    Softmax,
    /// log p
    LogSoftmax,
    /// lse, one number a row
    LogSumExp,
    /// The loss, one number a row
    Loss,
    /// The loss, and its gradient
    Gradient,
}

impl Operation {
    /// Are the outputs computed from the exponentials?
    pub(crate) fn keeps(self) -> bool {
        matches!(self, Operation::Softmax | Operation::Gradient)
    }

    /// Is the maximum left out of the sum and added last? The logarithm needs that.
    pub(crate) const fn splits(self) -> bool {
        !matches!(self, Operation::Softmax)
    }
}
