//! Reads rows of many classes, a part at a time.

use crate::simd::{ExactSum, Float, Vector, VectorJob, each, inlined};
use crate::target::{NO_CLASS, ProbabilityRow};

/// A row of probabilities, as far as it has been read.
#[derive(Default)]
pub(super) struct PartialRow {
    /// The first class with a probability other than 0.
    first: Option<usize>,
    has_others: bool,
    pub(super) sum: ExactSum,
}

impl PartialRow {
    /// The row, all of which has been read.
    pub(super) fn finish(&self) -> ProbabilityRow {
        let only = self.first.filter(|_| !self.has_others);
        let only = only.and_then(|class| u32::try_from(class).ok()).unwrap_or(NO_CLASS);
        ProbabilityRow { only, mass: self.sum.value() }
    }
}

/// The probabilities of a row from class `start` on, to be added to what has been read of it.
pub(super) struct Part<'p> {
    pub(super) start: usize,
    pub(super) values: &'p [f64],
    pub(super) row: &'p mut PartialRow,
}

impl VectorJob<f64> for Part<'_> {
    /// May there be an entry that is refused?
    type Output = bool;

    #[inline(always)]
    fn run<V: Vector<Scalar = f64>>(self, token: V::Token) -> bool {
        let PartialRow { first, has_others, sum } = self.row;
        let (mut class, least) = (self.start, V::splat(token, f64::SMALLEST));
        let see = inlined!(|terms: [V; 4]| {
            if !*has_others {
                let bits = each!(4, |i| V::bits(terms[i].ge(least)) << (i * V::LANES));
                let likely = bits[0] | bits[1] | bits[2] | bits[3];
                *has_others = likely != 0 && first.is_some() || likely.count_ones() > 1;
                if likely != 0 {
                    first.get_or_insert(class + likely.trailing_zeros() as usize);
                }
            }
            class += 4 * V::LANES;
        });
        !sum.add_positive::<V>(token, self.values, see)
    }
}
