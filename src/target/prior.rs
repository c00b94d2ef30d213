//! The prior u: uniform, one for all rows, or one for each.

use super::read::{ExactSum, exact_sum, read_rows};
use crate::alloc::{with_capacity, zeros};
use crate::crew::Crew;
use crate::error::Error;
use crate::kernel::stats::count_to_f64;
use crate::math;
use crate::simd::memory::Rows;
use crate::wide::{DoubleDouble, Wide};

/// The prior u.
pub enum Prior<'a> {
    /// 1/K
    Uniform,
    /// The same distribution for every row.
    Shared {
        /// u, in double precision.
        values: Vec<f64>,
        /// Σ u
        mass: DoubleDouble,
    },
    /// One distribution per row.
    PerRow {
        /// u
        rows: Rows<'a>,
        /// Σ u of each row.
        masses: Vec<DoubleDouble>,
    },
}

/// How far the sum of a prior of K classes may be from 1: 1e-6·max(1, √K), room for float32.
#[must_use]
pub fn prior_tolerance(classes: usize) -> f64 {
    1e-6 * count_to_f64(classes).sqrt().max(1.0)
}

impl<'a> Prior<'a> {
    /// Reads and checks every row: finite, ≥ 0, summing to 1 within [`prior_tolerance`].
    ///
    /// # Errors
    /// [`Error::Prior`], [`Error::PriorSum`] for the first bad row; [`Error::OutOfMemory`].
    pub fn new(rows: Rows<'a>, crew: &mut dyn Crew) -> Result<Self, Error> {
        if rows.is_one_row() {
            let mut values: Vec<f64> = zeros(rows.classes())?;
            rows.gather(0, &mut values);
            check_entries(&values, 0, None)?;
            let mass = exact_sum(&values);
            check_sum(mass, values.len(), None)?;
            return Ok(Prior::Shared { values, mass });
        }
        let classes = rows.classes();
        let read = |row: usize, start: usize, values: &[f64], sum: &mut ExactSum| {
            check_entries(values, start, Some(row))?;
            sum.add(values);
            Ok(())
        };
        let finish = |row: usize, sum: ExactSum| {
            let mass = sum.value();
            check_sum(mass, classes, Some(row))?;
            Ok(mass)
        };
        let masses = read_rows(&rows, crew, ExactSum::default(), read, finish)?;
        Ok(Prior::PerRow { rows, masses })
    }

    /// u of one class, not divided by K if it is uniform.
    pub(crate) fn get(&self, row: usize, class: usize) -> f64 {
        match self {
            Prior::Uniform => 1.0,
            Prior::Shared { values, .. } => values[class],
            Prior::PerRow { rows, .. } => rows.get(row, class),
        }
    }

    /// H(u), with 0·log 0 = 0: one number, or one for each row of a per-row prior.
    pub(crate) fn entropies(&self, classes: usize) -> Result<Vec<f64>, Error> {
        let Prior::PerRow { rows, .. } = self else {
            return Ok(vec![match self {
                Prior::Shared { values, .. } => entropy(values),
                _ => math::log_count(count_to_f64(classes)).0,
            }]);
        };
        let mut values: Vec<f64> = zeros(classes)?;
        let mut entropies = with_capacity(rows.rows())?;
        for row in 0..rows.rows() {
            rows.gather(row, &mut values);
            entropies.push(entropy(&values));
        }
        Ok(entropies)
    }
}

/// Of the classes from `start` on: finite and ≥ 0.
fn check_entries(values: &[f64], start: usize, row: Option<usize>) -> Result<(), Error> {
    let Some(k) = values.iter().position(|u| !(*u >= 0.0 && u.is_finite())) else { return Ok(()) };
    let index = row.into_iter().chain([start + k]).collect();
    Err(Error::Prior { index, value: values[k] })
}

fn check_sum(mass: DoubleDouble, classes: usize, row: Option<usize>) -> Result<(), Error> {
    let sum = mass.value();
    let tolerance = prior_tolerance(classes);
    if (sum - 1.0).abs() <= tolerance {
        return Ok(());
    }
    let index: Vec<usize> = row.into_iter().collect();
    Err(Error::PriorSum { class_axis: index.len(), index, sum, tolerance })
}

fn entropy(values: &[f64]) -> f64 {
    let surprise = |u: &f64| if *u == 0.0 { 0.0 } else { -*u * math::log(*u) };
    let sum = |sum: DoubleDouble, term| sum + DoubleDouble::new(term);
    values.iter().map(surprise).fold(DoubleDouble::new(0.0), sum).value()
}

#[cfg(test)]
mod tests;
