//! The diagonal of the Hessian, from the exponentials of which the gradient is written next.
//!
//! ```text
//! h_k = c·Q·p_k·(1 − p_k)·scale                Q = Σ q', c is the caller's
//!     = (e_k·factor)·[((sum − e_k) + lost)·inverse]
//! ```
//!
//! `factor` is that of the gradient. S is `sum` + `lost`, two numbers of the type of the rows: so S − e_k,
//! which is the sum of the other classes, keeps its digits where e_k is nearly all of S.

use super::finish::{ReducedLanes, inverse_of};
use super::rows::{Finished, ReducedRows};
use super::write::{Epilogue, probability};
use crate::math::{Real, two_sum};
use crate::simd::{Float, Sink, Source, Vector, Widened, outlined};

/// S of rows, and c/S.
pub(super) struct Total<D> {
    sum: D,
    lost: D,
    inverse: D,
}

impl<D: Real> Total<D> {
    #[inline(always)]
    pub(super) fn new<F: Float>(c: f64, sum: D, lost: D, top: D) -> Self {
        let (sum, from_top) = two_sum(sum, top);
        let lost = lost + from_top;
        Self { sum, lost, inverse: inverse_of::<F, _>(sum, lost) * sum.like(c) }
    }
}

/// Writes a tile: `e` holds LANES of class 0, of class 1, ...
#[inline(always)]
pub(super) fn write_tile<V: Vector>(
    token: V::Token,
    c: f64,
    rows: &ReducedLanes<V::Doubles>,
    factor: V,
    least: V,
    e: &[V::Scalar],
    h: &mut [V::Scalar],
) {
    outlined!(V, token, {
        let total = Total::new::<V::Scalar>(c, rows.sum, rows.lost, rows.top);
        let sum: V = total.sum.narrow();
        let lost: V = ((total.sum - V::Doubles::widen(sum)) + total.lost).narrow();
        let inverse: V = total.inverse.narrow();
        for (e, h) in e.chunks_exact(V::LANES).zip(h.chunks_exact_mut(V::LANES)) {
            let e = V::from_slice(token, e);
            hessian(e, factor, least, sum, lost, inverse).to_slice(h);
        }
    });
}

/// Writes row `i`, whose gradient is written as `done` says.
pub(crate) fn write_hessian<V: Vector>(
    token: V::Token,
    c: f64,
    (ReducedRows { lanes, .. }, i): (&ReducedRows<'_, V::Scalar>, usize),
    done: &Finished<V::Scalar>,
    e: Source<'_, V::Scalar>,
    out: &mut Sink<'_, V::Scalar>,
) {
    let Epilogue::Gradient { factor, least, .. } = done.epilogue else { return };
    let total = Total::new::<V::Scalar>(c, lanes.sum[i], lanes.lost[i], lanes.top[i]);
    let number = V::Scalar::from_f64;
    let sum = number(total.sum);
    let lost = number((total.sum - sum.to_f64()) + total.lost);
    let constants = [factor, least, sum, lost, number(total.inverse)];
    outlined!(V, token, {
        let [factor, least, sum, lost, inverse] = constants.map(
            #[inline(always)]
            |constant| V::splat(token, constant),
        );
        out.reborrow().fill_with::<V, false>(
            None,
            #[inline(always)]
            |place| {
                let e = e.at::<V>(token, place, V::Scalar::default());
                hessian(e, factor, least, sum, lost, inverse)
            },
        );
    });
    if done.unit != 1.0 {
        out.multiply(done.unit);
    }
}

#[inline(always)]
fn hessian<V: Vector>(e: V, factor: V, least: V, sum: V, lost: V, inverse: V) -> V {
    probability(e, factor, least) * ((sum - e + lost) * inverse)
}
