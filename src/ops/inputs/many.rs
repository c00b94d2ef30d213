//! Reads rows of many classes: several rows, or a part of one, at a time.

use crate::simd::{ExactSum, Float, Source, Vector, VectorJob, each, inlined};
use crate::target::{NO_CLASS, ProbabilityRow, WeightValues};
use std::mem::take;

/// A row of probabilities, as far as it has been read.
#[derive(Clone, Default)]
pub(super) struct PartialRow {
    /// The first class with a probability other than 0.
    first: Option<usize>,
    has_others: bool,
    sum: ExactSum,
}

/// Rows of probabilities, one after another; or those of one row from class `start` on, to be added to `partial`.
pub(super) struct Many<'p, F> {
    pub(super) start: usize,
    pub(super) values: Source<'p, F>,
    pub(super) classes: usize,
    pub(super) class_weight: Option<&'p WeightValues>,
    /// Is the sum compensated?
    pub(super) exact: bool,
    pub(super) partial: &'p mut PartialRow,
    /// Set with the last class.
    pub(super) rows: &'p mut [ProbabilityRow],
}

impl<F: Float> VectorJob<F> for Many<'_, F> {
    /// May there be an entry that is refused?
    type Output = bool;

    #[inline(always)]
    fn run<V: Vector<Scalar = F>>(self, token: V::Token) -> bool {
        let Self { start, values, classes, class_weight, exact, partial, rows } = self;
        let (len, mut may_be_bad) = (values.len() / rows.len(), false);
        let least = V::splat(token, F::SMALLEST);
        for (i, row) in rows.iter_mut().enumerate() {
            let values = values.part(i * len, len);
            let PartialRow { first, has_others, sum } = &mut *partial;
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
            may_be_bad |= !if is_general {
                sum.add_positive::<V>(token, values, exact, see, weigh)
            } else {
                sum.add_positive::<V>(token, values, exact, see, inlined!(|_, q| q))
            };
            if start + len == classes {
                let PartialRow { first, has_others, sum } = take(partial);
                let only = first.filter(|_| !has_others);
                let only = only.and_then(|class| u32::try_from(class).ok()).unwrap_or(NO_CLASS);
                let mass = if exact { sum.value() } else { sum.uncompensated() };
                *row = ProbabilityRow { only, mass };
            }
        }
        may_be_bad
    }
}
