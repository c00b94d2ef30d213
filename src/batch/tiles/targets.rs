//! The targets of the rows of a tile, if they differ in more than their labels.

use super::{Scratch, lanes};
use crate::kernel::{IGNORED, NO_LABEL, TargetLanes, WeightKind, from_own, load, to_run};
use crate::math;
use crate::simd::{Float, Sink, Vector, outlined};
use crate::target::{Labels, NO_CLASS, RowTarget, SmoothedTargets, Weights};
use std::ops::Range;

/// Writes the weights of a row, of which `kept` are not masked; returns a sum: see [`SmoothedTargets::fill`].
type Fill<'f, F> = &'f dyn Fn(usize, &[F], &mut [F]) -> f64;

/// Sets the labels of a tile; if they have no spike, only those of rows that are ignored.
#[inline(always)]
pub(super) fn set_labels<F: Float>(of_tile: &mut [F], labels: &[u32], have_spike: bool) {
    for (of_tile, &label) in of_tile.iter_mut().zip(labels) {
        // As a signed number, [`NO_CLASS`] is [`IGNORED`].
        let is_needed = have_spike || label == NO_CLASS;
        let label = if is_needed { label.cast_signed() } else { NO_LABEL };
        *of_tile = F::from_f64(label.into());
    }
}

impl<F: Float> Scratch<'_, F> {
    /// Sets the targets of `count` rows from `first` on, if they differ in more than their labels; returns the kind of
    /// their weights.
    #[inline(never)]
    pub(super) fn own_targets<V: Vector<Scalar = F>>(
        &mut self,
        token: V::Token,
        targets: &SmoothedTargets<'_, F>,
        (first, count): (usize, usize),
    ) -> WeightKind {
        outlined!(V, token, {
            self.has_ignored = false;
            let (end, labels, mut kind) = (first + count, targets.labels(), WeightKind::Absent);
            for (tile, first) in (first..end).step_by(V::LANES).enumerate() {
                let rows = first..end.min(first + V::LANES);
                if self.targets_of_tile::<V>(token, (targets, labels), (tile, rows)) {
                    kind = WeightKind::Each;
                } else if self.weight_kind.is_none() {
                    // Other tiles may have weights.
                    self.tiles[tile].weights.fill(F::default());
                }
            }
            self.weight_kind.unwrap_or(kind)
        })
    }

    /// Sets the targets of a tile, except for weights that all rows share; returns whether it has other weights.
    #[inline(always)]
    fn targets_of_tile<V: Vector<Scalar = F>>(
        &mut self,
        token: V::Token,
        (targets, labels): (&SmoothedTargets<'_, F>, Option<(&Labels, RowTarget<'_, F>)>),
        (tile, rows): (usize, Range<usize>),
    ) -> bool {
        let (job, classes) = (self.plan.job, self.plan.job.panel.logits.classes());
        let fill = |row: usize, kept: &[F], own: &mut [F]| {
            targets.fill::<V>(token, (row, 0), kept, (own, false))
        };
        self.tiles[tile].labels.fill(F::from_f64(NO_LABEL.into()));
        if let Some((labels, row)) = labels {
            self.labels_of_tile(targets, (labels, row), (tile, rows.clone()));
            self.weights_of_tile(targets, (tile, rows.clone()));
            let is_masked = job.panel.mask.is_some();
            if is_masked && self.weight_kind.is_none() {
                // The mask was loaded with the logits.
                let (len, tile) = (classes * V::LANES, &mut self.tiles[tile]);
                tile.weights[..len].copy_from_slice(&tile.kept[..len]);
            }
            if is_masked || self.weight_kind.is_some() {
                return is_masked;
            }
        }
        // The weights overwrite the logits of the rows, which have been transposed into lanes by now.
        let (own, of_tile) = (&mut *self.writer.rows, &mut self.tiles[tile]);
        if let Some((all, has_one_hot)) = targets.weight_rows(rows.clone()) {
            load::<V>(token, all, (rows.start, rows.len()), own, of_tile.weights);
            if labels.is_some() {
                return true;
            }
            targets.fill_lanes::<V>(token, &mut of_tile.weights[..classes * V::LANES]);
            let row = RowTarget::<F> { beta: 1.0, ..RowTarget::none() };
            let target = &mut self.targets[tile];
            *target = TargetLanes::of_all(&row, job.scale(row.weight));
            targets.masses(rows.clone(), &mut target.smooth_mass, &mut target.mass_lost);
            if has_one_hot {
                self.one_hot_rows(targets, (tile, rows.clone()));
            }
            if !targets.is_unweighted() {
                self.weights_of_tile(targets, (tile, rows));
            }
            return true;
        }
        if job.panel.mask.is_some() {
            // As rows. The memory for the outputs is not used yet.
            to_run::<V>(token, &[of_tile.kept], classes, &mut Sink::from_slice(of_tile.out));
        }
        let has_weights = self.set_rows(targets, (tile, rows), &fill);
        if has_weights {
            from_own::<V>(token, self.writer.rows, classes, self.tiles[tile].weights);
        }
        has_weights
    }

    /// Sets the targets of rows of probabilities whose only class has all of them.
    #[inline(never)]
    fn one_hot_rows(
        &mut self,
        targets: &SmoothedTargets<'_, F>,
        (tile, rows): (usize, Range<usize>),
    ) {
        let (job, target, tile) = (self.plan.job, &mut self.targets[tile], &mut self.tiles[tile]);
        for (lane, row) in rows.enumerate() {
            let Some(row) = targets.one_hot_row(row) else { continue };
            target.set(lane, &row, job.scale(row.weight));
            if row.spike != 0.0 {
                tile.labels[lane] = F::from_f64(math::count(row.class));
            }
            let weights = tile.weights.chunks_exact_mut(lanes::<F>()).enumerate();
            for (class, w) in weights.take(job.panel.logits.classes()) {
                w[lane] = F::from_f64(row.weights.get(class));
            }
        }
    }

    /// Sets the targets of a tile one by one, and writes their weights to the workspace for rows. Returns whether there are
    /// weights.
    #[inline(never)]
    fn set_rows(
        &mut self,
        targets: &SmoothedTargets<'_, F>,
        (tile, rows): (usize, Range<usize>),
        fill: Fill<'_, F>,
    ) -> bool {
        let (job, target, tile) = (self.plan.job, &mut self.targets[tile], &mut self.tiles[tile]);
        let (panel, classes) = (&job.panel, job.panel.logits.classes());
        self.writer.rows[..tile.out.len()].fill(F::default());
        let (scale, mut has_weights) = (job.scales(), false);
        let own = self.writer.rows.chunks_exact_mut(classes).zip(tile.out.chunks_exact(classes));
        for ((lane, number), (weights, kept)) in rows.enumerate().zip(own) {
            let Some(mut row) = targets.row(number) else {
                tile.labels[lane] = F::from_f64(IGNORED.into());
                self.has_ignored = true;
                continue;
            };
            if row.made_by.is_some() {
                let kept = if panel.mask.is_some() { kept } else { &[] };
                row.set_mass(number, fill(number, kept, weights));
            } else if !matches!(row.weights, Weights::Absent) {
                for (class, w) in weights.iter_mut().enumerate() {
                    *w = F::from_f64(row.weights.get(class));
                }
            }
            has_weights |= row.made_by.is_some() || !matches!(row.weights, Weights::Absent);
            if row.spike != 0.0 && panel.keeps(number, row.class) {
                tile.labels[lane] = F::from_f64(math::count(row.class));
            }
            target.set(lane, &row, scale(row.weight));
        }
        has_weights
    }

    /// Sets the factors of the losses, and which rows do not count since these are 0.
    #[inline(never)]
    fn weights_of_tile(
        &mut self,
        targets: &SmoothedTargets<'_, F>,
        (tile, rows): (usize, Range<usize>),
    ) {
        let (target, tile) = (&mut self.targets[tile], &mut self.tiles[tile]);
        let (scale_of, ignored) = (self.plan.job.scales(), F::from_f64(IGNORED.into()));
        targets.weights(rows.start, &mut target.weight[..rows.len()]);
        let lanes = target.scale.iter_mut().zip(&mut tile.labels);
        // Without branches, so that the loop is vectorised.
        for (&weight, (scale, label)) in target.weight.iter().zip(lanes) {
            *scale = scale_of(weight);
            *label = if weight == 0.0 { ignored } else { *label };
            self.has_ignored |= *label == ignored;
        }
    }

    /// Sets the targets of labels with weights that differ, except for these weights. `row` is the rest of the target of
    /// all rows.
    fn labels_of_tile(
        &mut self,
        targets: &SmoothedTargets<'_, F>,
        (labels, row): (&Labels, RowTarget<'_, F>),
        (tile, rows): (usize, Range<usize>),
    ) {
        let (job, target, tile) = (self.plan.job, &mut self.targets[tile], &mut self.tiles[tile]);
        let (labels, first) = (&labels.classes()[rows.clone()], rows.start);
        let number = |label: i32| F::from_f64(label.into());
        *target = TargetLanes::of_all(&targets.with_spike(row, 1.0), 0.0);
        let TargetLanes { spike, beta, smooth_mass, mass_lost, .. } = target;
        targets.add_smooth_masses(first, &mut smooth_mass[..labels.len()], mass_lost);
        set_labels(&mut tile.labels, labels, spike[0] != 0.0);
        let (class_weight, is_masked) = (targets.terms.class_weight, job.panel.mask.is_some());
        if class_weight.is_none() && !is_masked {
            return;
        }
        for (lane, (&label, of_tile)) in labels.iter().zip(&mut tile.labels).enumerate() {
            if *of_tile == number(IGNORED) {
                continue;
            }
            let class = label as usize;
            if let Some(class_weight) = class_weight {
                let row = targets.with_spike(row, class_weight.get(class));
                (spike[lane], mass_lost[lane]) = (row.spike, row.mass_lost);
            }
            let mut has_spike = spike[lane] != 0.0;
            if is_masked {
                beta[lane] = targets.beta(first + lane);
                has_spike &= tile.kept[class * lanes::<F>() + lane].to_f64() != 0.0;
            }
            if !has_spike {
                *of_tile = number(NO_LABEL);
            }
        }
    }
}
