//! What is accepted, what is refused and where, and what it weighs.

use super::{
    Labels, NO_CLASS, Prior, Probabilities, Targets, WeightValues, exact_sum, prior_tolerance,
};
use crate::error::Error;
use crate::executor::Serial;
use crate::simd::Rows;

fn labels(values: &[i64], num_classes: usize, ignore_index: Option<i128>) -> Result<f64, Error> {
    let labels = Labels::new(
        values.len(),
        |row| values[row],
        num_classes,
        ignore_index,
        &mut Serial::default(),
    )?;
    let targets = Targets::Labels(labels);
    assert_eq!(targets.rows(), values.len());
    Ok(targets.mass(None, &|_| 1.0, &mut Serial::default()))
}

#[test]
fn labels_are_classes_or_ignored() {
    assert_eq!(labels(&[], 0, None), Ok(0.0));
    assert_eq!(labels(&[0, 9, 5], 10, None), Ok(3.0));
    assert_eq!(labels(&[0, -100, 9], 10, Some(-100)), Ok(2.0));
    // A class can be the one to ignore; it counts no more.
    assert_eq!(labels(&[3, 0, 3], 10, Some(3)), Ok(1.0));
    // Without a sign, all bits are another number.
    for (signed, ignored) in [(false, i128::from(u64::MAX)), (true, -1)] {
        let label = |ignored| {
            let executor = &mut Serial::default();
            Labels::read(1, signed, &|_, label| label.fill(u64::MAX), 10, Some(ignored), executor)
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

/// Among many labels, which are checked many at once.
#[test]
fn every_place_among_many_labels_is_looked_at() {
    let plain: Vec<i64> = (0..150).map(|row| row % 10).collect();
    assert_eq!(labels(&plain, 10, None), Ok(150.0));
    assert_eq!(labels(&plain, 10, Some(7)), Ok(135.0));
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
        assert_eq!(labels(&values, 10, Some(-100)), Ok(149.0));
    }
}

#[test]
fn probabilities_are_finite_and_not_negative() {
    let mass = |values: &[f64]| {
        let probabilities =
            Probabilities::new(Rows::from_slice(values, 3), None, &mut Serial::default())?;
        let targets = Targets::Probabilities(probabilities);
        Ok::<_, Error>(targets.mass(None, &|_| 1.0, &mut Serial::default()))
    };
    assert_eq!(mass(&[0.5, 0.25, 0.25, 0.0, -0.0, 3.0]), Ok(4.0));
    for value in [-0.5, -1e-300, f64::INFINITY, f64::NAN] {
        let found = mass(&[0.5, 0.25, 0.25, 0.0, value, f64::NAN]);
        let Err(Error::Probability { index, value: reported }) = found else {
            panic!("{value} was accepted: {found:?}")
        };
        assert_eq!((index, reported.to_bits()), (vec![1, 1], value.to_bits()));
    }
}

#[test]
fn a_prior_is_a_distribution() {
    let rows = [0.25f32, 0.25, 0.5, 1.0, 0.0, 0.0];
    let Ok(Prior::Shared { values, mass }) =
        Prior::new(Rows::from_slice(&rows[..3], 3), &mut Serial::default())
    else {
        panic!("one row is for all")
    };
    assert_eq!((values, mass), (vec![0.25, 0.25, 0.5], 1.0));
    let Ok(Prior::PerRow { masses, .. }) =
        Prior::new(Rows::from_slice(&rows, 3), &mut Serial::default())
    else {
        panic!("two rows are one each")
    };
    assert!(masses.len() == 2 && masses.iter().all(|mass| *mass == 1.0));
}

#[test]
fn the_first_bad_row_of_a_prior_is_reported() {
    let error =
        |values: &[f64]| Prior::new(Rows::from_slice(values, 2), &mut Serial::default()).err();
    let tolerance = prior_tolerance(2);
    let sum = |index: Vec<usize>, sum| {
        Some(Error::PriorSum { class_axis: index.len(), index, sum, tolerance })
    };
    assert_eq!(error(&[-0.25, 1.25]), Some(Error::Prior { index: vec![0], value: -0.25 }));
    assert_eq!(error(&[0.5, 0.75]), sum(vec![], 1.25));
    assert_eq!(error(&[0.5, 0.5, 0.0, 0.0, 7.0, 7.0]), sum(vec![1], 0.0));
    let infinite = Error::Prior { index: vec![1, 1], value: f64::INFINITY };
    assert_eq!(error(&[0.5, 0.5, 0.0, f64::INFINITY]), Some(infinite));
    // Used as it is within the tolerance, refused outside.
    assert_eq!(error(&[0.5, 0.5 + 0.99 * tolerance]), None);
    assert!(error(&[0.5, 0.5 + 1.01 * tolerance]).is_some());
    assert!(error(&[0.5, 0.5 - 1.01 * tolerance]).is_some());
    assert_eq!([1, 100, 10_000].map(prior_tolerance), [1e-6, 1e-6 * 10.0, 1e-6 * 100.0]);
}

fn weights(values: &[f64]) -> WeightValues {
    let elements = Rows::from_slice(values, 1);
    WeightValues::new(&elements, "class_weight", &mut Serial::default()).expect("weights")
}

#[test]
fn weights_are_finite_and_not_negative() {
    for bad in [-0.5, f64::NAN, f64::INFINITY] {
        let values = [1.0, 0.0, bad, -7.0];
        let found = WeightValues::new(&Rows::from_slice(&values, 1), "w", &mut Serial::default());
        let Err(Error::Weight { name: "w", index, value }) = found else {
            panic!("{bad} was accepted: {found:?}")
        };
        assert_eq!((index, value.to_bits()), (vec![2], bad.to_bits()));
    }
}

/// The largest of weights that are not ordinary is in [1, 4) units; each is what was given.
#[test]
fn weights_have_a_unit() {
    for largest in [1e-300, 5e-324, 1e-18, 1.0, 1e18, 1e19, 1e300, f64::MAX] {
        let found = weights(&[0.5 * largest, largest, 0.0]);
        let is_ordinary = (1e-18..=1e18).contains(&largest);
        assert_eq!(found.unit() == 1.0, is_ordinary, "{largest:e}");
        let scaled = found.get(1);
        // The largest unit has an inverse that is a normal number.
        assert!(is_ordinary || (1.0..4.0).contains(&scaled) || largest < f64::MIN_POSITIVE);
        assert_eq!((scaled * found.unit(), found.given(1)), (largest, largest));
    }
    assert_eq!(weights(&[0.0]).unit(), 1.0);
}

/// A row that is read in pieces has the mass and the only class of a row that is read at once.
#[test]
fn rows_longer_than_a_chunk() {
    for classes in [4095u32, 4096, 4097, 8200, 12_289] {
        let mut q: Vec<f64> = (0..classes).map(|k| 1.0 / f64::from(k + 3)).collect();
        let classes = q.len();
        let mass = |q: &[f64], class_weight: Option<&WeightValues>| {
            let rows = Rows::from_slice(q, classes);
            let targets = Probabilities::new(rows, class_weight, &mut Serial::default())?;
            let (only, mass) = (targets.summary[0].only, targets.summary[0].mass);
            Ok::<_, Error>((only, mass.to_bits()))
        };
        let whole = exact_sum(&q, &mut Serial::default());
        assert_eq!(mass(&q, None), Ok((NO_CLASS, whole.to_bits())));
        let doubled = mass(&q, Some(&weights(&vec![2.0; classes]))).expect("probabilities");
        assert!((f64::from_bits(doubled.1) - 2.0 * whole).abs() < 1e-14 * whole);
        for at in [0, 4094, classes - 1] {
            let mut one_hot = vec![0.0; classes];
            one_hot[at] = 1.0;
            assert_eq!(mass(&one_hot, None).map(|row| row.0 as usize), Ok(at), "of {classes}");
            one_hot[(at + 5000) % classes] = 0.5;
            assert_eq!(mass(&one_hot, None).map(|row| row.0), Ok(NO_CLASS), "of {classes}");
        }
        q[classes - 1] = -1.0;
        let error = Error::Probability { index: vec![0, classes - 1], value: -1.0 };
        assert_eq!(mass(&q, None), Err(error));
    }
}
