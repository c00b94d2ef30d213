//! The classes of one row, or the rows of a batch, in parts on several threads: sums are added in the
//! order of the parts, so their number alone determines the bits.

use crate::executor::{Executor, in_parts};
use crate::math::{ExactSum, RunningSum, SUMS, two_sum};
use crate::simd::{DoubleLanes, Float, Level, Vector, VectorJob};
use std::ops::Range;

/// Some 25 µs of one thread. As a segment of a long row: sums of the classes of a row have the same bits
/// whoever forms them.
const LEN: usize = 1 << 14;

/// Σ of `term(index)` ≥ 0, or NaN, over the indices below `len`.
pub(super) fn sum_of_terms(
    len: usize,
    term: &(dyn Fn(usize) -> f64 + Sync),
    executor: &mut dyn Executor,
) -> f64 {
    sum_in_parts(executor, len, |part| {
        let mut sum = ExactSum::default();
        let mut terms = [0.0; 64];
        for start in part.clone().step_by(64) {
            let len = (part.end - start).min(64);
            terms[..len].iter_mut().zip(start..).for_each(|(value, index)| *value = term(index));
            sum.add(&terms[..len]);
        }
        sum.value()
    })
}

/// Σ of `terms(part)` over the parts of `0..len`.
fn sum_in_parts(
    executor: &mut dyn Executor,
    len: usize,
    terms: impl Fn(Range<usize>) -> f64 + Sync,
) -> f64 {
    let part = |first: usize| first..len.min(first + LEN);
    let parts = (0..len).step_by(LEN).map(part);
    let mut sum = RunningSum::default();
    in_parts(executor, parts, bytes_of_part(len), |_, part| terms(part), |terms| sum.add(terms));
    sum.value()
}

/// A row, filled by `fill(first class, part)`; the sum of what that returns.
pub(super) fn fill_in_parts<F: Send>(
    executor: &mut dyn Executor,
    row: &mut [F],
    fill: impl Fn(usize, &mut [F]) -> f64 + Sync,
) -> f64 {
    let bytes = bytes_of_part(row.len());
    let mut sum = RunningSum::default();
    let fill = |part: usize, row: &mut [F]| fill(part * LEN, row);
    in_parts(executor, row.chunks_mut(LEN), bytes, fill, |terms| sum.add(terms));
    sum.value()
}

fn bytes_of_part(len: usize) -> usize {
    len.min(LEN) * size_of::<f64>()
}

/// Σ of values ≥ 0, or NaN.
pub(crate) fn exact_sum(values: &[f64], executor: &mut dyn Executor) -> f64 {
    if let [only] = values {
        return *only;
    }
    sum_in_parts(executor, values.len(), |part| {
        f64::dispatch(Level::current(), Summed(&values[part]))
    })
}

/// The sum of values, by the vectors of a level.
struct Summed<'v>(&'v [f64]);

impl VectorJob<f64> for Summed<'_> {
    type Output = f64;

    #[inline(always)]
    fn run<V: Vector<Scalar = f64>>(self, token: V::Token) -> f64 {
        let (chunks, rest) = self.0.as_chunks::<SUMS>();
        let mut high = V::Doubles::splat(token, 0.0);
        let mut low = high;
        for chunk in chunks {
            let (sum, lost) = two_sum(high, V::Doubles::from_slice(token, chunk));
            (high, low) = (sum, low + lost);
        }
        let (mut highs, mut lows) = ([0.0; SUMS], [0.0; SUMS]);
        high.to_slice(&mut highs);
        low.to_slice(&mut lows);
        let mut sum = ExactSum::from_lanes(highs, lows);
        sum.add(rest);
        sum.value()
    }
}
