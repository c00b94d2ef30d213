//! Sums of doubles with some 100 bits, rounded once at the end.

use super::{Eights, Float, Level, QUAD, Source, Vector, VectorJob, Widened};
use crate::math::{Real, RunningSum, in_halves, two_sum};
use std::array::from_fn;

/// The number of sums side by side.
const SUMS: usize = 8;

/// The number of terms that are computed before they are added: a multiple of the number of sums.
const TERMS: usize = 32;

/// Σ of values ≥ 0, or NaN, with some 100 bits: eight sums side by side, each with the sum of its rounding errors.
#[derive(Clone, Copy, Default)]
#[repr(align(64))]
pub(crate) struct ExactSum {
    high: [f64; SUMS],
    low: [f64; SUMS],
}

impl ExactSum {
    /// Adds values with the vectors of a level.
    #[inline(always)]
    pub(crate) fn add<V: Vector>(&mut self, token: V::Token, values: &[f64]) {
        let (chunks, rest) = values.as_chunks::<SUMS>();
        let mut high = V::Eight::from_slice(token, &self.high);
        let mut low = V::Eight::from_slice(token, &self.low);
        for chunk in chunks {
            let (sum, lost) = two_sum(high, V::Eight::from_slice(token, chunk));
            (high, low) = (sum, low + lost);
        }
        high.to_slice(&mut self.high);
        low.to_slice(&mut self.low);
        for ((high, low), value) in self.high.iter_mut().zip(&mut self.low).zip(rest) {
            let (sum, lost) = two_sum(*high, *value);
            (*high, *low) = (sum, *low + lost);
        }
    }

    /// Adds the vectors of `len` values: `vector(at)` is that from value `at` on, with zeros after the last; or None if
    /// they are not added.
    #[inline(always)]
    pub(crate) fn add_vectors<V: Vector>(
        &mut self,
        token: V::Token,
        len: usize,
        mut vector: impl FnMut(usize) -> Option<V::Doubles>,
    ) {
        let [high, low] = [&self.high, &self.low];
        let (sum, lost) = (V::Eight::from_slice(token, high), V::Eight::from_slice(token, low));
        let mut sum = RunningSum { sum, lost };
        for at in (0..len).step_by(V::LANES) {
            if let Some(vector) = vector(at) {
                outlined_if_compact!(V, token, vector.add_to(&mut sum));
            }
        }
        sum.sum.to_slice(&mut self.high);
        sum.lost.to_slice(&mut self.low);
    }

    /// Adds values four at a time, which takes half of the time: so the sum may have an error of 2^-53 of itself before
    /// it is rounded. Unless it is to be `exact`, it is not compensated. Numbers of any type are added in the same order.
    /// Calls `see` on each quad of vectors, with zeros after the last value, and adds what `weigh` makes of those from a
    /// value on. Returns false if a value may be negative, infinite or NaN, or if the sum overflows.
    #[inline(always)]
    pub(crate) fn add_positive<V: Vector>(
        &mut self,
        token: V::Token,
        values: Source<'_, V::Scalar>,
        exact: bool,
        mut see: impl FnMut([V; QUAD]),
        weigh: impl Fn(usize, V::Doubles) -> V::Doubles,
    ) -> bool {
        let number = inlined!(|number: f64| V::Scalar::from_f64(number));
        let (zero, nan) = (V::splat(token, number(0.0)), V::splat(token, number(f64::NAN)));
        let mut high = V::Eight::from_slice(token, &self.high);
        let mut low = V::Eight::from_slice(token, &self.low);
        for at in (0..values.len()).step_by(const { QUAD * V::LANES }) {
            let terms = if values.len() - at < const { QUAD * V::LANES } {
                let rest = values.part(at, usize::MAX);
                let pad = number(0.0);
                each!(QUAD, |i| rest.vector::<V>(token, rest.len().min(i * V::LANES), pad))
            } else {
                let quad = values.quad::<V>(at);
                each!(QUAD, |i| quad.nth::<V>(token, i))
            };
            see(terms);
            let terms = each!(QUAD, |i| V::select(terms[i].ge(zero), terms[i], nan));
            let terms = each!(QUAD, |i| weigh(at + i * V::LANES, V::Doubles::widen(terms[i])));
            let [a, b, c, d] = terms;
            let (mut sums, mut count) = ([a.folded() + b.folded(), c.folded() + d.folded()], 2);
            if V::Scalar::IS_DOUBLE {
                (sums[0], count) = (sums[0] + sums[1], 1);
            }
            for four in sums.into_iter().take(count) {
                let (sum, lost) = two_sum(high, four);
                high = sum;
                if exact {
                    low = low + lost;
                }
            }
        }
        high.to_slice(&mut self.high);
        low.to_slice(&mut self.low);
        V::Eight::all(high.like(f64::MAX).ge(high))
    }

    /// The sum of the eight sums, without their rounding errors.
    #[inline(always)]
    pub(crate) fn uncompensated(mut self) -> f64 {
        in_halves(&mut self.high, inlined!(|a, b| a + b))
    }

    /// The sum, rounded once.
    pub(crate) fn value(&self) -> f64 {
        let mut sums = from_fn::<_, SUMS, _>(|i| (self.high[i], self.low[i]));
        let (sum, lost) = in_halves(&mut sums, |a, b| {
            let (sum, lost) = two_sum(a.0, b.0);
            (sum, a.1 + b.1 + lost)
        });
        RunningSum { sum, lost }.value()
    }
}

impl Level {
    /// Adds `count` terms to `sum`. `fill(first, terms)` writes the terms from index `first` on.
    #[inline(always)]
    pub(crate) fn add_terms(
        self,
        sum: &mut ExactSum,
        count: usize,
        mut fill: impl FnMut(usize, &mut [f64]),
    ) {
        for first in (0..count).step_by(TERMS) {
            let terms = &mut [0.0; TERMS][..TERMS.min(count - first)];
            fill(first, terms);
            self.run((&mut *sum, &*terms));
        }
    }
}

impl VectorJob<f64> for (&mut ExactSum, &[f64]) {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Scalar = f64>>(self, token: V::Token) {
        self.0.add::<V>(token, self.1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(parts: &[&[f64]]) -> f64 {
        let mut sum = ExactSum::default();
        for part in parts {
            Level::current().run((&mut sum, *part));
        }
        sum.value()
    }

    #[test]
    fn nothing_is_lost() {
        let mut values = vec![1e16];
        values.extend([1.0; 1000]);
        values.push(f64::EPSILON);
        for len in [0, 1, 7, 8, 9, 1001, 1002] {
            let (first, last) = values[..len].split_at(len / 3);
            let sum = sum(&[first, last]);
            #[allow(clippy::cast_precision_loss, reason = "1000")]
            let wanted = if len == 0 { 0.0 } else { 1e16 + (len.min(1001) - 1) as f64 };
            assert!((sum - wanted).abs() <= 1.0, "{len}: {sum}");
        }
    }

    #[test]
    fn sums_overflow_and_keep_nan() {
        assert_eq!(sum(&[&[f64::MAX, f64::MAX, 1.0]]), f64::INFINITY);
        assert_eq!(sum(&[&[1.0; 16].map(|one| one * f64::MAX)]), f64::INFINITY);
        assert!(sum(&[&[f64::NAN, 1.0]]).is_nan());
        assert!(sum(&[&[[1.0, f64::NAN]; 8].concat()]).is_nan());
        assert_eq!(sum(&[&[]]).to_bits(), 0);
    }
}
