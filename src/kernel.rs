//! Rows in the compute type: one reduction, and an epilogue for each operation. No threads, no layouts.
//!
//! | file | what |
//! |---|---|
//! | `exp` | the exponential, relative to a power of two near the maximum |
//! | `maximum` | of a row or a segment of one: M, and the class that has it first |
//! | `reduce` | Σ exp, Σ w (M − z) |
//! | `rows` | what is done once for a row, for eight rows side by side |
//! | `finish` | its formulas: S, L, the loss, the constants of the gradient |
//! | `write` | the epilogues |
//! | `hessian` | one more output: the diagonal of the Hessian |
//! | `tile` | few classes: LANES rows side by side, from the logits to the outputs |
//! | `transpose` | rows into lanes and back |
//! | `special` | rows with infinities or huge logits |

mod exp;
mod finish;
mod hessian;
mod maximum;
mod reduce;
mod rows;
mod special;
mod tile;
mod transpose;
mod write;

pub(crate) use exp::Temperature;
pub(crate) use finish::{FinishedLanes, Formula, TargetLanes};
pub(crate) use hessian::write_hessian;
pub(crate) use maximum::maximum;
pub use reduce::SEGMENT;
pub(crate) use reduce::{MOST_ROWS, Part, Partial, Reduction, WeightKind};
pub use rows::Operation;
pub(crate) use rows::{Finished, Reduced, ReducedRows};
pub(crate) use special::{UNIT, exact_max, larger, log_probabilities, shift};
pub(crate) use tile::{MOST_CLASSES, MOST_IN_TILES, Tile, TileTarget};
pub(crate) use transpose::{from_run, load, room, store_neighbours, to_run};
pub(crate) use write::{Epilogue, Output, log_probability, write, write_shifted};
