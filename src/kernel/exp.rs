//! exp(z/T) relative to a power of two near the row's maximum.
//!
//! ```text
//! n = round(z·log2(e)/T)                      integer, by adding and subtracting `magic`
//! r = z − n·(T·ln 2)                          two constants, |r| ≤ T·ln 2 / 2
//! s = r·(c1 + r·(c2 + ...)),  c_i = C_i/T^i   exp(r/T) − 1, polynomial of math/exp_coefficients.rs
//!   = c1·(z − n·high) + (r²·(c2 + ...) − n·low/T)   for f64: e within 0.851 ulp, and not 1.10
//! e = 2^(n−N+H) + s·2^(n−N+H)                 rounded once; N = round(M·log2(e)/T)
//! ```
//!
//! z itself is reduced, not z − M: a large |z| costs no digits, and every change of scale is an exact
//! power of two. H is headroom: it keeps the exponentials of the smallest kept classes normal. Classes
//! below the cut (their probability is far under the smallest normal number) and −inf are moved up to
//! it, where the exponent field of the power is 0 and so is the power; NaN stays NaN.
//!
//! The temperature is in the constants. Where T is far from 1 the logits are multiplied by an exact
//! power of two before they come here ([`Temperature::shift`]).

#[cfg(test)]
mod tests;

use crate::math::{LN2, MOST_COEFFICIENTS, Pair};
use crate::simd::{Float, Vector, Widened, outlined};
use std::f64::consts::LOG2_E;

/// T > 0, which the logits are divided by, and the constants of the exponential.
#[derive(Clone, Copy)]
pub(crate) struct Temperature<F> {
    /// The logits are to be multiplied by this power of two first: 1 but for T far from 1. All below is
    /// of the temperature that is left.
    pub(crate) shift: f64,
    value: f64,
    /// 1/T
    pub(crate) inverse: f64,
    /// The largest |M| of rows that are reduced as they are.
    pub(super) limit: F,
    log2e: F,
    ln2_high: F,
    ln2_low: F,
    /// `ln2_low`/T
    unit_low: F,
    coefficients: [F; MOST_COEFFICIENTS],
    /// The same, not rounded to `F`.
    wide_coefficients: [f64; MOST_COEFFICIENTS],
}

/// Within this and its inverse the powers of T are no concern in either type.
const FAR: f64 = 65536.0;

/// Rows with a larger |M|/T are shifted by M before they come here: n must fit the low mantissa bits.
pub(crate) const LARGEST_MAX: f64 = 1e6;

/// The bits of a double's exponent.
const EXPONENT: u64 = 0x7ff0_0000_0000_0000;

impl<F: Float> Temperature<F> {
    /// `temperature` is positive, finite and normal.
    pub(crate) fn new(temperature: f64) -> Self {
        let is_far = !(1.0 / FAR..=FAR).contains(&temperature);
        let power = f64::from_bits(temperature.to_bits() & EXPONENT);
        let shift = if is_far { 1.0 / power } else { 1.0 };
        let value = temperature * shift;
        let core = const { F::EXP };
        // ln 2 in two doubles, times T.
        let [high, low] = LN2;
        let product = value * high;
        // Without a temperature nothing is divided: the same bits, and a good part of a small call.
        let is_one = value == 1.0;
        let rest = if is_one { low } else { value.mul_add(high, -product) + value * low };
        let ln2_high = F::from_f64(product);
        let ln2_low = F::from_f64((product - ln2_high.to_f64()) + rest);
        let unit_low = F::from_f64(ln2_low.to_f64() / value);
        let mut power = 1.0;
        let mut coefficients = [F::default(); MOST_COEFFICIENTS];
        let mut wide_coefficients = [0.0; MOST_COEFFICIENTS];
        for (i, coefficient) in core.coefficients.iter().enumerate() {
            (wide_coefficients[i], coefficients[i]) = (coefficient.to_f64(), *coefficient);
            if !is_one {
                power *= value;
                wide_coefficients[i] /= power;
                coefficients[i] = F::from_f64(wide_coefficients[i]);
            }
        }
        let log2e = F::from_f64(LOG2_E / value);
        let inverse = 1.0 / value;
        let limit = F::from_f64(LARGEST_MAX * value);
        Self {
            shift,
            value,
            inverse,
            limit,
            log2e,
            ln2_high,
            ln2_low,
            unit_low,
            coefficients,
            wide_coefficients,
        }
    }

    /// May a row with this maximum be reduced as it is? False for NaN.
    #[inline(always)]
    pub(crate) fn is_in_range(&self, max: F) -> bool {
        max.to_f64().abs() <= self.limit.to_f64()
    }
}

/// Is this the type of the rows that keep what roundings lose?
pub(super) const fn is_double<F: Float>() -> bool {
    size_of::<F>() == size_of::<f64>()
}

/// The constants of the exponential in all lanes.
#[derive(Clone, Copy)]
pub(super) struct Exponential<V: Vector> {
    log2e: V,
    ln2_high: V,
    ln2_low: V,
    unit_low: V,
    coefficients: [V; MOST_COEFFICIENTS],
}

/// What the exponentials of rows are relative to: a lane holds that of its own row, or all lanes hold
/// that of one.
#[derive(Clone, Copy)]
pub(super) struct Base<V> {
    /// Where the exponent field is 0.
    pub(super) cut: V,
    /// 1.5·2^(mantissa bits) and the exponent field of 2^(H − N): adding it to z·log2 e rounds to an
    /// integer and leaves the exponent field of the result in the low bits.
    pub(super) magic: V,
}

impl<V: Vector> Base<V> {
    /// Of rows whose largest elements are `max`, |max|/T ≤ [`LARGEST_MAX`].
    #[inline(always)]
    pub(super) fn new(temperature: &Temperature<V::Scalar>, max: V) -> Self {
        let core = const { V::Scalar::EXP };
        let like = {
            #[inline(always)]
            |value: f64| V::splat(max.token(), V::Scalar::from_f64(value))
        };
        let round = like(core.magic.to_f64());
        // N only has to be near M·log2(e)/T and the same everywhere.
        let n = max.mul_add(V::splat(max.token(), temperature.log2e), round).sub(round);
        #[allow(clippy::cast_precision_loss, reason = "small integers")]
        let lift = (core.exponent_bias + core.headroom) as f64;
        // n − N + H + bias = 0. Rounded to f32 at |M| = 10^6, it is off by 0.1 of a step of n at most,
        // and half a step would do.
        let cut = n.sub(like(lift)).mul(like(std::f64::consts::LN_2 * temperature.value));
        Self { cut, magic: like(core.magic.to_f64() + lift).sub(n) }
    }
}

impl<V: Vector> Exponential<V> {
    #[inline(always)]
    pub(super) fn new(token: V::Token, temperature: &Temperature<V::Scalar>) -> Self {
        let Temperature { log2e, ln2_high, ln2_low, unit_low, .. } = *temperature;
        let mut coefficients = [V::splat(token, log2e); MOST_COEFFICIENTS];
        for (i, coefficient) in temperature.coefficients.iter().enumerate() {
            coefficients[i] = V::splat(token, *coefficient);
        }
        Self {
            log2e: V::splat(token, log2e),
            ln2_high: V::splat(token, ln2_high),
            ln2_low: V::splat(token, ln2_low),
            unit_low: V::splat(token, unit_low),
            coefficients,
        }
    }

    #[inline(always)]
    pub(super) fn token(&self) -> V::Token {
        self.log2e.token()
    }

    /// exp(z/T)·2^(H − N)
    #[inline(always)]
    pub(super) fn of(&self, z: V, base: Base<V>) -> V {
        if V::IS_COMPACT {
            return outlined!(V, self.token(), self.inlined(z, base));
        }
        self.inlined(z, base)
    }

    #[inline(always)]
    fn inlined(&self, z: V, base: Base<V>) -> V {
        // In this order, which keeps NaN.
        let (n, rest, scale) = self.reduced(base.cut.max(z), base);
        let r = n.neg_mul_add(self.ln2_low, rest);
        let count = const { V::Scalar::EXP.coefficients.len() };
        // From c1 or from c2 on.
        let first = const { if is_double::<V::Scalar>() { 1 } else { 0 } };
        let mut q = self.coefficients[count - 1];
        for i in (first..count - 1).rev() {
            q = q.mul_add(r, self.coefficients[i]);
        }
        let s = if const { is_double::<V::Scalar>() } {
            // What r and the largest term would be rounded to goes in last.
            let small = r.mul(r).mul_sub(q, n.mul(self.unit_low));
            rest.mul_add(self.coefficients[0], small)
        } else {
            r.mul(q)
        };
        s.mul_add(scale, scale)
    }

    /// n, z − n·ln2_high (exact), and 2^(n − N + H).
    #[inline(always)]
    fn reduced(&self, z: V, base: Base<V>) -> (V, V, V) {
        let shifted = z.mul_add(self.log2e, base.magic);
        let n = shifted.sub(base.magic);
        (n, n.neg_mul_add(self.ln2_high, z), shifted.exponent_from_low_bits())
    }

    /// exp(M/T)·2^(H − N) in double precision, for the logarithm, and what that lost, which is nothing that
    /// matters for `f32`: n and the constants are those of [`Exponential::of`], whose common error in all
    /// classes cancels, but s is not rounded to `F`.
    #[inline(always)]
    pub(super) fn wide<D: Widened<V>>(
        &self,
        temperature: &Temperature<V::Scalar>,
        max: V,
        base: Base<V>,
    ) -> Pair<D> {
        let (n, rest, scale) = self.reduced(max, base);
        let rest = D::widen(rest);
        let r = D::widen(n).mul_add(rest.like(-temperature.ln2_low.to_f64()), rest);
        let count = const { V::Scalar::EXP.coefficients.len() };
        let mut q = r.like(temperature.wide_coefficients[count - 1]);
        for i in (0..count - 1).rev() {
            q = q.mul_add(r, r.like(temperature.wide_coefficients[i]));
        }
        let (s, scale) = (r * q, D::widen(scale));
        let top = s.mul_add(scale, scale);
        [top, s.mul_add(scale, scale - top)]
    }
}
