//! Reads rows of few classes, one in each lane: done row by row, the work that does not depend on the number of classes
//! would take most of the time (5000 rows of ten classes: reading took 5 times as long).

use crate::batch::Workspace;
use crate::error::Error;
use crate::kernel::{MOST_CLASSES, load};
use crate::math::{Real, RunningSum, count};
use crate::simd::{Float, Level, MOST_LANES, Rows, Vector, VectorJob, Widened, inlined};
use crate::target::{NO_CLASS, ProbabilityRow, WeightValues};

/// Elements of a tile.
const TILE: usize = MOST_CLASSES * MOST_LANES;

/// Reads rows from `first` on, as numbers of type `F`; returns whether one may have an entry that is refused.
pub(super) fn read_few<F: Float>(
    rows: &Rows<'_>,
    (class_weight, exact): (Option<&WeightValues>, bool),
    level: Level,
    first: usize,
    results: &mut [ProbabilityRow],
) -> Result<bool, Error> {
    // Not on the stack, which may be small.
    let mut workspace = Workspace::<F>::new(2 * TILE);
    workspace.reserve(1)?;
    let memory = workspace.first();
    Ok(level.run(Few { rows, first, class_weight, exact, memory, results }))
}

/// Some rows, and what is read of each.
struct Few<'g, F> {
    rows: &'g Rows<'g>,
    first: usize,
    class_weight: Option<&'g WeightValues>,
    /// Are the sums compensated?
    exact: bool,
    memory: &'g mut [F],
    results: &'g mut [ProbabilityRow],
}

impl<F: Float> VectorJob<F> for Few<'_, F> {
    /// May a row have an entry that is refused?
    type Output = bool;

    #[inline(always)]
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "few classes")]
    fn run<V: Vector<Scalar = F>>(self, token: V::Token) -> bool {
        let ((own, tile), classes) = (self.memory.split_at_mut(TILE), self.rows.classes());
        let number = inlined!(|number: f64| V::splat(token, F::from_f64(number)));
        let (zero, nan, least) = (number(0.0), number(f64::NAN), V::splat(token, F::SMALLEST));
        let zeros = V::Doubles::splat(token, 0.0);
        let (mut first, mut all_finite) = (self.first, true);
        for results in self.results.chunks_mut(V::LANES) {
            load::<V>(token, self.rows, (first, results.len()), own, tile);
            first += results.len();
            let mut sum = RunningSum { sum: zeros, lost: zeros };
            // Has a row a probability other than 0, or more than one? A bit for each row; and the last such class.
            let (mut has_one, mut has_more, mut last) = (0, 0, zero);
            for (class, q) in tile[..classes * V::LANES].chunks_exact(V::LANES).enumerate() {
                let q = V::from_slice(token, q);
                let is_likely = q.ge(least);
                has_more |= has_one & V::bits(is_likely);
                has_one |= V::bits(is_likely);
                last = V::select(is_likely, number(count(class)), last);
                // An entry that is refused makes the sum infinite or NaN.
                let q = V::Doubles::widen(V::select(q.ge(zero), q, nan));
                let class_weight = self.class_weight;
                let q = class_weight.map_or(q, |weights| q * zeros.like(weights.get(class)));
                if self.exact {
                    sum.add(q);
                } else {
                    sum.sum = sum.sum + q;
                }
            }
            let (mass, mut masses) = (sum.value(), [0.0; MOST_LANES]);
            mass.to_slice(&mut masses);
            let only = has_one & !has_more;
            for (i, (row, last)) in results.iter_mut().zip(last.to_array()).enumerate() {
                let only = if only >> i & 1 == 1 { last.to_f64() as u32 } else { NO_CLASS };
                *row = ProbabilityRow { only, mass: masses[i] };
                all_finite &= masses[i] <= f64::MAX;
            }
        }
        !all_finite
    }
}
