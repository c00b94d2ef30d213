//! Rows of one segment: brought together, worked on in groups, and stored.

mod group;

use super::{Block, Plan};
use crate::kernel::{ReducedRows, TargetLanes};
use crate::panel::Panel;
use crate::simd::{Float, Vector, outlined};
use group::Group;
use std::slice::ChunksMut;

/// Memory for some rows, `pitch` elements each; none where none is needed: their logits, then exponentials, then
/// outputs; which of their classes are kept; their weights; their Hessians.
type Memory<'m, F> = [ChunksMut<'m, F>; 4];

impl<F: Float> Block<'_, F> {
    #[inline(always)]
    pub(super) fn rows<V: Vector<Scalar = F>>(&mut self, token: V::Token) {
        let (plan, range) = (self.plan, &self.range);
        let (job, panel) = (plan.job, &plan.job.panel);
        let mut scratch = &mut *self.scratch;
        let mut take = |rows: usize| scratch.split_off_mut(..rows * plan.pitch).unwrap_or_default();
        let mut memory = plan.memory.map(|is_needed| take(if is_needed { plan.panel } else { 0 }));
        // One row.
        let special = &mut take(1)[..panel.logits.classes()];
        // Classes of a panel, before they are transposed or after.
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
    plan: &Plan<'_, V::Scalar>,
    (first, count): (usize, usize),
    rows: &mut [V::Scalar],
    kept: &[V::Scalar],
    columns: &mut [V::Scalar],
) {
    let Some(output) = panel.output.filter(|_| !panel.writes_directly()) else { return };
    let (place, hints) = ((first, count, plan.pitch), (plan.streams, plan.asks_ahead.is_some()));
    if panel.store_neighbours::<V>(token, place, rows, columns, hints) {
        return;
    }
    for (i, row) in rows.chunks_exact_mut(plan.pitch).take(count).enumerate() {
        let kept = kept.get(i * plan.pitch..).unwrap_or_default();
        panel.store::<V>(token, first + i, 0, kept, &mut row[..output.classes()]);
    }
}
