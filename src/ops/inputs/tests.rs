//! Which inputs are accepted, which are refused and at which index, and their masses.

use super::{
    NO_CLASS, Prior, Targets, WeightValues, kept_masses, read_labels, read_prior,
    read_probabilities, read_weights,
};
use crate::Storage;
use crate::batch::{Run, TERMS_PER_PART};
use crate::error::Error;
use crate::math::count;
use crate::simd::Rows;
use crate::target::{Labels, LossTerms, prior_tolerance};

fn mass_of(targets: &Targets<'_>, run: &mut Run<'_>) -> Result<f64, Error> {
    run.sum_of_terms(targets.rows(), (TERMS_PER_PART, 1), &|first, terms| {
        terms.fill(1.0);
        targets.multiply_by_masses(first, None, terms);
    })
}

fn prior(u: &[f64], classes: usize) -> Result<Prior<'_>, Error> {
    Run::with_defaults(|run| read_prior(Rows::from_slice(u, classes), run))
}

fn labels(values: &[i64], num_classes: usize, ignore_index: Option<i128>) -> Result<f64, Error> {
    Run::with_defaults(|run| {
        let (elements, mut labels) = (Rows::from_slice(values, 1), Labels::default());
        read_labels(&elements, "targets", num_classes, ignore_index, &mut labels, run)?;
        let targets = Targets::Labels(labels);
        assert_eq!(targets.rows(), values.len());
        mass_of(&targets, run)
    })
}

#[test]
fn labels_are_classes_or_ignored() {
    assert_eq!(labels(&[], 0, None), Ok(0.0));
    assert_eq!(labels(&[0, 9, 5], 10, None), Ok(3.0));
    assert_eq!(labels(&[0, -100, 9], 10, Some(-100)), Ok(2.0));
    // A class can be the one to ignore; then it does not count.
    assert_eq!(labels(&[3, 0, 3], 10, Some(3)), Ok(1.0));
    // All bits set: a different number in an unsigned and in a signed type.
    let (unsigned, signed) = (Rows::from_slice(&[u64::MAX], 1), Rows::from_slice(&[-1_i64], 1));
    for (elements, ignored) in [(unsigned, i128::from(u64::MAX)), (signed, -1)] {
        let label = |ignored| {
            let mut labels = Labels::default();
            Run::with_defaults(|run| {
                read_labels(&elements, "targets", 10, Some(ignored), &mut labels, run)
            })
            .map(|()| labels)
        };
        assert!(label(ignored).is_ok_and(|labels| labels.counted == 0));
        let refused = label(-1 - ignored.signum() * 7).err();
        assert!(matches!(refused, Some(Error::Label { value, .. }) if *value == ignored));
    }
}

#[test]
fn the_lowest_bad_label_is_reported() {
    let num_classes = 10;
    for ignore_index in [None, Some(-100)] {
        for value in [10, -1, i64::from(u32::MAX), 1 << 31, 1 << 32, i64::MAX, i64::MIN] {
            let result = labels(&[0, 9, value, -7], num_classes, ignore_index);
            let (name, index, value) = ("targets", vec![2], Box::new(value.into()));
            let ignore_index = ignore_index.map(Box::new);
            assert_eq!(result, Err(Error::Label { name, index, value, num_classes, ignore_index }));
        }
    }
    let error = Error::Label {
        name: "targets",
        index: vec![0],
        value: Box::new(-100),
        num_classes,
        ignore_index: None,
    };
    assert_eq!(labels(&[-100], num_classes, None), Err(error));
}

/// Among many labels, which are checked in blocks.
#[test]
fn every_place_among_many_labels_is_looked_at() {
    let plain: Vec<i64> = (0..600).map(|row| row % 10).collect();
    assert_eq!(labels(&plain, 10, None), Ok(600.0));
    assert_eq!(labels(&plain, 10, Some(7)), Ok(540.0));
    for row in 0..plain.len() {
        let mut values = plain.clone();
        for value in [10, -1, 1 << 31, 5 + (1 << 32), i64::MIN] {
            values[row] = value;
            let result = labels(&values, 10, Some(-100));
            assert!(
                matches!(&result, Err(Error::Label { index, .. }) if *index == [row]),
                "{value} in row {row}: {result:?}"
            );
        }
        values[row] = -100;
        assert_eq!(labels(&values, 10, Some(-100)), Ok(599.0));
    }
}

#[test]
fn probabilities_are_finite_and_not_negative() {
    let mass = |values: &[f64]| {
        Run::with_defaults(|run| {
            mass_of(&read_probabilities(Rows::from_slice(values, 3), Storage::F64, None, run)?, run)
        })
    };
    assert_eq!(mass(&[0.5, 0.25, 0.25, 0.0, -0.0, 3.0]), Ok(4.0));
    for value in [-0.5, -1e-300, f64::INFINITY, f64::NAN] {
        let found = mass(&[0.5, 0.25, 0.25, 0.0, value, f64::NAN]);
        let Err(Error::Entry { name: "targets", index, value: reported }) = found else {
            panic!("{value} was accepted: {found:?}")
        };
        assert_eq!((index, reported.to_bits()), (vec![1, 1], value.to_bits()));
    }
}

#[test]
fn masses_of_float64_rows_are_compensated() {
    for others in [2, 63, 64, 1000] {
        let mut q = vec![f64::EPSILON / 2.0; others + 1];
        q[0] = 1.0;
        let mass = Run::with_defaults(|run| {
            let rows = Rows::from_slice(&q, q.len());
            mass_of(&read_probabilities(rows, Storage::F64, None, run)?, run)
        });
        // One by one, each would be rounded away.
        assert_eq!(mass, Ok(1.0 + count(others) * (f64::EPSILON / 2.0)));
    }
}

#[test]
fn a_prior_is_a_distribution() {
    let rows = [0.25, 0.25, 0.5, 1.0, 0.0, 0.0];
    let Ok(Prior::Shared { values, mass }) = prior(&rows[..3], 3) else {
        panic!("one row is for all")
    };
    assert_eq!((values, mass), (vec![0.25, 0.25, 0.5], 1.0));
    let Ok(Prior::PerRow { summary, .. }) = prior(&rows, 3) else {
        panic!("two rows are one each")
    };
    assert!(summary.len() == 2 && summary.iter().all(|row| row.mass == 1.0));
}

#[test]
fn the_first_bad_row_of_a_prior_is_reported() {
    let error = |values: &[f64]| prior(values, 2).err();
    let tolerance = prior_tolerance(2);
    let sum = |row, sum| Some(Error::PriorSum { index: vec![row, Error::ALL], sum, tolerance });
    assert_eq!(
        error(&[-0.25, 1.25]),
        Some(Error::Entry { name: "prior", index: vec![0, 0], value: -0.25 })
    );
    assert_eq!(error(&[0.5, 0.75]), sum(0, 1.25));
    assert_eq!(error(&[0.5, 0.5, 0.0, 0.0, 7.0, 7.0]), sum(1, 0.0));
    let infinite = Error::Entry { name: "prior", index: vec![1, 1], value: f64::INFINITY };
    assert_eq!(error(&[0.5, 0.5, 0.0, f64::INFINITY]), Some(infinite));
    // Accepted unchanged within the tolerance, refused outside.
    assert_eq!(error(&[0.5, 0.5 + 0.99 * tolerance]), None);
    assert!(error(&[0.5, 0.5 + 1.01 * tolerance]).is_some());
    assert!(error(&[0.5, 0.5 - 1.01 * tolerance]).is_some());
    assert_eq!([1, 100, 10_000].map(prior_tolerance), [1e-6, 1e-6 * 10.0, 1e-6 * 100.0]);
}

fn weights(values: &[f64]) -> Result<WeightValues, Error> {
    Run::with_defaults(|run| read_weights(&Rows::from_slice(values, 1), "w", run))
}

#[test]
fn weights_are_finite_and_not_negative() {
    for bad in [-0.5, f64::NAN, f64::INFINITY] {
        let found = weights(&[1.0, 0.0, bad, -7.0]);
        let Err(Error::Entry { name: "w", index, value }) = found else {
            panic!("{bad} was accepted: {found:?}")
        };
        assert_eq!((index, value.to_bits()), (vec![2], bad.to_bits()));
    }
}

/// If weights are not ordinary, the largest is in [1, 4) units. `given` returns each as it was given.
#[test]
fn weights_have_a_unit() {
    for largest in [1e-300, 5e-324, 1e-18, 1.0, 1e18, 1e19, 1e300, f64::MAX] {
        let found = weights(&[0.5 * largest, largest, 0.0]).expect("weights");
        let is_ordinary = (1e-18..=1e18).contains(&largest);
        assert_eq!(found.unit == 1.0, is_ordinary, "{largest:e}");
        let scaled = found.get(1);
        // The largest unit has an inverse that is a normal number.
        assert!(is_ordinary || (1.0..4.0).contains(&scaled) || largest < f64::MIN_POSITIVE);
        assert_eq!((scaled * found.unit, found.values[1]), (largest, largest));
    }
    assert_eq!(weights(&[0.0]).map(|weights| weights.unit), Ok(1.0));
}

/// A row that is read in pieces has the mass and the only class of a row that is read at once.
#[test]
fn rows_longer_than_a_chunk() {
    for classes in [4095u32, 4096, 4097, 8200, 12_289] {
        let mut q: Vec<f64> = (0..classes).map(|k| 1.0 / f64::from(k + 3)).collect();
        let classes = q.len();
        let mass = |q: &[f64], class_weight: Option<&WeightValues>| {
            let rows = Rows::from_slice(q, classes);
            let targets = Run::with_defaults(|run| {
                read_probabilities(rows, Storage::F64, class_weight, run)
            })?;
            Ok::<_, Error>(match targets {
                Targets::Labels(labels) => (labels.classes()[0], 1.0),
                Targets::Probabilities(q) => (q.summary[0].only, q.summary[0].mass),
            })
        };
        let whole = Run::with_defaults(|run| {
            run.sum_of_terms(q.len(), (TERMS_PER_PART, 1), &|first, terms| {
                terms.copy_from_slice(&q[first..][..terms.len()]);
            })
        })
        .expect("a sum");
        let (only, sum) = mass(&q, None).expect("probabilities");
        assert!(only == NO_CLASS && (sum - whole).abs() <= whole * f64::EPSILON, "{sum} {whole}");
        let twos = weights(&vec![2.0; classes]).expect("weights");
        let doubled = mass(&q, Some(&twos)).expect("probabilities");
        assert_eq!(doubled, (NO_CLASS, 2.0 * whole));
        for at in [0, 4094, classes - 1] {
            let mut one_hot = vec![0.0; classes];
            one_hot[at] = 1.0;
            assert_eq!(mass(&one_hot, None).map(|row| row.0 as usize), Ok(at), "of {classes}");
            one_hot[(at + 5000) % classes] = 0.5;
            assert_eq!(mass(&one_hot, None).map(|row| row.0), Ok(NO_CLASS), "of {classes}");
        }
        q[classes - 1] = -1.0;
        let error = Error::Entry { name: "targets", index: vec![0, classes - 1], value: -1.0 };
        assert_eq!(mass(&q, None), Err(error));
    }
}

const IGNORED: i64 = -100;
/// Four rows of three classes: all, none, the first, the last.
const MASK: [f32; 12] = [1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0];

/// For each row, the mass of the classes that the mask keeps; None if it keeps none.
fn kept(
    labels: [i64; 4],
    label_smoothing: f64,
    u: &[f64],
    sample_weight: Option<&[f64]>,
) -> Result<Vec<Option<f64>>, Error> {
    Run::with_defaults(|run| {
        let (elements, mut labels) = (Rows::from_slice(&labels, 1), Labels::default());
        read_labels(&elements, "targets", 3, Some(IGNORED.into()), &mut labels, run)?;
        let prior = read_prior(Rows::from_slice(u, 3), run)?;
        let sample_weight = match sample_weight {
            None => None,
            Some(s) => Some(read_weights(&Rows::from_slice(s, 1), "sample_weight", run)?),
        };
        let terms = LossTerms {
            sample_weight: sample_weight.as_ref(),
            ..LossTerms::new(label_smoothing, &prior)
        };
        let (mask, targets) = (Rows::from_slice(&MASK, 3), Targets::Labels(labels));
        kept_masses(&mask, &targets, &terms, run)
    })
}

#[test]
fn what_is_left_of_each_row() {
    let everywhere = [0.25, 0.25, 0.5];
    let wanted = Ok(vec![Some(1.0), None, Some(0.25), Some(0.5)]);
    assert_eq!(kept([0; 4], 0.1, &everywhere, None), wanted);
    assert_eq!(kept([0; 4], 0.1, &everywhere, Some(&[0.5, 7.0, 0.0, 2.0])), wanted);
}

#[test]
fn a_row_that_counts_needs_a_prior_with_mass() {
    // No mass on the last class, the only one that row 3 keeps.
    let u = [0.5, 0.5, 0.0];
    assert_eq!(kept([0; 4], 0.1, &u, None), Err(Error::MaskedPrior { index: vec![3] }));
    // The first such row is named.
    let u = [0.0, 1.0, 0.0];
    assert_eq!(kept([0; 4], 0.1, &u, None), Err(Error::MaskedPrior { index: vec![2] }));
    // Not checked where the prior is not read: ε = 0, an ignored row, a row of weight 0.
    assert!(kept([0; 4], 0.0, &u, None).is_ok());
    assert!(kept([0, 0, IGNORED, IGNORED], 0.1, &u, None).is_ok());
    assert!(kept([0; 4], 0.1, &u, Some(&[1.0, 1.0, 0.0, 0.0])).is_ok());
}
