//! The classes of one row, or the rows of a batch, in parts on several threads: sums are added in the
//! order of the parts, so their number alone determines the bits.

use super::read::ExactSum;
use crate::crew::{Crew, in_parts};
use crate::wide::{DoubleDouble, Wide};
use std::ops::Range;

/// Some 100 µs of one thread.
const LEN: usize = 1 << 16;

/// Σ of `terms(part)` over the parts of `0..len`.
pub(super) fn sum_in_parts(
    crew: &mut dyn Crew,
    len: usize,
    terms: impl Fn(Range<usize>) -> DoubleDouble + Sync,
) -> DoubleDouble {
    let part = |first: usize| first..len.min(first + LEN);
    let parts = (0..len).step_by(LEN).map(part);
    let mut sum = DoubleDouble::new(0.0);
    let join = |terms| sum = sum + terms;
    in_parts(crew, parts, bytes_of_part(len), |_, part| terms(part), join);
    sum
}

/// Two rows of the same length, filled by `fill(first class, part, part)`; the sums of what that
/// returns.
pub(super) fn fill_in_parts<const N: usize, F: Send>(
    crew: &mut dyn Crew,
    (high, low): (&mut [F], &mut [F]),
    fill: impl Fn(usize, &mut [F], &mut [F]) -> [DoubleDouble; N] + Sync,
) -> [DoubleDouble; N] {
    let bytes = bytes_of_part(high.len());
    let parts = high.chunks_mut(LEN).zip(low.chunks_mut(LEN));
    let mut sums = [DoubleDouble::new(0.0); N];
    let join = |terms: [DoubleDouble; N]| {
        sums.iter_mut().zip(terms).for_each(|(sum, term)| *sum = *sum + term);
    };
    let fill = |part: usize, (high, low): (&mut [F], &mut [F])| fill(part * LEN, high, low);
    in_parts(crew, parts, bytes, fill, join);
    sums
}

fn bytes_of_part(len: usize) -> usize {
    len.min(LEN) * size_of::<f64>()
}

/// Σ of values ≥ 0, or NaN, to some 100 bits.
pub(crate) fn exact_sum(values: &[f64], crew: &mut dyn Crew) -> DoubleDouble {
    sum_in_parts(crew, values.len(), |part| {
        let mut sum = ExactSum::default();
        sum.add(&values[part]);
        sum.value()
    })
}
