//! Reads and checks labels.

use crate::error::Error;
use crate::simd::{Rows, Storage};
use crate::target::NO_CLASS;

/// Labels that are read and checked at a time. Loading a vector of them would wait for the stores that have just copied
/// them: with so many, the first are in the cache when the last are copied.
pub(super) const MANY_LABELS: usize = 256;

/// Are all `values` below `end`, and none equal to `ignored`? Then they are in `classes`. Without a branch, so that the
/// loop is vectorised.
#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "all bits are looked at")]
fn are_classes(values: &[u64], end: u32, ignored: Option<u32>, classes: &mut [u32]) -> bool {
    let ignored = ignored.unwrap_or(end); // which is no class
    let (mut all, mut largest, mut least_difference) = (0, 0, u32::MAX);
    for (value, class) in values.iter().zip(classes) {
        let low = *value as u32;
        *class = low;
        all |= value;
        largest = largest.max(low);
        least_difference = least_difference.min(low ^ ignored);
    }
    u32::try_from(all).is_ok() && largest < end && least_difference != 0
}

/// Writes the classes of the labels in `elements`, rows of one integer, from row `first` on, at most `MOST` labels;
/// returns how many are ignored. Each label must be below `num_classes`, or equal to `ignore_index`, which marks rows
/// that do not count.
#[inline(always)]
pub(super) fn check_labels<const MOST: usize>(
    (elements, name): (&Rows<'_>, &'static str),
    num_classes: usize,
    ignore_index: Option<i128>,
    first: usize,
    classes: &mut [u32],
) -> Result<usize, Error> {
    let end = u32::try_from(num_classes).unwrap_or(NO_CLASS);
    let ignored_class = ignore_index.and_then(|ignored| u32::try_from(ignored).ok());
    let (values, mut ignored) = (&mut [0; MOST][..classes.len()], 0);
    elements.gather_integers(first, values);
    if are_classes(values, end, ignored_class, classes) {
        return Ok(0);
    }
    // In the other unsigned types, the top bit of the 64 is 0.
    let is_signed = elements.storage() != Storage::U64;
    for ((row, value), class) in (first..).zip(&*values).zip(classes) {
        let value = if is_signed { value.cast_signed().into() } else { (*value).into() };
        *class = match u32::try_from(value) {
            _ if Some(value) == ignore_index => {
                ignored += 1;
                NO_CLASS
            }
            Ok(label) if label < end => label,
            _ => {
                let (index, value) = (vec![row], Box::new(value));
                let ignore_index = ignore_index.map(Box::new);
                return Err(Error::Label { name, index, value, num_classes, ignore_index });
            }
        };
    }
    Ok(ignored)
}
