//! The elementary functions: derivations, coefficients, proven bounds.

mod exp;
mod log;

pub use exp::{EXP_F32, EXP_F64, ExpCore};
pub use log::{log, log_count, log1p};
