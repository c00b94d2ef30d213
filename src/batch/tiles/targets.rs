//! The targets of the rows of a tile, if they differ in more than their labels or some rows do not count.

use super::{LossTargets, Same, Scratch};
use crate::kernel::{WeightKind, from_run, load};
use crate::math;
use crate::simd::{Float, MOST_LANES, Source, Vector, outlined};
use crate::target::{NO_CLASS, RowTarget, SmoothedTargets, Weights};

impl<F: Float> Scratch<'_, F> {
    /// Sets the targets of a tile with rows that do not count, or of the tile after it: zeros for those rows, the shared
    /// target for the others.
    #[inline(never)]
    pub(super) fn set_targets(
        &mut self,
        same: &Same<'_, F>,
        labels: &[u32],
        is_mixed: bool,
        is_read: &mut [bool; MOST_LANES],
    ) {
        self.is_mixed = is_mixed;
        for (lane, label) in labels.iter().take(MOST_LANES).enumerate() {
            is_read[lane] = *label != NO_CLASS;
            let none = (&RowTarget::default(), 0.0);
            let (row, scale) = if is_read[lane] { (&same.target, same.scale) } else { none };
            self.target.set(lane, row, scale);
        }
    }

    /// Sets the targets of a tile if they differ in more than their labels; returns the kind of their weights.
    #[inline(never)]
    pub(super) fn own_targets<V: Vector<Scalar = F>>(
        &mut self,
        token: V::Token,
        targets: &LossTargets<'_, F>,
        (first, count): (usize, usize),
        is_read: &mut [bool; MOST_LANES],
    ) -> WeightKind {
        self.is_mixed = false;
        self.tiles[0].labels.fill(F::from_f64(-1.0));
        if let Some((labels, row)) = targets.rows.labels() {
            let labels = &labels.classes()[first..][..count];
            self.weighted_labels(targets.rows, (labels, first), row, is_read);
            return WeightKind::of(&row.weights);
        }
        let (job, target) = (self.plan.job, &mut *self.target);
        let (panel, classes) = (&job.panel, job.panel.logits.classes());
        let label = &mut self.tiles[0].labels;
        // The weights overwrite the logits of the rows, which have been transposed into lanes by now.
        let own = &mut *self.writer.rows;
        let are_loaded =
            targets.rows.weight_rows(first..first + count).is_some_and(|(rows, smoothing)| {
                outlined!(V, token, {
                    let are_loaded = load::<V>(token, rows, (first, count), own, self.weights);
                    if let Some(smoothing) = smoothing.filter(|_| are_loaded) {
                        for w in self.weights[..classes * V::LANES].chunks_exact_mut(V::LANES) {
                            smoothing.of(V::from_slice(token, w)).to_slice(w);
                        }
                    }
                    are_loaded
                })
            });
        if are_loaded && let Some((mut row, masses)) = targets.rows.masses(first..first + count) {
            let scale = job.scale(row.weight);
            outlined!(V, token, {
                for (lane, mass) in masses.enumerate().take(V::LANES) {
                    row.smooth_mass = mass;
                    target.set(lane, &row, scale);
                }
            });
            return WeightKind::Each;
        }
        // Are the weights of each row written to `own`?
        let are_own = self.weight_kind.is_none() && !are_loaded;
        if are_own {
            own.fill(F::default());
        }
        // The scale is a quotient, so it is computed again only where the weight of a row is another.
        let (mut weight, mut scale) = (f64::NAN, 0.0);
        let mut has_weights = false;
        let rows = self.writer.rows.chunks_exact_mut(classes);
        let rows = rows.zip(self.kept.chunks_exact(classes));
        for (lane, (weights, kept)) in rows.enumerate().take(count) {
            let number = first + lane;
            let Some(mut row) = targets.rows.row(number) else {
                (is_read[lane], self.is_mixed) = (false, true);
                target.set(lane, &RowTarget::<F>::default(), 0.0);
                continue;
            };
            if let Some(maker) = row.made_by.filter(|_| are_own) {
                // The masks were loaded with the logits.
                let kept = if panel.mask.is_some() { kept } else { &[] };
                row.set_mass(maker.fill::<V>(token, (number, 0), kept, weights));
            } else if are_own && !matches!(row.weights, Weights::Absent) {
                for (class, w) in weights.iter_mut().enumerate() {
                    *w = F::from_f64(row.weights.get(class));
                }
            }
            has_weights |= row.made_by.is_some() || !matches!(row.weights, Weights::Absent);
            if row.spike != 0.0 && panel.keeps(number, row.class) {
                label[lane] = F::from_f64(math::count(row.class));
            }
            if row.weight != weight {
                (weight, scale) = (row.weight, job.scale(row.weight));
            }
            target.set(lane, &row, scale);
        }
        if are_own && has_weights {
            let rows = Source::from_slice(self.writer.rows);
            outlined!(V, token, from_run::<V>(token, rows, classes, self.weights));
        }
        let own_kind = if has_weights { WeightKind::Each } else { WeightKind::Absent };
        self.weight_kind.unwrap_or(own_kind)
    }

    /// Sets the labels of a tile, from row `first` on, with weights that differ. `row` is the rest of the target of all
    /// rows.
    fn weighted_labels(
        &mut self,
        rows: &SmoothedTargets<'_, F>,
        (labels, first): (&[u32], usize),
        mut row: RowTarget<'_, F>,
        is_read: &mut [bool; MOST_LANES],
    ) {
        for (lane, &label) in labels.iter().enumerate() {
            let weight = if label == NO_CLASS { None } else { rows.weight(first + lane) };
            let Some(weight) = weight else {
                (is_read[lane], self.is_mixed) = (false, true);
                self.target.set(lane, &RowTarget::<F>::default(), 0.0);
                continue;
            };
            (row.weight, row.spike) = (weight, rows.spike(label as usize));
            if row.spike != 0.0 {
                self.tiles[0].labels[lane] = F::from_f64(label.into());
            }
            self.target.set(lane, &row, self.plan.job.scale(weight));
        }
    }
}
