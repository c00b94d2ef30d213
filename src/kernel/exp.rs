//! exp(z) relative to a power of two near the row's maximum.
//!
//! ```text
//! n   = round(z·log2 e)                    integer, by adding and subtracting `magic`
//! f   = z − n·ln 2                         two constants, |f| ≤ ln 2 / 2
//! s   = exp(f) − 1                         polynomial of math.rs, not rounded into 1 + s
//! exp(z) = 2^N · 2^−H · (sc + s·sc)        N = round(M·log2 e), sc = 2^(n − N + H)
//! kept:    sc + s·sc                       in two parts: rounded, and what that lost
//! ```
//!
//! z itself is reduced, not z − M, so that a large |z| costs no digits, and
//! every change of scale is an exact power of two. H is headroom: it keeps sc
//! of the smallest kept class normal. Classes below the cut (their probability
//! is far under the smallest normal number) and −inf are moved up to it, where
//! the exponent field is 0 and so is sc; NaN stays NaN.

#[cfg(test)]
mod tests;

use super::scale::each_row;
use crate::element::Float;
use crate::simd::Vector;
use crate::wide::{Real, Wide};

/// The constants of rows: a lane holds those of its own row, or all lanes those of one.
#[derive(Clone, Copy)]
pub(super) struct Exp<V: Vector> {
    max: V,
    /// Where the exponent field is 0.
    cut: V,
    /// 1.5·2^(mantissa bits) and the exponent field of 2^(H − N): adding it to z·log2 e rounds to an
    /// integer and leaves the exponent field of the result in the low bits.
    magic: V,
    /// 1/T in two parts, for [`TEMPERED`] rows.
    inverse_temperature: (V, V),
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
    value: f64,
    is_one: bool,
}

impl<F: Float> Temperature<F> {
    /// `temperature` is between 1e-30 and 1e30: the cut must be a number.
    pub(crate) fn new(temperature: f64) -> Self {
        debug_assert!((1e-30..=1e30).contains(&temperature), "temperature {temperature}");
        let inverse = F::Wide::new(1.0).over(F::Wide::new(temperature));
        Self { inverse, parts: F::split(inverse), value: temperature, is_one: temperature == 1.0 }
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
    fn largest_max(&self) -> f64 {
        if self.is_one { LARGEST_MAX } else { 1e-2 * LARGEST_MAX }
    }

    /// The largest |z| of a row in a tile: its distances do not overflow.
    #[inline(always)]
    pub(super) fn most(&self) -> F {
        F::from_f64((self.largest_max() * self.value / 2.0).min(1e30))
    }

    /// May a row with this maximum be swept as it is? False for NaN.
    #[inline(always)]
    pub(super) fn is_in_range(&self, max: F) -> bool {
        max.to_f64().abs() * self.inverse.value() <= self.largest_max()
    }
}

/// exp of one vector: the whole is `scale + fraction·scale`.
#[derive(Clone, Copy)]
pub(super) struct Parts<V> {
    pub(super) fraction: V,
    pub(super) scale: V,
}

impl<V: Vector> Exp<V> {
    /// For rows whose largest elements are `max`, |max|/T ≤ [`LARGEST_MAX`].
    #[inline(always)]
    pub(super) fn new(token: V::Token, max: V, temperature: &Temperature<V::Scalar>) -> Self {
        let core = const { V::Scalar::EXP };
        let top = max.to_doubles();
        let inverse = top.like(temperature.inverse.value());
        // N only has to be near M·log2 e and the same everywhere: plain doubles, no fused operation.
        let scaled = top * top.like(std::f64::consts::LOG2_E) * inverse;
        let n = (scaled + top.like(ROUND)) - top.like(ROUND);
        #[allow(clippy::cast_precision_loss, reason = "small integers")]
        let (bias, headroom) = (core.exponent_bias as f64, core.headroom as f64);
        let shift = top.like(headroom) - n;
        // n − N + H + bias = 0. Rounded to f32 at |M| = 10^6, it is off by 0.07 of a step of n at most,
        // and half a step would do.
        let unit = std::f64::consts::LN_2 * temperature.value;
        let cut = (top.like(-bias) - shift) * top.like(unit);
        let magic = top.like(core.magic.to_f64()) + (shift + top.like(bias));
        let (inverse_high, inverse_low) = temperature.parts();
        Self {
            max,
            cut: V::from_doubles(cut),
            magic: V::from_doubles(magic),
            inverse_temperature: (V::splat(token, inverse_high), V::splat(token, inverse_low)),
        }
    }

    /// The constants of the row in one lane, in all lanes.
    #[inline(always)]
    pub(super) fn each_row(self) -> impl Fn(usize) -> Self {
        let row = each_row([self.max, self.cut, self.magic]);
        #[inline(always)]
        move |lane| {
            let [max, cut, magic] = row(lane);
            Self { max, cut, magic, ..self }
        }
    }

    #[inline(always)]
    pub(super) fn max(&self) -> V {
        self.max
    }

    /// The scale is 0 below the cut; NaN gives a NaN fraction, and any scale.
    #[inline(always)]
    pub(super) fn parts<const HEAT: bool>(&self, z: V) -> Parts<V> {
        self.parts_of::<HEAT, 1>([z])[0]
    }

    /// [`Exp::parts`] of several vectors, step by step side by side: a processor looks ahead by
    /// instructions, and one chain after the other would fill its window.
    #[inline(always)]
    pub(super) fn parts_of<const HEAT: bool, const N: usize>(&self, z: [V; N]) -> [Parts<V>; N] {
        let mut kept = z;
        for z in &mut kept {
            // In this order, which keeps NaN.
            *z = self.cut.max(*z);
        }
        let core = self.core::<HEAT, N>(kept);
        let mut parts = [Parts { fraction: z[0], scale: z[0] }; N];
        for i in 0..N {
            parts[i].fraction = core.rest[i].add(core.small[i]);
            parts[i].scale = core.scale[i];
        }
        parts
    }

    /// C2 + C3·f + ...
    #[inline(always)]
    fn one_by_one<const N: usize>(token: V::Token, f: [V; N]) -> [V; N] {
        let (last, rest) = const { V::Scalar::EXP.coefficients.split_last().unwrap() };
        Self::horner(token, [V::splat(token, *last); N], f, rest)
    }

    /// The same, all but the first [`ALONE`] coefficients in powers of f²: a shorter chain.
    #[inline(always)]
    fn two_by_two<const N: usize>(token: V::Token, f: [V; N]) -> [V; N] {
        let (first, rest) = const { V::Scalar::EXP.coefficients.split_at(ALONE) };
        let ([pairs @ .., last], []) = rest.as_chunks::<2>() else { unreachable!("an odd number") };
        let pair = |[even, odd]: &[V::Scalar; 2], f: V| {
            f.mul_add(V::splat(token, *odd), V::splat(token, *even))
        };
        let mut q = f;
        for q in &mut q {
            *q = pair(last, *q);
        }
        for coefficients in pairs.iter().rev() {
            for i in 0..N {
                q[i] = q[i].mul_add(f[i].mul(f[i]), pair(coefficients, f[i]));
            }
        }
        Self::horner(token, q, f, first)
    }

    /// coefficients[0] + coefficients[1]·f + ... + q·f^len
    #[inline(always)]
    fn horner<const N: usize>(
        token: V::Token,
        mut q: [V; N],
        f: [V; N],
        coefficients: &[V::Scalar],
    ) -> [V; N] {
        for coefficient in coefficients.iter().rev() {
            for i in 0..N {
                q[i] = q[i].mul_add(f[i], V::splat(token, *coefficient));
            }
        }
        q
    }

    /// exp(M)
    #[inline(always)]
    pub(super) fn peaks<const HEAT: bool>(&self) -> Peaks<V> {
        let Core { rest: [rest], small: [small], scale: [scale] } =
            self.core::<HEAT, 1>([self.max]);
        let fraction = rest.add(small);
        let summed = V::Wide::new(fraction.to_doubles());
        let exact = V::Wide::new(rest.to_doubles()) + V::Wide::new(small.to_doubles());
        let scale = V::Wide::new(scale.to_doubles());
        Peaks { summed: scale + scale * summed, exact: scale + scale * exact }
    }

    /// s in two parts, and 2^(n − N + H).
    #[inline(always)]
    fn core<const HEAT: bool, const N: usize>(&self, logits: [V; N]) -> Core<V, N> {
        let core = const { V::Scalar::EXP };
        let token = self.max.token();
        // z/T = z + low: what the rounding of z/T loses is added to f.
        let (mut z, mut low) = (logits, logits);
        if HEAT {
            let (high, rest) = self.inverse_temperature;
            for i in 0..N {
                z[i] = logits[i].mul(high);
                low[i] = logits[i].mul_add(rest, logits[i].mul_sub(high, z[i]));
            }
        }
        let (mut n, mut scale, mut rest, mut f) = (z, z, z, z);
        for i in 0..N {
            scale[i] = z[i].mul_add(V::splat(token, core.log2e), self.magic);
        }
        for i in 0..N {
            n[i] = scale[i].sub(self.magic);
        }
        for i in 0..N {
            rest[i] = n[i].neg_mul_add(V::splat(token, core.ln2_high), z[i]);
        }
        for i in 0..N {
            f[i] = n[i].neg_mul_add(V::splat(token, core.ln2_low), rest[i]);
            if HEAT {
                f[i] = f[i].add(low[i]);
            }
        }
        let q = if core.coefficients.len() < MANY {
            Self::one_by_one(token, f)
        } else {
            Self::two_by_two(token, f)
        };
        // s = rest + (f²·q − n·ln2_low): the low part of f is added after the large one is known.
        let mut small = f;
        for i in 0..N {
            small[i] = f[i].mul(f[i]).mul(q[i]);
        }
        for i in 0..N {
            small[i] = n[i].neg_mul_add(V::splat(token, core.ln2_low), small[i]);
            if HEAT {
                small[i] = small[i].add(low[i]);
            }
            scale[i] = scale[i].exponent_from_low_bits();
        }
        Core { rest, small, scale }
    }
}

/// See [`Exp::core`].
struct Core<V, const N: usize> {
    rest: [V; N],
    small: [V; N],
    scale: [V; N],
}

/// exp(M) of rows.
pub(super) struct Peaks<V: Vector> {
    /// With s as the sums have it, whose errors then cancel in p.
    pub(super) summed: V::Wide,
    /// Without the rounding of s, for L.
    pub(super) exact: V::Wide,
}

/// From so many coefficients on, two at a time are faster: float64 by 3 to 7 %. The five of float32 are
/// not, and would want more registers.
const MANY: usize = 8;
/// How many of them come one by one all the same: the pairs behind these add less than 10^-4 u to the
/// error of s; behind the first alone it would be 5·10^-3.
const ALONE: usize = 3;

/// 1.5·2^52: adding and subtracting it rounds a double to an integer.
const ROUND: f64 = 6_755_399_441_055_744.0;

/// What an epilogue gets of a class: its exponential in two parts, or its logit alone.
#[derive(Clone, Copy)]
pub(crate) struct Kept<V> {
    pub(crate) value: V,
    /// What the rounding to `value` lost.
    pub(crate) lost: V,
}

impl<V: Vector> Parts<V> {
    /// The rounded exponential and what the rounding lost, exactly: scale is the larger part.
    #[inline(always)]
    pub(super) fn rounded(self) -> Kept<V> {
        let value = self.fraction.mul_add(self.scale, self.scale);
        let lost = self.fraction.mul_sub(self.scale, value.sub(self.scale));
        Kept { value, lost }
    }
}

/// Rows with a larger |M| are shifted by M before the kernel: n must fit the low mantissa bits.
pub(super) const LARGEST_MAX: f64 = 1e6;
