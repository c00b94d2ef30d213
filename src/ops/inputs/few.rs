//! Sums rows of few classes, eight side by side: done row by row, the work that does not depend on the number of
//! classes would take most of the time (5000 rows of ten classes: reading took 5 times as long).

use crate::math::{Real, RunningSum, count};
use crate::simd::{Vector, VectorJob};
use crate::target::{NO_CLASS, ProbabilityRow, WeightValues};
use std::array::from_fn;

/// The number of rows side by side.
const LANES: usize = 8;
/// The number of rows of a group.
pub(super) const GROUP: usize = 2 * LANES;

/// Some rows, and what is read of each.
pub(super) struct Group<'g> {
    /// The values of the rows, one row after another.
    pub(super) values: &'g [f64],
    pub(super) classes: usize,
    pub(super) class_weight: Option<&'g WeightValues>,
    pub(super) rows: &'g mut [ProbabilityRow],
}

impl VectorJob<f64> for Group<'_> {
    /// May a row have an entry that is refused?
    type Output = bool;

    #[inline(always)]
    fn run<V: Vector<Scalar = f64>>(self, token: V::Token) -> bool {
        let Self { values, classes, class_weight, rows } = self;
        let values = values.chunks(LANES * classes).zip(rows.chunks_mut(LANES));
        let mut may_be_bad = false;
        for (values, rows) in values {
            may_be_bad |= read::<V>(token, (values, classes), class_weight, rows);
        }
        may_be_bad
    }
}

/// Reads at most [`LANES`] rows; returns whether one may have an entry that is refused.
#[inline(always)]
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "few classes")]
fn read<V: Vector<Scalar = f64>>(
    token: V::Token,
    (values, classes): (&[f64], usize),
    class_weight: Option<&WeightValues>,
    rows: &mut [ProbabilityRow],
) -> bool {
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
    for (i, row) in rows.iter_mut().enumerate() {
        let only = if likely[i] == 1.0 { numbers[i] as u32 } else { NO_CLASS };
        *row = ProbabilityRow { only, mass: masses[i] };
    }
    !V::Eight::all(zero.like(f64::MAX).ge(mass))
}
