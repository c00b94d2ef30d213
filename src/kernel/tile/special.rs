//! Rows of a tile that the sweep cannot handle: those with huge or infinite logits, NaN, or an infinite dot.

use super::{MOST_IN_TILES, Tile, Tiles};
use crate::kernel::Operation;
use crate::kernel::reduce::WeightKind;
use crate::kernel::scalars::{Lanes, ReducedLanes};
use crate::kernel::special::{self, exact_max};
use crate::math;
use crate::simd::{Float, MOST_LANES, Vector};

impl<F: Float> Tiles<'_, F> {
    /// Shifts rows whose maximum is out of range by their maximum; if that is not finite, they become zeros. Finds the
    /// special rows, and returns the new maximum of each row.
    #[inline(never)]
    pub(super) fn shift_specials<V: Vector<Scalar = F>>(
        &self,
        tile: &mut Tile<'_, F>,
        max: V,
    ) -> V {
        let specials = tile.specials.insert(Specials::default());
        let classes = self.len / V::LANES;
        let mut swept_max = max.to_array();
        let mut row = [F::default(); MOST_IN_TILES];
        let row = &mut row[..classes];
        for lane in 0..V::LANES {
            if self.formula.temperature.is_in_range(swept_max[lane]) {
                continue;
            }
            (self.reread)(tile.first + lane, row);
            let max = exact_max(row);
            specials[lane] = max;
            special::shift(row, max, self.formula.temperature.prescale);
            for (class, value) in row.iter().enumerate() {
                tile.z[class * V::LANES + lane] =
                    if max.is_finite() { *value } else { F::default() };
            }
            swept_max[lane] = F::default();
        }
        V::from_slice(max.token(), &swept_max)
    }

    /// Overwrites the outputs of special rows: log p is computed again from the logits, and everything but the lse is
    /// NaN where the maximum is not finite.
    #[inline(never)]
    pub(super) fn write_specials<V: Vector<Scalar = F>>(
        &self,
        operation: Operation,
        tile: &mut Tile<'_, F>,
        scalars: &mut [f64],
    ) {
        let Some(specials) = &tile.specials else { return };
        let mut row = [F::default(); MOST_IN_TILES];
        let row = &mut row[..self.len / V::LANES];
        for (lane, max) in rows(specials) {
            if max.is_finite() {
                if operation == Operation::LogSoftmax {
                    (self.reread)(tile.first + lane, row);
                    let (inverse, excess) = (self.formula.temperature.of_memory(), scalars[lane]);
                    for (class, z) in row.iter().enumerate() {
                        let log_p = special::shifted_log_probability(*z, max, inverse, excess);
                        tile.out[class * V::LANES + lane] = log_p;
                    }
                }
                continue;
            }
            tile.reduced.max[lane] = max;
            let is_lse = operation == Operation::LogSumExp;
            scalars[lane] = if is_lse { max } else { f64::NAN };
        }
        mark::<V>(specials, &mut tile.out[..self.len]);
        if self.hessian.is_some() {
            mark::<V>(specials, &mut tile.z[..self.len]);
        }
    }

    /// Sets the maxima of special rows. If there are targets, computes the gaps of special rows, and of those whose dot
    /// is infinite or NaN, again from the logits: here 0·inf is 0, and sums of huge terms do not overflow.
    #[inline(never)]
    pub(super) fn take_care_of_specials<V: Vector<Scalar = F>>(&self, tile: &mut Tile<'_, F>) {
        let ReducedLanes { max: maxima, dot: dots, gap: labels, unit: units, .. } =
            &mut tile.reduced;
        let specials = tile.specials.get_or_insert_default();
        let has_target = matches!(self.formula.operation, Operation::Loss | Operation::Gradient);
        let (prescale, classes) = (self.formula.temperature.prescale, self.len / V::LANES);
        for lane in 0..V::LANES {
            let is_special = specials[lane] != 0.0;
            let max = if is_special { specials[lane] } else { tile.max[lane].to_f64() / prescale };
            maxima[lane] = max * prescale;
            if !has_target || dots[lane].is_finite() && !is_special {
                continue;
            }
            let mut row = [F::default(); MOST_IN_TILES];
            let row = &mut row[..classes];
            (self.reread)(tile.first + lane, row);
            let weight = |class: usize| match self.weight_kind {
                WeightKind::Absent => 0.0,
                WeightKind::Ones => 1.0,
                WeightKind::Each => tile.weights[class * V::LANES + lane].to_f64(),
            };
            if !is_special && (0..classes).all(|class| weight(class) == 0.0) {
                // As for a row without weights, which this is if it is alone.
                dots[lane] = 0.0;
                continue;
            }
            dots[lane] = special::weighted_gaps(row, max, weight) * prescale;
            let label = tile.labels[lane].to_f64();
            let of_label = |class: usize| math::count(class) == label;
            if let Some(class) = (0..classes).find(|class| of_label(*class)) {
                labels[lane] = special::gap(max, row[class].to_f64()) * prescale;
            }
            units[lane] = special::GAP_UNIT;
        }
    }
}

/// The maxima of special rows, as from [`exact_max`]: of rows that were shifted by them, and so are not 0, and of rows
/// without a finite maximum; NaN for rows whose sum is NaN, so that any NaN gives the same NaN. 0 for other rows. A
/// tile has them, perhaps all 0, if its units are not all 1.
pub(super) type Specials = Lanes;

/// Marks rows whose sum is NaN.
#[inline(never)]
pub(super) fn mark_nans(sums: &Lanes, specials: &mut Option<Specials>) {
    let specials = specials.get_or_insert_default();
    for lane in (0..MOST_LANES).filter(|lane| sums[*lane].is_nan()) {
        specials[lane] = f64::NAN;
    }
}

/// The lane of each special row, and its maximum.
fn rows(specials: &Specials) -> impl Iterator<Item = (usize, f64)> {
    specials.iter().copied().enumerate().filter(|(_, max)| *max != 0.0)
}

/// Writes NaN as the outputs of rows without a finite maximum.
#[inline(never)]
pub(super) fn mark<V: Vector>(specials: &Specials, out: &mut [V::Scalar]) {
    for (lane, _) in rows(specials).filter(|(_, max)| !max.is_finite()) {
        out.iter_mut().skip(lane).step_by(V::LANES).for_each(|out| *out = V::Scalar::NAN);
    }
}
