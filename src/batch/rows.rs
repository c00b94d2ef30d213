//! Rows of one segment: gathered into a panel, computed in groups, and stored.

use super::{Block, Hessian, Plan};
use crate::kernel::{
    Epilogue, MOST_ROWS, Output, Part, Reduced, ReducedRows, Reducer, TargetLanes, exact_max,
    find_maxima, write, write_hessian,
};
use crate::simd::{Float, Lines, Neighbours, Sink, Source, Vector, VectorJob, outlined};
use crate::target::{NO_CLASS, SmoothedTargets, Weights};
use std::array::from_fn;
use std::ops::Range;

/// Scratch memory for some rows, `pitch` elements each, of four kinds: their logits, which are overwritten by
/// exponentials and then by outputs; the masks of their classes; their weights; their Hessians. A kind that is not
/// needed is empty.
pub(super) type Memory<'m, F> = [&'m mut [F]; 4];

impl<F: Float> Plan<'_, F> {
    /// Divides scratch memory into that of a panel and the rest.
    pub(super) fn take_memory<'m>(&self, mut scratch: &'m mut [F]) -> (Memory<'m, F>, &'m mut [F]) {
        let memory = self.memory.map(|is_needed| {
            let len = if is_needed { self.panel_rows * self.pitch } else { 0 };
            scratch.split_off_mut(..len).unwrap_or_default()
        });
        (memory, scratch)
    }

    /// The rows of the panel at the beginning of `rows`. Their logits, masks and probabilities are copied, through
    /// `columns`, if they are neighbours in memory and there is memory for them. Also returns which of these are copied:
    /// none if there are no columns.
    #[inline(always)]
    pub(super) fn gather_panel<V: Vector<Scalar = F>>(
        &self,
        token: V::Token,
        rows: Range<usize>,
        (memory, columns): (&mut Memory<'_, F>, &mut [F]),
        prefetches: bool,
    ) -> (Neighbours, [bool; 3]) {
        let (first, most) = (rows.start, self.panel_rows.min(rows.len()));
        let mut place = Neighbours { first, count: most, pitch: self.pitch };
        let mut gathered = [false; 3];
        if columns.is_empty() {
            return (place, gathered);
        }
        let near = self.job.neighbours_from(first, V::LANES / 2);
        place.count = near.map_or(most, |near| near.min(most));
        let (logits, mask) = (self.job.panel.logits, self.job.panel.mask);
        let logits = self.own_logits.then_some(logits);
        let probabilities = self.job.targets.and_then(SmoothedTargets::probabilities);
        for (i, rows) in [logits, mask, probabilities].into_iter().enumerate() {
            let Some(rows) = rows else { continue };
            let (classes, memory) = (0..rows.classes(), (&mut *memory[i], &mut *columns));
            gathered[i] = rows.gather_neighbours::<V>(token, place, classes, memory, prefetches);
        }
        (place, gathered)
    }
}

impl<F: Float> Block<'_, F> {
    /// A separate function, so that calls of tiles do not reserve the stack that rows need.
    #[inline(never)]
    pub(super) fn rows<V: Vector<Scalar = F>>(&mut self, token: V::Token) {
        outlined!(V, token, {
            let (plan, range) = (self.plan, &self.range);
            let (job, panel) = (plan.job, &plan.job.panel);
            let (mut memory, scratch) = plan.take_memory(self.scratch);
            // Memory for one special row.
            let (special, scratch) = scratch.split_at_mut(plan.pitch);
            let special = &mut special[..panel.logits.classes()];
            // Memory for some classes of a panel, before or after they are transposed.
            let columns = scratch;
            let mut reduced = ReducedRows::new(job.formula());
            if let Some((_, target)) = &plan.same {
                reduced.targets = TargetLanes::of_all(target, job.scale(target.weight));
            }
            let mut first = range.start;
            while first < range.end {
                let prefetches = plan.prefetches_into.is_some();
                let copies = (&mut memory, &mut *columns);
                let (place, loaded) =
                    plan.gather_panel::<V>(token, first..range.end, copies, prefetches);
                let count = place.count;
                for at in (0..count).step_by(plan.group_rows) {
                    let (first, len) = (first + at, plan.group_rows.min(count - at));
                    let group = Group { plan, first, len, loaded };
                    let memory = memory
                        .each_mut()
                        .map(|rows| rows.get_mut(at * plan.pitch..).unwrap_or_default());
                    group.run::<V>(token, memory, special, &mut reduced);
                }
                let [values, kept, _, hessian] = &mut memory;
                let hints = (plan.streams, prefetches && !plan.streams);
                // Otherwise they are where they belong.
                if plan.own_output {
                    panel.store_rows::<V>(token, place, hints, (values, kept), columns);
                }
                if let Some(panel) = &job.hessian_panel() {
                    panel.store_rows::<V>(token, place, hints, (hessian, kept), columns);
                }
                first += count;
            }
        });
    }
}

/// A row that does not count, or whose maximum is not finite: all its outputs are `value`.
#[derive(Clone, Copy)]
struct Filled<F> {
    value: F,
    scalar: f64,
    lse: f64,
}

/// The rows of a group.
struct GroupRows<'m, F> {
    parts: [Part<'m, F>; MOST_ROWS],
    found: [Reduced; MOST_ROWS],
    /// The class of the label, if the target has a spike there and the class is not masked.
    labels: [Option<usize>; MOST_ROWS],
    filled: [Option<Filled<F>>; MOST_ROWS],
}

/// Rows that are reduced, finished and written together.
struct Group<'g, F: Float> {
    plan: &'g Plan<'g, F>,
    first: usize,
    len: usize,
    /// Do the logits, the masks and the weights of the rows have copies in scratch memory, for the weights those of the
    /// probabilities?
    loaded: [bool; 3],
}

impl<F: Float> Group<'_, F> {
    /// Computes the group, with memory for its rows, and for one special row.
    #[inline(always)]
    fn run<V: Vector<Scalar = F>>(
        self,
        token: V::Token,
        [own, kept, weights, hessians]: Memory<'_, F>,
        special: &mut [F],
        reduced: &mut ReducedRows<'_, F>,
    ) {
        let Self { plan, first, len, .. } = self;
        let (job, prefetches_outputs) = (plan.job, plan.prefetches_outputs);
        let (splits, keeps) = (job.operation.splits(), job.operation.keeps());
        let parts = from_fn(|_| Part::none());
        let (found, labels, filled) = ([Reduced::default(); _], [None; _], [None; _]);
        let mut rows = GroupRows { parts, found, labels, filled };
        self.set_up::<V>(token, &mut rows, [own, kept, weights], reduced);
        let next = Lines::of(job.panel.logits, first + plan.group_rows, 0, plan.prefetches_into);
        let temperature = &job.temperature;
        let how = Reducer { temperature, splits, keeps, next, prefetches_outputs };
        find_maxima::<V>(token, splits, &mut rows.parts[..len]);
        how.rows::<V>(token, &mut rows.parts[..len]);
        for at in 0..len {
            let (part, found) = (&rows.parts[at], &mut rows.found[at]);
            (found.max, found.partial) = (part.max.to_f64(), part.partial);
            found.weight_label = rows.labels[at].map_or(0.0, |class| part.weights.get(class));
            if !part.partial.is_ordinary() {
                self.special::<V>(token, at, &mut rows, how, special);
            }
            reduced.set(at, &rows.found[at]);
        }
        reduced.run::<V>(token);
        for (at, filled) in rows.filled[..len].iter().enumerate() {
            if let Some(Filled { scalar, lse, .. }) = *filled {
                (reduced.done.scalar[at], reduced.done.lse[at]) = (scalar, lse);
            }
        }
        job.put_rows(job.scalars, first, &mut reduced.done.scalar[..len]);
        job.put_rows(job.lse, first, &mut reduced.done.lse[..len]);
        if job.panel.output.is_some() {
            self.write::<V>(token, &mut rows, hessians, special, reduced);
        }
    }

    /// Sets up the rows: finds their targets, and copies to scratch memory what has to be there: their masks, their logits if
    /// not yet there, and their weights if they are computed.
    #[inline(always)]
    fn set_up<'m, V: Vector<Scalar = F>>(
        &'m self,
        token: V::Token,
        rows: &mut GroupRows<'m, F>,
        memory: [&'m mut [F]; 3],
        reduced: &mut ReducedRows<'_, F>,
    ) {
        let (plan, panel) = (self.plan, &self.plan.job.panel);
        let [has_logits, _, has_probabilities] = self.loaded;
        let loads = plan.own_logits && !has_logits;
        let gathers = plan.own_targets().is_some() || loads || !panel.is_plain();
        let [mut own, mut kept, mut weights] = memory.map(|rows| rows.chunks_mut(plan.pitch));
        for at in 0..self.len {
            let (number, part) = (self.first + at, &mut rows.parts[at]);
            let own = self.classes(own.next());
            let target = if gathers {
                let [kept, weights] = [kept.next(), weights.next()].map(|row| self.classes(row));
                outlined!(V, token, {
                    let (shared, mut target) = (self.shared_target(number)?, None);
                    if let Some(targets) = plan.own_targets() {
                        target = Some(targets.row(number)?);
                    }
                    let own_logits = plan.own_logits.then_some(&mut *own);
                    let kept = panel.load_row::<V>(token, number, self.loaded, (kept, own_logits));
                    let Some(mut target) = target else { return Some(shared) };
                    let mut own_weights = target.weights;
                    if let Some(maker) = target.made_by {
                        let (place, own) = ((number, 0), (&mut *weights, has_probabilities));
                        let (made, sum) = maker.weights_of::<V>(token, place, kept, own);
                        target.set_mass(number, sum);
                        own_weights = made;
                    }
                    reduced.targets.set(at, &target, plan.job.scale(target.weight));
                    Some((own_weights, (target.spike != 0.0).then_some(target.class)))
                })
            } else {
                self.shared_target(number)
            };
            let own = Sink::from_slice(own);
            let own_logits = own.as_source();
            part.exps = if plan.own_output { own } else { panel.sink(number) };
            let Some((weights, class)) = target else {
                rows.filled[at] = Some(Filled { value: F::default(), scalar: 0.0, lse: 0.0 });
                continue;
            };
            part.z = if plan.own_logits { own_logits } else { panel.direct(number) };
            part.weights = weights;
            if let Some(class) = class {
                // Before exponentials are written over the logits.
                let z = part.z.get(class).to_f64();
                let is_kept = panel.keeps(number, class);
                (rows.labels[at], rows.found[at].z_label) =
                    if is_kept { (Some(class), z) } else { (None, f64::NEG_INFINITY) };
            }
        }
    }

    /// Writes the outputs of the rows.
    #[inline(always)]
    fn write<V: Vector<Scalar = F>>(
        &self,
        token: V::Token,
        rows: &mut GroupRows<'_, F>,
        hessians: &mut [F],
        special: &mut [F],
        reduced: &ReducedRows<'_, F>,
    ) {
        let (plan, job, panel) = (self.plan, self.plan.job, &self.plan.job.panel);
        let (keeps, is_direct) = (job.operation.keeps(), panel.writes_directly());
        // Otherwise the outputs are written over the exponentials.
        let leaves_scratch = is_direct && plan.own_output;
        for at in 0..self.len {
            let (number, part) = (self.first + at, &mut rows.parts[at]);
            let epilogue = &match rows.filled[at] {
                Some(Filled { value, .. }) => Epilogue::Filled(value),
                None => reduced.epilogue(at),
            };
            let exps = part.exps.as_source();
            if reduced.some_are_tiny {
                epilogue.flush(&part.weights, &mut part.exps);
            }
            let mut out = if leaves_scratch { panel.sink(number) } else { part.exps.reborrow() };
            let mut values = if keeps { exps } else { part.z };
            if let Epilogue::ShiftedLogProbability { .. } = epilogue {
                panel.reload(number, 0, special);
                values = Source::from_slice(special);
            }
            if let Some(Hessian { factor, .. }) = job.hessian {
                let mut out = self.hessian(at, hessians);
                write_hessian::<V>(token, *factor, (reduced, at), epilogue, values, &mut out);
            }
            let (weights, label, to) = (part.weights, rows.labels[at], out.reborrow());
            let output = Output { epilogue, values, weights, label, out: to };
            write::<V>(token, output, plan.streams && is_direct);
            if let Epilogue::Filled(_) = epilogue {
                let kept = panel.kept::<V>(token, number, 0, special);
                panel.mask_output(kept, out);
                if job.hessian.is_some() {
                    panel.mask_output(kept, self.hessian(at, hessians));
                }
            }
        }
    }

    /// The classes of a row of scratch memory; empty if this kind of memory is not needed.
    fn classes<'m>(&self, row: Option<&'m mut [F]>) -> &'m mut [F] {
        row.map_or(&mut [], |row| &mut row[..self.plan.job.panel.logits.classes()])
    }

    /// The weights and the label of a row, if its target is not its own; None if it does not count.
    #[inline(always)]
    fn shared_target(&self, row: usize) -> Option<(Weights<'_, F>, Option<usize>)> {
        let Some((labels, target)) = &self.plan.same else { return Some((Weights::Absent, None)) };
        let class = labels.classes()[row];
        let label = (target.spike != 0.0).then_some(class as usize);
        (class != NO_CLASS).then_some((target.weights, label))
    }

    /// Where the Hessian of a row is written: to its final place, or to scratch memory.
    fn hessian<'h>(&'h self, at: usize, hessians: &'h mut [F]) -> Sink<'h, F> {
        let own = self.classes(hessians.chunks_mut(self.plan.pitch).nth(at));
        let out = self.plan.job.hessian.filter(|_| own.is_empty());
        let direct = out.and_then(|hessian| hessian.out.direct(self.first + at));
        direct.unwrap_or_else(|| Sink::from_slice(own))
    }

    /// Reduces a row again that has NaN or infinities, or that overflows.
    #[cold]
    fn special<V: Vector<Scalar = F>>(
        &self,
        token: V::Token,
        at: usize,
        rows: &mut GroupRows<'_, F>,
        how: Reducer<'_, F>,
        z: &mut [F],
    ) {
        let (part, found) = (&mut rows.parts[at], &mut rows.found[at]);
        self.plan.job.panel.reload(self.first + at, 0, z);
        let max = exact_max(z);
        if max.is_finite() {
            let z_label = rows.labels[at].map_or(found.z_label, |class| z[class].to_f64());
            how.special::<V>(token, part, z, max);
            (found.max, found.partial, found.z_label) = (max, part.partial, z_label);
        } else {
            // The lse is the maximum; everything else is NaN.
            let scalar = if self.plan.job.targets.is_some() { f64::NAN } else { max };
            rows.filled[at] = Some(Filled { value: F::NAN, scalar, lse: max });
        }
    }
}
