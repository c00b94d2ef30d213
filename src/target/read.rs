//! Rows of probabilities, priors or masks: read once, piece by piece, on several threads.

use crate::alloc::{filled, zeros};
use crate::error::Error;
use crate::executor::{Executor, FirstError, on_parts};
use crate::simd::Rows;
use crate::simd::fpenv::with_default_fp_env;
use std::ops::Range;

/// Numbers that one thread reads without another's help: some 100 µs.
pub(super) const NUMBERS_PER_PART: usize = 1 << 16;
/// Rows of more numbers are read with polls for Ctrl-C in between.
const LONG_ROW: usize = 1 << 20;
/// Numbers that are converted at once; a multiple of the lanes of [`crate::math::ExactSum`].
const CHUNK: usize = 1 << 12;

/// What is made of each row: `read(row, first class, values, state)` chunk by chunk, from the state
/// `nothing` on, then `finish(row, state)`.
///
/// # Errors
/// The first of the first row that has one; [`Error::OutOfMemory`], or that of the executor.
pub(super) fn read_rows<S: Copy + Send + Sync, R: Clone + Default + Send>(
    rows: &Rows<'_>,
    executor: &mut dyn Executor,
    nothing: S,
    read: impl Fn(usize, usize, &[f64], &mut S) -> Result<(), Error> + Sync,
    finish: impl Fn(usize, S) -> Result<R, Error> + Sync,
) -> Result<Vec<R>, Error> {
    let classes = rows.classes();
    let mut results = filled(rows.rows(), &R::default(), executor)?;
    let first_error = FirstError::default();
    let buffer = || zeros(classes.min(CHUNK));
    let read_part = |row: usize, part: Range<usize>, buffer: &mut [f64], state: &mut S| {
        part.clone().step_by(CHUNK).try_for_each(|start| {
            let values = &mut buffer[..CHUNK.min(part.end - start)];
            rows.gather_from(row, start, values);
            read(row, start, values, state)
        })
    };
    if classes <= LONG_ROW {
        let rows_per_part = (NUMBERS_PER_PART / classes.max(1)).max(1);
        let row_bytes = classes.saturating_mul(size_of::<f64>());
        on_parts(executor, &mut results, rows_per_part, row_bytes, |first, results| {
            let mut row = first;
            let outcome = buffer().and_then(|mut buffer| {
                for result in results {
                    let mut state = nothing;
                    read_part(row, 0..classes, &mut buffer, &mut state)?;
                    *result = finish(row, state)?;
                    row += 1;
                }
                Ok(())
            });
            outcome.unwrap_or_else(|error| first_error.report(row, error));
        });
    } else {
        let mut buffer = buffer()?;
        for (row, result) in results.iter_mut().enumerate() {
            let mut state = nothing;
            for start in (0..classes).step_by(LONG_ROW) {
                let part = start..classes.min(start + LONG_ROW);
                if !executor.may_go_on(part.len() * size_of::<f64>()) {
                    break;
                }
                with_default_fp_env(|| read_part(row, part, &mut buffer, &mut state))?;
            }
            executor.outcome()?;
            *result = with_default_fp_env(|| finish(row, state))?;
        }
    }
    executor.outcome()?;
    first_error.outcome()?;
    Ok(results)
}
