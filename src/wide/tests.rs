//! Two parts hold what exact integers say they must.

use super::{DoubleDouble, Wide};
use crate::element::Float;

/// high + low as an exact integer.
#[allow(clippy::cast_possible_truncation, reason = "integers below 2^127")]
fn integer(value: DoubleDouble) -> i128 {
    value.high as i128 + value.low as i128
}

const INTEGERS: [i64; 8] = [
    0,
    1,
    -3,
    10_000_000_000_001,
    (1 << 53) - 1,
    -(1 << 53) + 1,
    (1 << 52) + 1,
    6_004_799_503_160_661,
];

#[allow(clippy::cast_precision_loss, reason = "53 bits")]
fn wide(value: i64) -> DoubleDouble {
    DoubleDouble::new(value as f64)
}

#[test]
fn products_and_sums_of_doubles_are_exact() {
    for a in INTEGERS {
        for b in INTEGERS {
            let product = i128::from(a) * i128::from(b);
            assert_eq!(integer(wide(a) * wide(b)), product, "{a} times {b}");
            // 2^50 apart: no double holds the sum.
            let (shifted, far) = (wide(a) * wide(1 << 50), i128::from(a) << 50);
            assert_eq!(integer(shifted + wide(b)), far + i128::from(b), "{a} shifted plus {b}");
            assert_eq!(integer(shifted - wide(b)), far - i128::from(b), "{a} shifted minus {b}");
        }
    }
}

#[test]
fn cancellation_keeps_the_low_parts() {
    let third = wide(1).over(wide(3));
    let difference = third * wide(3) - wide(1);
    assert!(difference.value().abs() <= 2f64.powi(-104), "{difference:?}");
    let tiny = DoubleDouble::new(1e-30);
    assert_eq!((wide(1) + tiny - wide(1)).value(), 1e-30);
}

#[test]
fn quotients_have_two_parts() {
    // What the rounding of 1/3, 2/3 and 1/10 lost, from their repeating bits.
    for (dividend, divisor, high, low) in [
        (1, 3, 1.0 / 3.0, 1.0 / 3.0 * 2f64.powi(-54)),
        (2, 3, 2.0 / 3.0, 2.0 / 3.0 * 2f64.powi(-54)),
        (1, 10, 0.1, -0.1 * 2f64.powi(-54)),
    ] {
        let quotient = wide(dividend).over(wide(divisor));
        assert_eq!(quotient.high, high, "{dividend}/{divisor}");
        let off = (quotient.low - low) / high;
        assert!(off.abs() <= 2f64.powi(-104), "{dividend}/{divisor}: {quotient:?}");
    }
}

#[test]
fn infinities_and_nan_are_those_of_f64() {
    let infinity = DoubleDouble::new(f64::INFINITY);
    assert_eq!((infinity + wide(1)).value(), f64::INFINITY);
    assert_eq!((wide(1) - infinity).value(), f64::NEG_INFINITY);
    assert_eq!((infinity * wide(2)).value(), f64::INFINITY);
    assert_eq!((DoubleDouble::new(1e300) * DoubleDouble::new(1e300)).value(), f64::INFINITY);
    assert!((infinity - infinity).value().is_nan());
    assert!((infinity * wide(0)).value().is_nan());
}

#[test]
fn split_loses_nothing() {
    for value in [1.0 / 3.0, -1e10 / 7.0, 5.0, 1e-20 / 3.0] {
        let (high, low) = f32::split(value);
        let rest = value - high.to_f64() - low.to_f64();
        assert!(rest.abs() <= value.abs() * 2f64.powi(-48), "{value}: {high} + {low}");
        assert_eq!(high, f32::from_f64(value), "the nearest number comes first");
    }
    let third = wide(1).over(wide(3));
    assert_eq!(f64::split(third), (third.high, third.low));
}
