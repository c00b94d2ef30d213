//! A group of rows: reduced, finished and written together.

use super::super::{Hessian, Job, Plan, Same};
use super::Memory;
use crate::kernel::{
    Ahead, Finished, MOST_ROWS, Operation, Output, Part, Partial, ReducedRows, Reduction, RowClass,
    UNIT, find_maxima, finish, gap, log_probabilities, shift, weighted_gaps, write, write_hessian,
};
use crate::panel::Panel;
use crate::simd::{Float, Lines, Sink, Source, Vector};
use crate::target::{NO_CLASS, Weights};
use std::array::from_fn;
use std::ops::Range;
use std::slice::from_mut;

/// A row of a group.
#[derive(Clone, Copy)]
struct Row {
    /// Its place in the group.
    at: usize,
    /// The class of its label, where that has a spike.
    label: Option<usize>,
    class: RowClass,
    /// M of a row that left the fast path, before any shift.
    exact_max: f64,
    /// Was it shifted by its maximum?
    is_shifted: bool,
    /// Are its weights made, in memory of our own?
    is_made: bool,
    /// Has a masked class weight?
    is_lost: bool,
}

impl Row {
    /// Before it is reduced.
    fn new() -> Self {
        let (at, class) = (0, RowClass::Finite);
        let (is_shifted, is_made, is_lost) = (false, false, false);
        Row { at, label: None, class, exact_max: 0.0, is_shifted, is_made, is_lost }
    }
}

/// Rows that are finished together.
pub(super) struct Group<'g, 'j, F: Float> {
    pub(super) job: &'g Job<'j, F>,
    pub(super) plan: &'g Plan,
    pub(super) same: Option<&'g Same<'g, F>>,
    pub(super) first: usize,
    /// The place of the first in the panel.
    pub(super) place: usize,
    pub(super) len: usize,
    /// Are the logits in memory of our own already?
    pub(super) is_loaded: bool,
}

impl<'g, F: Float> Group<'g, '_, F> {
    pub(super) fn run<V: Vector<Scalar = F>>(
        self,
        token: V::Token,
        memory: &mut Memory<'_, F>,
        reduced: &mut ReducedRows,
    ) {
        let Self { job, plan, first, .. } = self;
        let (panel, temperature, operation) = (&job.panel, &job.temperature, job.operation);
        let (mut scalars, mut lse) = ([0.0; MOST_ROWS], [0.0; MOST_ROWS]);
        let (mut rows, mut parts) =
            ([Row::new(); MOST_ROWS], [Part::new(Source::from_slice(&[])); MOST_ROWS]);
        let mut len = 0;
        for at in 0..self.len {
            rows[len].at = at;
            if self.set_up::<V>(token, &mut rows[len], &mut parts[len], len, memory, reduced) {
                len += 1;
            } else {
                self.clear(at, memory);
            }
        }
        let Memory { rows: own, kept, weights, hessian, special, .. } = memory;
        let mut sinks: [Sink<'_, F>; MOST_ROWS] = from_fn(|_| Sink::from_slice(&mut []));
        let (rows, parts, sinks) = (&mut rows[..len], &mut parts[..len], &mut sinks[..len]);
        // Of each row the one at its place: both are in order.
        let mut own = own.chunks_exact_mut(plan.pitch).skip(self.place).enumerate();
        for (i, (row, (part, sink))) in
            rows.iter().zip(parts.iter_mut().zip(&mut *sinks)).enumerate()
        {
            let own = own.find(|(at, _)| *at == row.at);
            let own = own.map(|(_, own)| Sink::from_slice(&mut own[..panel.logits.classes()]));
            part.z = match &own {
                Some(own) if plan.needs.logits => own.as_source(),
                _ => panel.direct(first + row.at),
            };
            match own {
                Some(own) if plan.needs.output => *sink = own,
                _ if panel.output.is_some() => *sink = panel.sink(first + row.at),
                _ => {}
            }
            if row.is_made {
                part.weights = Weights::Row(Source::from_slice(&weights[self.span(row.at)]));
            }
            // Before exponentials are written over the logits.
            reduced.z_label[i] = row.label.map_or(0.0, |class| part.z.get(class).to_f64());
        }
        find_maxima::<V>(token, parts);
        let ahead = Ahead {
            logits: Lines::of(panel.logits, first + plan.group, 0, plan.asks_ahead),
            outputs: plan.asks_for_outputs(job),
        };
        let (splits, keeps) = (operation.splits::<F>(), operation.keeps());
        let how = Reduction { temperature, splits, keeps, ahead };
        how.rows::<V>(token, parts, sinks, &mut reduced.lanes);
        reduced.complete(parts);
        for (i, row) in rows.iter_mut().enumerate() {
            if !Partial::in_lane(&reduced.lanes, i).is_ordinary() {
                let how = Reduction { ahead: Ahead::nothing(), ..how };
                let own = (&parts[i], &mut sinks[i]);
                self.reduce_special::<V>(token, row, (i, how), own, special, reduced);
            }
            if job.targets.is_some() {
                self.put_gap(row, i, &parts[i], kept, reduced);
            }
        }
        finish::<V>(token, operation, temperature, job.z_loss(), reduced);
        let mut outputs: [Output<'_, F>; MOST_ROWS] = from_fn(|_| Output::none());
        let mut count = 0;
        for (i, (row, (part, sink))) in rows.iter().zip(parts.iter().zip(sinks)).enumerate() {
            let done = Finished::from_lane(operation, temperature, reduced, i);
            let has_numbers = row.class == RowClass::Finite;
            (scalars[row.at], lse[row.at]) = match row.class {
                RowClass::Finite => (done.scalar, done.lse),
                class if job.targets.is_some() => (f64::NAN, class.lse()),
                class => (class.lse(), class.lse()),
            };
            if panel.output.is_none() {
                continue;
            }
            let values = if keeps { sink.as_source() } else { part.z };
            if job.hessian.is_some() {
                let own = hessian.get_mut(self.span(row.at)).map(Sink::from_slice);
                self.write_hessian::<V>(token, row, own, values, (i, reduced, done));
            }
            let mut out = sink.reborrow();
            if plan.needs.output && panel.writes_directly() {
                out = panel.sink(first + row.at);
            }
            // Field by field: a whole that is made and then moved waits for the stores of its parts.
            let output = &mut outputs[count];
            output.values = values;
            output.weights = part.weights;
            output.label = row.label.map(|class| (class, done.label));
            output.out = out;
            output.epilogue = done.epilogue;
            if has_numbers && !row.is_shifted && done.unit == 1.0 {
                count += 1;
            } else {
                self.write_special::<V>(token, row, special, (done.excess(), done.unit), output);
            }
        }
        write::<V>(token, &mut outputs[..count], plan.streams && panel.writes_directly());
        job.put_rows(first, &scalars[..self.len], &lse[..self.len]);
    }

    /// Where a row is in memory of our own.
    fn span(&self, at: usize) -> Range<usize> {
        let start = (self.place + at) * self.plan.pitch;
        start..start + self.job.panel.logits.classes()
    }

    /// Sets up row `i` with its target, and what of it has to be in memory of our own; false if it does not count.
    #[inline(always)]
    fn set_up<V: Vector<Scalar = F>>(
        &self,
        token: V::Token,
        row: &mut Row,
        part: &mut Part<'g, F>,
        i: usize,
        memory: &mut Memory<'_, F>,
        reduced: &mut ReducedRows,
    ) -> bool {
        let Self { job, plan, .. } = self;
        let (panel, number) = (&job.panel, self.first + row.at);
        let mut target = None;
        if let Some((labels, same)) = self.same {
            let label = labels[number];
            row.label = (same.spike != 0.0).then_some(label as usize);
            part.weights = same.weights;
            if label == NO_CLASS {
                return false;
            }
        } else if let Some(targets) = &job.targets {
            target = targets.rows.row(number);
            if target.is_none() {
                return false;
            }
        }
        let is_loaded = self.is_loaded || !plan.needs.logits;
        if is_loaded && !plan.needs.kept && target.is_none() {
            return true;
        }
        let span = self.span(row.at);
        let kept = memory.kept.get_mut(span.clone()).unwrap_or_default();
        panel.kept::<V>(token, number, 0, kept);
        if !is_loaded {
            panel.load::<V>(token, number, 0, kept, &mut memory.rows[span.clone()]);
        }
        if let (Some(mut target), Some(targets)) = (target, &job.targets) {
            row.label = (target.spike != 0.0).then_some(target.class);
            row.is_made = target.is_made;
            part.weights = target.weights;
            if target.is_made {
                let filled = targets.rows.fill(number, 0, kept, &mut memory.weights[span]);
                target.set_mass(filled.mass);
                row.is_lost = filled.is_lost;
            }
            reduced.targets.set(i, &target, job.scale(target.weight));
        }
        true
    }

    /// Zeros for a row that does not count.
    #[cold]
    fn clear(&self, at: usize, memory: &mut Memory<'_, F>) {
        let panel = &self.job.panel;
        if panel.output.is_some() {
            let own = memory.rows.get_mut(self.span(at)).map(Sink::from_slice);
            self.out(panel, at, own).fill(F::default());
        }
        if let Some(panel) = self.job.hessian_panel() {
            let own = memory.hessian.get_mut(self.span(at)).map(Sink::from_slice);
            self.out(&panel, at, own).fill(F::default());
        }
    }

    /// Where outputs of a row go: to where they are wanted, or to memory of our own.
    fn out<'o>(&self, panel: &'o Panel<'_, F>, at: usize, own: Option<Sink<'o, F>>) -> Sink<'o, F> {
        match own {
            Some(own) if !panel.writes_directly() => own,
            _ => panel.sink(self.first + at),
        }
    }

    /// Reduces row `i` if it has NaN or infinities, or overflows.
    #[cold]
    fn reduce_special<V: Vector<Scalar = F>>(
        &self,
        token: V::Token,
        row: &mut Row,
        (i, how): (usize, Reduction<'_, F>),
        (part, sink): (&Part<'_, F>, &mut Sink<'_, F>),
        special: &mut [F],
        reduced: &mut ReducedRows,
    ) {
        let (panel, temperature) = (&self.job.panel, &self.job.temperature);
        panel.reload(self.first + row.at, 0, special);
        (row.class, row.exact_max) = RowClass::of(special);
        if row.class != RowClass::Finite {
            return;
        }
        reduced.lanes.max[i] = row.exact_max * temperature.shift;
        if self.job.targets.is_some() {
            let dot = weighted_gaps(special, row.exact_max, |class| part.weights.get(class));
            reduced.lanes.dot[i] = dot * temperature.shift;
            reduced.lanes.unit[i] = UNIT;
            reduced.z_label[i] = row.label.map_or(0.0, |class| special[class].to_f64());
        }
        if temperature.is_in_range(part.max) {
            return;
        }
        row.is_shifted = true;
        shift(special, row.exact_max, temperature.shift);
        // The maximum is 0 now.
        let Partial { sum, lost, .. } =
            how.part::<V>(token, Part::new(Source::from_slice(special)), sink);
        (reduced.swept_max[i], reduced.lanes.sum[i], reduced.lanes.lost[i]) = (0.0, sum, lost);
    }

    /// The gap between the maximum of row `i` and its label, which has no output of its own if it is masked.
    #[inline(always)]
    fn put_gap(
        &self,
        row: &mut Row,
        i: usize,
        part: &Part<'_, F>,
        kept: &[F],
        reduced: &mut ReducedRows,
    ) {
        let (lanes, mut z_label) = (&mut reduced.lanes, reduced.z_label[i]);
        if row.is_lost {
            lanes.dot[i] = f64::INFINITY;
        }
        if let Some(class) = row.label {
            lanes.weight_label[i] = part.weights.get(class);
            if self.plan.needs.kept && kept[self.span(row.at)][class].to_f64() == 0.0 {
                (z_label, row.label) = (f64::NEG_INFINITY, None);
            }
        }
        let shift = self.job.temperature.shift;
        (reduced.z_label[i], lanes.gap[i]) = if lanes.unit[i] == 1.0 {
            (z_label, lanes.max[i] - z_label)
        } else {
            (z_label * shift, gap(row.exact_max, z_label, shift))
        };
    }

    /// Writes the Hessian of row `i`, from its exponentials.
    fn write_hessian<V: Vector<Scalar = F>>(
        &self,
        token: V::Token,
        row: &Row,
        own: Option<Sink<'_, F>>,
        values: Source<'_, F>,
        (i, reduced, done): (usize, &ReducedRows, Finished<F>),
    ) {
        let (Some(panel), Some(Hessian { factor, .. })) =
            (self.job.hessian_panel(), self.job.hessian)
        else {
            return;
        };
        let mut out = self.out(&panel, row.at, own);
        if row.class != RowClass::Finite {
            return out.fill(F::NAN);
        }
        write_hessian::<V>(token, factor, (&reduced.lanes, i), done.epilogue, values, &mut out);
        if done.unit != 1.0 {
            out.multiply(done.unit);
        }
    }

    /// Writes a row that has no numbers, or that is shifted or in units.
    #[cold]
    fn write_special<V: Vector<Scalar = F>>(
        &self,
        token: V::Token,
        row: &Row,
        special: &mut [F],
        (excess, unit): (f64, f64),
        output: &mut Output<'_, F>,
    ) {
        let Job { panel, temperature, operation, .. } = self.job;
        if row.class != RowClass::Finite {
            output.out.fill(F::NAN);
        } else if row.is_shifted && *operation == Operation::LogSoftmax {
            panel.reload(self.first + row.at, 0, special);
            let inverse = temperature.inverse * temperature.shift;
            log_probabilities(special, row.exact_max, inverse, excess);
            for (class, value) in special.iter().enumerate() {
                output.out.set(class, *value);
            }
        } else {
            write::<V>(token, from_mut(output), false);
            if unit != 1.0 {
                output.out.multiply(unit);
            }
        }
    }
}
