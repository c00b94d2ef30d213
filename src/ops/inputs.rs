//! Reads and checks targets, priors, weights and masks before anything is written. Labels and weights are copied: what
//! was checked is what is used. Masks, probabilities and priors are read again later. The batch layer decides which
//! thread reads which part.

mod few;
mod labels;
mod many;

use crate::batch::{LONG_ROW, NUMBERS_PER_PART, Run, TERMS_PER_PART, are_near};
use crate::error::Error;
use crate::kernel::MOST_CLASSES;
use crate::math::{Real, RunningSum, count};
use crate::simd::{
    AsDoubles, Eights, ExactSum, Float, Level, Rows, Source, Storage, Vector, VectorJob, inlined,
};
use crate::target::{
    FEW_LABELS, Labels, LossTerms, NO_CLASS, Prior, Probabilities, ProbabilityRow, SmoothedTargets,
    Targets, WeightValues, prior_tolerance,
};
use few::read_few;
use labels::{MANY_LABELS, check_labels};
use many::{Many, PartialRow};
use std::mem::take;

/// Reads labels, rows of one integer, into `labels`: each must be in `0..num_classes` or equal to `ignore_index`.
///
/// # Errors
/// [`Error::Label`] for the first that is neither; [`Error::OutOfMemory`], or the error of
/// `run.checkpoint`.
///
/// # Panics
/// When rows have no element, or the elements are not integers.
pub fn read_labels(
    elements: &Rows<'_>,
    name: &'static str,
    num_classes: usize,
    ignore_index: Option<i128>,
    labels: &mut Labels,
    run: &mut Run<'_>,
) -> Result<(), Error> {
    let (argument, rows) = ((elements, name), elements.rows());
    (labels.rows, labels.counted) = (rows, rows);
    if let Some(few) = labels.few.get_mut(..rows) {
        labels.counted -= check_labels::<FEW_LABELS>(argument, num_classes, ignore_index, 0, few)?;
        return Ok(());
    }
    labels.many = run.defaults(rows)?;
    let level = run.level;
    let check = |first: usize, all: &mut [u32]| {
        level.compiled(inlined!(|| {
            let (check, mut ignored) = (check_labels::<MANY_LABELS>, 0);
            for (first, part) in (first..).step_by(MANY_LABELS).zip(all.chunks_mut(MANY_LABELS)) {
                ignored += check(argument, num_classes, ignore_index, first, part)?;
            }
            Ok(ignored)
        }))
    };
    run.on_parts(&mut labels.many, (NUMBERS_PER_PART, 1), &check, &mut |ignored| {
        labels.counted -= ignored;
    })
}

fn is_bad(value: f64) -> bool {
    !(0.0..=f64::MAX).contains(&value)
}

/// Refuses the first of the values that is not finite and ≥ 0; `index` converts its position to the index in the error.
fn check_entries(
    level: Level,
    name: &'static str,
    values: &[f64],
    index: impl FnOnce(usize) -> Vec<usize>,
) -> Result<(), Error> {
    let has_bad = level.compiled(
        // Without an early exit, which would keep the loop from being vectorised.
        inlined!(|| values.iter().fold(false, |any, value| any | is_bad(*value))),
    );
    if has_bad && let Some(k) = values.iter().position(|value| is_bad(*value)) {
        return Err(Error::Entry { name, index: index(k), value: values[k] });
    }
    Ok(())
}

/// Reads every row once: all entries must be finite and ≥ 0. A row's mass is Σ_k q_k c_k, a compensated sum if the loss
/// is computed in float64. Without class weights, rows that are all one-hot become labels.
///
/// # Errors
/// [`Error::Entry`] for the first that is not; [`Error::OutOfMemory`], or the error of
/// `run.checkpoint`.
pub fn read_probabilities<'a>(
    rows: Rows<'a>,
    compute: Storage,
    class_weight: Option<&WeightValues>,
    run: &mut Run<'_>,
) -> Result<Targets<'a>, Error> {
    let sums = (class_weight, compute == Storage::F64);
    let summary = read_entries(&rows, ("targets", &|row| row), sums, None, run)?;
    let is_one_hot = |row: &ProbabilityRow| row.only != NO_CLASS && row.mass == 1.0;
    if class_weight.is_some() || !summary.iter().all(is_one_hot) {
        return Ok(Targets::Probabilities(Probabilities { rows, summary }));
    }
    let (rows, many) = (summary.len(), run.defaults(summary.len())?);
    let mut labels = Labels { many, rows, counted: rows, ..Labels::default() };
    let Labels { few, many, .. } = &mut labels;
    for all in [&mut few[..], many] {
        all.iter_mut().zip(&summary).for_each(|(label, row)| *label = row.only);
    }
    Ok(Targets::Labels(labels))
}

/// Reads all rows. Entries must be finite and ≥ 0; if there is a tolerance, their sum may be so far from 1. `name` is
/// that of the argument, and `index` a function from a row to its index there, for errors. Sums are compensated if they
/// are to be `exact`.
///
/// # Errors
/// The first error of the first row that has one; [`Error::OutOfMemory`]; or the error of the checkpoint.
#[inline(never)]
fn read_entries(
    rows: &Rows<'_>,
    (name, index): (&'static str, &(dyn Fn(usize) -> usize + Sync)),
    (class_weight, exact): (Option<&WeightValues>, bool),
    tolerance: Option<f64>,
    run: &mut Run<'_>,
) -> Result<Vec<ProbabilityRow>, Error> {
    let (classes, level) = (rows.classes(), run.level);
    let check_sum = |row: usize, sum: f64| match tolerance {
        Some(tolerance) if (sum - 1.0).abs() > tolerance => {
            Err(Error::PriorSum { index: vec![index(row), Error::ALL], sum, tolerance })
        }
        _ => Ok(()),
    };
    let check_row = |row: usize, start: usize, values: &[f64]| {
        check_entries(level, name, values, |k| vec![index(row), start + k])
    };
    let are_few = (1..=MOST_CLASSES).contains(&classes);
    // Many float32 numbers, one after another in memory, are read in place.
    let are_many = (MOST_CLASSES + 1..=LONG_ROW).contains(&classes) && rows.rows() > 0;
    let direct = if are_many { rows.run::<f32>(0, rows.rows()) } else { None };
    if are_few || direct.is_some() {
        let is_double = rows.storage() == Storage::F64;
        let read = |first: usize, results: &mut [ProbabilityRow]| {
            let may_be_bad = if let Some(all) = direct {
                let mut may_be_bad = false;
                for (row, result) in (first..).zip(&mut *results) {
                    let (start, values) = (0, all.part(row * classes, classes));
                    let mut read = PartialRow::default();
                    let partial = &mut read;
                    may_be_bad |= level.run(Many { start, values, class_weight, exact, partial });
                    *result = read.finished(exact);
                }
                may_be_bad
            } else {
                let read = if is_double { read_few::<f64> } else { read_few::<f32> };
                read(rows, (class_weight, exact), level, first, results)?
            };
            for (row, read) in (first..).zip(&*results) {
                for start in (0..classes).step_by(MOST_CLASSES).filter(|_| may_be_bad) {
                    let values = &mut [0.0; MOST_CLASSES][..MOST_CLASSES.min(classes - start)];
                    rows.gather_from(row, start, values);
                    check_row(row, start, values)?;
                }
                check_sum(row, read.mass)?;
            }
            Ok(())
        };
        let mut results = run.defaults(rows.rows())?;
        run.on_rows(rows, &mut results, &read)?;
        return Ok(results);
    }
    let read = |(row, start), values: &[f64], partial: &mut PartialRow| {
        let of_row = Source::from_slice(values);
        if level.run(Many { start, values: of_row, class_weight, exact, partial }) {
            check_row(row, start, values)?;
        }
        Ok(())
    };
    run.read_rows(rows, read, |row, partial| {
        let read = partial.finished(exact);
        check_sum(row, read.mass)?;
        Ok(read)
    })
}

/// Reads and checks every row, repeated rows only once: finite, ≥ 0, summing to 1 within
/// 1e-6·max(1, √K).
///
/// # Errors
/// [`Error::Entry`], [`Error::PriorSum`] for the first bad row; [`Error::OutOfMemory`], or the error of
/// `run.checkpoint`.
pub fn read_prior<'a>(rows: Rows<'a>, run: &mut Run<'_>) -> Result<Prior<'a>, Error> {
    let (distinct, places) = rows.distinct();
    let classes = rows.classes();
    // The first row at this place.
    let is_at = |row, place: usize| places.offset(row) == place.cast_signed();
    let number = |place| (0..rows.rows()).find(|row| is_at(*row, place)).unwrap_or(place);
    let tolerance = Some(prior_tolerance(classes));
    let summary = read_entries(&distinct, ("prior", &number), (None, true), tolerance, run)?;
    let [ProbabilityRow { mass, .. }] = summary[..] else {
        return Ok(Prior::PerRow { rows, places, summary });
    };
    let (mut values, level) = (run.defaults(classes)?, run.level);
    let copy = |start: usize, values: &mut [f64]| {
        rows.gather_at(level, 0, start, values);
        Ok(())
    };
    run.on_parts(&mut values, (NUMBERS_PER_PART, 1), &copy, &mut |()| {})?;
    Ok(Prior::Shared { values, mass })
}

/// Reads one weight for each of `elements`, of the argument `name`: all must be finite and ≥ 0.
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
    let (mut values, mut largest) = (run.defaults(elements.rows())?, 0.0_f64);
    let level = run.level;
    let copy = |first: usize, weights: &mut [f64]| {
        elements.gather_at(level, first, 0, weights);
        check_entries(level, name, weights, |k| vec![first + k])?;
        Ok(weights.iter().copied().fold(0.0, f64::max))
    };
    run.on_parts(&mut values, (NUMBERS_PER_PART, 1), &copy, &mut |most| {
        largest = largest.max(most);
    })?;
    Ok(WeightValues::new(values, largest))
}

/// For each row, Σ u over the classes that `mask` keeps, or their number if u is uniform; None where it keeps none.
/// With smoothing, the prior of every row that counts must have mass there.
///
/// # Errors
/// [`Error::MaskedPrior`] for the first row whose prior has none; [`Error::OutOfMemory`], or the error of
/// `run.checkpoint`.
#[inline(never)] // rare
pub(super) fn kept_masses(
    mask: &Rows<'_>,
    targets: &Targets<'_>,
    terms: &LossTerms<'_>,
    run: &mut Run<'_>,
) -> Result<Vec<Option<f64>>, Error> {
    let LossTerms { prior, sample_weight, .. } = *terms;
    // Without smoothing the prior is not read.
    let has_prior = terms.label_smoothing > 0.0 && !matches!(prior, Prior::Uniform);
    let prior = has_prior.then_some(prior);
    let (distinct, places) = mask.distinct();
    // A row that is repeated is read once, unless each row has its own prior.
    let each_is_read =
        distinct.rows() == mask.rows() || matches!(prior, Some(Prior::PerRow { .. }));
    let mut of_distinct = masses(if each_is_read { mask } else { &distinct }, prior, run)?;
    let mut kept = if each_is_read { take(&mut of_distinct) } else { run.defaults(mask.rows())? };
    let set = |first: usize, kept: &mut [Option<f64>]| {
        for (row, kept) in (first..).zip(kept) {
            if !each_is_read {
                *kept = of_distinct[places.offset(row).cast_unsigned()];
            }
            let has_weight = || sample_weight.is_none_or(|weights| weights.get(row) != 0.0);
            if *kept == Some(0.0) && has_weight() && !targets.is_ignored(row) {
                return Err(Error::MaskedPrior { index: vec![row] });
            }
        }
        Ok(())
    };
    if has_prior || !each_is_read {
        run.on_parts(&mut kept, (NUMBERS_PER_PART, 1), &set, &mut |()| {})?;
    }
    Ok(kept)
}

/// For each row, Σ u over the classes that `mask` keeps, or their number without a prior; None where it keeps none.
fn masses(
    mask: &Rows<'_>,
    prior: Option<&Prior<'_>>,
    run: &mut Run<'_>,
) -> Result<Vec<Option<f64>>, Error> {
    let (classes, level) = (mask.classes(), run.level);
    let are_bytes = mask.storage() == Storage::Bool;
    if prior.is_none() && are_bytes && classes <= LONG_ROW && !are_near(mask) {
        let mut masses = run.defaults(mask.rows())?;
        let read = |first: usize, masses: &mut [Option<f64>]| {
            level.compiled(inlined!(|| {
                for (row, mass) in (first..).zip(masses) {
                    assert!(mask.storage() == Storage::Bool, "so that one loop is compiled");
                    let mut kept = 0;
                    let see = inlined!(|_, is_kept| kept += usize::from(is_kept != 0.0));
                    mask.visit(row, 0, classes, see);
                    *mass = (kept > 0).then(|| count(kept));
                }
                Ok(())
            }))
        };
        run.on_rows(mask, &mut masses, &read)?;
        return Ok(masses);
    }
    let read = |place, mask: &[f64], (kept, sum): &mut (usize, ExactSum)| {
        let count = inlined!(|| mask.iter().filter(|is_kept| **is_kept != 0.0).count());
        *kept += level.compiled(count);
        if let Some(prior) = prior {
            level.run(MaskedMass { place, mask, prior, sum });
        }
        Ok(())
    };
    run.read_rows(mask, read, |_, (kept, sum)| {
        let of_kept = || if prior.is_some() { sum.value() } else { count(kept) };
        Ok((kept > 0).then(of_kept))
    })
}

/// Adds Σ u over the kept classes of a part of a row to `sum`.
struct MaskedMass<'m> {
    /// The row and the first class.
    place: (usize, usize),
    mask: &'m [f64],
    prior: &'m Prior<'m>,
    sum: &'m mut ExactSum,
}

impl VectorJob<f64> for MaskedMass<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Scalar = f64>>(self, token: V::Token) {
        let Self { place: (row, start), mask, prior, sum } = self;
        let mut copy = None;
        let parts = mask.chunks(AsDoubles::AT_ONCE);
        for (start, mask) in (start..).step_by(AsDoubles::AT_ONCE).zip(parts) {
            let u = prior.part::<V>(token, (row, start), (mask.len(), &mut copy));
            let mask = Source::from_slice(mask);
            let of_kept = inlined!(|at: usize| {
                let is_kept = V::Doubles::load(token, mask, at);
                let (u, zero) = (u.vector::<V>(token, at), is_kept.like(0.0));
                Some(V::Doubles::pick(is_kept.eq(zero), zero, u))
            });
            sum.add_vectors::<V>(token, mask.len(), of_kept);
        }
    }
}

/// u·c, which is the same for all rows, and its sum, or 0 without class weights, since it is known then.
///
/// # Errors
/// [`Error::OutOfMemory`], or the error of `run.checkpoint`.
pub(super) fn shared_weights<F: Float>(
    terms: &LossTerms<'_>,
    classes: usize,
    run: &mut Run<'_>,
) -> Result<(Vec<F>, f64), Error> {
    let (mut shared, mut mass) = (run.defaults(classes)?, RunningSum::default());
    let (level, none) = (run.level, Targets::none());
    let of = &SmoothedTargets::unshared(&none, terms, None, classes);
    let fill = |start: usize, w: &mut [F]| Ok(level.run((of, start, w)));
    run.on_parts(&mut shared, (TERMS_PER_PART, 1), &fill, &mut |part| mass.add(part))?;
    Ok((shared, mass.value()))
}

/// Computes them for the classes from a first one on; returns their sum.
impl<F: Float> VectorJob<F> for (&SmoothedTargets<'_, F>, usize, &mut [F]) {
    type Output = f64;

    #[inline(always)]
    fn run<V: Vector<Scalar = F>>(self, token: V::Token) -> f64 {
        let (of, start, w) = self;
        of.fill::<V>(token, (0, start), &[], (w, false))
    }
}

#[cfg(test)]
mod tests;
