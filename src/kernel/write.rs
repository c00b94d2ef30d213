//! The epilogues: they compute the output of each class from its exponential or its logit, and write it.

use super::finish::{are_tiny, least};
use super::special::shifted_log_probability;
use crate::simd::{Float, Sink, Source, Vector, inlined, outlined};
use crate::target::Weights;

/// How the outputs of a row are computed.
#[derive(Clone, Copy)]
pub(crate) enum Epilogue<F> {
    /// p = e·factor
    Probability { factor: F, least: F },
    /// log p = (z − M)/T − L
    LogProbability { max: F, inverse: F, excess: F },
    /// The same of a row that was shifted by its maximum, from its logits as they are in memory.
    ShiftedLogProbability { max: f64, inverse: f64, excess: F },
    /// (e·factor + minus·w)·unit, and `label`·unit at the label. The unit is 1, except for factors far from 1.
    Gradient { factor: F, minus: F, label: F, unit: f64 },
    /// The same number for all classes.
    Filled(F),
}

impl<F: Float> Epilogue<F> {
    /// Sets exponentials whose p is below the smallest normal number to 0, if that is not negligible in the gradient.
    /// Rows of several segments do without: they are never in a tile, beside rows with other weights.
    #[inline(never)] // rare
    pub(crate) fn flush(&self, weights: &Weights<'_, F>, exps: &mut Sink<'_, F>) {
        if let (Epilogue::Gradient { factor, minus, unit, .. }, Weights::Ones) = (*self, weights)
            && are_tiny::<F, f64>(factor.to_f64(), minus.to_f64(), unit)
        {
            let least = least(factor, unit);
            exps.update(|e| if e < least { F::default() } else { e });
        }
    }
}

/// A row to be written, or a part of one.
pub(crate) struct Output<'o, F> {
    /// By reference: copying an epilogue that has just been made would wait for the stores of its fields.
    pub(crate) epilogue: &'o Epilogue<F>,
    /// The exponentials, or the logits for log-probabilities.
    pub(crate) values: Source<'o, F>,
    pub(crate) weights: Weights<'o, F>,
    /// The class of the label; it has no effect if it is not in this part.
    pub(crate) label: Option<usize>,
    pub(crate) out: Sink<'o, F>,
}

/// e·factor, or 0 if that is below the smallest normal number: by comparison, not by the mode of the processor.
#[inline(always)]
pub(super) fn probability<V: Vector>(e: V, factor: V, least: V) -> V {
    e.only_where(e.ge(least)) * factor
}

/// p + minus. Since `minus` may be 0, a p below the smallest normal number is 0 here as well.
#[inline(always)]
pub(super) fn gradient<V: Vector>(e: V, factor: V, least: V, minus: V) -> V {
    e.only_where(e.ge(least)).mul_add(factor, minus)
}

/// (z − M)/T − L, where L is subtracted last.
#[inline(always)]
pub(crate) fn log_probability<V: Vector>(z: V, max: V, inverse: V, excess: V) -> V {
    (z - max).mul_add(inverse, -excess)
}

/// Writes a row, or a part of one; if `streams`, by streaming stores where possible.
pub(crate) fn write<V: Vector>(token: V::Token, row: Output<'_, V::Scalar>, streams: bool) {
    outlined!(V, token, {
        let has_unit = matches!(*row.epilogue, Epilogue::Gradient { unit, .. } if unit != 1.0);
        if streams && !has_unit && row.out.has_lines::<V>() {
            write_values::<V, true>(token, row);
        } else {
            write_values::<V, false>(token, row);
        }
    });
}

#[inline(always)]
fn write_values<V: Vector, const STREAM: bool>(token: V::Token, row: Output<'_, V::Scalar>) {
    let Output { epilogue, values, weights, label, mut out } = row;
    assert!(values.len() == out.as_source().len());
    let (label, unit) = match *epilogue {
        Epilogue::Gradient { label: value, unit, .. } => (label.map(|class| (class, value)), unit),
        _ => (None, 1.0),
    };
    /// Writes a value for each element of the sources, from constants that are in every lane.
    macro_rules! fill {
        ([$($constant:ident),+], [$($source:ident),+], $value:expr) => {{
            $(let $constant = V::splat(token, $constant);)+
            out.fill_from::<V, STREAM, _>(
                token,
                [$($source),+],
                label,
                inlined!(move |[$($source),+]| $value),
            );
        }};
    }
    // Without weights the gradient is a multiple of p, except at the label.
    let epilogue = match (*epilogue, weights) {
        (Epilogue::Gradient { factor, .. }, Weights::Absent) => {
            Epilogue::Probability { factor, least: least(factor, unit) }
        }
        (epilogue, _) => epilogue,
    };
    match (epilogue, weights) {
        (Epilogue::LogProbability { max, inverse, excess }, _) => {
            fill!([max, inverse, excess], [values], log_probability(values, max, inverse, excess));
        }
        (Epilogue::ShiftedLogProbability { max, inverse, excess }, _) => {
            for class in 0..values.len() {
                let z = values.get(class);
                out.set(class, shifted_log_probability(z, max, inverse, excess.to_f64()));
            }
        }
        (Epilogue::Filled(value), _) => out.fill(value),
        (Epilogue::Probability { factor, least }, _) => {
            fill!([factor, least], [values], probability(values, factor, least));
        }
        (Epilogue::Gradient { factor, minus, .. }, Weights::Absent | Weights::Ones) => {
            // A p below the smallest normal number is negligible beside `minus`, or has been flushed.
            fill!([factor, minus], [values], values.mul_add(factor, minus));
        }
        (Epilogue::Gradient { factor, minus, .. }, Weights::Row(weights)) => {
            let least = least(factor, unit);
            fill!([factor, least, minus], [values, weights], {
                gradient(values, factor, least, weights * minus)
            });
        }
    }
    if !STREAM && unit != 1.0 {
        out.multiply(unit);
    }
}
