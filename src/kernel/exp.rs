//! exp(z/T) relative to a power of two near the row's maximum.
//!
//! ```text
//! n = round(z·log2(e)/T)                      integer, by adding and subtracting `magic`
//! r = z − n·(T·ln 2)                          two constants, |r| ≤ T·ln 2 / 2
//! q = c1 + r·(c2 + ...),  c_i = C_i/T^i       (exp(r/T) − 1)/r, polynomial of math/exp_coefficients.rs
//! e = (1 + r·q)·2^(n−N+H)                     rounded once: r·q is not; N = round(M·log2(e)/T)
//! ```
//!
//! z itself is reduced, not z − M: a large |z| costs no digits, and every change of scale is an exact
//! power of two. H is headroom: it keeps the exponentials of the smallest kept classes normal. Classes
//! below the cut (their probability is far under the smallest normal number) and −inf are moved up to
//! it, where the exponent field of the power is 0 and so is the power; NaN stays NaN.
//!
//! The temperature is in the constants. Where T is far from 1 the logits are multiplied by an exact
//! power of two before they come here ([`Temperature::prescale`]).

#[cfg(test)]
mod tests;

use crate::math::{LN2, MOST_COEFFICIENTS, Pair, Real};
use crate::simd::{Float, Vector, Widened, each, inlined, outlined};
use std::f64::consts::LOG2_E;

/// T > 0, by which the logits are divided, and the constants of the exponential.
#[derive(Clone, Copy)]
pub(crate) struct Temperature<F> {
    /// The power of two by which the logits are multiplied first: 1, except for T far from 1. The fields below are
    /// those for the temperature T·prescale.
    pub(crate) prescale: f64,
    value: f64,
    /// 1/T
    pub(crate) inverse: f64,
    /// The largest |M| of rows that are not shifted by M.
    pub(super) limit: F,
    constants: Exponential<F>,
}

/// If T is between the inverse of this and this, its powers are well in range in both types.
const FAR: f64 = 65536.0;

/// Rows with a larger |M|/T are shifted by M before they come here: n must fit the low mantissa bits.
pub(crate) const LARGEST_MAX: f64 = 1e6;

/// The rounding error of C_i/T^i is carried to the next coefficient but one, so that it is compensated where (r/T)² is
/// this: near the ends of the interval, where the other errors are largest.
const CARRIED_AT: f64 = 0.115;

impl<F: Float> Temperature<F> {
    /// `temperature` is positive, finite and normal.
    pub(crate) fn new(temperature: f64) -> Self {
        // For T = 1, the most frequent case, the compiler knows all these numbers.
        if temperature == 1.0 { Self::of(1.0) } else { Self::of(temperature) }
    }

    #[inline(always)]
    fn of(temperature: f64) -> Self {
        let is_far = !(1.0 / FAR..=FAR).contains(&temperature);
        let prescale = if is_far { 1.0 / temperature.power() } else { 1.0 };
        let value = temperature * prescale;
        // ln 2 in two doubles, times T.
        let [high, low] = LN2;
        let product = value * high;
        let rest = value.mul_add(high, -product) + value * low;
        let ln2_high = F::from_f64(product);
        let ln2_low = F::from_f64((product - ln2_high.to_f64()) + rest);
        let (mut power, mut left) = (1.0, [0.0; MOST_COEFFICIENTS + 2]);
        let mut coefficients = [F::default(); MOST_COEFFICIENTS];
        for (i, coefficient) in const { F::EXP }.coefficients.iter().enumerate() {
            power *= value;
            let wanted = coefficient.to_f64() + left[i];
            coefficients[i] = F::from_f64(wanted / power);
            left[i + 2] = coefficients[i].to_f64().mul_add(-power, wanted) / CARRIED_AT;
        }
        let log2e = F::from_f64(LOG2_E / value);
        Self {
            prescale,
            value,
            inverse: 1.0 / value,
            limit: F::from_f64(LARGEST_MAX * value),
            constants: Exponential { log2e, ln2_high, ln2_low, coefficients },
        }
    }

    /// 1/T for logits as they are in memory.
    pub(crate) fn of_memory(&self) -> f64 {
        self.inverse * self.prescale
    }

    /// May a row with this maximum be reduced without a shift by it? False for NaN.
    pub(crate) fn is_in_range(&self, max: F) -> bool {
        max.to_f64().abs() <= self.limit.to_f64()
    }

    /// Is a row with this maximum, as it is in memory, shifted by it? True for NaN.
    pub(crate) fn shifts(&self, max: f64) -> bool {
        !self.is_in_range(F::from_f64(max * self.prescale))
    }
}

/// The constants of the exponential, as numbers or in all lanes of vectors.
#[derive(Clone, Copy)]
pub(super) struct Exponential<V> {
    log2e: V,
    ln2_high: V,
    ln2_low: V,
    coefficients: [V; MOST_COEFFICIENTS],
}

/// The power of two relative to which exponentials are computed: that of its own row in each lane, or that of one row
/// in all lanes.
#[derive(Clone, Copy)]
pub(super) struct Base<V> {
    /// The logit at which the exponent field is 0.
    cut: V,
    /// 1.5·2^(mantissa bits) plus the exponent field of 2^(H − N): adding it to z·log2 e rounds to an
    /// integer and leaves the exponent field of the result in the low bits.
    magic: V,
}

impl<V: Vector> Base<V> {
    /// For rows with the maxima `max`, |max|/T ≤ [`LARGEST_MAX`].
    #[inline(always)]
    pub(super) fn new(temperature: &Temperature<V::Scalar>, max: V) -> Self {
        let core = const { V::Scalar::EXP };
        let like = inlined!(|value: f64| V::splat(max.token(), V::Scalar::from_f64(value)));
        let round = like(core.magic.to_f64());
        // N only has to be near M·log2(e)/T and the same everywhere.
        let n = max.mul_add(V::splat(max.token(), temperature.constants.log2e), round) - round;
        let lift = core.exponent_bias + core.headroom;
        // Where n − N + H + bias = 0. Rounded to f32 at |M| = 10^6, its error is at most 0.1 of a step of n; half a
        // step would be accurate enough.
        let cut = (n - like(lift)) * like(std::f64::consts::LN_2 * temperature.value);
        Self { cut, magic: like(core.magic.to_f64() + lift) - n }
    }
}

impl<V: Vector> Exponential<V> {
    #[inline(always)]
    pub(super) fn new(token: V::Token, temperature: &Temperature<V::Scalar>) -> Self {
        let Exponential { log2e, ln2_high, ln2_low, coefficients } = &temperature.constants;
        Self {
            log2e: V::splat(token, *log2e),
            ln2_high: V::splat(token, *ln2_high),
            ln2_low: V::splat(token, *ln2_low),
            coefficients: each!(MOST_COEFFICIENTS, |i| V::splat(token, coefficients[i])),
        }
    }

    /// exp(z/T)·2^(H − N)
    #[inline(always)]
    pub(super) fn of(&self, z: V, base: Base<V>) -> V {
        self.of_each([z], base, || ())[0]
    }

    /// The same for several vectors, step by step: while one waits for its results, the processor works on the others.
    /// `halfway` adds work of another kind.
    #[inline(always)]
    pub(super) fn of_each<const N: usize>(
        &self,
        z: [V; N],
        base: Base<V>,
        halfway: impl FnOnce(),
    ) -> [V; N] {
        if V::IS_COMPACT {
            halfway();
            let token = self.log2e.token();
            let of = inlined!(|z: V| outlined!(V, token, self.side_by_side([z], base, || ())[0]));
            return each!(N, |i| of(z[i]));
        }
        self.side_by_side(z, base, halfway)
    }

    #[inline(always)]
    fn side_by_side<const N: usize>(
        &self,
        z: [V; N],
        base: Base<V>,
        halfway: impl FnOnce(),
    ) -> [V; N] {
        // With the operands in this order, `max` keeps NaN.
        let (n, rest, scale) = self.reduced(each!(N, |i| base.cut.max(z[i])), base);
        let r = each!(N, |i| (-n[i]).mul_add(self.ln2_low, rest[i]));
        halfway();
        let (q, one) = (self.series(r, 0), V::splat(self.log2e.token(), V::Scalar::from_f64(1.0)));
        // The product with a power of two is exact, unless it is subnormal.
        each!(N, |i| q[i].mul_add(r[i], one) * scale[i])
    }

    /// The polynomial c_i + r·(c_{i+1} + ...), where i is `first` + 1.
    #[inline(always)]
    fn series<const N: usize>(&self, r: [V; N], first: usize) -> [V; N] {
        let count = const { V::Scalar::EXP.coefficients.len() };
        let mut q = [self.coefficients[count - 1]; N];
        for c in (first..count - 1).rev() {
            q = each!(N, |i| q[i].mul_add(r[i], self.coefficients[c]));
        }
        q
    }

    /// n, z − n·ln2_high (exact), and 2^(n − N + H).
    #[inline(always)]
    fn reduced<const N: usize>(&self, z: [V; N], base: Base<V>) -> ([V; N], [V; N], [V; N]) {
        let shifted = each!(N, |i| z[i].mul_add(self.log2e, base.magic));
        let n = each!(N, |i| shifted[i] - base.magic);
        let rest = each!(N, |i| (-n[i]).mul_add(self.ln2_high, z[i]));
        (n, rest, each!(N, |i| shifted[i].exponent_from_low_bits()))
    }

    /// exp(M/T)·2^(H − N) in double precision, for the logarithm, and its rounding error. n and the constants are those
    /// of [`Exponential::of`], since an error that all classes have in common cancels. So is r for `f32`, but
    /// the rounding errors of q and of the last step are added back: without the former, the loss of a row was 3.1 ulp
    /// off.
    #[inline(always)]
    pub(super) fn wide<D: Widened<V>>(&self, max: V, base: Base<V>) -> Pair<D> {
        let ([n], [rest], [scale]) = self.reduced([base.cut.max(max)], base);
        let (r, c1) = ((-n).mul_add(self.ln2_low, rest), self.coefficients[0]);
        let [q2] = self.series([r], 1);
        let q = q2.mul_add(r, c1);
        if !V::Scalar::IS_DOUBLE {
            let one = V::splat(self.log2e.token(), V::Scalar::from_f64(1.0));
            let e = q.mul_add(r, one);
            // 1 + r·(c1 + r·q2), less e
            let lost = (q2 * r).mul_add(r, r.mul_add(c1, one - e));
            let top = D::widen(e * scale) + D::widen(lost * scale);
            return [top, top.like(0.0)];
        }
        let s = r * q;
        let top = s.mul_add(scale, scale);
        // The rounding errors of r, q and s; the derivative of s is that of the exponential.
        let (r_lost, q_lost) = ((-n).mul_add(self.ln2_low, rest - r), q2.mul_add(r, c1 - q));
        let lost = r.mul_add(q, -s) + r_lost.mul_add(s.mul_add(c1, c1), r * q_lost);
        let lost = lost.mul_add(scale, s.mul_add(scale, scale - top));
        [D::widen(top), D::widen(lost)]
    }
}
