//! One reduction, and an epilogue for each operation.
//!
//! | file | what |
//! |---|---|
//! | `exp` | the exponential, relative to a power of two near the maximum |
//! | `stats` | the reduction: M, Σ without the maxima, ties, Σ w (M − z) |
//! | `first` | its first sweep over one row: M, Σ z |
//! | `sweep` | its second: all the rest, in the canonical order of summation |
//! | `terms` | what a quad of vectors adds to the sums |
//! | `group` | rows that are finished together, a lane each |
//! | `long` | one row, its segments on several threads |
//! | `tile` | the same sums with rows in lanes: few classes, strided classes |
//! | `transpose` | rows into tiles and back |
//! | `odd` | rows with NaN, infinities or huge logits |
//! | `scale` | exponentials to probabilities |
//! | `softmax` | softmax, log-softmax, log-sum-exp |
//! | `loss` | smoothed cross-entropy, its gradient, its terms |

pub(crate) mod exp;
mod first;
pub(crate) mod group;
pub(crate) mod long;
pub(crate) mod loss;
mod odd;
mod scale;
pub(crate) mod softmax;
pub(crate) mod stats;
mod sweep;
mod terms;
pub(crate) mod tile;
pub(crate) mod transpose;
