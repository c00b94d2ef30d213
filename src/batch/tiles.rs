//! Rows of few classes: tiles of LANES rows are read from memory, computed, and written back.

mod store;
mod targets;

use super::{Block, Plan, rows_per_sum};
use crate::kernel::{
    MOST_TILES, TargetLanes, Tile, Tiles, WeightKind, from_run, load, room, tiles_at_once, to_run,
};
use crate::simd::{Aligned, ExactSum, Float, MOST_LANES, Sink, Source, Vector, outlined};
use crate::target::{SmoothedTargets, Weights};
use std::mem::take;
use std::ops::Range;
use store::{Writer, streamed_at_once};
use targets::set_labels;

/// Elements of a tile. Classes are rounded up to whole blocks of LANES, so the same rows one after another have room
/// too.
const fn tile_len(classes: usize, lanes: usize) -> usize {
    classes.next_multiple_of(lanes) * lanes
}

/// The number of rows of a tile.
pub(super) const fn lanes<F>() -> usize {
    MOST_LANES * size_of::<f32>() / size_of::<F>()
}

/// Elements of scratch memory that a thread needs: for each tile logits, outputs, weights and mask; and for the writer.
pub(super) fn scratch_len(classes: usize, lanes: usize) -> usize {
    (4 * tiles_at_once(classes) + streamed_at_once(classes)) * tile_len(classes, lanes) + 3 * lanes
}

/// Scratch memory for tiles, with LANES rows side by side, and for the same rows one after another; and what is kept
/// from tile to tile.
struct Scratch<'t, F: Float> {
    plan: &'t Plan<'t, F>,
    /// Memory for the tiles that are computed together.
    tiles: &'t mut [Tile<'t, F>],
    /// The kind of the weights, if they are the same for all rows. Then the tiles have them.
    weight_kind: Option<WeightKind>,
    writer: Writer<'t, F>,
    /// For each tile the targets of its rows; only for the first if those of all rows are the same.
    targets: &'t mut [TargetLanes],
    /// The scalars of the rows of these tiles.
    scalars: &'t mut [f64],
    /// May there be rows that do not count? Their label is [`IGNORED`].
    has_ignored: bool,
    /// The logits of all rows, if they are read directly and are one run of elements; and the outputs, if all are
    /// written.
    all: Option<Source<'t, F>>,
    all_outputs: Option<Sink<'t, F>>,
}

impl<F: Float> Block<'_, F> {
    #[inline(always)]
    pub(super) fn tiles<V: Vector<Scalar = F>>(&mut self, token: V::Token) {
        // Several tiles are computed together; not for few rows, since the memory of all tiles is set first; nor with a
        // Hessian, nor in compact code, whose functions need more stack.
        let are_many = self.range.len() >= const { 4 * V::LANES };
        if self.plan.job.hessian.is_some() || !are_many || V::IS_COMPACT {
            return self.in_tiles::<V, 1, 1>(token);
        }
        let have_own = self.plan.own_targets().is_some();
        match (const { V::LANES == MOST_LANES }, have_own) {
            (true, false) => self.in_tiles::<V, MOST_TILES, 1>(token),
            (true, true) => self.in_tiles::<V, 3, 3>(token),
            (false, false) => self.in_tiles::<V, { MOST_TILES - 1 }, 1>(token),
            (false, true) => self.in_tiles::<V, 2, 2>(token),
        }
    }

    /// A separate function for each number of tiles, `N`, so that calls reserve no more stack than they need. More tiles,
    /// or more that have targets of their own, would need more than the smallest stack of a thread.
    #[inline(never)]
    fn in_tiles<V: Vector<Scalar = F>, const N: usize, const TARGETS: usize>(
        &mut self,
        token: V::Token,
    ) {
        outlined!(V, token, {
            // Three statements: the elements of a tuple would be copied, and would need the stack twice.
            let mut tiles = [const { Tile::empty() }; N];
            let mut scalars = Aligned([[0.0; MOST_LANES]; N]);
            let mut targets = [TargetLanes::default(); TARGETS];
            // Where the outputs are streamed, five tiles at a time take longer than four: more cache lines are prefetched
            // at once.
            let most = N - usize::from(self.plan.streams && N > 4);
            let memory = (&mut tiles[..most], scalars.0.as_flattened_mut(), &mut targets[..]);
            self.with_tiles::<V>(token, memory);
        });
    }

    /// Compiled once for all numbers of tiles.
    fn with_tiles<'t, V: Vector<Scalar = F>>(
        &'t mut self,
        token: V::Token,
        (tiles, scalars, targets): (&'t mut [Tile<'t, F>], &'t mut [f64], &'t mut [TargetLanes]),
    ) {
        outlined!(V, token, {
            let (plan, job, range) = (self.plan, self.plan.job, self.range.clone());
            let logits = &job.panel.logits;
            let classes = logits.classes();
            let len = tile_len(classes, V::LANES);
            let mut scratch = &mut *self.scratch;
            let mut take = |len| scratch.split_off_mut(..len).expect("as many as are had");
            let shared = job.targets.and_then(SmoothedTargets::weights_of_all);
            if let Some((_, target)) = &plan.same {
                targets[0] = TargetLanes::of_all(target, job.scale(target.weight));
            }
            let most = tiles.len().min(tiles_at_once(classes));
            let tiles = &mut tiles[..most];
            for tile in &mut *tiles {
                (tile.z, tile.out, tile.weights) = (take(len), take(len), take(len));
                if let Some(Weights::Row(weights)) = shared {
                    let lanes = tile.weights.chunks_exact_mut(V::LANES).enumerate();
                    lanes.take(weights.len()).for_each(|(class, w)| w.fill(weights.get(class)));
                }
            }
            // After the memory above: in between, tiles of at most 16 classes would begin 4 KiB apart.
            for tile in &mut *tiles {
                tile.kept = take(len);
                if job.panel.has_one_mask() {
                    job.panel.keep_alike(tile.kept, V::LANES);
                }
            }
            let mut scratch = Scratch {
                plan,
                tiles,
                weight_kind: shared.as_ref().map(WeightKind::of),
                writer: Writer::new(
                    take(streamed_at_once(classes) * len + 3 * V::LANES),
                    range.end,
                ),
                targets,
                scalars,
                has_ignored: plan.same.is_some_and(|(labels, _)| labels.counted < labels.rows),
                all: logits.run(0, logits.rows()).filter(|_| job.panel.is_plain()),
                all_outputs: job.panel.output.and_then(|output| output.run(0, output.rows())),
            };
            scratch.run::<V>(token, range);
        });
    }
}

impl<F: Float> Scratch<'_, F> {
    #[inline(always)]
    fn run<V: Vector<Scalar = F>>(&mut self, token: V::Token, Range { start, end }: Range<usize>) {
        let (mut first, mut sum) = (start, ExactSum::default());
        let job = self.plan.job;
        let sums = job.scalars.filter(|_| job.are_summed);
        let sums = sums.map(|sums| (sums, rows_per_sum(job.panel.logits.classes())));
        while first < end {
            let count = self.together(first..end, sums.map(|(_, per_sum)| per_sum));
            outlined!(V, token, self.tiles::<V>(token, (first, count)));
            first += count;
            if let Some((sums, per_sum)) = sums {
                sum.add::<V>(token, &self.scalars[..count]);
                if first == end || first.is_multiple_of(per_sum) {
                    sums.put((first - 1) / per_sum, 0, take(&mut sum).value());
                }
            }
        }
    }

    /// The number of rows at the beginning of `rows` that are computed together.
    #[inline(never)] // once for all instruction sets
    fn together(&self, rows: Range<usize>, per_sum: Option<usize>) -> usize {
        let (first, most) = (rows.start, rows.len().min(self.tiles.len() * lanes::<F>()));
        let count = per_sum.map_or(most, |per_sum| most.min(per_sum - first % per_sum));
        // A tile of doubles is computed in no less time than its rows are gathered.
        if count == 1 || F::IS_DOUBLE {
            return count;
        }
        // Up to the end of the innermost axis, so that the rows of each tile are neighbours class by class.
        let near = self.plan.job.neighbours_from(first, lanes::<F>() / 2);
        near.map_or(count, |near| count.min(near))
    }

    /// Computes `count` rows from `first` on, which are those of at most so many tiles as there are.
    #[inline(always)]
    fn tiles<V: Vector<Scalar = F>>(&mut self, token: V::Token, (first, count): (usize, usize)) {
        let (plan, job) = (self.plan, self.plan.job);
        let (panel, classes) = (&job.panel, job.panel.logits.classes());
        let (tiles, end, len) = (count.div_ceil(V::LANES), first + count, classes * V::LANES);
        let most = (tiles - 1) * len + room(classes, V::LANES);
        let run = self.all.map(|all| all.part(first * classes, usize::MAX));
        let run = run.filter(|run| run.len() >= most);
        for (i, tile) in self.tiles[..tiles].iter_mut().enumerate() {
            tile.first = first + i * V::LANES;
            if let Some(run) = run {
                from_run::<V>(token, run.part(i * len, usize::MAX), classes, tile.z);
            }
        }
        for tile in self.tiles[..tiles].iter_mut().filter(|_| run.is_none()) {
            let (rows, own) =
                ((tile.first, V::LANES.min(end - tile.first)), &mut *self.writer.rows);
            load::<V>(token, panel.logits, rows, own, tile.z);
            if !panel.is_plain() {
                if let Some(mask) = panel.mask.filter(|_| !panel.has_one_mask()) {
                    load::<V>(token, mask, rows, own, tile.kept);
                }
                panel.mask_logits::<V>(token, tile.kept, &mut tile.z[..len]);
            }
        }
        let mut weight_kind = self.weight_kind.unwrap_or(WeightKind::Absent);
        if let Some((labels, target)) = &plan.same {
            let labels = &labels.classes()[first..][..count];
            for (tile, labels) in self.tiles.iter_mut().zip(labels.chunks(V::LANES)) {
                set_labels(&mut tile.labels, labels, target.spike != 0.0);
            }
        } else if let Some(targets) = plan.own_targets() {
            weight_kind = self.own_targets::<V>(token, targets, (first, count));
        }
        // After the last row there is another copy of it.
        let reread = |row: usize, z: &mut [F]| panel.reload(row.min(end - 1), 0, z);
        let prefetched = plan.prefetches_into.and_then(|_| {
            let outputs = self.all_outputs.as_ref().filter(|_| plan.prefetches_outputs);
            let outputs = outputs.map(|all| all.as_source().part(first * classes, usize::MAX));
            let next = self.all.map(|all| all.part(end * classes, usize::MAX));
            Some([next.or(outputs)?, outputs.or(next)?])
        });
        let kernel = Tiles {
            formula: job.formula(),
            has_lse: job.lse.is_some(),
            hessian: job.hessian.map(|hessian| hessian.factor),
            len,
            targets: self.targets,
            has_one_target: plan.own_targets().is_none(),
            has_ignored: self.has_ignored,
            weight_kind,
            reread: &reread,
            prefetched,
        };
        kernel.run::<V>(token, &mut self.tiles[..tiles], self.scalars);
        if !job.are_summed {
            job.put_rows(job.scalars, first, &mut self.scalars[..count]);
        }
        if job.lse.is_some() {
            for tile in &mut self.tiles[..tiles] {
                let (first, count) = (tile.first, V::LANES.min(end - tile.first));
                job.put_rows(job.lse, first, &mut tile.lse()[..count]);
            }
        }
        if panel.mask.is_some() && panel.output.is_some() {
            // Otherwise the logits of masked classes have masked the outputs.
            let is_needed = |tile: &Tile<'_, F>| job.targets.is_some() || tile.has_specials();
            for tile in self.tiles[..tiles].iter_mut().filter(|tile| is_needed(tile)) {
                panel.mask_values::<V>(token, tile.kept, &mut tile.out[..len], panel.masked);
            }
        }
        if let Some(all) = self.all_outputs.as_mut().filter(|_| count > 1 || plan.streams) {
            let mut outs = [&[][..]; MOST_TILES];
            outs.iter_mut().zip(&*self.tiles).for_each(|(out, tile)| *out = &*tile.out);
            let (all, outs) = (all.reborrow(), &outs[..tiles]);
            if plan.streams {
                self.writer.stream::<V>(token, (all, classes), (first, count), outs);
            } else {
                to_run::<V>(token, outs, classes, &mut all.part(first * classes, count * classes));
            }
        } else if panel.output.is_some() {
            for tile in &self.tiles[..tiles] {
                let rows = (tile.first, V::LANES.min(end - tile.first));
                self.writer.write::<V>(token, panel, rows, &*tile.out, plan.streams);
            }
        }
        if job.hessian.is_some() {
            self.store_hessian::<V>(token, (first, count));
        }
    }

    /// Writes the Hessian. It is a separate function so that calls without a Hessian only test for it.
    #[inline(never)]
    fn store_hessian<V: Vector<Scalar = F>>(&mut self, token: V::Token, rows: (usize, usize)) {
        let Some(panel) = self.plan.job.hessian_panel() else { return };
        let tile = &mut self.tiles[0];
        panel.mask_values::<V>(token, tile.kept, tile.z, panel.masked);
        outlined!(V, token, self.writer.write::<V>(token, &panel, rows, tile.z, false));
    }
}
