//! Reads rows of many classes, a part of a row at a time.

use crate::simd::{ExactSum, Float, Source, Vector, VectorJob, each, inlined};
use crate::target::{NO_CLASS, ProbabilityRow, WeightValues};

/// A row of probabilities, as far as it has been read.
#[derive(Clone, Default)]
pub(super) struct PartialRow {
    /// The first class with a probability other than 0.
    first: Option<usize>,
    has_others: bool,
    sum: ExactSum,
}

impl PartialRow {
    /// What was read of the row, if its sum is `exact` or not.
    #[inline(always)]
    pub(super) fn finished(self, exact: bool) -> ProbabilityRow {
        let Self { first, has_others, sum } = self;
        let only = first.filter(|_| !has_others);
        let only = only.and_then(|class| u32::try_from(class).ok()).unwrap_or(NO_CLASS);
        ProbabilityRow { only, mass: if exact { sum.value() } else { sum.uncompensated() } }
    }
}

/// Probabilities of a row from class `start` on, to be added to `partial`.
pub(super) struct Many<'p, F> {
    pub(super) start: usize,
    pub(super) values: Source<'p, F>,
    pub(super) class_weight: Option<&'p WeightValues>,
    /// Is the sum compensated?
    pub(super) exact: bool,
    pub(super) partial: &'p mut PartialRow,
}

impl<F: Float> VectorJob<F> for Many<'_, F> {
    /// May there be an entry that is refused?
    type Output = bool;

    #[inline(always)]
    fn run<V: Vector<Scalar = F>>(self, token: V::Token) -> bool {
        let Self { start, values, class_weight, exact, partial } = self;
        let PartialRow { first, has_others, sum } = partial;
        let least = V::splat(token, F::SMALLEST);
        let mut class = start;
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
        let weigh = inlined!(|at: usize, q: V::Doubles| match class_weight {
            Some(weights) => q * weights.vector::<V>(token, start + at),
            None => q,
        });
        // For the usual f32 numbers without weights: a branch in the loop costs registers.
        let is_general = V::IS_COMPACT || F::IS_DOUBLE || class_weight.is_some();
        !if is_general {
            sum.add_positive::<V>(token, values, exact, see, weigh)
        } else {
            sum.add_positive::<V>(token, values, exact, see, inlined!(|_, q| q))
        }
    }
}
