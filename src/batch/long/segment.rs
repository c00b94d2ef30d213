//! A step of one segment of a long row.

use super::{Path, Row, Segment, Step};
use crate::kernel::{
    Epilogue, Output, Part, Reducer, SEGMENT, exact_max, find_maxima, shift, write,
};
use crate::simd::{Float, Lines, Sink, Source, Vector, VectorJob, fence};
use crate::target::{RowTarget, Weights};
use std::slice::from_mut;

/// A step of one segment.
pub(super) struct SegmentStep<'s, 'r, F: Float> {
    pub(super) of: &'s Row<'r, F>,
    pub(super) index: usize,
    pub(super) step: Step<F>,
    pub(super) segment: &'s mut Segment,
    pub(super) scratch: &'s mut [F],
}

impl<'r, F: Float> VectorJob<F> for SegmentStep<'_, 'r, F> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Scalar = F>>(self, token: V::Token) {
        let Self { of, index, step, segment, mut scratch } = self;
        let Row { plan, number, target, swept_max, shifted_by, .. } = of;
        let (job, row) = (plan.job, *number);
        let (panel, temperature) = (&job.panel, &job.temperature);
        let start = index * SEGMENT;
        let len = SEGMENT.min(panel.logits.classes() - start);
        let mut take =
            || &mut scratch.split_off_mut(..SEGMENT).expect("memory for a segment")[..len];
        let (own_z, kept, own_weights, own_output) = (take(), take(), take(), take());
        let is_direct = panel.writes_directly();
        let is_filled = matches!(step, Step::Write(Epilogue::Filled(_), _));
        let is_last = matches!(step, Step::Write(..));
        let part = |values: &'r [F]| values.get(start..start + len).unwrap_or_default();
        let kept = match &of.own {
            Some(own) => part(own.kept),
            None => panel.kept::<V>(token, row, start, kept),
        };
        let has_weights = matches!(step, Step::Reduce | Step::Special(_) | Step::Write(..));
        let target = target.as_ref().filter(|_| has_weights && !is_filled);
        let weights = target.map_or(Weights::Absent, |target| {
            let probabilities = of.own.map_or(&[][..], |own| part(own.probabilities));
            let own = (own_weights, probabilities);
            weights::<V>(token, target, (row, start), kept, own, segment)
        });
        let sink = || panel.sink(row).part(start, len);
        let mut exps = match of.own {
            _ if !plan.own_output => sink(),
            Some(own) => own.part(start, len),
            None => Sink::from_slice(own_output),
        };
        let (max, keeps) = (F::from_f64(*swept_max), job.operation.keeps());
        let how = Reducer {
            temperature,
            splits: job.operation.splits() && index == of.first,
            keeps: keeps && (plan.path == Path::SharedRows) == is_last,
            next: Lines::of(panel.logits, row + 1, start, plan.prefetches_into),
            prefetches_outputs: plan.prefetches_outputs,
        };
        let mut z = Source::from_slice(&[]);
        if matches!(step, Step::ExactMax | Step::Special(_)) {
            panel.reload(row, start, own_z);
        } else if is_filled {
            // The logits are not read.
        } else if let Some(max) = *shifted_by {
            panel.reload(row, start, own_z);
            // Log-probabilities are computed from the logits themselves.
            if keeps {
                shift(own_z, max, temperature.prescale);
            }
            z = Source::from_slice(own_z);
        } else if let Some(own) = of.own.filter(|own| own.is_loaded) {
            z = own.part(start, len).as_source();
        } else if panel.reads_directly() {
            z = panel.direct(row).part(start, len);
        } else {
            panel.load::<V>(token, row, start, kept, own_z);
            z = Source::from_slice(own_z);
        }
        let out = |exps| if is_direct { sink() } else { exps };
        match step {
            Step::Max => {
                let mut part = Part::new(z, max, exps);
                find_maxima::<V>(token, job.operation.splits(), from_mut(&mut part));
                (segment.max, segment.apart) = (part.max.to_f64(), Some(part.apart));
            }
            Step::ExactMax => segment.max = exact_max(own_z),
            Step::Reduce => {
                let apart = segment.apart.filter(|_| how.splits).unwrap_or(usize::MAX);
                let part = Part { weights, apart, ..Part::new(z, max, exps) };
                segment.partial = how.part::<V>(token, part);
            }
            Step::Special(max) => {
                let partial = segment.partial;
                let mut part = Part { weights, exps, partial, ..Part::none() };
                how.special::<V>(token, &mut part, own_z, max);
                segment.partial = part.partial;
            }
            Step::Write(epilogue, label) => {
                if how.keeps {
                    how.rows::<V>(token, &mut [Part::new(z, max, exps.reborrow())]);
                }
                let values = if keeps || is_filled { exps.as_source() } else { z };
                let label = label.map(|class| class.wrapping_sub(start));
                let (epilogue, mut out) = (&epilogue, out(exps));
                let output = Output { epilogue, values, weights, label, out: out.reborrow() };
                write::<V>(token, output, plan.streams && is_direct);
                if is_filled {
                    panel.mask_output(kept, out);
                }
                if plan.streams {
                    fence();
                }
                if let Some(output) = panel.output.filter(|_| !is_direct && of.own.is_none()) {
                    panel.mask_values::<V>(token, kept, own_output, panel.masked);
                    output.scatter::<V>(token, row, start, own_output);
                }
            }
        }
    }
}

/// The weights of a segment, which begins with class `start`: those of the target, or made in `own`, from the
/// probabilities if they have been copied.
#[inline(always)]
fn weights<'w, V: Vector>(
    token: V::Token,
    target: &RowTarget<'w, V::Scalar>,
    (row, start): (usize, usize),
    kept: &'w [V::Scalar],
    (own, probabilities): (&'w mut [V::Scalar], &[V::Scalar]),
    segment: &mut Segment,
) -> Weights<'w, V::Scalar> {
    let (mut weights, len) = (target.weights.part(start, own.len()), own.len());
    if let Some(maker) = target.made_by {
        let is_set = !probabilities.is_empty();
        if is_set {
            own.copy_from_slice(probabilities);
        }
        (weights, segment.mass) = maker.weights_of::<V>(token, (row, start), kept, (own, is_set));
    }
    let class = target.class.wrapping_sub(start);
    if class < len {
        segment.weight_label = weights.get(class);
    }
    weights
}
