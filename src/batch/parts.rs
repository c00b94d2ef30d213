//! Memory, checks and sums in parts, on the threads of a call. The results of the parts are joined in
//! order. So the bits depend on the number of parts, not on the threads, and the first error is reported.

use super::Run;
use crate::alloc::{with_capacity, zeros};
use crate::error::Error;
use crate::kernel::{MOST_CLASSES, tiles_at_once};
use crate::math::RunningSum;
use crate::pool::lock;
use crate::simd::{ExactSum, GatherNeighbours, MOST_LANES, Neighbours, Rows};
use std::array::from_fn;
use std::mem::take;
use std::sync::Mutex;

/// Bytes of new memory that are first touched at a time: some milliseconds.
const BYTES_PER_TOUCH: usize = 1 << 22;
/// The largest number of results that are kept before they are joined.
const PARTS_AT_ONCE: usize = 64;
/// Numbers of a part that one thread reads: some 100 µs.
pub(crate) const NUMBERS_PER_PART: usize = 1 << 16;
/// Terms of a part that one thread adds: some 25 µs. It is the length of a segment of a long row, so that sums
/// over the classes of a row have the same bits whichever code computes them.
pub(crate) const TERMS_PER_PART: usize = 1 << 14;
/// So many sums of the scalars of rows are added, and then the sums of these parts.
pub(crate) const SUMS_PER_PART: usize = 50;
/// Rows of more numbers are read with polls for signals in between.
pub(crate) const LONG_ROW: usize = 1 << 20;
/// Numbers of rows in a part that one thread reads: some 20 µs. The work that does not depend on the number of classes
/// counts as some more.
const READ_PER_PART: usize = 1 << 17;
const READ_PER_ROW: usize = 32;
/// Numbers that are converted at a time.
const CHUNK: usize = 1 << 10;
/// The largest number of rows that are converted together; and of rows that are neighbours in memory, class by class, the
/// number of classes at a time.
const ROWS_AT_ONCE: usize = 64;
const CHUNK_OF_NEAR: usize = 1 << 7;
/// Lanes of doubles.
const LANES: usize = MOST_LANES / 2;

/// A function of the index of the first value of a part, and of the part. By reference, so that what runs it is compiled
/// once for each type.
type Body<'b, T, R> = &'b (dyn Fn(usize, &mut [T]) -> Result<R, Error> + Sync);
/// The same, with a call that polls for signals if it may take long.
type PolledBody<'b, T> =
    &'b (dyn Fn(usize, &mut [T], Option<&mut Run<'_>>) -> Result<(), Error> + Sync);

/// The number of rows whose scalars are added first: a multiple of the rows of all tiles that are computed together, so
/// that these are rarely divided (unless each tile has its own targets).
pub(crate) fn rows_per_sum(classes: usize) -> usize {
    8 * MOST_LANES * tiles_at_once(classes.min(MOST_CLASSES))
}

/// Are rows of many classes neighbours in memory, class by class, so that copying several together takes less time?
pub(crate) fn are_near(rows: &Rows<'_>) -> bool {
    rows.classes() > MOST_CLASSES && rows.neighbours_from(0, LANES / 2).is_some()
}

impl Run<'_> {
    /// A vector of `len` default values. It polls for signals meanwhile, since touching new memory takes time.
    pub(crate) fn defaults<T: Clone + Default>(&mut self, len: usize) -> Result<Vec<T>, Error> {
        let mut vector = with_capacity(len)?;
        let part = BYTES_PER_TOUCH / size_of::<T>().max(1);
        for start in (0..len).step_by(part) {
            let end = len.min(start + part);
            self.poll((end - start) * size_of::<T>())?;
            vector.resize(end, T::default());
        }
        Ok(vector)
    }

    /// Divides `values` into parts of `len`, runs `body(first, part)` on each part, where `first` is the index of its
    /// first value, and runs `join` on the results in the order of the parts. Each value is read from so many `numbers`.
    #[inline(never)] // for the stack of its closures, as below
    pub(crate) fn on_parts<T: Send, R: Send>(
        &mut self,
        values: &mut [T],
        (len, numbers): (usize, usize),
        body: Body<'_, T, R>,
        join: &mut dyn FnMut(R),
    ) -> Result<(), Error> {
        let part_bytes = len.min(values.len()) * numbers * size_of::<f64>();
        if (1..=len).contains(&values.len()) {
            // The most frequent case, and small: it is run without the pool.
            self.poll(part_bytes)?;
            return body(0, values).map(join);
        }
        let mut parts = values.chunks_mut(len).enumerate();
        while parts.len() > 0 {
            // On the stack, where no allocation can fail.
            let count = parts.len().min(PARTS_AT_ONCE);
            let bunch: [_; PARTS_AT_ONCE] = from_fn(|_| Mutex::new((parts.next(), None)));
            self.each(self.threads, count, part_bytes, &|index| {
                let (part, result) = &mut *lock(&bunch[index]);
                // Boxed: an error is large, and some threads have little stack.
                let run = |(part, values)| body(part * len, values).map_err(Box::new);
                *result = part.take().map(run);
            })?;
            for result in bunch.iter().filter_map(|part| lock(part).1.take()) {
                join(result.map_err(|error| *error)?);
            }
        }
        Ok(())
    }

    /// The same for `results`, one for each of the `rows`: parts have about as many numbers to read.
    pub(crate) fn on_rows<T: Send>(
        &mut self,
        rows: &Rows<'_>,
        results: &mut [T],
        body: Body<'_, T, ()>,
    ) -> Result<(), Error> {
        let numbers = rows.rows().saturating_mul(rows.classes() + READ_PER_ROW);
        let parts = numbers.div_ceil(READ_PER_PART);
        // As many for each thread.
        let parts = if parts > 1 { parts.next_multiple_of(self.threads) } else { 1 };
        let len = rows.rows().div_ceil(parts).max(if are_near(rows) { ROWS_AT_ONCE } else { 1 });
        self.on_parts(results, (len, rows.classes()), body, &mut |()| {})
    }

    /// Σ of `count` terms, which are ≥ 0 or NaN. First `len` terms at a time are added, then `sums` of these sums at a
    /// time, then what results. `fill(first, terms)` writes the terms from index `first` on.
    #[inline(never)] // inlined, its stack frame of several KiB would be part of every loss
    pub(crate) fn sum_of_terms(
        &mut self,
        count: usize,
        (len, sums): (usize, usize),
        fill: &(dyn Fn(usize, &mut [f64]) + Sync),
    ) -> Result<f64, Error> {
        let (level, mut all) = (self.level, RunningSum::default());
        let sum_of = |first: usize, part: &mut [()]| {
            let (end, mut sum, mut term) = (first + part.len(), RunningSum::default(), [0.0]);
            for start in (first..end).step_by(len) {
                if len == 1 {
                    fill(start, &mut term);
                    sum.add(term[0]);
                    continue;
                }
                let (count, mut of_terms) = (len.min(end - start), ExactSum::default());
                level.add_terms(&mut of_terms, count, |at, terms| fill(start + at, terms));
                sum.add(of_terms.value());
            }
            Ok(sum.value())
        };
        // They take no memory.
        let mut terms = vec![(); count];
        self.on_parts(&mut terms, (len * sums, 1), &sum_of, &mut |sum| all.add(sum))?;
        Ok(all.value())
    }

    /// Reads all rows, one after another: calls `read((row, class), values, state)` for each part of a row, whose first
    /// class is given, and after the last `finish(row, state)`, whose results are returned.
    ///
    /// # Errors
    /// The first error of the first row that has one; [`Error::OutOfMemory`]; or the error of the checkpoint.
    pub(crate) fn read_rows<S: Clone + Default, R: Clone + Default + Send>(
        &mut self,
        rows: &Rows<'_>,
        read: impl Fn((usize, usize), &[f64], &mut S) -> Result<(), Error> + Sync,
        finish: impl Fn(usize, S) -> Result<R, Error> + Sync,
    ) -> Result<Vec<R>, Error> {
        let (classes, level) = (rows.classes(), self.level);
        // Rows that are neighbours, or short, are copied together.
        let are_near = are_near(rows);
        let (rows_at_once, most, pitch) = if are_near {
            let most = classes.min(CHUNK_OF_NEAR);
            (ROWS_AT_ONCE, most, most.next_multiple_of(MOST_LANES))
        } else {
            let most = classes.clamp(1, CHUNK);
            ((CHUNK / most).min(ROWS_AT_ONCE), most, most)
        };
        let mut results = self.defaults(rows.rows())?;
        // By reference, so that it is compiled once.
        let read_part: PolledBody<'_, R> = &|first, results, mut polled| {
            let count = rows_at_once.min(results.len().next_multiple_of(MOST_LANES));
            let (mut buffer, mut columns) = (zeros(count * pitch)?, [0.0; ROWS_AT_ONCE * LANES]);
            let mut states = with_capacity(count)?;
            states.resize(count, S::default());
            for (first, results) in (first..).step_by(count).zip(results.chunks_mut(count)) {
                // The rows before the first that has an error.
                let (mut left, mut error) = (results.len(), None);
                for start in (0..classes).step_by(most) {
                    if left == 0 {
                        break;
                    }
                    let len = most.min(classes - start);
                    if let Some(run) = &mut polled {
                        run.poll(left * len * size_of::<f64>())?;
                    }
                    let place = Neighbours { first, count: left, pitch };
                    let (classes, memory) = (start..start + len, (&mut *buffer, &mut columns[..]));
                    let is_copied = if are_near {
                        level.run(GatherNeighbours { rows, place, classes, memory })
                    } else {
                        rows.gather_at(level, first, start, &mut buffer[..left * len]);
                        true
                    };
                    let parts = buffer.chunks_mut(pitch).zip(&mut states[..left]).enumerate();
                    for (at, (values, state)) in parts {
                        let values = &mut values[..len];
                        if !is_copied {
                            rows.gather_at(level, first + at, start, values);
                        }
                        if let Err(found) = read((first + at, start), values, state) {
                            (left, error) = (at, Some(found));
                            break;
                        }
                    }
                }
                for (at, (result, state)) in results[..left].iter_mut().zip(&mut states).enumerate()
                {
                    *result = finish(first + at, take(state))?;
                }
                error.map_or(Ok(()), Err)?;
            }
            Ok(())
        };
        if classes > LONG_ROW {
            read_part(0, &mut results, Some(self))?;
        } else {
            self.on_rows(rows, &mut results, &|first, results| read_part(first, results, None))?;
        }
        Ok(results)
    }
}
