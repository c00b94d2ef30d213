//! The messages, word for word.

use super::{Error, Number};

#[test]
fn messages() {
    let label = |index: &[usize], value, num_classes, ignore_index: Option<i128>| Error::Label {
        name: "targets",
        index: index.to_vec(),
        value: Box::new(value),
        num_classes,
        ignore_index: ignore_index.map(Box::new),
    };
    let prior_sum =
        |index: &[usize], sum| Error::PriorSum { index: index.to_vec(), sum, tolerance: 1e-6 };
    for (error, message) in [
        (
            label(&[17], 1003, 1000, Some(-100)),
            "targets[17] is 1003, but there are 1000 classes (ignore_index is -100)",
        ),
        (
            label(&[2, 5], -1, 10, None),
            "targets[2, 5] is -1, but there are 10 classes (ignore_index is None)",
        ),
        (
            label(&[], 18_446_744_073_709_551_615, 1, Some(0)),
            "targets is 18446744073709551615, but there is 1 class (ignore_index is 0)",
        ),
        (
            // A class, but its number is that of "no class".
            label(&[17], 4_294_967_295, 1 << 33, Some(-100)),
            "targets[17] is 4294967295, but labels can be at most 4294967294",
        ),
        (
            Error::Label {
                name: "indices",
                index: vec![3],
                value: Box::new(-1),
                num_classes: 10,
                ignore_index: None,
            },
            "indices[3] is -1, but there are 10 classes",
        ),
        (
            Error::Entry { name: "targets", index: vec![3, 2], value: -0.5 },
            "targets[3, 2] is -0.5, but probabilities must be finite and non-negative",
        ),
        (
            Error::Entry { name: "prior", index: vec![3], value: f64::NAN },
            "prior[3] is nan, but a prior must be finite and non-negative",
        ),
        (
            prior_sum(&[Error::ALL], 1.2),
            "prior sums to 1.2, expected 1 within 1e-06 (it is used as given: divide counts by their sum, or count labels with class_prior)",
        ),
        (
            prior_sum(&[4, Error::ALL, 7], 0.0),
            "prior[4, :, 7] sums to 0.0, expected 1 within 1e-06 (it is used as given: divide counts by their sum, or count labels with class_prior)",
        ),
        (
            prior_sum(&[4, Error::ALL], 1.5),
            "prior[4, :] sums to 1.5, expected 1 within 1e-06 (it is used as given: divide counts by their sum, or count labels with class_prior)",
        ),
        (Error::OutOfMemory { bytes: 8000 }, "cannot allocate 8000 bytes"),
        (Error::Interrupted, "interrupted"),
        (
            Error::Forked,
            "this process was forked while the call was running, and its other threads are in the \
             parent alone: the call cannot be completed here",
        ),
    ] {
        assert_eq!(error.to_string(), message);
    }
}

#[test]
fn numbers_are_python_s() {
    for (value, text) in [
        (0.0, "0.0"),
        (-0.0, "-0.0"),
        (1.0, "1.0"),
        (0.1, "0.1"),
        (0.0001, "0.0001"),
        (0.00001, "1e-05"),
        (-1.25e-10, "-1.25e-10"),
        (5e-324, "5e-324"),
        (9_999_999_999_999_998.0, "9999999999999998.0"),
        (1e16, "1e+16"),
        (1.797_693_134_862_315_7e308, "1.7976931348623157e+308"),
        (f64::INFINITY, "inf"),
        (f64::NEG_INFINITY, "-inf"),
        (f64::NAN, "nan"),
    ] {
        assert_eq!(Number(value).to_string(), text);
    }
}
