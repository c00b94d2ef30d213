//! exp(z) relative to a power of two near the row's maximum.
//!
//! ```text
//! n   = round(z·log2 e)                    integer, by adding and subtracting 1.5·2^m
//! f   = z − n·ln 2                         two constants, |f| ≤ ln 2 / 2
//! s   = exp(f) − 1                         polynomial of math.rs, not rounded into 1 + s
//! exp(z) = 2^N · 2^−H · (sc + s·sc)        N = round(M·log2 e), sc = 2^(n − N + H)
//! ```
//!
//! z itself is reduced, not z − M, so that a large |z| costs no digits, and
//! every change of scale is an exact power of two. H is headroom: it keeps sc
//! of the smallest kept class normal. Classes below the cut (their probability
//! is far under the smallest normal number) and −inf become exactly 0; NaN
//! stays NaN because the comparison with the cut is false for it.

#[cfg(test)]
mod tests;

use crate::element::{Float, Wide};
use crate::simd::Vector;

/// The constants of one row, in registers.
#[derive(Clone, Copy)]
pub(super) struct RowExp<V: Vector> {
    max: V,
    cut: V,
    exponent_bias: i64,
    log2e: V,
    magic: V,
    ln2_high: V,
    ln2_low: V,
    /// 1/T in two parts, for [`TEMPERED`] rows.
    inverse_temperature: (V, V),
    coefficients: [V; MAX_COEFFICIENTS],
}

/// Whether logits are divided by a temperature other than 1: rows that are not do no work for it.
pub(super) const PLAIN: bool = false;
pub(super) const TEMPERED: bool = true;

/// T > 0, which the logits are divided by.
#[derive(Clone, Copy)]
pub(crate) struct Temperature<F: Float> {
    /// 1/T
    pub(crate) inverse: F::Wide,
    parts: (F, F),
    is_one: bool,
}

impl<F: Float> Temperature<F> {
    pub(crate) fn new(temperature: f64) -> Self {
        let inverse = F::Wide::new(1.0).over(F::Wide::new(temperature));
        Self { inverse, parts: F::split(inverse), is_one: temperature == 1.0 }
    }

    #[inline(always)]
    pub(crate) fn is_one(&self) -> bool {
        self.is_one
    }

    /// 1/T in two parts.
    #[inline(always)]
    pub(crate) fn parts(&self) -> (F, F) {
        self.parts
    }

    /// The largest |M|/T of the kernel. With a temperature, `low` must stay small beside f.
    #[inline(always)]
    pub(super) fn largest_max(&self) -> f64 {
        if self.is_one { LARGEST_MAX } else { 1e-2 * LARGEST_MAX }
    }

    /// x/T
    #[inline(always)]
    pub(crate) fn divide(&self, x: f64) -> f64 {
        x * self.inverse.value()
    }
}

const MAX_COEFFICIENTS: usize = 11;

/// exp of one vector: the whole is `scale + fraction·scale`.
#[derive(Clone, Copy)]
pub(super) struct Parts<V> {
    pub(super) fraction: V,
    pub(super) scale: V,
}

impl<V: Vector> RowExp<V> {
    /// For a row whose largest element is `max`, |max|/T ≤ [`LARGEST_MAX`].
    #[inline(always)]
    pub(super) fn new(
        token: V::Token,
        max: V::Scalar,
        temperature: &Temperature<V::Scalar>,
    ) -> Self {
        let core = const { V::Scalar::EXP };
        let splat = |value| V::splat(token, value);
        // N only has to be near M·log2 e and the same everywhere: plain f64, no fused operation.
        let n = temperature.divide(max.to_f64() * std::f64::consts::LOG2_E).round_ties_even();
        #[allow(clippy::cast_possible_truncation, reason = "|n| < 2^21")]
        let shift = core.headroom - n as i64;
        // n − N + H + bias ≥ 1 for all kept z, with one to spare for the rounding of n.
        #[allow(clippy::cast_precision_loss, reason = "small integers")]
        let cut = (2 - core.exponent_bias - shift) as f64 * std::f64::consts::LN_2;
        let cut = cut / temperature.inverse.value();
        let (inverse_high, inverse_low) = temperature.parts();
        let mut coefficients = [splat(V::Scalar::default()); MAX_COEFFICIENTS];
        for (vector, value) in coefficients.iter_mut().zip(core.coefficients) {
            *vector = splat(*value);
        }
        Self {
            max: splat(max),
            cut: splat(V::Scalar::from_f64(cut)),
            exponent_bias: shift + core.exponent_bias,
            log2e: splat(core.log2e),
            magic: splat(core.magic),
            ln2_high: splat(core.ln2_high),
            ln2_low: splat(core.ln2_low),
            inverse_temperature: (splat(inverse_high), splat(inverse_low)),
            coefficients,
        }
    }

    #[inline(always)]
    pub(super) fn max(&self) -> V {
        self.max
    }

    /// Both parts are 0 below the cut; NaN gives a NaN fraction.
    #[inline(always)]
    pub(super) fn parts<const HEAT: bool>(&self, z: V) -> Parts<V> {
        let (rest, small, scale) = self.core::<HEAT>(z);
        let dropped = z.le(self.cut);
        Parts { fraction: rest.add(small).zero_where(dropped), scale: scale.zero_where(dropped) }
    }

    /// exp(M) with s as the sums have it, whose errors then cancel in p; and without the rounding
    /// of s, for L.
    #[inline(always)]
    pub(super) fn peak<const HEAT: bool>(&self) -> [<V::Scalar as Float>::Wide; 2] {
        let (rest, small, scale) = self.core::<HEAT>(self.max);
        let wide = |vector: V| <V::Scalar as Float>::Wide::new(vector.lane(0).to_f64());
        let fractions = [wide(rest.add(small)), wide(rest) + wide(small)];
        fractions.map(|fraction| wide(scale) + wide(scale) * fraction)
    }

    /// exp(M) as [`Parts::rounded`] makes it.
    #[inline(always)]
    pub(super) fn stored_peak<const HEAT: bool>(&self) -> V::Scalar {
        self.parts::<HEAT>(self.max).rounded().lane(0)
    }

    /// s in two parts, and 2^(n − N + H).
    #[inline(always)]
    fn core<const HEAT: bool>(&self, logits: V) -> (V, V, V) {
        let degree = const { <V::Scalar as Float>::EXP.coefficients.len() };
        // z/T = z + low: what the rounding of z/T loses is added to f.
        let (z, low) = if HEAT == TEMPERED {
            let (high, low) = self.inverse_temperature;
            let quotient = logits.mul(high);
            (quotient, logits.mul_add(low, logits.mul_sub(high, quotient)))
        } else {
            (logits, logits)
        };
        let shifted = z.mul_add(self.log2e, self.magic);
        let n = shifted.sub(self.magic);
        let rest = n.neg_mul_add(self.ln2_high, z);
        let f = n.neg_mul_add(self.ln2_low, rest);
        let f = if HEAT == TEMPERED { f.add(low) } else { f };
        let mut q = self.coefficients[degree - 1];
        for index in (0..degree - 1).rev() {
            q = q.mul_add(f, self.coefficients[index]);
        }
        // s = rest + (f²·q − n·ln2_low): the low part of f is added after the large one is known.
        let square = f.mul(f).mul(q);
        let small = n.neg_mul_add(self.ln2_low, square);
        let small = if HEAT == TEMPERED { small.add(low) } else { small };
        (rest, small, shifted.exponent_from_low_bits(self.exponent_bias))
    }
}

impl<V: Vector> Parts<V> {
    /// The rounded exponential.
    #[inline(always)]
    pub(super) fn rounded(self) -> V {
        self.fraction.mul_add(self.scale, self.scale)
    }
}

/// Rows with a larger |M| are shifted by M before the kernel: n must fit the low mantissa bits.
pub(super) const LARGEST_MAX: f64 = 1e6;
