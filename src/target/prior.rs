//! The prior u: uniform, one for all rows, or one for each.

use super::read::{NUMBERS_PER_PART, read_rows};
use crate::alloc::filled;
use crate::error::Error;
use crate::executor::{Executor, on_parts};
use crate::math::{self, ExactSum, count};
use crate::simd::{Distinct, Outer, Rows};

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

impl<'a> Prior<'a> {
    /// Reads and checks every row, once if it is there many times: finite, ≥ 0, summing to 1 within
    /// [`prior_tolerance`].
    ///
    /// # Errors
    /// [`Error::Prior`], [`Error::PriorSum`] for the first bad row; [`Error::OutOfMemory`].
    pub fn new(rows: Rows<'a>, executor: &mut dyn Executor) -> Result<Self, Error> {
        let (distinct, Distinct { places, firsts, .. }) = rows.distinct();
        let (classes, is_shared) = (rows.classes(), distinct.rows() == 1);
        let index_of = |row: usize| (!is_shared).then(|| firsts.offset(row).cast_unsigned());
        let read = |row: usize, start: usize, values: &[f64], sum: &mut ExactSum| {
            if let Some(k) = values.iter().position(|u| !(*u >= 0.0 && u.is_finite())) {
                let index = index_of(row).into_iter().chain([start + k]).collect();
                return Err(Error::Prior { index, value: values[k] });
            }
            sum.add(values);
            Ok(())
        };
        let finish = |row: usize, sum: ExactSum| {
            let (sum, tolerance) = (sum.value(), prior_tolerance(classes));
            if (sum - 1.0).abs() <= tolerance {
                return Ok(sum);
            }
            let index: Vec<usize> = index_of(row).into_iter().collect();
            Err(Error::PriorSum { class_axis: index.len(), index, sum, tolerance })
        };
        let masses = read_rows(&distinct, executor, ExactSum::default(), read, finish)?;
        let [mass] = masses[..] else {
            return Ok(Prior::PerRow { rows, distinct, places, masses });
        };
        let mut values = filled(classes, &0.0, executor)?;
        on_parts(executor, &mut values, NUMBERS_PER_PART, size_of::<f64>(), |start, values| {
            rows.gather_from(0, start, values);
        });
        executor.outcome()?;
        Ok(Prior::Shared { values, mass })
    }

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

    /// H(u), with 0·log 0 = 0: one number, or one for each [`Prior::place`] of a per-row prior.
    pub(crate) fn entropies(
        &self,
        classes: usize,
        executor: &mut dyn Executor,
    ) -> Result<Vec<f64>, Error> {
        let rows = match self {
            Prior::Uniform => return Ok(vec![math::log(count(classes))]),
            Prior::Shared { values, .. } => &Rows::from_slice(values, classes),
            Prior::PerRow { distinct, .. } => distinct,
        };
        let read = |_: usize, _: usize, values: &[f64], sum: &mut ExactSum| {
            sum.add_terms(values, |_, u| surprise(*u));
            Ok(())
        };
        let finish = |_: usize, sum: ExactSum| Ok(sum.value());
        read_rows(rows, executor, ExactSum::default(), read, finish)
    }
}

/// −u·log u, with 0·log 0 = 0.
pub(super) fn surprise(u: f64) -> f64 {
    if u == 0.0 { 0.0 } else { -u * math::log(u) }
}

#[cfg(test)]
mod tests;
