//! The operations of the core, through its public functions.
//!
//! One crate, because each one compiles every kernel for every instruction set.

mod border;
mod calls;
mod chunks;
mod forms;
mod formulas;
mod laws;
mod levels;
mod memory;
mod options;
mod random;
mod rows;
mod values;
