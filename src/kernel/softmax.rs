//! Softmax, log-softmax and log-sum-exp: epilogues of [`reduce`].

use super::exp::Temperature;
use super::scale::Scale;
use super::stats::{RowClass, RowStats, Weights, Workspace, reduce};
use crate::element::{Float, Wide};
use crate::simd::Vector;
use crate::simd::row::{Sink, Source};

/// p_k = exp(z_k) / Σ exp(z)
#[inline(always)]
pub(crate) fn softmax<V: Vector>(
    token: V::Token,
    z: Source<'_, V::Scalar>,
    temperature: &Temperature<V::Scalar>,
    mut out: Sink<'_, V::Scalar>,
    workspace: &mut Workspace<'_, V::Scalar>,
) {
    let stats = reduce::<V, true>(token, z, Weights::Absent, temperature, workspace);
    if stats.class != RowClass::Finite {
        // NaN, +inf and rows of −inf have no probabilities.
        return out.fill(V::Scalar::NAN);
    }
    if z.len() == 1 {
        // Whatever the rounding of 1/S.
        return out.fill(V::Scalar::from_f64(1.0));
    }
    let scale = Scale::<V>::new(token, &stats, Wide::new(1.0), 0.0);
    let exps = Source::from_slice(&*workspace.exps);
    let zero = V::Scalar::default();
    out.fill_with(
        #[inline(always)]
        |place| scale.probability(exps.at::<V>(token, place, zero)),
    );
}

/// A maximum up to this is too small for z − M to overflow: it is below half of the last bit of
/// the largest number.
const LEAST_HALVED: f64 = 1e30;

/// log p_k = (z_k − M)/T − L, kept apart until the end.
#[inline(always)]
pub(crate) fn log_softmax<V: Vector>(
    token: V::Token,
    z: Source<'_, V::Scalar>,
    temperature: &Temperature<V::Scalar>,
    mut out: Sink<'_, V::Scalar>,
    workspace: &mut Workspace<'_, V::Scalar>,
) {
    let stats = reduce::<V, false>(token, z, Weights::Absent, temperature, workspace);
    if stats.class != RowClass::Finite {
        return out.fill(V::Scalar::NAN);
    }
    // (z − M)/T may be a number where z − M is none: then half of it over T/2. Nothing of z that
    // halving could lose reaches the last bit of such an M.
    let is_halved = stats.max > LEAST_HALVED && temperature.inverse.value() < 1.0;
    let unit = if is_halved { 0.5 } else { 1.0 };
    let scaled =
        |value: V::Scalar, unit: f64| V::splat(token, V::Scalar::from_f64(value.to_f64() * unit));
    let max = V::splat(token, V::Scalar::from_f64(stats.max * unit));
    let (high, low) = V::Scalar::split(stats.log_excess());
    let (high, low) = (V::splat(token, high), V::splat(token, low));
    let (inverse, inverse_low) = temperature.parts();
    let (inverse, inverse_low) = (scaled(inverse, 1.0 / unit), scaled(inverse_low, 1.0 / unit));
    let unit = V::splat(token, V::Scalar::from_f64(unit));
    let lowest = V::splat(token, V::Scalar::NEG_INFINITY);
    let zero = V::Scalar::default();
    out.fill_with(
        #[inline(always)]
        |place| {
            let gap = z.at::<V>(token, place, zero).mul_sub(unit, max);
            // −inf·0 would be NaN.
            let rest = gap.mul(inverse_low).zero_where(gap.le(lowest)).sub(low);
            gap.mul_add(inverse, rest).sub(high)
        },
    );
}

/// lse = M/T + L
#[inline(always)]
pub(crate) fn logsumexp<V: Vector>(
    token: V::Token,
    z: Source<'_, V::Scalar>,
    temperature: &Temperature<V::Scalar>,
    workspace: &mut Workspace<'_, V::Scalar>,
) -> f64 {
    let stats = reduce::<V, false>(token, z, Weights::Absent, temperature, workspace);
    lse_of(&stats, temperature).value()
}

#[inline(always)]
pub(super) fn lse_of<F: Float>(stats: &RowStats<F>, temperature: &Temperature<F>) -> F::Wide {
    match stats.class {
        RowClass::Finite => F::Wide::new(stats.max) * temperature.inverse + stats.log_excess(),
        RowClass::NaN => F::Wide::new(f64::NAN),
        RowClass::PlusInfinity => F::Wide::new(f64::INFINITY),
        RowClass::AllMinusInfinity => F::Wide::new(f64::NEG_INFINITY),
    }
}
