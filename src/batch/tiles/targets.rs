//! The targets of the rows of a tile, if they differ in more than their labels.

use super::{LossTargets, Scratch};
use crate::kernel::{IGNORED, NO_LABEL, TargetLanes, WeightKind, from_run, load};
use crate::math;
use crate::simd::{Float, Source, Vector, outlined};
use crate::target::{NO_CLASS, RowTarget, SmoothedTargets, Weights};

/// Computes the weights of a row from the mask of its classes: see [`SmoothedTargets::fill`].
type Fill<'f, F> = &'f mut dyn FnMut(usize, &[F], &mut [F]) -> f64;

impl<F: Float> Scratch<'_, F> {
    /// Sets the targets of a tile if they differ in more than their labels; returns the kind of their weights.
    #[inline(never)]
    pub(super) fn own_targets<V: Vector<Scalar = F>>(
        &mut self,
        token: V::Token,
        targets: &LossTargets<'_, F>,
        (first, count): (usize, usize),
    ) -> WeightKind {
        self.has_ignored = false;
        self.tiles[0].labels.fill(F::from_f64(NO_LABEL.into()));
        let (job, classes) = (self.plan.job, self.plan.job.panel.logits.classes());
        let labels = targets.rows.labels().or_else(|| targets.rows.masked_labels());
        if let Some((labels, row)) = labels {
            let labels = &labels.classes()[first..][..count];
            self.weighted_labels(targets.rows, (labels, first), row);
            if job.panel.mask.is_none() {
                return WeightKind::of(&row.weights);
            }
            self.mask_labels(targets.rows, (labels, first));
            if self.weight_kind.is_none() {
                // The mask was loaded with the logits.
                load_own::<V>(token, self.kept, classes, self.weights);
            }
            return self.weight_kind.unwrap_or(WeightKind::Each);
        }
        // The weights overwrite the logits of the rows, which have been transposed into lanes by now.
        let own = &mut *self.writer.rows;
        let weight_rows = targets.rows.weight_rows(first..first + count);
        if let Some((rows, smoothing)) = weight_rows {
            outlined!(V, token, {
                if !load::<V>(token, rows, (first, count), own, self.weights) {
                    for (i, own) in own.chunks_exact_mut(classes).enumerate().take(count) {
                        targets.rows.fill::<V>(token, (first + i, 0), &[], own);
                    }
                    load_own::<V>(token, own, classes, self.weights);
                } else if let Some(smoothing) = smoothing {
                    for w in self.weights[..classes * V::LANES].chunks_exact_mut(V::LANES) {
                        smoothing.of(V::from_slice(token, w)).to_slice(w);
                    }
                }
            });
            if let Some((row, masses)) = targets.rows.masses(first..first + count) {
                let scale = job.scale(row.weight);
                outlined!(V, token, {
                    *self.target = TargetLanes::of_all(&row, scale);
                    self.target.smooth_mass.iter_mut().zip(masses).for_each(|(lane, q)| *lane = q);
                });
                return WeightKind::Each;
            }
        }
        let is_loaded = self.weight_kind.is_some() || weight_rows.is_some();
        let mut fill = |row: usize, kept: &[F], weights: &mut [F]| {
            targets.rows.fill::<V>(token, (row, 0), kept, weights)
        };
        let fill: Option<Fill<'_, F>> = if is_loaded { None } else { Some(&mut fill) };
        let has_weights = self.set_rows(targets.rows, (first, count), fill);
        if has_weights && !is_loaded {
            load_own::<V>(token, self.writer.rows, classes, self.weights);
        }
        let own_kind = if has_weights { WeightKind::Each } else { WeightKind::Absent };
        self.weight_kind.unwrap_or(own_kind)
    }

    /// Sets the targets of a tile one by one, and writes their weights to the workspace for rows if there is a `fill`.
    /// Returns whether there are weights. Compiled once for all instruction sets.
    #[inline(never)]
    fn set_rows(
        &mut self,
        rows: &SmoothedTargets<'_, F>,
        (first, count): (usize, usize),
        mut fill: Option<Fill<'_, F>>,
    ) -> bool {
        let (job, target) = (self.plan.job, &mut *self.target);
        let (panel, classes) = (&job.panel, job.panel.logits.classes());
        if fill.is_some() {
            self.writer.rows.fill(F::default());
        }
        // The scale is a quotient, so it is computed again only where the weight of a row is another.
        let (mut weight, mut scale) = (f64::NAN, 0.0);
        let mut has_weights = false;
        let own = self.writer.rows.chunks_exact_mut(classes);
        let own = own.zip(self.kept.chunks_exact(classes));
        for (lane, (weights, kept)) in own.enumerate().take(count) {
            let number = first + lane;
            let Some(mut row) = rows.row(number) else {
                self.tiles[0].labels[lane] = F::from_f64(IGNORED.into());
                self.has_ignored = true;
                continue;
            };
            if let Some(fill) = &mut fill {
                if row.made_by.is_some() {
                    // The masks were loaded with the logits.
                    let kept = if panel.mask.is_some() { kept } else { &[] };
                    row.set_mass(fill(number, kept, weights));
                } else if !matches!(row.weights, Weights::Absent) {
                    for (class, w) in weights.iter_mut().enumerate() {
                        *w = F::from_f64(row.weights.get(class));
                    }
                }
            }
            has_weights |= row.made_by.is_some() || !matches!(row.weights, Weights::Absent);
            if row.spike != 0.0 && panel.keeps(number, row.class) {
                self.tiles[0].labels[lane] = F::from_f64(math::count(row.class));
            }
            if row.weight != weight {
                (weight, scale) = (row.weight, job.scale(row.weight));
            }
            target.set(lane, &row, scale);
        }
        has_weights
    }

    /// Sets the labels of a tile, from row `first` on, with weights that differ. `row` is the rest of the target of all
    /// rows. Compiled once, too.
    #[inline(never)]
    fn weighted_labels(
        &mut self,
        rows: &SmoothedTargets<'_, F>,
        (labels, first): (&[u32], usize),
        mut row: RowTarget<'_, F>,
    ) {
        let (job, target, of_tile) = (self.plan.job, &mut *self.target, &mut self.tiles[0].labels);
        let ignored = F::from_f64(IGNORED.into());
        for (lane, (&label, of_tile)) in labels.iter().zip(of_tile).enumerate() {
            let weight = if label == NO_CLASS { None } else { rows.weight(first + lane) };
            let Some(weight) = weight else {
                (*of_tile, self.has_ignored) = (ignored, true);
                continue;
            };
            (row.weight, row.spike) = (weight, rows.spike(label as usize));
            if row.spike != 0.0 {
                *of_tile = F::from_f64(label.into());
            }
            target.set(lane, &row, job.scale(weight));
        }
    }

    /// Applies the mask to labels that have been set.
    #[inline(never)]
    fn mask_labels(&mut self, rows: &SmoothedTargets<'_, F>, (labels, first): (&[u32], usize)) {
        let kept = self.kept.chunks_exact(self.plan.job.panel.logits.classes());
        let ignored = F::from_f64(IGNORED.into());
        for (lane, (label, kept)) in labels.iter().zip(kept).enumerate() {
            let of_tile = &mut self.tiles[0].labels[lane];
            if *of_tile != ignored {
                self.target.beta[lane] = rows.beta(first + lane);
                if kept[*label as usize].to_f64() == 0.0 {
                    *of_tile = F::from_f64(NO_LABEL.into());
                }
            }
        }
    }
}

/// Loads the rows of a tile, which have been written one after another. Compiled once.
fn load_own<V: Vector>(token: V::Token, own: &[V::Scalar], classes: usize, tile: &mut [V::Scalar]) {
    outlined!(V, token, from_run::<V>(token, Source::from_slice(own), classes, tile));
}
