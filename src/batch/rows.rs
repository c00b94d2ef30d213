//! Rows of one segment: brought together, worked on in groups, and stored.

mod group;

use super::{Block, Plan};
use crate::kernel::{MOST_ROWS, ReducedRows};
use crate::panel::Panel;
use crate::simd::{Float, Vector, outlined};
use group::Group;

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

impl<F: Float> Block<'_, '_, F> {
    #[inline(always)]
    pub(super) fn rows<V: Vector<Scalar = F>>(&mut self, token: V::Token) {
        let (job, plan, same, range) = (self.job, self.plan, self.same, &self.range);
        let mut scratch = &mut *self.scratch;
        let mut take = |is_needed: bool, rows: usize| {
            let len = if is_needed { rows * plan.pitch } else { 0 };
            scratch.split_off_mut(..len).unwrap_or_default()
        };
        let (panel, needs) = (&job.panel, plan.needs);
        let rows = take(needs.rows(), plan.panel);
        let kept = take(needs.kept, plan.panel);
        let weights = take(needs.weights, plan.panel);
        let hessian = take(needs.hessian, plan.panel);
        let special = &mut take(true, 1)[..panel.logits.classes()];
        let mut memory = Memory { rows, kept, weights, hessian, columns: scratch, special };
        let mut reduced = ReducedRows::new(job.formula());
        if let Some((_, target)) = same {
            (0..MOST_ROWS).for_each(|i| reduced.targets.set(i, target, job.scale(target.weight)));
        }
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
            for at in (0..count).step_by(plan.group) {
                let len = plan.group.min(count - at);
                let first = first + at;
                let group = Group { job, plan, same, first, place: at, len, is_loaded };
                group.run::<V>(token, &mut memory, &mut reduced);
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
    plan: &Plan,
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
    for (i, row) in rows.chunks_exact_mut(pitch).take(count).enumerate() {
        let kept = &kept.get(i * pitch..).unwrap_or(&[])[..panel.kept_len(classes)];
        panel.store::<V>(token, first + i, 0, kept, &mut row[..classes]);
    }
}
