//! The diagonal of the Hessian, computed from the exponentials before the gradient is written over them.
//!
//! ```text
//! h_k = c·Q·p_k·(1 − p_k)·scale                Q = Σ q', c is the caller's
//!     = (e_k·factor)·[((sum − e_k) + lost)·inverse]
//! ```
//!
//! `factor` is the factor of the gradient. S is stored as `sum` + `lost`, two numbers of the type of the rows. So
//! S − e_k, the sum of the other classes, keeps its digits where e_k is nearly all of S.

use super::finish::{inverse_of, least};
use super::rows::ReducedRows;
use super::write::{Epilogue, probability};
use crate::math::{Real, two_sum};
use crate::simd::{Sink, Source, Vector, Widened, inlined, outlined};

/// A function from exponentials to the Hessian, from the sums without a maximum, their rounding errors, and the
/// exponentials of the maxima.
#[inline(always)]
pub(super) fn hessian<V: Vector>(
    c: f64,
    [sum, lost, top]: [V::Doubles; 3],
    [factor, least]: [V; 2],
) -> impl Fn(V) -> V {
    let (total, from_top) = two_sum(sum, top);
    let lost = lost + from_top;
    let inverse: V = (inverse_of::<V::Scalar, _>(total, lost) * total.like(c)).narrow();
    let sum: V = total.narrow();
    let lost: V = ((total - V::Doubles::widen(sum)) + lost).narrow();
    inlined!(move |e: V| probability(e, factor, least) * ((sum - e + lost) * inverse))
}

/// Writes row `i`; `epilogue` is that of its gradient.
pub(crate) fn write_hessian<V: Vector>(
    token: V::Token,
    c: f64,
    (ReducedRows { lanes, .. }, i): (&ReducedRows<'_, V::Scalar>, usize),
    epilogue: &Epilogue<V::Scalar>,
    e: Source<'_, V::Scalar>,
    out: &mut Sink<'_, V::Scalar>,
) {
    let (factor, unit) = match *epilogue {
        Epilogue::Gradient { factor, unit, .. } => (factor, unit),
        Epilogue::Filled(value) => return out.fill(value),
        _ => return,
    };
    outlined!(V, token, {
        let sums = [&lanes.sum, &lanes.lost, &lanes.top].map(|x| V::Doubles::splat(token, x[i]));
        let factors = [factor, least(factor, unit)].map(|factor| V::splat(token, factor));
        let hessian = hessian::<V>(c, sums, factors);
        let mut out = out.reborrow();
        out.fill_from::<V, false, 1>(token, [e], None, inlined!(|[e]| hessian(e)));
    });
    if unit != 1.0 {
        out.multiply(unit);
    }
}
