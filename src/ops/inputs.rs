//! Targets, priors and weights, checked before anything is written: what is asked of a part is in the
//! target layer, who has which part in the batch layer.

use crate::batch::Run;
use crate::error::Error;
use crate::simd::{Distinct, Float, Rows};
use crate::target::{
    KeptRow, Labels, LossTerms, NO_CLASS, PartialRow, PartlyKept, Prior, Probabilities,
    SmoothedTargets, Targets, UncheckedLabels, WeightValues, add_prior, check_sum, copy_weights,
};

/// `len` labels: each in `0..num_classes` or equal to `ignore_index`. `value` is asked once for each.
///
/// # Errors
/// [`Error::Label`] for the first that is neither; [`Error::OutOfMemory`], or the error of
/// `run.checkpoint`.
pub fn read_labels(
    len: usize,
    value: impl Fn(usize) -> i64 + Sync,
    num_classes: usize,
    ignore_index: Option<i128>,
    run: &mut Run<'_>,
) -> Result<Labels, Error> {
    let read = |first: usize, values: &mut [u64]| {
        (first..).zip(values).for_each(|(row, v)| *v = value(row).cast_unsigned());
    };
    let unchecked = UncheckedLabels { len, read: &read, signed: true, num_classes, ignore_index };
    let mut labels = Labels::default();
    check_labels(&unchecked, &mut labels, run).map(|()| labels)
}

/// Copies labels as they are in memory to where they stay, or refuses them.
///
/// # Errors
/// As of [`read_labels`].
pub fn check_labels(
    unchecked: &UncheckedLabels<'_>,
    labels: &mut Labels,
    run: &mut Run<'_>,
) -> Result<(), Error> {
    let rows = unchecked.len;
    (labels.rows, labels.counted) = (rows, rows);
    let level = run.level;
    let check = |first: usize, classes: &mut [u32]| unchecked.check(level, first, classes);
    if let Some(few) = labels.few.get_mut(..rows) {
        labels.counted -= check(0, few)?;
        return Ok(());
    }
    labels.many = run.filled(rows, &NO_CLASS)?;
    run.read_parts(&mut labels.many, check, |ignored| labels.counted -= ignored)
}

/// Reads every row once: all entries must be finite and ≥ 0. A row's mass is Σ_k q_k c_k.
///
/// # Errors
/// [`Error::Entry`] for the first that is not; [`Error::OutOfMemory`], or the error of
/// `run.checkpoint`.
pub fn read_probabilities<'a>(
    rows: Rows<'a>,
    class_weight: Option<&WeightValues>,
    run: &mut Run<'_>,
) -> Result<Probabilities<'a>, Error> {
    let read = |row: usize, start: usize, values: &[f64], partial: &mut PartialRow| {
        partial.read(row, start, values, class_weight)
    };
    let summary = run.read_rows(&rows, read, |_, partial| Ok(partial.finish()))?;
    Ok(Probabilities { rows, summary })
}

/// Reads and checks every row, once if it is there many times: finite, ≥ 0, summing to 1 within
/// [`prior_tolerance`](crate::prior_tolerance).
///
/// # Errors
/// [`Error::Entry`], [`Error::PriorSum`] for the first bad row; [`Error::OutOfMemory`], or the error of
/// `run.checkpoint`.
pub fn read_prior<'a>(rows: Rows<'a>, run: &mut Run<'_>) -> Result<Prior<'a>, Error> {
    let (distinct, Distinct { places, firsts, .. }) = rows.distinct();
    let (classes, is_shared) = (rows.classes(), distinct.rows() == 1);
    let number = |row: usize| (!is_shared).then(|| firsts.offset(row).cast_unsigned());
    let masses = run.read_rows(
        &distinct,
        |row, start, values, sum| add_prior(number(row), start, values, sum),
        |row, sum| check_sum(number(row), classes, sum.value()),
    )?;
    let [mass] = masses[..] else {
        return Ok(Prior::PerRow { rows, distinct, places, masses });
    };
    let mut values = run.filled(classes, &0.0)?;
    let copy = |start: usize, values: &mut [f64]| {
        rows.gather_from(0, start, values);
        Ok(())
    };
    run.read_parts(&mut values, copy, |()| {})?;
    Ok(Prior::Shared { values, mass })
}

/// One weight for each of `elements`, of the argument `name`: all must be finite and ≥ 0.
///
/// # Errors
/// [`Error::Entry`] for the first that is not; [`Error::OutOfMemory`], or the error of `run.checkpoint`.
///
/// # Panics
/// When rows have no element.
pub fn read_weights(
    elements: &Rows<'_>,
    name: &'static str,
    run: &mut Run<'_>,
) -> Result<WeightValues, Error> {
    let (mut values, mut largest) = (run.filled(elements.rows(), &0.0)?, 0.0_f64);
    let copy = |first: usize, weights: &mut [f64]| copy_weights(elements, name, first, weights);
    run.read_parts(&mut values, copy, |most| largest = largest.max(most))?;
    Ok(WeightValues::new(values, largest))
}

/// What `mask` keeps of each row. With smoothing, the prior of every row that counts must have mass on
/// the classes that are kept.
///
/// # Errors
/// [`Error::MaskedPrior`] for the first row whose prior has none; [`Error::OutOfMemory`], or the error of
/// `run.checkpoint`.
#[inline(always)]
pub(super) fn kept_rows(
    mask: Option<&Rows<'_>>,
    targets: &Targets<'_>,
    terms: &LossTerms<'_>,
    run: &mut Run<'_>,
) -> Result<Option<Vec<KeptRow>>, Error> {
    let Some(mask) = mask else { return Ok(None) };
    let read = |row: usize, start: usize, mask: &[f64], kept: &mut PartlyKept| {
        kept.read(row, start, mask, terms);
        Ok(())
    };
    run.read_rows(mask, read, |row, kept| kept.finish(row, targets, terms)).map(Some)
}

/// Makes what is the same for the targets of all rows.
///
/// # Errors
/// [`Error::OutOfMemory`], or the error of `run.checkpoint`.
#[inline(always)]
pub(super) fn share_prior<F: Float>(
    smoothed: &mut SmoothedTargets<'_, F>,
    classes: usize,
    run: &mut Run<'_>,
) -> Result<(), Error> {
    if smoothed.needs_shared() {
        let mut shared = run.filled(classes, &F::default())?;
        let mass = run.fill_row(&mut shared, |start, part| smoothed.fill_shared(start, part))?;
        smoothed.share(shared, mass);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
