//! The errors, with the messages that users read.

use std::fmt;

/// A refused argument or a failed call. `Display` is the whole message.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Error {
    /// A label or an index that is not a class.
    Label {
        /// Which argument: "targets" or "indices".
        name: &'static str,
        /// The place of the label in the argument.
        index: Vec<usize>,
        /// The label. It is boxed, like `ignore_index`, so that a result without an error is small.
        value: Box<i128>,
        /// K
        num_classes: usize,
        /// The label that marks ignored rows.
        ignore_index: Option<Box<i128>>,
    },
    /// A probability target, an entry of a prior or a weight that is negative, infinite or NaN.
    Entry {
        /// Which argument.
        name: &'static str,
        /// The place of the entry in the argument.
        index: Vec<usize>,
        /// The entry.
        value: f64,
    },
    /// A prior that does not sum to 1.
    PriorSum {
        /// Which row of the prior, with [`Error::ALL`] at the class axis.
        index: Vec<usize>,
        /// The sum.
        sum: f64,
        /// The largest difference from 1 that is accepted.
        tolerance: f64,
    },
    /// A prior without mass on the classes that a mask keeps.
    MaskedPrior {
        /// Which row of the logits.
        index: Vec<usize>,
    },
    /// An allocation failed.
    OutOfMemory {
        /// Its size.
        bytes: usize,
    },
    /// The caller asked to stop between two slices of work.
    Interrupted,
    /// A handler forked the process between two slices of work, and this is the child.
    Forked,
}

impl Error {
    /// All places along an axis, in an index.
    pub const ALL: usize = usize::MAX;
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Label { name, index, value, num_classes, ignore_index } => {
                let (is_label, place) = (*name == "targets", place(index));
                // A class beyond the largest label: in practice only broadcast logits have that many classes.
                if (0..i128::try_from(*num_classes).unwrap_or(i128::MAX)).contains(&**value) {
                    let (what, last) = (if is_label { "labels" } else { name }, u32::MAX - 1);
                    return write!(f, "{name}{place} is {value}, but {what} can be at most {last}");
                }
                let (are, s) = if *num_classes == 1 { ("is", "") } else { ("are", "es") };
                write!(f, "{name}{place} is {value}, but there {are} {num_classes} class{s}")?;
                match ignore_index {
                    _ if !is_label => Ok(()),
                    Some(ignored) => write!(f, " (ignore_index is {ignored})"),
                    None => f.write_str(" (ignore_index is None)"),
                }
            }
            Error::Entry { name, index, value } => {
                let they = match *name {
                    "targets" => "probabilities",
                    "prior" => "a prior",
                    _ => "weights",
                };
                let (index, value) = (place(index), Number(*value));
                write!(f, "{name}{index} is {value}, but {they} must be finite and non-negative")
            }
            Error::PriorSum { index, sum, tolerance } => write!(
                f,
                "prior{} sums to {}, expected 1 within {} (it is used as given: divide counts by their sum, or count labels with class_prior)",
                place(index),
                Number(*sum),
                Number(*tolerance)
            ),
            Error::MaskedPrior { index } => {
                let (of, row) = (if index.is_empty() { "" } else { " of row " }, place(index));
                write!(f, "the prior{of}{row} has no mass on the classes that where keeps")
            }
            Error::OutOfMemory { bytes } => write!(f, "cannot allocate {bytes} bytes"),
            Error::Interrupted => f.write_str("interrupted"),
            Error::Forked => f.write_str(
                "this process was forked while the call was running, and its other threads are in the \
                 parent alone: the call cannot be completed here",
            ),
        }
    }
}

impl std::error::Error for Error {}

/// `[3, 2]`, or `[3, :]` with [`Error::ALL`]; an empty string for a whole argument.
fn place(index: &[usize]) -> String {
    let at = |at: &usize| if *at == Error::ALL { ":".to_owned() } else { at.to_string() };
    let is_whole = index.iter().all(|at| *at == Error::ALL);
    let places: Vec<_> = index.iter().map(at).collect();
    if is_whole { String::new() } else { format!("[{}]", places.join(", ")) }
}

/// A float as Python prints it.
pub struct Number(pub f64);

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{:?}", self.0).to_ascii_lowercase(); // NaN is nan
        match text.split_once('e') {
            // Python writes exponents with a sign and at least two digits.
            Some((digits, exponent)) => {
                write!(f, "{digits}e{:+03}", exponent.parse::<i32>().unwrap_or_default())
            }
            None => f.write_str(&text),
        }
    }
}

#[cfg(test)]
mod tests;
