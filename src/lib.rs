//! The loss of label-smoothing regularization on a CPU.
//!
//! For logits z of one sample, label y, any class distribution u and ε in [0, 1]
//! (Szegedy et al. 2015, "Rethinking the Inception Architecture for Computer
//! Vision", section 7, arXiv 1512.00567):
//!
//! ```text
//! p(k)     = exp(z_k) / Σ_i exp(z_i)
//! q'(k)    = (1 − ε) δ_{k,y} + ε u(k)
//! H(q', p) = −Σ_k q'(k) log p(k) = (1 − ε) H(q, p) + ε H(u, p)
//! ∂H/∂z_k  = p(k) − q'(k)
//! ```
//!
//! Layers, each using those below it only:
//!
//! ```text
//! ops               operations on a batch; their inputs, read and checked
//! batch             blocks, segments and parts on threads, polling for signals
//! panel, kernel     rows from memory and back; contiguous rows
//! target            checked targets, priors and weights; q' in normal form
//! pool              threads
//! alloc             memory
//! simd              vectors, levels, views of memory
//! math              exp, log, sums
//! error             what can go wrong
//! ```
#![deny(unsafe_code, missing_docs)]

mod alloc;
mod batch;
mod error;
mod kernel;
mod math;
mod ops;
mod panel;
pub mod pool;
#[allow(unsafe_code, reason = "a home of unsafe: vectors, loads and stores")]
mod simd;
mod target;

pub use alloc::reserve::WithReserve;
pub use batch::{CHUNK_ROW, Checkpoint, Hessian, ROW_CONSTANTS, Run, SEGMENT_SUMS};
pub use error::{Error, Number};
pub use kernel::{Operation, SEGMENT};
pub use ops::{
    Batch, CrossEntropy, Reduction, Smoothing, copy, finish_chunks, read_labels, read_prior,
    read_probabilities, read_weights, touch,
};
pub use simd::{Element, Float, Level, Rows, RowsMut, Storage, fpenv};
pub use target::{Labels, LossTerms, Prior, Probabilities, Targets, WeightValues};
