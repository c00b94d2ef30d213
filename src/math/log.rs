//! The natural logarithm of a row's scalars.
//!
//! ```text
//! log((o + t)/t) = k ln 2 + log(x/y),       x = o + t,  y = 2^k t,  x/y in [2/3, 3/2]
//! log(x/y)       = 2 atanh(s) = s (2 + s² R(s²)),   s = (x − y)/(x + y) = (o − (y − t))/(x + y)
//! ```
//!
//! This needs one quotient and never forms 1 + o/t. Where o is tiny, k is 0 and y is t, so no digit is lost. Only basic
//! arithmetic and bit operations are used, so the bits are the same everywhere. R is a minimax polynomial on s² in
//! [0, 0.0401], from a Remez exchange: 8 coefficients for float64, with a relative error of 2^-62.6 of the logarithm,
//! and 4 for float32, with 2^-35.3.

use super::real::Real;
use super::two_sum;

/// 42 bits: k LN2_HIGH is exact for |k| < 2^11. LN2_HIGH + LN2_LOW = ln 2 (1 + 2^-97).
const LN2_HIGH: f64 = f64::from_bits(0x3fe6_2e42_fefa_3800); // 0x1.62e42fefa38p-1
const LN2_LOW: f64 = f64::from_bits(0x3d2e_f357_93c7_6730); // 0x1.ef35793c7673p-45
/// R(z) = (2 atanh(s) - 2 s) / s^3, z = s^2.
const LOG_R: [f64; 8] = [
    f64::from_bits(0x3fe5_5555_5555_554f), // 0x1.555555555554fp-1
    f64::from_bits(0x3fd9_9999_9999_c183), // 0x1.999999999c183p-2
    f64::from_bits(0x3fd2_4924_921e_3bdb), // 0x1.24924921e3bdbp-2
    f64::from_bits(0x3fcc_71c7_4903_b7f7), // 0x1.c71c74903b7f7p-3
    f64::from_bits(0x3fc7_45c4_abe3_9744), // 0x1.745c4abe39744p-3
    f64::from_bits(0x3fc3_b35c_4add_51b8), // 0x1.3b35c4add51b8p-3
    f64::from_bits(0x3fc0_dcb5_1646_4c17), // 0x1.0dcb516464c17p-3
    f64::from_bits(0x3fc1_b837_958a_3530), // 0x1.1b837958a3530p-3
];
const SHORT_R: [f64; 4] = [
    f64::from_bits(0x3fe5_5555_420c_9bb8), // 0x1.55555420c9bb8p-1
    f64::from_bits(0x3fd9_99bd_e287_478a), // 0x1.999bde287478ap-2
    f64::from_bits(0x3fd2_3e91_d3b7_a6d1), // 0x1.23e91d3b7a6d1p-2
    f64::from_bits(0x3fce_d9cd_7722_9f12), // 0x1.ed9cd77229f12p-3
];

/// A sum of two numbers: the second is the rounding error of the first.
pub type Pair<T> = [T; 2];

/// log((others + top)/top) for others ≥ 0 and a normal top > 0; NaN for NaN and +∞. The second numbers are read and
/// computed only if `is_double`, for the digits of float64.
#[inline(always)]
pub fn log_quotient<T: Real>(others: Pair<T>, top: Pair<T>, is_double: bool) -> Pair<T> {
    let ([others, others_lost], [top, top_lost]) = (others, top);
    let (sum, sum_lost) = two_sum(top, others);
    let [k, near, power] = sum.powers_from(top);
    if !is_double {
        let s = (others - (near - top)) / (sum + near);
        let (z, twice) = (s * s, s + s);
        let near_log = (series(z, &SHORT_R) * z).mul_add(s, twice);
        return [k.mul_add(k.like(LN2_HIGH + LN2_LOW), near_log), k.like(0.0)];
    }
    // sum − near is exact: they are within a factor of 2.
    let (difference, difference_lost) = two_sum(sum - near, sum_lost);
    let (whole, whole_lost) = two_sum(sum, near);
    let near_lost = top_lost * power;
    let lost = others_lost + top_lost;
    let s = difference / whole;
    let left = s.mul_add(s.like(-1.0) * whole, difference);
    let lost_of_whole = whole_lost + sum_lost + lost + near_lost;
    let s_lost = (left + (difference_lost + lost - near_lost - s * lost_of_whole)) / whole;
    let z = s * s;
    let small = (series(z, &LOG_R) * z).mul_add(s, s_lost + s_lost);
    let (high, twice) = (k * k.like(LN2_HIGH), s + s);
    // Where k is not 0, high is larger than twice.
    let sum = high + twice;
    let lost = (twice - (sum - high)) + k.mul_add(k.like(LN2_LOW), small);
    let log = sum + lost;
    [log, lost - (log - sum)]
}

#[inline(always)]
fn series<T: Real>(z: T, coefficients: &[f64]) -> T {
    let last = coefficients.len() - 1;
    let mut r = z.like(coefficients[last]);
    for &c in coefficients[..last].iter().rev() {
        r = r.mul_add(z, z.like(c));
    }
    r
}

/// log(x) for x > 0.
pub fn log(x: f64) -> f64 {
    /// 2^54 lifts a subnormal to a normal number.
    const LIFT: f64 = 18_014_398_509_481_984.0;
    let one = if x < f64::MIN_POSITIVE { LIFT } else { 1.0 };
    let x = x * one;
    let (larger, smaller) = if x < one { (one, x) } else { (x, one) };
    let (others, lost) = two_sum(larger, -smaller);
    let [log, _] = log_quotient([others, lost], [smaller, 0.0], true);
    if x < one { -log } else { log }
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
        let log1p = |x: f64| log_quotient([x, 0.0], [1.0, 0.0], true)[0];
        for (x, wanted, rest) in LOG1P {
            check(log1p(x), wanted, rest, &format!("log1p({x:e})"));
            let [short, _] = log_quotient([x, 0.0], [1.0, 0.0], false);
            assert!((short - wanted).abs() <= 2f64.powi(-35) * wanted, "short log1p({x:e})");
        }
        for (x, wanted, rest) in LOG {
            check(log(x), wanted, rest, &format!("log({x})"));
        }
        assert_eq!((log1p(0.0), log(1.0)), (0.0, 0.0));
        for is_double in [true, false] {
            let of = |x: f64| log_quotient([x, 0.0], [1.0, 0.0], is_double)[0];
            assert!(of(f64::NAN).is_nan() && of(f64::INFINITY).is_nan());
        }
    }

    /// With a rounding error in one of the arguments, and in both.
    #[test]
    fn what_was_lost_is_not_lost() {
        for (x, wanted, rest) in LOG1P {
            for top in [1.0, 1.3, 1.999, 2f64.powi(500)] {
                let scaled = x * top;
                let scaled_lost = x.mul_add(top, -scaled);
                let tiny = top * 2f64.powi(-54);
                for [others, top] in [
                    [[scaled, scaled_lost], [top, 0.0]],
                    [[scaled, scaled_lost + x * tiny], [top, tiny]],
                ] {
                    if others[0].is_finite() {
                        let [got, _] = log_quotient(others, top, true);
                        check(got, wanted, rest, &format!("{others:?}, {top:?}"));
                    }
                }
            }
        }
    }
}
