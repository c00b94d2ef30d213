//! Rows of one segment: gathered into a panel, computed in groups, and stored.

use super::{Block, Hessian, Plan};
use crate::kernel::{
    MOST_ROWS, Operation, Output, Part, Reduced, ReducedRows, Reducer, TargetLanes, exact_max,
    maximum, write, write_hessian, write_shifted,
};
use crate::panel::Panel;
use crate::simd::{Float, Lines, Sink, Source, Vector, VectorJob, outlined};
use crate::target::{NO_CLASS, Weights};
use std::array::from_fn;
use std::slice::ChunksMut;

/// Scratch memory for some rows, `pitch` elements each, of four kinds: their logits, which are overwritten by
/// exponentials and then by outputs; the masks of their classes; their weights; their Hessians. A kind that is not
/// needed is empty.
type Memory<'m, F> = [ChunksMut<'m, F>; 4];

impl<F: Float> Block<'_, F> {
    #[inline(always)]
    pub(super) fn rows<V: Vector<Scalar = F>>(&mut self, token: V::Token) {
        let (plan, range) = (self.plan, &self.range);
        let (job, panel) = (plan.job, &plan.job.panel);
        let mut scratch = &mut *self.scratch;
        let mut take = |rows: usize| scratch.split_off_mut(..rows * plan.pitch).unwrap_or_default();
        let mut memory = plan.memory.map(|is_needed| take(if is_needed { plan.panel } else { 0 }));
        // Memory for one special row.
        let special = &mut take(1)[..panel.logits.classes()];
        // Memory for some classes of a panel, before or after they are transposed.
        let columns = scratch;
        let mut reduced = ReducedRows::new(job.formula());
        if let Some(same) = &plan.same {
            reduced.targets = TargetLanes::of_all(&same.target, same.scale);
        }
        let mut first = range.start;
        while first < range.end {
            let mut count = plan.panel.min(range.end - first);
            if !columns.is_empty() {
                count = count.min(panel.neighbours_from(first, V::LANES / 2).unwrap_or(count));
            }
            let place = (first, count, plan.pitch);
            let asks_ahead = plan.asks_ahead.is_some();
            let is_loaded = plan.own_logits
                && panel.load_neighbours::<V>(token, place, memory[0], columns, asks_ahead);
            let mut left: Memory<'_, F> = memory.each_mut().map(|rows| rows.chunks_mut(plan.pitch));
            for at in (0..count).step_by(plan.group) {
                let (first, len) = (first + at, plan.group.min(count - at));
                let group = Group { plan, first, len, is_loaded };
                group.run::<V>(token, &mut left, special, &mut reduced);
            }
            let [values, kept, _, hessian] = &mut memory;
            let hints = (plan.streams, asks_ahead);
            panel.store_rows::<V>(token, place, hints, (values, kept), columns);
            if let Some(panel) = &job.hessian_panel() {
                outlined!(V, token, {
                    panel.store_rows::<V>(token, place, hints, (hessian, kept), columns);
                });
            }
            first += count;
        }
    }
}

/// A row of a group that counts.
#[derive(Default)]
struct Row<'m, F> {
    /// Its index in the group.
    at: usize,
    /// The class of its label, if the target has a spike there and the class is not masked.
    label: Option<usize>,
    /// The logit of the label; −inf if its class is masked.
    z_label: f64,
    /// The lse, if the maximum of the row is not finite. Such a row has no other results.
    only_lse: Option<f64>,
    /// The maximum M, as it is in memory, if it was subtracted from the logits of the row.
    shifted_by: Option<f64>,
    /// Scratch memory for the Hessian; empty if it is not needed.
    hessian: &'m mut [F],
}

/// Rows that are reduced, finished and written together.
struct Group<'g, F: Float> {
    plan: &'g Plan<'g, F>,
    first: usize,
    len: usize,
    /// Have the logits been copied to scratch memory already?
    is_loaded: bool,
}

impl<F: Float> Group<'_, F> {
    /// Computes the group, with the next rows of `memory`.
    #[inline(always)]
    fn run<V: Vector<Scalar = F>>(
        self,
        token: V::Token,
        memory: &mut Memory<'_, F>,
        special: &mut [F],
        reduced: &mut ReducedRows<'_, F>,
    ) {
        let Self { plan, first, .. } = self;
        let job = plan.job;
        let (panel, temperature, operation) = (&job.panel, &job.temperature, job.operation);
        let mut rows: [Row<'_, F>; MOST_ROWS] = from_fn(|_| Row::default());
        let mut parts: [Part<'_, F>; MOST_ROWS] = from_fn(|_| Part::none());
        let has_more = plan.memory[1..] != [false; 3];
        let mut len = 0;
        for at in 0..self.len {
            let [own, more_left @ ..] = &mut *memory;
            let own = self.next_row(own);
            // Most rows need only the first kind of memory.
            let mut more = Default::default();
            if has_more {
                more = more_left.each_mut().map(|rows| self.next_row(rows));
            }
            if let Some((row, part)) = self.set_up::<V>(token, (at, len), own, more, reduced) {
                (rows[len], parts[len]) = (row, part);
                len += 1;
            }
        }
        let (rows, parts) = (&mut rows[..len], &mut parts[..len]);
        let (splits, keeps) = (operation.splits(), operation.keeps());
        let next = Lines::of(panel.logits, first + plan.group, 0, plan.asks_ahead);
        let asks_for_outputs = plan.asks_for_outputs;
        let how = Reducer { temperature, splits, keeps, next, asks_for_outputs };
        how.rows::<V>(token, parts);
        for (i, (row, part)) in rows.iter_mut().zip(&mut *parts).enumerate() {
            let mut found = Reduced::ordinary(part.max.to_f64(), part.partial);
            if !part.partial.is_ordinary() {
                found = self.special::<V>(token, row, part, how, special);
            }
            found.z_label = row.z_label;
            found.weight_label = row.label.map_or(0.0, |class| part.weights.get(class));
            reduced.set(i, &found);
        }
        reduced.run::<V>(token);
        let (mut scalars, mut lse) = ([0.0; MOST_ROWS], [0.0; MOST_ROWS]);
        for (i, row) in rows.iter().enumerate() {
            scalars[row.at] = reduced.done.scalar[i];
            lse[row.at] = reduced.done.lse[i];
            if let Some(max) = row.only_lse {
                lse[row.at] = max;
                scalars[row.at] = if job.targets.is_some() { f64::NAN } else { max };
            }
        }
        job.put_rows(job.scalars, first, &mut scalars[..self.len]);
        job.put_rows(job.lse, first, &mut lse[..self.len]);
        if panel.output.is_none() {
            return;
        }
        let is_direct = panel.writes_directly();
        for (i, (row, part)) in rows.iter_mut().zip(parts).enumerate() {
            if row.only_lse.is_some() {
                self.fill(row.at, F::NAN, part.exps.reborrow(), row.hessian);
                continue;
            }
            let done = reduced.finished(i);
            let values = if keeps { part.exps.as_source() } else { part.z };
            if let Some(Hessian { out, factor }) = job.hessian {
                let panel = Panel { output: Some(out), ..*panel };
                let mut out = self.out(&panel, row.at, Sink::from_slice(row.hessian));
                write_hessian::<V>(token, *factor, (reduced, i), &done, values, &mut out);
            }
            let (weights, label) = (part.weights, row.label);
            let exps = part.exps.reborrow();
            let out = if is_direct { panel.sink(first + row.at) } else { exps };
            match row.shifted_by {
                Some(max) if operation == Operation::LogSoftmax => {
                    panel.reload(first + row.at, 0, special);
                    write_shifted(&done, out, temperature, special, max);
                }
                _ => {
                    let output = Output { done, values, weights, label, out };
                    write::<V>(token, output, plan.streams && is_direct);
                }
            }
        }
    }

    /// The next row of `rows`; empty if this kind of memory is not needed.
    #[inline(always)]
    fn next_row<'m>(&self, rows: &mut ChunksMut<'m, F>) -> &'m mut [F] {
        rows.next().map_or(&mut [], |row| &mut row[..self.plan.job.panel.logits.classes()])
    }

    /// Sets up a row: finds its target and its maximum, and copies to scratch memory what has to be there. `at` is its
    /// index in the group, `i` its index among the rows that count. For a row that does not count, writes zeros and
    /// returns None.
    #[inline(always)]
    fn set_up<'m, V: Vector<Scalar = F>>(
        &'m self,
        token: V::Token,
        (at, i): (usize, usize),
        own: &'m mut [F],
        [kept, own_weights, hessian]: [&'m mut [F]; 3],
        reduced: &mut ReducedRows<'_, F>,
    ) -> Option<(Row<'m, F>, Part<'m, F>)> {
        let (plan, job, number) = (self.plan, self.plan.job, self.first + at);
        let panel = &job.panel;
        let mut row = Row { at, ..Row::default() };
        let (mut weights, mut target) = (Weights::Absent, None);
        let mut counts = true;
        if let Some(same) = &plan.same {
            let label = same.labels[number];
            counts = label != NO_CLASS;
            row.label = (same.target.spike != 0.0).then_some(label as usize);
            weights = same.target.weights;
        } else if let Some(targets) = &job.targets {
            target = targets.rows.row(number);
            counts = target.is_some();
        }
        if !counts {
            self.fill(at, F::default(), Sink::from_slice(own), hessian);
            return None;
        }
        row.hessian = hessian;
        let kept = panel.kept::<V>(token, number, 0, kept);
        if plan.own_logits && !self.is_loaded {
            panel.load::<V>(token, number, 0, kept, own);
        }
        if let Some(mut target) = target {
            row.label = (target.spike != 0.0).then_some(target.class);
            weights = target.weights;
            if let Some(maker) = target.made_by {
                target.set_mass(maker.fill::<V>(token, (number, 0), kept, own_weights));
                weights = Weights::Row(Source::from_slice(own_weights));
            }
            reduced.targets.set(i, &target, job.scale(target.weight));
        }
        let own = Sink::from_slice(own);
        let z = if plan.own_logits { own.as_source() } else { panel.direct(number) };
        let exps = if panel.output.is_none() || plan.own_output { own } else { panel.sink(number) };
        let max = maximum::<V>(token, z);
        if let Some(class) = row.label {
            // Before exponentials are written over the logits.
            row.z_label = z.get(class).to_f64();
            if !panel.keeps(number, class) {
                (row.label, row.z_label) = (None, f64::NEG_INFINITY);
            }
        }
        Some((row, Part { weights, ..Part::new(z, max, exps) }))
    }

    /// Fills all outputs of a row with one value.
    #[cold]
    fn fill(&self, at: usize, value: F, own: Sink<'_, F>, hessian: &mut [F]) {
        let job = self.plan.job;
        if job.panel.output.is_some() {
            self.out(&job.panel, at, own).fill(value);
        }
        if let Some(panel) = job.hessian_panel() {
            self.out(&panel, at, Sink::from_slice(hessian)).fill(value);
        }
    }

    /// Where the outputs of a row are written: to their final place, or to scratch memory.
    fn out<'o>(&self, panel: &'o Panel<'_, F>, at: usize, own: Sink<'o, F>) -> Sink<'o, F> {
        if panel.writes_directly() { panel.sink(self.first + at) } else { own }
    }

    /// Reduces a row again that has NaN or infinities, or that overflows.
    #[cold]
    fn special<V: Vector<Scalar = F>>(
        &self,
        token: V::Token,
        row: &mut Row<'_, F>,
        part: &mut Part<'_, F>,
        how: Reducer<'_, F>,
        z: &mut [F],
    ) -> Reduced {
        let job = self.plan.job;
        job.panel.reload(self.first + row.at, 0, z);
        let max = exact_max(z);
        let found = Reduced::ordinary(part.max.to_f64(), part.partial);
        if !max.is_finite() {
            row.only_lse = Some(max);
            return found;
        }
        row.z_label = row.label.map_or(row.z_label, |class| z[class].to_f64());
        let is_shifted = !how.temperature.is_in_range(part.max);
        how.special::<V>(token, part, z, max, is_shifted);
        row.shifted_by = is_shifted.then_some(max);
        let swept_max = if is_shifted { 0.0 } else { found.max };
        let prescale = how.temperature.prescale;
        Reduced { max, prescale, ..Reduced::ordinary(swept_max, part.partial) }
    }
}
