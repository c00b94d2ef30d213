//! Sums rows of few classes, eight side by side: done row by row, the work that does not depend on the number of
//! classes would take most of the time (5000 rows of ten classes: reading took 5 times as long).

use crate::math::{Real, RunningSum, count};
use crate::simd::{Float, Sink, Source, Vector, VectorJob, Widened, inlined, transpose};
use crate::target::{NO_CLASS, ProbabilityRow, WeightValues};
use std::array::from_fn;

/// The number of rows side by side.
const LANES: usize = 8;
/// The number of rows of a group.
pub(super) const GROUP: usize = 2 * LANES;

/// LANES classes of LANES rows. No vector of them crosses a cache line: reading back one just written would wait.
#[repr(align(64))]
struct Block([f64; LANES * LANES]);

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
    let (zero, nan) = (V::splat(token, 0.0), V::splat(token, f64::NAN));
    let (least, zeros) = (V::splat(token, f64::SMALLEST), V::Eight::splat(token, 0.0));
    let mut sum = RunningSum { sum: zeros, lost: zeros };
    // Has a row a probability other than 0, or more than one? A bit for each row; and the last such class.
    let (mut has_one, mut has_more, mut last) = (0, 0, zero);
    let mut add = inlined!(|class: usize, q: V| {
        let is_likely = q.ge(least);
        has_more |= has_one & V::bits(is_likely);
        has_one |= V::bits(is_likely);
        last = V::select(is_likely, V::splat(token, count(class)), last);
        // An entry that is refused makes the sum infinite or NaN.
        let q = V::Eight::widen(V::select(q.ge(zero), q, nan));
        sum.add(class_weight.map_or(q, |weights| q * zeros.like(weights.get(class))));
    });
    if rows.len() == LANES && classes >= LANES {
        for first in (0..classes).step_by(LANES) {
            // The last block begins earlier, so that it ends with the row.
            let start = first.min(classes - LANES);
            let (mut block, values) = (Block([0.0; _]), Source::from_slice(&values[start..]));
            transpose::<V>(token, values, classes, &mut Sink::from_slice(&mut block.0), LANES);
            for class in first..classes.min(first + LANES) {
                add(class, V::from_slice(token, &block.0[(class - start) * LANES..]));
            }
        }
    } else {
        for class in 0..classes {
            let q = from_fn::<_, LANES, _>(|row| values.get(row * classes + class).copied());
            add(class, V::from_slice(token, &q.map(Option::unwrap_or_default)));
        }
    }
    let (mass, only) = (sum.value(), has_one & !has_more);
    let mut masses = [0.0; LANES];
    mass.to_slice(&mut masses);
    for (i, (row, last)) in rows.iter_mut().zip(last.to_array()).enumerate() {
        let only = if only >> i & 1 == 1 { last as u32 } else { NO_CLASS };
        *row = ProbabilityRow { only, mass: masses[i] };
    }
    !V::Eight::all(zeros.like(f64::MAX).ge(mass))
}
