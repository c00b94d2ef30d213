//! Which rows count under a mask, and what is left of the prior.

use super::kept_rows;
use crate::error::Error;
use crate::executor::Serial;
use crate::simd::Rows;
use crate::target::{Labels, LossTerms, Prior, Targets, WeightValues};

const IGNORED: i64 = -100;
/// Four rows of three classes: all, none, the first, the last.
const MASK: [f32; 12] = [1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0];

/// Of each row, whether it has a class, and the mass of those it has.
fn kept(
    labels: [i64; 4],
    label_smoothing: f64,
    u: &[f64],
    sample_weight: Option<&[f64]>,
) -> Result<Vec<(bool, f64)>, Error> {
    let executor = &mut Serial::default();
    let labels = Labels::new(4, |row| labels[row], 3, Some(IGNORED.into()), executor)?;
    let prior = Prior::new(Rows::from_slice(u, 3), executor)?;
    let sample_weight = match sample_weight {
        None => None,
        Some(s) => Some(WeightValues::new(&Rows::from_slice(s, 1), "sample_weight", executor)?),
    };
    let terms = LossTerms {
        sample_weight: sample_weight.as_ref(),
        ..LossTerms::new(label_smoothing, &prior)
    };
    let (mask, targets) = (Rows::from_slice(&MASK, 3), Targets::Labels(labels));
    let rows = kept_rows(&mask, &targets, &terms, executor)?;
    Ok(rows.into_iter().map(|row| (row.has_classes, row.mass)).collect())
}

#[test]
fn what_is_left_of_each_row() {
    let everywhere = [0.25, 0.25, 0.5];
    let wanted = Ok(vec![(true, 1.0), (false, 0.0), (true, 0.25), (true, 0.5)]);
    assert_eq!(kept([0; 4], 0.1, &everywhere, None), wanted);
    assert_eq!(kept([0; 4], 0.1, &everywhere, Some(&[0.5, 7.0, 0.0, 2.0])), wanted);
}

#[test]
fn a_row_that_counts_needs_a_prior_with_mass() {
    // Nothing for the last class, which is all that row 3 keeps.
    let u = [0.5, 0.5, 0.0];
    assert_eq!(kept([0; 4], 0.1, &u, None), Err(Error::MaskedPrior { index: vec![3] }));
    // The first such row is named.
    let u = [0.0, 1.0, 0.0];
    assert_eq!(kept([0; 4], 0.1, &u, None), Err(Error::MaskedPrior { index: vec![2] }));
    // Nobody asks where the prior is not read: ε = 0, an ignored row, a row of weight 0.
    assert!(kept([0; 4], 0.0, &u, None).is_ok());
    assert!(kept([0, 0, IGNORED, IGNORED], 0.1, &u, None).is_ok());
    assert!(kept([0; 4], 0.1, &u, Some(&[1.0, 1.0, 0.0, 0.0])).is_ok());
}

#[test]
fn the_entropy_is_that_of_what_is_left() {
    let ln_2 = std::f64::consts::LN_2;
    assert_eq!(
        Prior::Uniform.kept_entropy(0, |k| k % 2 == 0, 8, &mut Serial::default()),
        2.0 * ln_2
    );
    let u = [0.25, 0.5, 0.25, 0.0];
    let prior =
        Prior::new(Rows::from_slice(&u, 4), &mut Serial::default()).expect("a distribution");
    // Half of it is gone: what is left is 1/2 and 1/2, and 0·log 0 = 0.
    assert_eq!(prior.kept_entropy(0, |k| k != 1, 4, &mut Serial::default()), ln_2);
    assert_eq!(prior.kept_entropy(0, |k| k == 1, 4, &mut Serial::default()), 0.0);
    let rows = [0.5, 0.5, 0.0, 0.0, 0.25, 0.25, 0.25, 0.25];
    let prior =
        Prior::new(Rows::from_slice(&rows, 4), &mut Serial::default()).expect("distributions");
    let entropy = |row| prior.kept_entropy(row, |k| k != 3, 4, &mut Serial::default());
    assert_eq!(entropy(0), ln_2);
    let off = (entropy(1) - 3f64.ln()).abs();
    assert!(off <= f64::EPSILON, "log 3 is off by {off:e}");
}
