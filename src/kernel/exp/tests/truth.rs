//! exp(z − n·ln 2) − 1, more accurate than the core and computed in a different way.

use crate::simd::Float;

/// The reference of one type.
pub trait Truth: Float {
    /// ulp(1)
    const ULP: f64;
    /// The logarithm of the smallest subnormal number to base 2, negated.
    const LEAST: f64;
    /// exp(z − n·ln 2) − 1 in two parts, for |n| < 2^21.
    fn truth(z: f64, n: f64) -> (f64, f64);
}

impl Truth for f32 {
    const ULP: f64 = f32::EPSILON as f64;
    const LEAST: f64 = 149.0;

    /// Within 2^-50 of the result.
    #[inline(always)]
    fn truth(z: f64, n: f64) -> (f64, f64) {
        let f = (z - n * LN2[0]) - n * (LN2[1] + LN2[2]);
        (f * taylor(f, 1, 13), 0.0)
    }
}

impl Truth for f64 {
    const ULP: f64 = f64::EPSILON;
    const LEAST: f64 = 1074.0;

    /// Within 2^-68 of the result: f⁶/6! is below 2^-18, so one part is enough from there on.
    #[inline(always)]
    fn truth(z: f64, n: f64) -> (f64, f64) {
        let f = two_sum(z - n * LN2[0], -n * LN2[1]);
        let f = fast_two_sum(f.0, f.1 - n * LN2[2]);
        let mut sum = (taylor(f.0, 6, 20), 0.0);
        for k in (1..6).rev() {
            let product = multiply(sum, f);
            let (high, lost) = two_sum(INVERSE_FACTORIAL[k], product.0);
            sum = fast_two_sum(high, lost + (product.1 + INVERSE_FACTORIAL_LOW[k]));
        }
        multiply(sum, f)
    }
}

/// ln 2 in three parts. The first two have 32 bits, so n times them is exact; z minus the
/// first product is exact because both are multiples of z's last bit or of 2^-32.
const LN2: [f64; 3] = [
    f64::from_bits(0x3fe6_2e42_fee0_0000), // 0x1.62e42feep-1
    f64::from_bits(0x3dea_39ef_3560_0000), // 0x1.a39ef356p-33
    f64::from_bits(0x3be9_3c76_7300_7e5f), // 0x1.93c7673007e5fp-65
];

/// 1/k!
const INVERSE_FACTORIAL: [f64; 21] = {
    let mut table = [1.0; 21];
    let mut k = 1;
    let mut factorial = 1.0;
    while k < table.len() {
        factorial *= k as f64;
        table[k] = 1.0 / factorial;
        k += 1;
    }
    table
};

/// The rounding errors of 1/k!. The bits of 1/3 and 1/15 repeat, so each is 1/k! again, scaled by a power of two.
const INVERSE_FACTORIAL_LOW: [f64; 6] = [
    0.0,
    0.0,
    0.0,
    INVERSE_FACTORIAL[3] / 18_014_398_509_481_984.0, // 2^54
    INVERSE_FACTORIAL[4] / 18_014_398_509_481_984.0,
    INVERSE_FACTORIAL[5] / 72_057_594_037_927_936.0, // 2^56
];

/// Taylor's polynomial of exp from the power `first` to `last`, divided by f^first.
#[inline(always)]
fn taylor(f: f64, first: usize, last: usize) -> f64 {
    let terms = INVERSE_FACTORIAL[first..last].iter().rev();
    terms.fold(INVERSE_FACTORIAL[last], |sum, term| sum.mul_add(f, *term))
}

#[inline(always)]
fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    let from_b = sum - a;
    (sum, (a - (sum - from_b)) + (b - from_b))
}

/// |a| ≥ |b|
#[inline(always)]
fn fast_two_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    (sum, b - (sum - a))
}

#[inline(always)]
fn multiply(a: (f64, f64), b: (f64, f64)) -> (f64, f64) {
    let product = a.0 * b.0;
    let lost = a.0.mul_add(b.0, -product);
    fast_two_sum(product, lost + (a.0 * b.1 + a.1 * b.0))
}

/// z, n, and exp(z − n·ln 2) − 1 from 80 decimal digits, in two parts.
const DIGITS: [(f64, f64, f64, f64); 8] = [
    (9.313225746154785e-10, 0.0, 9.313225750491594e-10, 1.3463226118906587e-28),
    (-0.34375, 0.0, -0.2908938175626016, -1.2868055655346304e-17),
    (0.34375, 0.0, 0.4102260349257107, 1.3752340957573633e-17),
    (-0.3603515625, 0.0, -0.302568907652337, -8.54874967329183e-18),
    (-2000.7637939453125, -2886.0, -0.28896302713217065, 7.181472130443826e-18),
    (911209.5625, 1314598.0, -0.284497183069694, -1.9884351480272524e-17),
    (816113.916397088, 1177403.0, 0.414200376883398, 4.918247662241422e-18),
    (373600.4388408615, 538992.0, -0.2927022135707916, 1.4322280670935842e-17),
];

#[test]
fn truth_has_the_digits_it_promises() {
    for (z, n, high, low) in DIGITS {
        let error = |truth: (f64, f64)| (((truth.0 - high) + (truth.1 - low)) / high).abs();
        let (single, double) = (error(f32::truth(z, n)), error(f64::truth(z, n)));
        assert!(single <= 2f64.powi(-50), "for f32 at {z}: {single:e}");
        assert!(double <= 2f64.powi(-68), "for f64 at {z}: {double:e}");
    }
}
