//! The messages, word for word.

use super::{Error, Number};

/// Those that no call of the Python package has: the texts of the others are in tests/error_texts.txt.
#[test]
fn messages() {
    let prior_sum = Error::PriorSum { index: vec![4, Error::ALL, 7], sum: 0.0, tolerance: 1e-6 };
    for (error, message) in [
        (
            prior_sum,
            "prior[4, :, 7] sums to 0.0, expected 1 within 1e-06 (it is used as given: divide counts by their sum, or count labels with class_prior)",
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
