//! Compensated sums of doubles: each has a sum and the sum of its rounding errors.

use super::Real;

/// A sum of few numbers, one after another, with the rounding errors of the additions; for vectors, one in each lane.
#[derive(Clone, Copy, Default)]
pub struct RunningSum<T = f64> {
    pub(crate) sum: T,
    pub(crate) lost: T,
}

impl<T: Real> RunningSum<T> {
    #[inline(always)]
    pub fn add(&mut self, term: T) {
        let (sum, lost) = two_sum(self.sum, term);
        (self.sum, self.lost) = (sum, self.lost + lost);
    }

    /// A product, rounded, and its rounding error.
    #[inline(always)]
    pub fn of_product(a: T, b: T) -> Self {
        let sum = a * b;
        Self { sum, lost: a.mul_add(b, sum.like(0.0) - sum) }
    }

    /// Adds a product.
    #[inline(always)]
    pub fn add_product(&mut self, a: T, b: T) {
        let product = Self::of_product(a, b);
        self.add(product.sum);
        self.lost = self.lost + product.lost;
    }

    /// The sum, rounded, and its rounding error.
    #[inline(always)]
    pub fn parts(self) -> (T, T) {
        let sum = self.sum + self.lost;
        let lost = self.lost - (sum - self.sum);
        // The rounding error of an infinite sum is inf − inf, which must not be added to it.
        let is_finite = sum.eq(sum);
        (T::pick(is_finite, sum, self.sum), T::pick(is_finite, lost, sum.like(0.0)))
    }

    #[inline(always)]
    pub fn value(self) -> T {
        self.parts().0
    }
}

/// a + b, rounded, and its rounding error (Knuth).
#[inline(always)]
pub fn two_sum<T: Real>(a: T, b: T) -> (T, T) {
    let sum = a + b;
    let from_b = sum - a;
    (sum, (a - (sum - from_b)) + (b - from_b))
}

/// Joins numbers i and i + half, then the same of those that result, until one is left. Their count is a power of two.
#[inline(always)]
pub fn in_halves<T: Copy>(numbers: &mut [T], join: impl Fn(T, T) -> T) -> T {
    let mut half = numbers.len() / 2;
    while half > 0 {
        for i in 0..half {
            numbers[i] = join(numbers[i], numbers[i + half]);
        }
        half /= 2;
    }
    numbers[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_overflow_and_keep_nan() {
        let running = |values: &[f64]| {
            let mut sum = RunningSum::default();
            for value in values {
                sum.add(*value);
            }
            sum.parts()
        };
        assert_eq!(running(&[f64::MAX, f64::MAX, 1.0]), (f64::INFINITY, 0.0));
        assert_eq!(running(&[f64::INFINITY, 1.0]), (f64::INFINITY, 0.0));
        assert!(running(&[1.0, f64::NAN, 1.0]).0.is_nan());
    }

    /// The second part is the rounding error.
    #[test]
    fn the_parts_of_a_sum() {
        let tiny = 2f64.powi(-60);
        let mut sum = RunningSum::default();
        for term in [tiny, 1.0, tiny, -tiny, 3.0 * tiny] {
            sum.add(term);
        }
        assert_eq!((sum.parts(), sum.value()), ((1.0, 4.0 * tiny), 1.0));
        sum.add(-1.0);
        assert_eq!(sum.parts(), (4.0 * tiny, 0.0));
        for (a, b) in [(1.0, tiny), (tiny, 1.0), (1e300, -1e-300), (0.1, 0.2), (-0.3, 0.1)] {
            let (sum, lost) = two_sum(a, b);
            assert_eq!(sum, a + b);
            // Both differences are exact if the larger number is subtracted first.
            let (large, small) = if f64::abs(a) > f64::abs(b) { (a, b) } else { (b, a) };
            assert_eq!(lost, small - (sum - large), "{a} + {b}");
        }
    }
}
