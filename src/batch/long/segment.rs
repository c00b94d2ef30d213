//! A step of one segment of a long row.

use super::{Row, Segment, Step};
use crate::kernel::{
    Ahead, Operation, Output, Part, Reduction, RowClass, SEGMENT, log_probabilities, maximum,
    shift, weighted_gaps, write,
};
use crate::simd::{Float, Lines, Sink, Source, Vector, VectorJob, fence, outlined};
use crate::target::Weights;

/// A step of one segment.
pub(super) struct SegmentStep<'s, 'r, 'j, F: Float> {
    pub(super) of: &'s Row<'r, 'j, F>,
    pub(super) index: usize,
    pub(super) step: Step<F>,
    pub(super) segment: &'s mut Segment,
    pub(super) scratch: &'s mut [F],
}

impl<F: Float> VectorJob<F> for SegmentStep<'_, '_, '_, F> {
    type Output = ();

    #[inline(always)]
    #[allow(
        clippy::too_many_lines,
        reason = "what the steps of a segment have in common, then each"
    )]
    fn run<V: Vector<Scalar = F>>(self, token: V::Token) {
        let Self { of, index, step, segment, scratch } = self;
        let Row { job, plan, number, target, swept_max, shifted_by, .. } = of;
        let (panel, temperature, row) = (&job.panel, &job.temperature, *number);
        let start = index * SEGMENT;
        let len = SEGMENT.min(panel.logits.classes() - start);
        let (own_z, rest) = scratch.split_at_mut(SEGMENT);
        let (kept, rest) = rest.split_at_mut(SEGMENT);
        let (own_weights, own_output) = rest.split_at_mut(SEGMENT);
        let (own_z, kept) = (&mut own_z[..len], &mut kept[..panel.kept_len(len)]);
        let own_weights = &mut own_weights[..len];
        // The whole row is kept, or a segment at a time.
        let first = if job.operation.keeps() && !plan.recomputes { start } else { 0 };
        let own_output = match panel.output {
            Some(_) if plan.needs.output || plan.recomputes => &mut own_output[first..][..len],
            _ => &mut [],
        };
        match step {
            Step::Classify => {
                panel.reload(row, start, own_z);
                (segment.class, segment.max) = RowClass::of(own_z);
                return;
            }
            Step::Fill(value) => {
                if panel.output.is_none() {
                } else if panel.writes_directly() {
                    panel.sink(row).part(start, len).fill(value);
                } else {
                    own_output.fill(value);
                    panel.kept::<V>(token, row, start, kept);
                    panel.store::<V>(token, row, start, kept, own_output);
                }
                return;
            }
            _ => {}
        }
        panel.kept::<V>(token, row, start, kept);
        let is_exact = matches!(step, Step::Gaps(_)) || shifted_by.is_some();
        let z = if is_exact {
            panel.reload(row, start, own_z);
            // Logarithms of probabilities are written from the logits themselves.
            let is_shifted = match step {
                Step::Reduce => true,
                Step::Write(..) => job.operation != Operation::LogSoftmax,
                _ => false,
            };
            if let (Some(max), true) = (*shifted_by, is_shifted) {
                shift(own_z, max, temperature.shift);
            }
            Source::from_slice(own_z)
        } else if panel.reads_directly() {
            panel.direct(row).part(start, len)
        } else {
            panel.load::<V>(token, row, start, kept, own_z);
            Source::from_slice(own_z)
        };
        if let Step::Max = step {
            segment.max = outlined!(V, token, maximum::<V>(token, z)).to_f64();
            return;
        }
        let mut weights = Weights::Absent;
        if let Some(target) = target {
            weights = target.weights.part(start, len);
            if target.is_made {
                let filled = job.fill_weights::<V>(token, (row, start), kept, own_weights);
                (segment.mass, segment.is_lost) = (filled.mass, filled.is_lost);
                if let Some(weight) = own_weights.get(target.class.wrapping_sub(start)) {
                    segment.weight_label = weight.to_f64();
                }
                weights = Weights::Row(Source::from_slice(own_weights));
            }
        }
        if let Step::Gaps(max) = step {
            segment.partial.dot = weighted_gaps(own_z, max, |class| weights.get(class));
            return;
        }
        let max = F::from_f64(*swept_max);
        let keeps = job.operation.keeps();
        let is_own = plan.needs.output || plan.recomputes;
        let mut exps = if keeps && !is_own {
            panel.sink(row).part(start, len)
        } else {
            Sink::from_slice(own_output)
        };
        let how = Reduction { temperature, splits: false, keeps, ahead: Ahead::nothing() };
        if let Step::Reduce = step {
            // The exponentials of a row that is shifted are formed without its weights.
            let weights = if shifted_by.is_some() { Weights::Absent } else { weights };
            let splits = job.operation.splits::<F>() && index == of.first;
            let mut how = Reduction { splits, keeps: keeps && !plan.recomputes, ..how };
            if shifted_by.is_none() {
                how.ahead.logits = Lines::of(panel.logits, row + 1, start, plan.asks_ahead);
            }
            if plan.asks_for_outputs(job) {
                // Also where nothing is kept.
                how.ahead.outputs = true;
                exps = panel.sink(row).part(start, len);
            }
            segment.partial =
                how.part::<V>(token, Part { weights, ..Part::new(z, max, exps.reborrow()) });
            return;
        }
        let Step::Write(done, label) = step else { return };
        if keeps && plan.recomputes {
            how.part::<V>(token, Part::new(z, max, exps.reborrow()));
        }
        let values = if keeps { exps.as_source() } else { z };
        let mut direct;
        let out = if panel.writes_directly() {
            direct = panel.sink(row).part(start, len);
            &mut direct
        } else {
            &mut exps
        };
        if let (Operation::LogSoftmax, Some(max)) = (job.operation, *shifted_by) {
            let inverse = temperature.inverse * temperature.shift;
            log_probabilities(own_z, max, inverse, done.excess());
            for (class, value) in own_z.iter().enumerate() {
                out.set(class, *value);
            }
        } else {
            // Elsewhere than in this segment, the label is never met.
            let label = label.map(|(class, value)| (class.wrapping_sub(start), value));
            let streams = plan.streams && panel.writes_directly() && done.unit == 1.0;
            let (epilogue, to) = (done.epilogue, out.reborrow());
            write::<V>(token, Output { epilogue, values, weights, label, out: to }, streams);
            if done.unit != 1.0 {
                out.multiply(done.unit);
            }
            if streams {
                fence();
            }
        }
        if !panel.writes_directly() {
            panel.store::<V>(token, row, start, kept, own_output);
        }
    }
}
