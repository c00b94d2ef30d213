//! Softmax of two tiles at a time. If a vector is a single register, each step is done for both tiles before the next
//! step: while one tile waits for its results, the processor works on the other.

use super::special::{Specials, find_nans};
use super::{Tile, replace_numbers};
use crate::kernel::exp::{Base, Exponential, is_double};
use crate::kernel::finish::inverse_of;
use crate::kernel::reduce::WeightKind;
use crate::kernel::rows::Operation;
use crate::kernel::write::probability;
use crate::math::{Real, two_sum};
use crate::simd::{Float, MOST_LANES, Vector, Widened};

/// Logits, LANES of class 0, of class 1, ..., and memory for the outputs in the same order.
type InMemory<'t, F> = (&'t mut [F], &'t mut [F]);

impl<F: Float> Tile<'_, F> {
    /// Is softmax computed for two tiles at a time? If a vector is several registers, only for f32, where that saves
    /// the overhead of calls.
    pub(crate) const fn has_pairs<V: Vector<Scalar = F>>() -> bool {
        !V::IS_COMPACT && (V::IS_ONE_REGISTER || V::LANES == MOST_LANES)
    }

    /// Softmax of this tile and of the next.
    #[inline(always)]
    pub(crate) fn softmax_pair<V: Vector<Scalar = F>>(
        &self,
        next: &Self,
        token: V::Token,
        (z, out): InMemory<'_, F>,
        (next_z, next_out): InMemory<'_, F>,
    ) {
        if !V::IS_ONE_REGISTER {
            for (tile, z, out) in [(self, z, out), (next, next_z, next_out)] {
                let (max, mut specials) = tile.swept_max::<V>(token, z);
                let sums = tile.softmax_sums::<V>(token, max, z, out, &mut specials);
                write_probabilities::<V>(token, sums, out, specials.as_ref());
            }
            return;
        }
        let (max, mut specials) = self.swept_max::<V>(token, z);
        let (next_max, mut next_specials) = next.swept_max::<V>(token, next_z);
        let sums = self.softmax_sums::<V>(token, max, z, out, &mut specials);
        let next_sums =
            next.softmax_sums::<V>(token, next_max, next_z, next_out, &mut next_specials);
        write_probabilities::<V>(token, sums, out, specials.as_ref());
        write_probabilities::<V>(token, next_sums, next_out, next_specials.as_ref());
    }

    /// M for the sweep, which is 0 in shifted rows, and the special rows if there are any.
    #[inline(always)]
    fn swept_max<V: Vector<Scalar = F>>(
        &self,
        token: V::Token,
        z: &mut [F],
    ) -> (V, Option<Specials>) {
        let max = Self::maxima::<V>(token, z);
        if self.are_in_range(max) {
            return (max, None);
        }
        let (swept, found) = self.shift_specials(z, max);
        (swept, Some(found))
    }

    /// S and its rounding error.
    #[inline(always)]
    fn softmax_sums<V: Vector<Scalar = F>>(
        &self,
        token: V::Token,
        max: V,
        z: &[F],
        out: &mut [F],
        specials: &mut Option<Specials>,
    ) -> (V::Doubles, V::Doubles) {
        const SOFTMAX: Operation = Operation::Softmax;
        let base = Base::<V>::new(self.formula.temperature, max);
        let (sum, lost, _, ties) =
            self.sweep::<V>(SOFTMAX, WeightKind::Absent, token, base, max, z, out);
        find_nans::<V>(sum, specials);
        let exp = Exponential::<V>::new(token, self.formula.temperature);
        with_tops::<V>(sum, lost, ties, exp.of(max, base))
    }
}

/// S and its rounding error, with the maxima that the sweep left out.
#[inline(always)]
pub(super) fn with_tops<V: Vector>(
    sum: V::Doubles,
    lost: V::Doubles,
    ties: V,
    top: V,
) -> (V::Doubles, V::Doubles) {
    if const { !is_double::<V::Scalar>() } {
        return (sum, lost);
    }
    let (all, from_tops) = two_sum(sum, V::Doubles::widen(ties) * V::Doubles::widen(top));
    (all, lost + from_tops)
}

/// Overwrites the exponentials with the probabilities.
#[inline(always)]
pub(super) fn write_probabilities<V: Vector>(
    token: V::Token,
    (sum, lost): (V::Doubles, V::Doubles),
    out: &mut [V::Scalar],
    specials: Option<&Specials>,
) {
    let factor = inverse_of::<V::Scalar, _>(sum, lost);
    let least = V::Doubles::splat(token, V::Scalar::MIN_POSITIVE) * sum;
    let (factor, least): (V, V) = (factor.narrow(), least.narrow());
    for e in out.chunks_exact_mut(V::LANES) {
        probability(V::from_slice(token, e), factor, least).to_slice(e);
    }
    if out.len() == V::LANES {
        // p = 1 if there is one class, whatever the rounding of 1/S.
        replace_numbers(out, V::Scalar::from_f64(1.0));
    }
    if let Some(specials) = specials {
        specials.mark::<V>(out);
    }
}
