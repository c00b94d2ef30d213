//! The prior u: uniform, one for all rows, or one for each.

use crate::math::count;
use crate::simd::{Outer, Rows};

/// The prior u.
pub enum Prior<'a> {
    /// 1/K
    Uniform,
    /// The same distribution for every row.
    Shared {
        /// u, in double precision.
        values: Vec<f64>,
        /// Σ u
        mass: f64,
    },
    /// One distribution per row.
    PerRow {
        /// u
        rows: Rows<'a>,
        /// Those that are not repetitions of others.
        distinct: Rows<'a>,
        /// Which of them, as an offset, each row is.
        places: Outer,
        /// Σ u of each of them.
        masses: Vec<f64>,
    },
}

/// How far the sum of a prior of K classes may be from 1: 1e-6·max(1, √K), room for float32.
#[must_use]
pub fn prior_tolerance(classes: usize) -> f64 {
    1e-6 * count(classes).sqrt().max(1.0)
}

impl Prior<'_> {
    /// u of one class, not divided by K if it is uniform.
    pub(crate) fn get(&self, row: usize, class: usize) -> f64 {
        match self {
            Prior::Uniform => 1.0,
            Prior::Shared { values, .. } => values[class],
            Prior::PerRow { rows, .. } => rows.get(row, class),
        }
    }

    /// Which of the rows of [`Prior::PerRow`] that are not repetitions row `row` is, else 0.
    pub(crate) fn place(&self, row: usize) -> usize {
        match self {
            Prior::Uniform | Prior::Shared { .. } => 0,
            Prior::PerRow { places, .. } => places.offset(row).cast_unsigned(),
        }
    }
}
