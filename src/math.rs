//! The elementary functions: their derivations, coefficients, and error bounds, which are proven or measured.

mod exp_coefficients;
mod log;
mod real;
mod sum;

pub use exp_coefficients::{EXP_F32, EXP_F64, ExpCore, LN2, MOST_COEFFICIENTS};
pub use log::{Pair, log, log_quotient};
pub use real::{EXPONENT, HALF, Real, SIGNIFICAND, UNIT};
pub use sum::{RunningSum, in_halves, two_sum};

/// A number of lanes, classes or rows as a double.
#[allow(clippy::cast_precision_loss, reason = "counts are below 2^53")]
pub fn count(count: usize) -> f64 {
    count as f64
}
