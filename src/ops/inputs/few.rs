//! Reads rows of few classes, eight side by side: done row by row, the work that does not depend on the number of
//! classes would take most of the time (5000 rows of ten classes: reading took 5 times as long).

use super::check_entries;
use crate::batch::{NUMBERS_PER_PART, Run};
use crate::error::Error;
use crate::kernel::MOST_CLASSES;
use crate::math::{Real, RunningSum, count};
use crate::simd::{Rows, Vector, VectorJob};
use crate::target::{NO_CLASS, ProbabilityRow, WeightValues};
use std::array::from_fn;

/// The number of rows side by side.
const LANES: usize = 8;

/// Reads all rows and converts each to a result with `finish`; returns None if they have many classes. Entries must be
/// finite and ≥ 0. `argument` is the name of the argument and a function from a row to its index there, for errors.
///
/// # Errors
/// The first error of the first row that has one; [`Error::OutOfMemory`]; or the error of the checkpoint.
pub(super) fn read_few<R: Clone + Default + Send>(
    rows: &Rows<'_>,
    argument: (&'static str, &(dyn Fn(usize) -> usize + Sync)),
    class_weight: Option<&WeightValues>,
    run: &mut Run<'_>,
    finish: impl Fn(usize, ProbabilityRow) -> Result<R, Error> + Sync,
) -> Result<Option<Vec<R>>, Error> {
    let (classes, level) = (rows.classes(), run.level);
    if !(1..=MOST_CLASSES).contains(&classes) {
        return Ok(None);
    }
    let (name, index) = argument;
    let mut results = run.defaults(rows.rows())?;
    let rows_per_part = NUMBERS_PER_PART / classes;
    let read = |part: usize, results: &mut [R]| {
        let mut values = [0.0; MOST_CLASSES * LANES];
        for (group, results) in results.chunks_mut(LANES).enumerate() {
            let first = part * rows_per_part + group * LANES;
            let values = &mut values[..results.len() * classes];
            let at_once = if rows.are_one() { values.len() } else { classes };
            for (row, values) in (first..).zip(values.chunks_mut(at_once)) {
                rows.gather_for(level, row, 0, values);
            }
            let (read, may_be_bad) = level.run(Group { values, classes, class_weight });
            let rows = (first..).zip(values.chunks(classes)).zip(read);
            for (((row, values), read), result) in rows.zip(results) {
                if may_be_bad {
                    check_entries(level, name, values, |class| vec![index(row), class])?;
                }
                *result = finish(row, read)?;
            }
        }
        Ok(())
    };
    let part_bytes = rows_per_part.min(results.len()) * classes * size_of::<f64>();
    run.in_parts(results.chunks_mut(rows_per_part), part_bytes, read, |()| {})?;
    Ok(Some(results))
}

/// The values of at most [`LANES`] rows, one row after another.
struct Group<'g> {
    values: &'g [f64],
    classes: usize,
    class_weight: Option<&'g WeightValues>,
}

impl VectorJob<f64> for Group<'_> {
    /// The rows, and whether one may have an entry that is refused.
    type Output = ([ProbabilityRow; LANES], bool);

    #[inline(always)]
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "few classes")]
    fn run<V: Vector<Scalar = f64>>(self, token: V::Token) -> Self::Output {
        let Self { values, classes, class_weight } = self;
        let (zero, one) = (V::Eight::splat(token, 0.0), V::Eight::splat(token, 1.0));
        let mut sum = RunningSum { sum: zero, lost: zero };
        // The classes with a probability other than 0: how many there are, and the sum of their numbers.
        let (mut likely, mut numbers) = (zero, zero);
        for class in 0..classes {
            let q = from_fn::<_, LANES, _>(|row| values.get(row * classes + class).copied());
            let q = V::Eight::from_slice(token, &q.map(Option::unwrap_or_default));
            // An entry that is refused makes the sum infinite or NaN.
            let q = V::Eight::pick(q.ge(zero), q, zero.like(f64::NAN));
            let is_zero = q.eq(zero);
            likely = V::Eight::pick(is_zero, likely, likely + one);
            numbers = V::Eight::pick(is_zero, numbers, numbers + zero.like(count(class)));
            sum.add(class_weight.map_or(q, |weights| q * zero.like(weights.get(class))));
        }
        let (mass, _) = sum.parts();
        let [masses, likely, numbers] = [mass, likely, numbers].map(|lanes| {
            let mut values = [0.0; LANES];
            lanes.to_slice(&mut values);
            values
        });
        let rows = from_fn(|row| ProbabilityRow {
            only: if likely[row] == 1.0 { numbers[row] as u32 } else { NO_CLASS },
            mass: masses[row],
        });
        (rows, !V::Eight::all(zero.like(f64::MAX).ge(mass)))
    }
}
