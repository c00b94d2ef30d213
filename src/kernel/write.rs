//! The epilogues: what is written for each class, from its exponential or its logit.

use crate::simd::{Place, Sink, Source, Vector, outlined};
use crate::target::Weights;

/// The constants of one row's output.
#[derive(Clone, Copy)]
pub(crate) enum Epilogue<F> {
    /// p = e·factor
    Probability { factor: F, least: F },
    /// log p = (z − M)/T − L
    LogProbability { max: F, inverse: F, excess: F },
    /// e·factor + minus·w
    Gradient { factor: F, least: F, minus: F },
}

/// The value of one class that has a value of its own.
type AtLabel<'l, F> = Option<&'l (usize, F)>;

/// e·factor, and 0 below the smallest normal number: by comparison, not by the processor's mode.
#[inline(always)]
pub(super) fn probability<V: Vector>(e: V, factor: V, least: V) -> V {
    e.only_where(e.ge(least)).mul(factor)
}

/// e·factor + minus
#[inline(always)]
pub(super) fn gradient<V: Vector>(e: V, factor: V, least: V, minus: V) -> V {
    e.only_where(e.ge(least)).mul_add(factor, minus)
}

/// (z − M)/T − L, kept apart until the end.
#[inline(always)]
pub(crate) fn log_probability<V: Vector>(z: V, max: V, inverse: V, excess: V) -> V {
    z.sub(max).mul_sub(inverse, excess)
}

/// Writes a row, or a part of one, of which `values` are the exponentials, or the logits for
/// [`Epilogue::LogProbability`]. With `streams` they go past the caches.
///
/// The epilogue and the label are references, since they have just been stored, number by number: to copy several at
/// once waits for those stores, and they wait for the stores past the caches of the row before.
pub(crate) fn write<V: Vector>(
    token: V::Token,
    epilogue: &Epilogue<V::Scalar>,
    values: Source<'_, V::Scalar>,
    weights: Weights<'_, V::Scalar>,
    label: AtLabel<'_, V::Scalar>,
    out: &mut Sink<'_, V::Scalar>,
    streams: bool,
) {
    if streams && out.has_lines::<V>() {
        written::<V, true>(token, epilogue, values, weights, label, out);
    } else {
        written::<V, false>(token, epilogue, values, weights, label, out);
    }
}

#[inline(always)]
fn written<V: Vector, const STREAM: bool>(
    token: V::Token,
    epilogue: &Epilogue<V::Scalar>,
    values: Source<'_, V::Scalar>,
    weights: Weights<'_, V::Scalar>,
    label: AtLabel<'_, V::Scalar>,
    out: &mut Sink<'_, V::Scalar>,
) {
    let zero = V::Scalar::default();
    let value = {
        #[inline(always)]
        move |place| values.at::<V>(token, place, zero)
    };
    /// Writes a value for each place, from constants that are in every lane.
    macro_rules! fill {
        ([$($constant:ident),+], |$place:ident| $value:expr) => {
            fill::<V, STREAM, _>(
                token,
                label,
                out,
                #[inline(always)]
                move || {
                    $(let $constant = V::splat(token, *$constant);)+
                    #[inline(always)]
                    move |$place| $value
                },
            )
        };
    }
    match (epilogue, weights) {
        (Epilogue::LogProbability { max, inverse, excess }, _) => {
            fill!([max, inverse, excess], |at| log_probability(value(at), max, inverse, excess));
        }
        (Epilogue::Probability { factor, least }, _)
        | (Epilogue::Gradient { factor, least, .. }, Weights::Absent) => {
            fill!([factor, least], |at| probability(value(at), factor, least));
        }
        (Epilogue::Gradient { factor, least, minus }, Weights::Ones) => {
            fill!([factor, least, minus], |at| gradient(value(at), factor, least, minus));
        }
        (Epilogue::Gradient { factor, least, minus }, Weights::Row(weights)) => {
            fill!([factor, least, minus], |at| {
                let minus = weights.at::<V>(token, at, zero).mul(minus);
                gradient(value(at), factor, least, minus)
            });
        }
    }
}

/// Compiled once for each epilogue.
#[inline(always)]
pub(super) fn fill<V: Vector, const STREAM: bool, E: Fn(Place) -> V>(
    token: V::Token,
    label: AtLabel<'_, V::Scalar>,
    out: &mut Sink<'_, V::Scalar>,
    epilogue: impl FnOnce() -> E,
) {
    outlined!(V, token, {
        // By value: behind a reference, it is loaded again after each store.
        let (mut out, label) = (out.reborrow(), label.copied());
        out.fill_with::<V, STREAM>(label, epilogue());
    });
}
