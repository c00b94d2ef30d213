//! The targets of the rows of a tile, if they differ in more than their labels.

use super::{Scratch, lanes, tile_len};
use crate::kernel::{
    IGNORED, MOST_TILES, NO_LABEL, Operation, TargetLanes, WeightKind, from_run, load,
};
use crate::math;
use crate::simd::{Float, Rows, Source, Vector, outlined};
use crate::target::{Labels, NO_CLASS, RowTarget, SmoothedTargets, UniformSmoothing, Weights};
use std::ops::Range;

/// The steps that are compiled for each instruction set; all else here is compiled once.
pub(super) trait Steps<F: Float> {
    /// [`crate::kernel::load`]
    fn load(&self, all: &Rows<'_>, part: (usize, usize), own: &mut [F], tile: &mut [F]) -> bool;
    /// Loads the rows of a tile, which have been written one after another.
    fn load_own(&self, own: &[F], classes: usize, tile: &mut [F]);
    /// Computes the weights of probabilities, in place.
    fn smooth(&self, smoothing: UniformSmoothing<F>, weights: &mut [F]);
    /// [`SmoothedTargets::fill`] for all classes of a row.
    fn fill(&self, of: &SmoothedTargets<'_, F>, row: usize, kept: &[F], weights: &mut [F]) -> f64;
    /// [`SmoothedTargets::masses`]
    fn masses(&self, of: &SmoothedTargets<'_, F>, rows: Range<usize>, masses: &mut [f64]);
}

/// The steps with the vectors `V`.
pub(super) struct With<V: Vector>(pub(super) V::Token);

impl<V: Vector> Steps<V::Scalar> for With<V> {
    fn load(
        &self,
        all: &Rows<'_>,
        part: (usize, usize),
        own: &mut [V::Scalar],
        tile: &mut [V::Scalar],
    ) -> bool {
        load::<V>(self.0, all, part, own, tile)
    }

    fn load_own(&self, own: &[V::Scalar], classes: usize, tile: &mut [V::Scalar]) {
        outlined!(V, self.0, from_run::<V>(self.0, Source::from_slice(own), classes, tile));
    }

    fn smooth(&self, smoothing: UniformSmoothing<V::Scalar>, weights: &mut [V::Scalar]) {
        outlined!(V, self.0, {
            for w in weights.chunks_exact_mut(V::LANES) {
                smoothing.of(V::from_slice(self.0, w)).to_slice(w);
            }
        });
    }

    fn fill(
        &self,
        of: &SmoothedTargets<'_, V::Scalar>,
        row: usize,
        kept: &[V::Scalar],
        weights: &mut [V::Scalar],
    ) -> f64 {
        of.fill::<V>(self.0, (row, 0), kept, weights)
    }

    fn masses(&self, of: &SmoothedTargets<'_, V::Scalar>, rows: Range<usize>, masses: &mut [f64]) {
        outlined!(V, self.0, of.masses(rows, masses));
    }
}

impl<F: Float> Scratch<'_, F> {
    /// Sets the targets of `count` rows from `first` on, if they differ in more than their labels; returns the kind of
    /// their weights.
    #[inline(never)]
    pub(super) fn own_targets(
        &mut self,
        steps: &dyn Steps<F>,
        targets: &SmoothedTargets<'_, F>,
        (first, count): (usize, usize),
    ) -> WeightKind {
        self.has_ignored = false;
        let (end, mut have_weights) = (first + count, [false; MOST_TILES]);
        let labels = targets.labels().or_else(|| targets.masked_labels());
        for (tile, first) in (first..end).step_by(lanes::<F>()).enumerate() {
            let rows = first..end.min(first + lanes::<F>());
            have_weights[tile] = self.targets_of_tile(steps, (targets, labels), (tile, rows));
        }
        if let Some(shared) = self.weight_kind {
            return shared;
        }
        if !have_weights.contains(&true) {
            return WeightKind::Absent;
        }
        for (tile, has_weights) in self.tiles.iter_mut().zip(have_weights) {
            if !has_weights {
                tile.weights.fill(F::default());
            }
        }
        WeightKind::Each
    }

    /// Sets the targets of a tile, except for weights that all rows share; returns whether it has other weights.
    fn targets_of_tile(
        &mut self,
        steps: &dyn Steps<F>,
        (targets, labels): (&SmoothedTargets<'_, F>, Option<(&Labels, RowTarget<'_, F>)>),
        (tile, rows): (usize, Range<usize>),
    ) -> bool {
        let (job, classes) = (self.plan.job, self.plan.job.panel.logits.classes());
        let (first, kept) = (rows.start, tile * tile_len(classes, lanes::<F>()));
        self.tiles[tile].labels.fill(F::from_f64(NO_LABEL.into()));
        if let Some((labels, row)) = labels {
            let labels = &labels.classes()[rows];
            self.weighted_labels(targets, (labels, first), row, tile);
            if job.panel.mask.is_none() {
                return false;
            }
            self.mask_labels(targets, (labels, first), (tile, kept));
            if self.weight_kind.is_none() {
                // The mask was loaded with the logits.
                steps.load_own(&self.kept[kept..], classes, self.tiles[tile].weights);
            }
            return true;
        }
        // The weights overwrite the logits of the rows, which have been transposed into lanes by now.
        let (own, of_tile) = (&mut *self.writer.rows, &mut self.tiles[tile]);
        let weight_rows = targets.weight_rows(rows.clone());
        if let Some((all, smoothing)) = weight_rows {
            if !steps.load(all, (first, rows.len()), own, of_tile.weights) {
                for (row, own) in rows.clone().zip(own.chunks_exact_mut(classes)) {
                    steps.fill(targets, row, &[], own);
                }
                steps.load_own(own, classes, of_tile.weights);
            } else if let Some(smoothing) = smoothing {
                steps.smooth(smoothing, &mut of_tile.weights[..classes * lanes::<F>()]);
            }
            if let Some(row) = targets.same_but_masses(rows.clone()) {
                self.targets[tile] = TargetLanes::of_all(&row, job.scale(row.weight));
                steps.masses(targets, rows, &mut self.targets[tile].smooth_mass);
                return true;
            }
        }
        let is_loaded = self.weight_kind.is_some() || weight_rows.is_some();
        let fill = if is_loaded { None } else { Some(steps) };
        let has_weights = self.set_rows(targets, (first, rows.len()), (tile, kept), fill);
        if has_weights && !is_loaded {
            steps.load_own(self.writer.rows, classes, self.tiles[tile].weights);
        }
        has_weights
    }

    /// Sets the targets of a tile one by one, and writes their weights to the workspace for rows if there is something
    /// to `fill` it. Returns whether there are weights.
    fn set_rows(
        &mut self,
        rows: &SmoothedTargets<'_, F>,
        (first, count): (usize, usize),
        (tile, kept): (usize, usize),
        fill: Option<&dyn Steps<F>>,
    ) -> bool {
        let (job, target, tile) = (self.plan.job, &mut self.targets[tile], &mut self.tiles[tile]);
        let (panel, classes) = (&job.panel, job.panel.logits.classes());
        if fill.is_some() {
            self.writer.rows.fill(F::default());
        }
        // The scale is a quotient, so it is computed again only where the weight of a row is another.
        let (mut weight, mut scale) = (f64::NAN, 0.0);
        let mut has_weights = false;
        let own = self.writer.rows.chunks_exact_mut(classes);
        let own = own.zip(self.kept[kept..].chunks_exact(classes));
        for (lane, (weights, kept)) in own.enumerate().take(count) {
            let number = first + lane;
            let Some(mut row) = rows.row(number) else {
                tile.labels[lane] = F::from_f64(IGNORED.into());
                self.has_ignored = true;
                continue;
            };
            if let Some(steps) = fill {
                if row.made_by.is_some() {
                    // The masks were loaded with the logits.
                    let kept = if panel.mask.is_some() { kept } else { &[] };
                    row.set_mass(steps.fill(rows, number, kept, weights));
                } else if !matches!(row.weights, Weights::Absent) {
                    for (class, w) in weights.iter_mut().enumerate() {
                        *w = F::from_f64(row.weights.get(class));
                    }
                }
            }
            has_weights |= row.made_by.is_some() || !matches!(row.weights, Weights::Absent);
            if row.spike != 0.0 && panel.keeps(number, row.class) {
                tile.labels[lane] = F::from_f64(math::count(row.class));
            }
            if row.weight != weight {
                (weight, scale) = (row.weight, job.scale(row.weight));
            }
            target.set(lane, &row, scale);
        }
        has_weights
    }

    /// Sets the labels of a tile, from row `first` on, with weights that differ. `row` is the rest of the target of all
    /// rows.
    fn weighted_labels(
        &mut self,
        rows: &SmoothedTargets<'_, F>,
        (labels, first): (&[u32], usize),
        row: RowTarget<'_, F>,
        tile: usize,
    ) {
        let (job, target, tile) = (self.plan.job, &mut self.targets[tile], &mut self.tiles[tile]);
        let ignored = F::from_f64(IGNORED.into());
        *target = TargetLanes::of_all(&row, 0.0);
        rows.weights(first, &mut target.weight[..labels.len()]);
        for (lane, (&label, of_tile)) in labels.iter().zip(&mut tile.labels).enumerate() {
            if label == NO_CLASS || target.weight[lane] == 0.0 {
                (*of_tile, self.has_ignored) = (ignored, true);
                continue;
            }
            target.spike[lane] = rows.spike(label as usize);
            if target.spike[lane] != 0.0 {
                *of_tile = F::from_f64(label.into());
            }
        }
        if job.operation == Operation::Gradient {
            target.scale = target.weight.map(|weight| job.scale(weight));
        }
    }

    /// Applies the mask to labels that have been set.
    fn mask_labels(
        &mut self,
        rows: &SmoothedTargets<'_, F>,
        (labels, first): (&[u32], usize),
        (tile, kept): (usize, usize),
    ) {
        let (target, tile) = (&mut self.targets[tile], &mut self.tiles[tile]);
        let kept = self.kept[kept..].chunks_exact(self.plan.job.panel.logits.classes());
        let ignored = F::from_f64(IGNORED.into());
        for (lane, (label, kept)) in labels.iter().zip(kept).enumerate() {
            let of_tile = &mut tile.labels[lane];
            if *of_tile != ignored {
                target.beta[lane] = rows.beta(first + lane);
                if kept[*label as usize].to_f64() == 0.0 {
                    *of_tile = F::from_f64(NO_LABEL.into());
                }
            }
        }
    }
}
