//! Rows of a tile that the sweep cannot handle: those with huge or infinite logits, or NaN.

use super::{MOST_IN_TILES, Tile};
use crate::kernel::finish::{Lanes, ReducedLanes};
use crate::kernel::reduce::WeightKind;
use crate::kernel::special::{self, exact_max};
use crate::math::{self, Real};
use crate::simd::{Float, MOST_LANES, Vector};

impl<F: Float> Tile<'_, F> {
    /// Shifts rows whose maximum is out of range by their maximum; if that is not finite, they become zeros. Returns
    /// the new maximum of each row, and the special rows.
    #[inline(never)]
    pub(super) fn shift_specials<V: Vector<Scalar = F>>(
        &self,
        z: &mut [F],
        max: V,
    ) -> (V, Specials) {
        let mut specials = Specials::default();
        let classes = z.len() / V::LANES;
        let mut swept_max = max.to_array();
        let mut row = [F::default(); MOST_IN_TILES];
        let row = &mut row[..classes];
        for lane in 0..V::LANES {
            if self.formula.temperature.is_in_range(swept_max[lane]) {
                continue;
            }
            (self.reread)(lane, row);
            let max = exact_max(row);
            specials.max[lane] = Some(max);
            special::shift(row, max, self.formula.temperature.shift);
            for (class, value) in row.iter().enumerate() {
                z[class * V::LANES + lane] = if max.is_finite() { *value } else { F::default() };
            }
            swept_max[lane] = F::default();
        }
        (V::from_slice(max.token(), &swept_max), specials)
    }

    /// Writes log p of special rows; NaN if the maximum is not finite.
    pub(super) fn rewrite_log_probabilities<V: Vector<Scalar = F>>(
        &self,
        excesses: &Lanes,
        specials: &Specials,
        out: &mut [F],
    ) {
        let classes = out.len() / V::LANES;
        for (lane, max) in specials.rows() {
            let mut row = [F::default(); MOST_IN_TILES];
            let row = &mut row[..classes];
            (self.reread)(lane, row);
            if max.is_finite() {
                let inverse = self.formula.temperature.inverse * self.formula.temperature.shift;
                special::log_probabilities(row, max, inverse, excesses[lane]);
            } else {
                row.fill(F::NAN);
            }
            for (class, value) in row.iter().enumerate() {
                out[class * V::LANES + lane] = *value;
            }
        }
    }

    /// Computes the gaps of shifted rows, and of those whose dot is infinite or NaN, again from the logits: here 0·inf
    /// is 0, and sums of huge terms do not overflow.
    #[inline(never)]
    pub(super) fn take_care_of_gaps<V: Vector<Scalar = F>>(
        &self,
        classes: usize,
        max: V,
        specials: Option<&Specials>,
        rows: &mut ReducedLanes,
    ) {
        let ReducedLanes { dot: dots, gap: labels, unit: units, .. } = rows;
        let max = max.to_array();
        for lane in 0..V::LANES {
            if self.is_lost[lane] {
                dots[lane] = f64::INFINITY;
                continue;
            }
            let special = specials.and_then(|specials| specials.max[lane]);
            if dots[lane].is_finite() && special.is_none() {
                continue;
            }
            let mut row = [F::default(); MOST_IN_TILES];
            let row = &mut row[..classes];
            (self.reread)(lane, row);
            let shift = self.formula.temperature.shift;
            let max = special.unwrap_or(max[lane].to_f64() / shift);
            let weight = |class: usize| match self.weight_kind {
                WeightKind::Absent => 0.0,
                WeightKind::Ones => 1.0,
                WeightKind::Each => self.weights[class * V::LANES + lane].to_f64(),
            };
            dots[lane] = special::weighted_gaps(row, max, weight) * shift;
            let label = self.target.label[lane].to_f64();
            let of_label = |class: usize| math::count(class) == label;
            if let Some(class) = (0..classes).find(|class| of_label(*class)) {
                labels[lane] = special::gap(max, row[class].to_f64(), shift);
            }
            units[lane] = special::UNIT;
        }
    }
}

/// Marks rows whose sum is NaN, so that any NaN gives the same NaN.
#[inline(always)]
pub(super) fn find_nans<V: Vector>(sum: V::Doubles, specials: &mut Option<Specials>) {
    if !V::Doubles::all(sum.eq(sum)) {
        let mut sums = [0.0; MOST_LANES];
        sum.to_slice(&mut sums);
        mark_nans(&sums, specials);
    }
}

#[inline(never)]
fn mark_nans(sums: &Lanes, specials: &mut Option<Specials>) {
    let specials = specials.get_or_insert_default();
    for lane in (0..MOST_LANES).filter(|lane| sums[*lane].is_nan()) {
        specials.max[lane] = Some(f64::NAN);
    }
}

/// Rows that were shifted by their maximum, or whose maximum is not finite.
#[derive(Default)]
pub(super) struct Specials {
    /// These maxima, as from [`exact_max`].
    max: [Option<f64>; MOST_LANES],
}

impl Specials {
    /// The lane of each of these rows, and its maximum.
    pub(super) fn rows(&self) -> impl Iterator<Item = (usize, f64)> {
        self.max.iter().enumerate().filter_map(|(lane, max)| max.map(|max| (lane, max)))
    }

    /// Writes NaN as the outputs of rows without a finite maximum.
    #[inline(never)]
    pub(super) fn mark<V: Vector>(&self, out: &mut [V::Scalar]) {
        for (lane, _) in self.rows().filter(|(_, max)| !max.is_finite()) {
            out.iter_mut().skip(lane).step_by(V::LANES).for_each(|out| *out = V::Scalar::NAN);
        }
    }
}
