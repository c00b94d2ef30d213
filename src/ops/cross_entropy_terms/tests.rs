//! H(u), of all classes and of those that a mask keeps.

use super::{entropies, kept_entropy};
use crate::batch::Run;
use crate::ops::read_prior;
use crate::simd::Rows;
use crate::target::Prior;
use std::f64::consts::LN_2;

fn prior(u: &[f64], classes: usize) -> Prior<'_> {
    Run::with_defaults(|run| read_prior(Rows::from_slice(u, classes), run)).expect("distributions")
}

fn all(prior: &Prior<'_>, classes: usize) -> Vec<f64> {
    Run::with_defaults(|run| entropies(prior, classes, run)).expect("memory")
}

#[test]
fn entropies_of_powers_of_two_are_multiples_of_log_2() {
    assert_eq!(all(&Prior::Uniform, 1), [0.0]);
    assert_eq!(all(&Prior::Uniform, 1 << 17), [17.0 * LN_2]);
    // 0·log 0 = 0
    assert_eq!(all(&prior(&[0.5, 0.0, 0.25, 0.25], 4), 4), [1.5 * LN_2]);
    assert_eq!(all(&prior(&[0.0, 1.0], 2), 2), [0.0]);
    let rows = [0.5, 0.5, 0.0, 1.0, 0.5, 0.5];
    assert_eq!(all(&prior(&rows, 2), 2), [LN_2, 0.0, LN_2]);
}

/// 2^16 terms that use all of their 53 bits: their sum is computed with more.
#[test]
fn a_long_sum_loses_nothing() {
    let (classes, others) = (1 << 16, 65_535.0);
    let third = 1.0 / 3.0;
    let mut u = vec![(1.0 - third) / others; classes];
    u[0] = third;
    // H = third·log 3 + (2/3)·(log(K − 1) + log 3/2)
    let wanted = third * 3f64.ln() + 2.0 * third * (f64::ln(others) + 1.5f64.ln());
    let entropy = all(&prior(&u, classes), classes)[0];
    let off = (entropy - wanted).abs() / f64::EPSILON;
    // The rounding errors of u and of `wanted`, each about half of the last bit of 8.
    assert!(off <= 16.0, "H(u) is {entropy}, {off} ε from {wanted}");
}

fn kept(prior: &Prior<'_>, row: usize, is_kept: &dyn Fn(usize) -> bool, classes: usize) -> f64 {
    let mask = (0..classes).map(|k| f32::from(u8::from(is_kept(k)))).collect::<Vec<_>>().repeat(2);
    let mask = Rows::from_slice(&mask, classes);
    let mut u = vec![1.0; classes];
    match prior {
        Prior::Uniform => {}
        Prior::Shared { values, .. } => u.copy_from_slice(values),
        Prior::PerRow { rows, .. } => rows.gather_from(row, 0, &mut u),
    }
    let mass = (0..classes).filter(|k| is_kept(*k)).map(|k| u[k]).sum();
    Run::with_defaults(|run| kept_entropy(prior, (row, mass), &mask, run)).expect("no error")
}

#[test]
fn the_entropy_is_that_of_what_is_left() {
    assert_eq!(kept(&Prior::Uniform, 0, &|k| k % 2 == 0, 8), 2.0 * LN_2);
    let u = [0.25, 0.5, 0.25, 0.0];
    let shared = prior(&u, 4);
    // Half of it is masked: the rest is 1/2 and 1/2, and 0·log 0 = 0.
    assert_eq!(kept(&shared, 0, &|k| k != 1, 4), LN_2);
    assert_eq!(kept(&shared, 0, &|k| k == 1, 4), 0.0);
    let rows = [0.5, 0.5, 0.0, 0.0, 0.25, 0.25, 0.25, 0.25];
    let each = prior(&rows, 4);
    let entropy = |row| kept(&each, row, &|k| k != 3, 4);
    assert_eq!(entropy(0), LN_2);
    let off = (entropy(1) - 3f64.ln()).abs();
    assert!(off <= f64::EPSILON, "log 3 is off by {off:e}");
}
