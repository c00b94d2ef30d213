//! Softmax of two tiles at a time.

use super::Tiles;
use crate::kernel::{Tile, WeightKind, from_run, room, to_run};
use crate::simd::{Float, Source, Vector};

impl<F: Float> Tiles<'_, F> {
    /// Softmax of the two tiles from row `first` on; false if their rows do not lie one after another.
    #[inline(always)]
    pub(super) fn softmax_pair<V: Vector<Scalar = F>>(
        &mut self,
        token: V::Token,
        first: usize,
    ) -> bool {
        let job = self.plan.job;
        let (panel, classes) = (&job.panel, job.panel.logits.classes());
        let (next, len) = (first + V::LANES, classes * V::LANES);
        let has_room = |run: &Source<'_, _>| run.len() >= len + room(classes, V::LANES);
        let source = panel.logits.run(first, panel.logits.rows() - first).filter(has_room);
        let (Some(source), Some(output), true) = (source, panel.output, panel.is_plain()) else {
            return false;
        };
        let Some(mut sink) = output.run(first, 2 * V::LANES) else { return false };
        from_run::<V>(token, source, classes, self.z);
        from_run::<V>(token, source.part(len, usize::MAX), classes, self.next_z);
        self.ask::<V>(first * classes..(first + 2 * V::LANES) * classes);
        let reread =
            |first: usize| move |lane: usize, row: &mut [F]| panel.reload(first + lane, 0, row);
        let (reread, reread_next) = (reread(first), reread(next));
        let tile = Tile {
            formula: job.formula(),
            hessian: None,
            target: self.target,
            weight_kind: WeightKind::Absent,
            weights: &[],
            is_lost: &self.is_lost,
            reread: &reread,
        };
        let next_tile = Tile { reread: &reread_next, ..tile };
        let lanes = (&mut self.z[..len], &mut self.out[..len]);
        let next_lanes = (&mut self.next_z[..len], &mut self.next_out[..len]);
        tile.softmax_pair::<V>(&next_tile, token, lanes, next_lanes);
        for (i, out) in [&*self.out, &*self.next_out].into_iter().enumerate() {
            let rows = (first + i * V::LANES, V::LANES);
            if !(self.plan.streams && self.writer.stream::<V>(token, output, rows, out)) {
                to_run::<V>(token, out, classes, &mut sink.reborrow().part(i * len, len));
            }
        }
        true
    }
}
