//! Rows of one segment: brought together, reduced, finished and written in groups.

use super::{Block, Hessian, Same, Targets};
use crate::kernel::{
    Ahead, Finished, MOST_ROWS, Operation, Part, ReducedRows, RowClass, UNIT, finish, gap,
    log_probabilities, maximum, reduce, shift, weighted_gaps, write, write_hessian,
};
use crate::panel::Panel;
use crate::simd::{Float, Lines, Sink, Source, Vector, outlined};
use crate::target::{NO_CLASS, RowTarget, Weights};
use std::array::from_fn;

/// Memory for the rows of a panel, a row each; empty where none is needed.
struct Memory<'m, F> {
    /// Logits, then exponentials, then outputs.
    rows: &'m mut [F],
    kept: &'m mut [F],
    weights: &'m mut [F],
    hessian: &'m mut [F],
    /// Classes of a panel, before they are transposed or after.
    columns: &'m mut [F],
    /// One row.
    special: &'m mut [F],
}

/// A row of a group.
struct Row<'r, F> {
    part: Part<'r, F>,
    target: Option<RowTarget<'r, F>>,
    is_read: bool,
    class: RowClass,
    /// M of a row that left the fast path, before any shift.
    exact_max: f64,
    /// Was it shifted by its maximum?
    is_shifted: bool,
    /// Has a masked class weight?
    is_lost: bool,
}

impl<F: Float> Block<'_, '_, F> {
    #[inline(always)]
    pub(super) fn rows<V: Vector<Scalar = F>>(self, token: V::Token) {
        let Self { job, plan, same, range, mut scratch } = self;
        let classes = job.panel.logits.classes();
        let mut take = |is_needed: bool, rows: usize| {
            let len = if is_needed { rows * plan.pitch } else { 0 };
            scratch.split_off_mut(..len).unwrap_or_default()
        };
        let needs = plan.needs;
        let mut memory = Memory {
            rows: take(needs.rows(), plan.panel),
            kept: take(needs.kept, plan.panel),
            weights: take(needs.weights, plan.panel),
            hessian: take(needs.hessian, plan.panel),
            special: take(true, 1),
            columns: &mut [],
        };
        memory.columns = scratch;
        memory.special = &mut std::mem::take(&mut memory.special)[..classes];
        let panel = &job.panel;
        let mut reduced = ReducedRows::new();
        let mut first = range.start;
        while first < range.end {
            let mut count = plan.panel.min(range.end - first);
            if !memory.columns.is_empty() {
                count = count.min(panel.neighbours_from(first, V::LANES / 2).unwrap_or(count));
            }
            let rows = (first, count, plan.pitch);
            let is_loaded = needs.logits
                && panel.load_neighbours::<V>(
                    token,
                    rows,
                    memory.rows,
                    memory.columns,
                    plan.asks_ahead.is_some(),
                );
            for group in (0..count).step_by(plan.group) {
                let len = plan.group.min(count - group);
                let group = Group { first: first + group, at: group, len, is_loaded };
                run_group::<V>(job, plan, token, group, same, &mut memory, &mut reduced);
            }
            let Memory { rows: values, kept, hessian, columns, .. } = &mut memory;
            store_rows::<V>(token, panel, plan, (first, count), values, kept, columns);
            if let Some(panel) = &job.hessian_panel() {
                outlined!(V, token, {
                    store_rows::<V>(token, panel, plan, (first, count), hessian, kept, columns);
                });
            }
            first += count;
        }
    }
}

/// Writes `count` rows from `first` on that are not where they are wanted.
#[inline(always)]
fn store_rows<V: Vector>(
    token: V::Token,
    panel: &Panel<'_, V::Scalar>,
    plan: &super::Plan,
    (first, count): (usize, usize),
    rows: &mut [V::Scalar],
    kept: &[V::Scalar],
    columns: &mut [V::Scalar],
) {
    let Some(output) = panel.output.filter(|_| !panel.writes_directly()) else { return };
    let (classes, pitch) = (output.classes(), plan.pitch);
    let place = (first, count, pitch);
    if panel.store_neighbours::<V>(
        token,
        place,
        rows,
        columns,
        (plan.streams, plan.asks_ahead.is_some()),
    ) {
        return;
    }
    let kept_len = if panel.mask.is_some() { classes } else { 0 };
    for (i, row) in rows.chunks_exact_mut(pitch).take(count).enumerate() {
        let kept = &kept.get(i * pitch..).unwrap_or(&[])[..kept_len];
        panel.store::<V>(token, first + i, 0, kept, &mut row[..classes]);
    }
}

/// Rows that are finished together.
#[derive(Clone, Copy)]
struct Group {
    first: usize,
    /// The place of the first in the panel.
    at: usize,
    len: usize,
    /// Are the logits in memory of our own already?
    is_loaded: bool,
}

#[allow(clippy::too_many_lines, reason = "the steps of a group, one after another")]
fn run_group<V: Vector>(
    job: &super::Job<'_, V::Scalar>,
    plan: &super::Plan,
    token: V::Token,
    group: Group,
    same: Option<&Same<'_, V::Scalar>>,
    memory: &mut Memory<'_, V::Scalar>,
    reduced: &mut ReducedRows,
) {
    let Group { first, at, len, is_loaded } = group;
    let (panel, temperature, operation) = (&job.panel, &job.temperature, job.operation);
    let classes = panel.logits.classes();
    let place = |i: usize| (at + i) * plan.pitch..(at + i) * plan.pitch + classes;
    let mut rows: [Row<'_, V::Scalar>; MOST_ROWS] = from_fn(|_| Row::none());
    let rows = &mut rows[..len];
    for (i, row) in rows.iter_mut().enumerate() {
        if let Some(targets) = &job.targets {
            row.target = match same {
                Some((labels, same)) if labels[first + i] != NO_CLASS => {
                    Some(RowTarget { class: labels[first + i] as usize, ..*same })
                }
                Some(_) => None,
                None => targets.rows.row(first + i),
            };
            row.is_read = row.target.is_some();
        }
        if !row.is_read {
            continue;
        }
        let kept = memory.kept.get_mut(place(i)).unwrap_or_default();
        if panel.mask.is_some() {
            panel.kept::<V>(token, first + i, 0, kept);
        }
        if plan.needs.logits && !is_loaded {
            panel.load::<V>(token, first + i, 0, kept, &mut memory.rows[place(i)]);
        }
        if let (Some(target), Some(Targets { rows: targets, .. })) = (&mut row.target, &job.targets)
            && target.is_made
        {
            let filled = targets.fill(first + i, 0, kept, &mut memory.weights[place(i)]);
            if target.smooth_mass.is_nan() {
                target.smooth_mass = target.beta * filled.mass;
            }
            row.is_lost = filled.is_lost;
        }
    }
    let is_apart = panel.writes_directly() && plan.needs.output;
    let mut own = memory.rows.chunks_exact_mut(plan.pitch).skip(at);
    let mut sinks: [Sink<'_, V::Scalar>; MOST_ROWS] = from_fn(|_| Sink::from_slice(&mut []));
    for (i, row) in rows.iter_mut().enumerate() {
        let own = own.next().map(|own| Sink::from_slice(&mut own[..classes]));
        let z = match &own {
            Some(own) if plan.needs.logits => own.as_source(),
            _ => panel.direct(first + i),
        };
        sinks[i] = match own {
            Some(own) if plan.needs.output => own,
            _ if panel.output.is_some() => panel.sink(first + i),
            _ => Sink::from_slice(&mut []),
        };
        if !row.is_read {
            continue;
        }
        let weights = match &row.target {
            Some(target) if target.is_made => {
                Weights::Row(Source::from_slice(&memory.weights[place(i)]))
            }
            Some(target) => target.weights,
            None => Weights::Absent,
        };
        row.part = Part {
            z,
            weights,
            max: maximum::<V>(token, z),
            splits: operation.splits::<V::Scalar>(),
        };
    }
    let mut ahead = Ahead::nothing();
    let next = Lines::of(panel.logits, first + plan.group, 0, plan.asks_ahead);
    ahead.logits = next;
    let asks_for_outputs = plan.asks_for_outputs(job);
    for (i, row) in rows.iter_mut().enumerate().filter(|(_, row)| row.is_read) {
        // Before exponentials are written over the logits.
        let mut z_label = match &row.target {
            Some(target) if target.spike != 0.0 => row.part.z.get(target.class).to_f64(),
            _ => 0.0,
        };
        ahead.logits.move_to(&next, i);
        if asks_for_outputs {
            ahead.outputs = sinks[i].as_source();
        }
        let sink = operation.keeps().then_some(&mut sinks[i]);
        let mut partial = reduce::<V>(token, temperature, &row.part, sink, &ahead);
        let mut max = row.part.max.to_f64();
        let (mut swept_max, mut unit) = (max, 1.0);
        if !partial.is_ordinary() {
            let special = &mut memory.special[..];
            panel.reload(first + i, 0, special);
            let exact_max;
            (row.class, exact_max) = RowClass::of(special);
            if row.class == RowClass::Finite {
                row.exact_max = exact_max;
                if let Some(target) = &row.target {
                    let weight = |class: usize| row.part.weights.get(class);
                    partial.dot = weighted_gaps(special, exact_max, weight) * temperature.shift;
                    unit = UNIT;
                    z_label = special.get(target.class).map_or(0.0, |z| z.to_f64());
                }
                max = exact_max * temperature.shift;
                if !temperature.is_in_range(row.part.max) {
                    row.is_shifted = true;
                    swept_max = 0.0;
                    shift(special, exact_max, temperature.shift);
                    let (z, zero) = (Source::from_slice(special), V::Scalar::default());
                    let part = Part { z, weights: Weights::Absent, max: zero, ..row.part };
                    let sink = operation.keeps().then_some(&mut sinks[i]);
                    let own = reduce::<V>(token, temperature, &part, sink, &Ahead::nothing());
                    (partial.sum, partial.lost) = (own.sum, own.lost);
                }
            }
        }
        if row.is_lost {
            partial.dot = f64::INFINITY;
        }
        reduced.set(i, max, swept_max, partial, unit);
        let Some(target) = &row.target else { continue };
        if target.spike != 0.0 {
            let kept = memory.kept.get(place(i).start + target.class);
            if kept.is_some_and(|kept| kept.to_f64() == 0.0) {
                z_label = f64::NEG_INFINITY;
            }
            reduced.lanes.weight_label[i] = row.part.weights.get(target.class);
        }
        (reduced.z_label[i], reduced.lanes.gap[i]) = if unit == 1.0 {
            (z_label, max - z_label)
        } else {
            (z_label * temperature.shift, gap(row.exact_max, z_label, temperature.shift))
        };
        reduced.targets.set(i, target, job.scale(target.weight));
    }
    let hessian_panel = job.hessian_panel();
    finish::<V>(token, operation, temperature, job.z_loss(), reduced);
    for (i, row) in rows.iter().enumerate() {
        let done = Finished::from_lane(operation, temperature, reduced, i);
        let mut direct;
        let values = sinks[i].as_source();
        let out = if is_apart {
            direct = panel.sink(first + i);
            &mut direct
        } else {
            &mut sinks[i]
        };
        let mut hessian =
            hessian_panel.as_ref().map(|panel| match memory.hessian.get_mut(place(i)) {
                Some(own) => Sink::from_slice(own),
                None => panel.sink(first + i),
            });
        if !row.is_read {
            job.put(first + i, 0.0, 0.0);
            out.fill(V::Scalar::default());
            if let Some(out) = &mut hessian {
                out.fill(V::Scalar::default());
            }
            continue;
        }
        if row.class != RowClass::Finite {
            let scalar = if job.targets.is_some() { f64::NAN } else { row.class.lse() };
            job.put(first + i, scalar, row.class.lse());
            out.fill(V::Scalar::NAN);
            if let Some(out) = &mut hessian {
                out.fill(V::Scalar::NAN);
            }
            continue;
        }
        job.put(first + i, done.scalar, done.lse);
        if panel.output.is_none() {
            continue;
        }
        if row.is_shifted && operation == Operation::LogSoftmax {
            let special = &mut memory.special[..];
            panel.reload(first + i, 0, special);
            let inverse = temperature.inverse * temperature.shift;
            log_probabilities(special, row.exact_max, inverse, done.excess());
            for (class, value) in special.iter().enumerate() {
                out.set(class, *value);
            }
            continue;
        }
        // The label's class has a value of its own, unless it is masked.
        let label = row.target.as_ref().filter(|target| {
            let kept = memory.kept.get(place(i).start + target.class);
            target.spike != 0.0 && kept.is_none_or(|kept| kept.to_f64() != 0.0)
        });
        let label = label.map(|target| (target.class, done.label));
        let values = if operation.keeps() { values } else { row.part.z };
        if let (Some(out), Some(Hessian { factor, .. })) = (&mut hessian, job.hessian) {
            write_hessian::<V>(token, factor, (&reduced.lanes, i), done.epilogue, values, out);
            if done.unit != 1.0 {
                out.multiply(done.unit);
            }
        }
        let streams = plan.streams && panel.writes_directly() && done.unit == 1.0;
        write::<V>(token, &done.epilogue, values, row.part.weights, label.as_ref(), out, streams);
        if done.unit != 1.0 {
            out.multiply(done.unit);
        }
    }
}

impl<F: Float> Row<'_, F> {
    /// Before anything is known of it.
    fn none() -> Self {
        let (z, max) = (Source::from_slice(&[]), F::default());
        let part = Part { z, weights: Weights::Absent, max, splits: false };
        Row {
            part,
            target: None,
            is_read: true,
            class: RowClass::Finite,
            exact_max: 0.0,
            is_shifted: false,
            is_lost: false,
        }
    }
}
