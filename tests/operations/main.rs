//! The operations of the core, through its public functions.
//!
//! One crate, because each one compiles every kernel for every instruction set.

mod formulas;
mod levels;
mod properties;
mod rows;
