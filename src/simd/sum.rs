//! Exact sums, by the vectors of a level.

use super::{DoubleLanes, Float, Level, Vector, VectorJob};
use crate::math::ExactSum;

/// Adds values: see [`ExactSum::add`].
#[inline(always)]
pub(crate) fn add_exactly<V: Vector>(token: V::Token, sum: &mut ExactSum, values: &[f64]) {
    sum.add(
        values,
        #[inline(always)]
        |values| V::Eight::from_slice(token, values),
        V::Eight::to_slice,
    );
}

impl Level {
    /// The same from anywhere.
    pub(crate) fn add_exactly(self, sum: &mut ExactSum, values: &[f64]) {
        f64::dispatch(self, Values { sum, values });
    }
}

struct Values<'v> {
    sum: &'v mut ExactSum,
    values: &'v [f64],
}

impl VectorJob<f64> for Values<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Scalar = f64>>(self, token: V::Token) {
        add_exactly::<V>(token, self.sum, self.values);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(parts: &[&[f64]]) -> f64 {
        let mut sum = ExactSum::default();
        for part in parts {
            Level::current().add_exactly(&mut sum, part);
        }
        sum.value()
    }

    #[test]
    fn nothing_is_lost() {
        let mut values = vec![1e16];
        values.extend([1.0; 1000]);
        values.push(f64::EPSILON);
        for len in [0, 1, 7, 8, 9, 1001, 1002] {
            let (first, last) = values[..len].split_at(len / 16 * 8);
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
