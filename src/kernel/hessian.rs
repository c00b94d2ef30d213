//! The diagonal of the Hessian, computed from the exponentials before the gradient is written over them.
//!
//! ```text
//! h_k = c·Q·p_k·(1 − p_k)·scale                Q = Σ q', c is the caller's
//!     = (e_k·factor)·[((sum − e_k) + lost)·inverse]
//! ```
//!
//! `factor` is the factor of the gradient. S is stored as `sum` + `lost`, two numbers of the type of the rows. So
//! S − e_k, the sum of the other classes, keeps its digits where e_k is nearly all of S.

use super::finish::{ReducedLanes, inverse_of, least};
use super::rows::ReducedRows;
use super::write::{Epilogue, probability};
use crate::math::{Real, two_sum};
use crate::simd::{Sink, Source, Vector, Widened, inlined, outlined};

/// S of rows in two parts, and c/S.
struct Total<V> {
    sum: V,
    lost: V,
    inverse: V,
}

impl<V: Vector> Total<V> {
    /// From the sums without a maximum, their rounding errors, and the exponentials of the maxima.
    #[inline(always)]
    fn new(c: f64, ReducedLanes { sum, lost, top, .. }: ReducedLanes<V::Doubles>) -> Self {
        let (total, from_top) = two_sum(sum, top);
        let lost = lost + from_top;
        let inverse = inverse_of::<V::Scalar, _>(total, lost) * total.like(c);
        let sum: V = total.narrow();
        let lost = (total - V::Doubles::widen(sum)) + lost;
        Self { sum, lost: lost.narrow(), inverse: inverse.narrow() }
    }

    #[inline(always)]
    fn hessian(&self, e: V, factor: V, least: V) -> V {
        probability(e, factor, least) * ((self.sum - e + self.lost) * self.inverse)
    }
}

/// Writes a tile: `e` holds LANES of class 0, of class 1, ...
#[inline(always)]
pub(super) fn write_tile<V: Vector>(
    token: V::Token,
    c: f64,
    rows: &ReducedLanes,
    factor: V,
    least: V,
    e: &[V::Scalar],
    h: &mut [V::Scalar],
) {
    outlined!(V, token, {
        let total = Total::<V>::new(c, rows.vectors(token, 0));
        for (e, h) in e.chunks_exact(V::LANES).zip(h.chunks_exact_mut(V::LANES)) {
            total.hessian(V::from_slice(token, e), factor, least).to_slice(h);
        }
    });
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
    let Epilogue::Gradient { factor, unit, .. } = *epilogue else { return };
    outlined!(V, token, {
        let total = Total::<V>::new(c, lanes.splat(token, i));
        let least = V::splat(token, least(factor, unit));
        let factor = V::splat(token, factor);
        out.reborrow().fill_from::<V, false, 1>(
            token,
            [e],
            None,
            inlined!(|[e]| total.hessian(e, factor, least)),
        );
    });
    if unit != 1.0 {
        out.multiply(unit);
    }
}
