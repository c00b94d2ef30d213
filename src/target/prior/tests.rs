//! H(u), and u class by class. What is a prior at all is asked in target/tests.rs.

use super::Prior;
use crate::executor::Serial;
use crate::simd::Rows;
use std::f64::consts::LN_2;

fn prior(u: &[f64], classes: usize) -> Prior<'_> {
    Prior::new(Rows::from_slice(u, classes), &mut Serial::default()).expect("distributions")
}

#[test]
fn entropies_of_powers_of_two_are_multiples_of_log_2() {
    let entropies = |prior: Prior<'_>, classes| {
        prior.entropies(classes, &mut Serial::default()).expect("memory")
    };
    assert_eq!(entropies(Prior::Uniform, 1), [0.0]);
    assert_eq!(entropies(Prior::Uniform, 1 << 17), [17.0 * LN_2]);
    // 0·log 0 = 0
    assert_eq!(entropies(prior(&[0.5, 0.0, 0.25, 0.25], 4), 4), [1.5 * LN_2]);
    assert_eq!(entropies(prior(&[0.0, 1.0], 2), 2), [0.0]);
    let rows = [0.5, 0.5, 0.0, 1.0, 0.5, 0.5];
    assert_eq!(entropies(prior(&rows, 2), 2), [LN_2, 0.0, LN_2]);
}

/// 2^16 terms that are no multiples of anything: added to more than the 53 bits of one.
#[test]
fn a_long_sum_loses_nothing() {
    let (classes, others) = (1 << 16, 65_535.0);
    let third = 1.0 / 3.0;
    let mut u = vec![(1.0 - third) / others; classes];
    u[0] = third;
    // H = third·log 3 + (2/3)·(log(K − 1) + log 3/2)
    let wanted = third * 3f64.ln() + 2.0 * third * (f64::ln(others) + 1.5f64.ln());
    let entropy = prior(&u, classes).entropies(classes, &mut Serial::default()).expect("memory")[0];
    let off = (entropy - wanted).abs() / f64::EPSILON;
    // The roundings of u and of `wanted`, each some half of the last bit of 8.
    assert!(off <= 16.0, "H(u) is {entropy}, {off} ε from {wanted}");
}

#[test]
fn u_of_one_class() {
    let rows = [0.25, 0.75, 1.0, 0.0];
    let each = prior(&rows, 2);
    assert_eq!([(0, 0), (0, 1), (1, 0), (1, 1)].map(|(row, k)| each.get(row, k)), rows);
    let all = prior(&rows[..2], 2);
    assert_eq!(
        [(0, 0), (0, 1), (1, 0), (1, 1)].map(|(row, k)| all.get(row, k)),
        [0.25, 0.75, 0.25, 0.75]
    );
    // Not divided by K.
    assert_eq!(Prior::Uniform.get(5, 3), 1.0);
}
