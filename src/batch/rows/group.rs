//! A group of rows: reduced, finished and written together.

use super::super::{Hessian, Job, Plan, Same};
use super::Memory;
use crate::kernel::{
    MOST_ROWS, Operation, Output, Part, Reduced, ReducedRows, Reduction, RowClass, maximum, write,
    write_hessian, write_shifted,
};
use crate::panel::Panel;
use crate::simd::{Float, Lines, Sink, Source, Vector, VectorJob};
use crate::target::{NO_CLASS, Weights};
use std::array::from_fn;
use std::ops::Range;

/// A row of a group that counts.
#[derive(Clone, Copy, Default)]
struct Row {
    /// Its place in the group.
    at: usize,
    /// The class of its label, where that has a spike.
    label: Option<usize>,
    /// The logit there.
    z_label: f64,
    class: RowClass,
    /// M, as it is in memory, of a row that was shifted by it.
    shifted_by: Option<f64>,
    /// Does a masked class have weight?
    is_lost: bool,
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

impl<F: Float> Group<'_, '_, F> {
    #[inline(always)]
    pub(super) fn run<V: Vector<Scalar = F>>(
        self,
        token: V::Token,
        memory: &mut Memory<'_, F>,
        reduced: &mut ReducedRows<'_, F>,
    ) {
        let Self { job, plan, first, .. } = self;
        let (panel, temperature, operation) = (&job.panel, &job.temperature, job.operation);
        let Memory { rows: own, kept, weights, hessian, special, .. } = memory;
        let mut rows = [Row::default(); MOST_ROWS];
        let mut parts: [Part<'_, F>; MOST_ROWS] = from_fn(|_| Part::none());
        let mut len = 0;
        let (mut own, mut weights) = (self.rows_of(own), self.rows_of(weights));
        for at in 0..self.len {
            let own = own.next().unwrap_or_default();
            let own_weights = if plan.needs.weights { weights.next() } else { None };
            let memory = (own, own_weights.unwrap_or_default(), &mut **kept, &mut **hessian);
            if let Some((row, part)) = self.set_up::<V>(token, (at, len), memory, reduced) {
                (rows[len], parts[len]) = (row, part);
                len += 1;
            }
        }
        let (rows, parts) = (&mut rows[..len], &mut parts[..len]);
        let (splits, keeps) = (operation.splits::<F>(), operation.keeps());
        let next = Lines::of(panel.logits, first + plan.group, 0, plan.asks_ahead);
        let asks_for_outputs = plan.asks_for_outputs;
        let how = Reduction { temperature, splits, keeps, next, asks_for_outputs };
        how.rows::<V>(token, parts);
        for (i, (row, part)) in rows.iter_mut().zip(&mut *parts).enumerate() {
            if part.partial.is_ordinary() {
                let found = Reduced::ordinary(part.max.to_f64(), part.partial);
                self.set(row, part, kept, found, (i, reduced));
            } else {
                self.set_special::<V>(token, row, part, (how, special), kept, (i, reduced));
            }
        }
        reduced.run::<V>(token);
        let (mut scalars, mut lse) = ([0.0; MOST_ROWS], [0.0; MOST_ROWS]);
        for (i, row) in rows.iter().enumerate() {
            scalars[row.at] = reduced.done.scalars(operation)[i];
            lse[row.at] = reduced.done.lse[i];
            if row.class != RowClass::Finite {
                lse[row.at] = row.class.lse();
                scalars[row.at] = if job.targets.is_some() { f64::NAN } else { row.class.lse() };
            }
        }
        job.put_rows(first, &scalars[..self.len], &lse[..self.len]);
        if panel.output.is_none() {
            return;
        }
        let is_direct = panel.writes_directly();
        for (i, (row, part)) in rows.iter().zip(parts).enumerate() {
            if row.class != RowClass::Finite {
                self.fill(row.at, F::NAN, part.exps.reborrow(), hessian);
                continue;
            }
            let done = reduced.finished(i);
            let values = if keeps { part.exps.as_source() } else { part.z };
            if let Some(Hessian { out, factor }) = job.hessian {
                let panel = Panel { output: Some(out), ..*panel };
                let mut out = self.out(&panel, row.at, self.own_hessian(row.at, hessian));
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

    /// Rows of memory of our own, from the group's first on; none where none are needed.
    #[inline(always)]
    fn rows_of<'m>(&self, memory: &'m mut [F]) -> impl Iterator<Item = &'m mut [F]> + use<'m, F> {
        let (pitch, classes) = (self.plan.pitch, self.job.panel.logits.classes());
        let rows = memory.get_mut(self.place * pitch..).unwrap_or_default();
        rows.chunks_exact_mut(pitch).map(move |row| &mut row[..classes])
    }

    /// Where a row is in memory of our own.
    fn span(&self, at: usize) -> Range<usize> {
        let start = (self.place + at) * self.plan.pitch;
        start..start + self.job.panel.logits.classes()
    }

    /// Sets up row `i`, at a place in the group, with its target, its maximum, and what of it has to be in memory of
    /// our own. A row that does not count gets its zeros.
    #[inline(always)]
    fn set_up<'m, V: Vector<Scalar = F>>(
        &'m self,
        token: V::Token,
        (at, i): (usize, usize),
        (own, own_weights, kept, hessian): (&'m mut [F], &'m mut [F], &mut [F], &mut [F]),
        reduced: &mut ReducedRows<'_, F>,
    ) -> Option<(Row, Part<'m, F>)> {
        let Self { job, plan, .. } = self;
        let (panel, needs, number) = (&job.panel, plan.needs, self.first + at);
        let mut row = Row { at, ..Row::default() };
        let (mut weights, mut target) = (Weights::Absent, None);
        let mut counts = true;
        if let Some((labels, same)) = self.same {
            let label = labels[number];
            counts = label != NO_CLASS;
            row.label = (same.spike != 0.0).then_some(label as usize);
            weights = same.weights;
        } else if let Some(targets) = &job.targets {
            target = targets.rows.row(number);
            counts = target.is_some();
        }
        if !counts {
            self.fill(at, F::default(), Sink::from_slice(own), hessian);
            return None;
        }
        let kept = if needs.kept { &mut kept[self.span(at)] } else { &mut [] };
        panel.kept::<V>(token, number, 0, kept);
        if needs.logits && !self.is_loaded {
            panel.load::<V>(token, number, 0, kept, own);
        }
        if let Some(mut target) = target {
            row.label = (target.spike != 0.0).then_some(target.class);
            weights = target.weights;
            if target.is_made {
                let filled = job.fill_weights::<V>(token, (number, 0), kept, own_weights);
                target.set_mass(filled.mass);
                row.is_lost = filled.is_lost;
                weights = Weights::Row(Source::from_slice(own_weights));
            }
            reduced.targets.set(i, &target, job.scale(target.weight));
        }
        let own = Sink::from_slice(own);
        let z = if needs.logits { own.as_source() } else { panel.direct(number) };
        let exps = if panel.output.is_none() || needs.output { own } else { panel.sink(number) };
        let max = maximum::<V>(token, z);
        // Before exponentials are written over the logits.
        row.z_label = row.label.map_or(0.0, |class| z.get(class).to_f64());
        Some((row, Part { weights, ..Part::new(z, max, exps) }))
    }

    /// The same in all outputs of a row.
    #[cold]
    fn fill(&self, at: usize, value: F, own: Sink<'_, F>, hessian: &mut [F]) {
        if self.job.panel.output.is_some() {
            self.out(&self.job.panel, at, own).fill(value);
        }
        if let Some(panel) = self.job.hessian_panel() {
            self.out(&panel, at, self.own_hessian(at, hessian)).fill(value);
        }
    }

    /// Where outputs of a row go: to where they are wanted, or to memory of our own.
    fn out<'o>(&self, panel: &'o Panel<'_, F>, at: usize, own: Sink<'o, F>) -> Sink<'o, F> {
        if panel.writes_directly() { panel.sink(self.first + at) } else { own }
    }

    /// Nowhere if it is not needed.
    fn own_hessian<'m>(&self, at: usize, memory: &'m mut [F]) -> Sink<'m, F> {
        Sink::from_slice(memory.get_mut(self.span(at)).unwrap_or_default())
    }

    /// Sets row `i`, of which this was found. A label that is masked has no output of its own.
    #[inline(always)]
    fn set(
        &self,
        row: &mut Row,
        part: &Part<'_, F>,
        kept: &[F],
        mut found: Reduced,
        (i, reduced): (usize, &mut ReducedRows<'_, F>),
    ) {
        if row.is_lost {
            found.partial.dot = f64::INFINITY;
        }
        found.z_label = row.z_label;
        if let Some(class) = row.label {
            found.weight_label = part.weights.get(class);
            if self.plan.needs.kept && kept[self.span(row.at)][class].to_f64() == 0.0 {
                (found.z_label, row.label) = (f64::NEG_INFINITY, None);
            }
        }
        reduced.set(i, &found);
    }

    /// Reduces again, and sets, a row that has NaN or infinities, or overflows.
    #[cold]
    fn set_special<V: Vector<Scalar = F>>(
        &self,
        token: V::Token,
        row: &mut Row,
        part: &mut Part<'_, F>,
        (how, special): (Reduction<'_, F>, &mut [F]),
        kept: &[F],
        lane: (usize, &mut ReducedRows<'_, F>),
    ) {
        let mut found = Reduced::ordinary(part.max.to_f64(), part.partial);
        self.job.panel.reload(self.first + row.at, 0, special);
        let max;
        (row.class, max) = RowClass::of(special);
        if row.class == RowClass::Finite {
            row.z_label = row.label.map_or(0.0, |class| special[class].to_f64());
            let is_shifted = !how.temperature.is_in_range(part.max);
            how.special::<V>(token, part, special, max, is_shifted);
            row.shifted_by = is_shifted.then_some(max);
            let swept_max = if is_shifted { 0.0 } else { found.max };
            let (shift, has_target) = (how.temperature.shift, self.job.targets.is_some());
            found = Reduced::special(max, swept_max, part.partial, shift, has_target);
        }
        self.set(row, part, kept, found, lane);
    }
}
