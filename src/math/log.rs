//! The natural logarithm of a row's scalars.
//!
//! ```text
//! log(1 + f) = f − (f²/2 − s·(f²/2 + s² R(s²))),   s = f / (2 + f)
//! log(x)     = k ln 2 + log(1 + f),                x = 2^k (1 + f), 1 + f in [√½, √2]
//! ```
//!
//! The arrangement is that of fdlibm's `log1p` (Sun Microsystems, 1993): the large terms are exact, so
//! the error is little more than that of the last rounding. Only + − · / and bit operations: the same
//! bits everywhere. R comes from a Remez exchange on s² in [0, 0.0295], 8 coefficients, 2^-66.5 of
//! 2 atanh(s). Measured against 106-bit values: below 0.8 ulp.

use super::real::Real;

/// 42 bits: k LN2_HIGH is exact for |k| < 2^11. LN2_HIGH + LN2_LOW = ln 2 (1 + 2^-97).
const LN2_HIGH: f64 = f64::from_bits(0x3fe6_2e42_fefa_3800); // 0x1.62e42fefa38p-1
const LN2_LOW: f64 = f64::from_bits(0x3d2e_f357_93c7_6730); // 0x1.ef35793c7673p-45
/// R(z) = (2 atanh(s) - 2 s) / s^3, z = s^2 in [0, 0.0295]: 2^-66.5 of 2 atanh(s).
const LOG_R: [f64; 8] = [
    f64::from_bits(0x3fe5_5555_5555_5555), // 0x1.5555555555555p-1
    f64::from_bits(0x3fd9_9999_9999_9d16), // 0x1.9999999999d16p-2
    f64::from_bits(0x3fd2_4924_9243_8e29), // 0x1.2492492438e29p-2
    f64::from_bits(0x3fcc_71c7_24c4_b013), // 0x1.c71c724c4b013p-3
    f64::from_bits(0x3fc7_45ce_177e_e3d1), // 0x1.745ce177ee3d1p-3
    f64::from_bits(0x3fc3_b203_3877_bad4), // 0x1.3b2033877bad4p-3
    f64::from_bits(0x3fc0_f65d_bf64_254c), // 0x1.0f65dbf64254cp-3
    f64::from_bits(0x3fc0_f1b3_be19_7a10), // 0x1.0f1b3be197a1p-3
];
const SQRT_HALF_BITS: u64 = 0x3fe6_a09e_667f_3bcd;
const ONE_BITS: u64 = 0x3ff0_0000_0000_0000;
const EXPONENT: u64 = 0x7ff0_0000_0000_0000;
/// 2^52, whose last bit counts ones.
const UNIT_BITS: u64 = 0x4330_0000_0000_0000;
/// 2^52 and the bias of an exponent.
const UNIT_AND_BIAS: f64 = 4_503_599_627_371_519.0;

/// k ln 2 + log(1 + f) + lost, 1 + f in [√½, √2].
#[inline(always)]
fn log_reduced<T: Real>(k: T, f: T, lost: T) -> T {
    let s = f / (f.like(2.0) + f);
    let z = s * s;
    let mut r = k.like(LOG_R[7]);
    for &c in LOG_R[..7].iter().rev() {
        r = r.mul_add(z, k.like(c));
    }
    let half_square = f * f * f.like(0.5);
    let small = s.mul_add(z.mul_add(r, half_square), k.mul_add(k.like(LN2_LOW), lost));
    k.mul_add(k.like(LN2_HIGH), f - (half_square - small))
}

/// x = 2^k (1 + f) with 1 + f in [√½, √2], for a normal x > 0.
#[inline(always)]
fn reduced<T: Real>(x: T) -> (T, T) {
    let exponent = x.bits_plus(ONE_BITS - SQRT_HALF_BITS).bits_and(EXPONENT);
    let k = exponent.bits_after_significand().bits_plus(UNIT_BITS) - x.like(UNIT_AND_BIAS);
    let m = x.bits_minus(exponent).bits_plus(ONE_BITS); // in [√½, √2)
    (k, m - x.like(1.0)) // exact
}

/// log(1 + x) for x ≥ 0; NaN for NaN and +∞. Without `to_the_end`, with an absolute error of 2^-53 more:
/// the rounding of 1 + x.
#[inline(always)]
pub fn log1p<T: Real>(x: T, to_the_end: bool) -> T {
    let (one, zero) = (x.like(1.0), x.like(0.0));
    let sum = one + x;
    let (k, f) = reduced(sum);
    // Below √2 − 1 the sum is not used.
    let is_large = x.ge(x.like(0.414_062_5));
    let (k, f) = (T::pick(is_large, k, zero), T::pick(is_large, f, x));
    // +∞ has no such parts.
    let result = if to_the_end {
        // What 1 + x lost, whichever is larger.
        let from_x = sum - one;
        let lost = ((one - (sum - from_x)) + (x - from_x)) / sum;
        log_reduced(k, f, T::pick(is_large, lost, zero))
    } else {
        log_reduced(k, f, zero)
    };
    T::pick(x.like(f64::MAX).ge(x), result, x.like(f64::NAN))
}

/// log(x) for x > 0.
pub fn log(x: f64) -> f64 {
    /// 2^54 lifts a subnormal to a normal number.
    const LIFT: f64 = 18_014_398_509_481_984.0;
    let is_normal = x >= f64::MIN_POSITIVE;
    let (k, f) = reduced(if is_normal { x } else { x * LIFT });
    log_reduced(if is_normal { k } else { k - 54.0 }, f, 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(got: f64, wanted: f64, rest: f64, what: &str) {
        let error = ((got - wanted) - rest).abs();
        assert!(error <= 0.8 * f64::EPSILON * wanted.abs(), "{what}: {got}, wanted {wanted}");
    }

    #[allow(clippy::approx_constant, reason = "a table of logarithms")]
    /// x, then log(1 + x) to 106 bits.
    const LOG1P: [(f64, f64, f64); 14] = [
        (1e-300, 1e-300, 0.0),
        (8.673617379884035e-19, 8.673617379884035e-19, -3.76158192263132e-37),
        (1e-10, 9.999999999500001e-11, -2.389603322e-27),
        (0.41, 0.3435897043900769, -1.81427225919764e-17),
        (0.4140625, 0.34646676734620857, 1.028583585496265e-17),
        (0.414213562373095, 0.3465735902799726, 1.7707537475825424e-17),
        (0.5, 0.4054651081081644, -2.8811380259626426e-18),
        (1.0, 0.6931471805599453, 2.3190468138462996e-17),
        (1.5, 0.9162907318741551, -4.141195369011963e-17),
        (3.0, 1.3862943611198906, 4.638093627692599e-17),
        (9.0, 2.302585092994046, -2.1707562233822494e-16),
        (999.0, 6.907755278982137, 2.369515526854504e-16),
        (1.152921504606847e+18, 41.58883083359672, 1.836384659895831e-15),
        (1e+300, 690.7755278982137, 2.3757660028800245e-14),
    ];
    #[allow(clippy::approx_constant, reason = "a table of logarithms")]
    const LOG: [(f64, f64, f64); 10] = [
        (2.0, 0.6931471805599453, 2.3190468138462996e-17),
        (3.0, 1.0986122886681098, -9.07129723500153e-17),
        (5.0, 1.6094379124341003, 9.280081691085902e-17),
        (7.0, 1.9459101490553132, 7.323586207904907e-17),
        (10.0, 2.302585092994046, -2.1707562233822494e-16),
        (1000.0, 6.907755278982137, 2.369515526854504e-16),
        (50257.0, 10.82490511970208, -3.62205350501241e-16),
        (128256.0, 11.761783545564427, 4.2901688369683456e-16),
        (4294967295.0, 22.18070977768542, 7.420678753764996e-16),
        (5e-324, -744.4400719213812, -8.0e-15),
    ];

    #[test]
    fn logarithms_are_within_an_ulp() {
        for (x, wanted, rest) in LOG1P {
            check(log1p(x, true), wanted, rest, &format!("log1p({x:e})"));
        }
        for (x, wanted, rest) in LOG {
            check(log(x), wanted, rest, &format!("log({x})"));
        }
        assert_eq!((log1p(0.0, true), log(1.0)), (0.0, 0.0));
        assert!(log1p(f64::NAN, true).is_nan() && log1p(f64::INFINITY, true).is_nan());
    }
}
