//! The terms of the loss, each as an array with one element for each row.

use super::Batch;
use super::inputs::{kept_masses, shared_weights};
use crate::batch::{Job, Run, TERMS_PER_PART};
use crate::error::Error;
use crate::kernel::Operation;
use crate::math::{self, count};
use crate::simd::{ExactSum, Rows, RowsMut, Storage};
use crate::target::{LossTerms, Prior, SmoothedTargets, Targets};

impl Batch<'_> {
    /// Computes the terms of the loss for targets q and prior u, each with one element a row: H(q, p), H(u, p),
    /// D_KL(u‖p), H(u) and log Σ exp(z). Ignored rows are 0.
    ///
    /// # Errors
    /// [`Error::MaskedPrior`] as for [`CrossEntropy::run`](super::CrossEntropy::run); [`Error::OutOfMemory`], or the
    /// error of `run.checkpoint`. After the last two, a part of `out` may have been written.
    ///
    /// # Panics
    /// When the views disagree in rows or classes.
    pub fn cross_entropy_terms(
        &self,
        targets: &Targets<'_>,
        prior: &Prior<'_>,
        out: &mut [RowsMut<'_>; 5],
        run: &mut Run<'_>,
    ) -> Result<(), Error> {
        let (rows, classes) = (self.logits.rows(), self.logits.classes());
        assert!(targets.rows() == rows, "one target for each row");
        let [nll, prior_cross_entropies, prior_kl, prior_entropy, logsumexp] = &*out;
        for view in &*out {
            self.assert_one_per_row(view);
        }
        self.assert_same_shape(None);
        let mask = self.mask.as_ref();
        let terms = LossTerms::new(1.0, prior);
        let kept = mask.map(|mask| kept_masses(mask, targets, &terms, run)).transpose()?;
        // With a mask, each row has its own.
        let entropies = if mask.is_none() { entropies(prior, classes, run)? } else { Vec::new() };
        let mut cross_entropies = run.defaults(rows)?;
        let own = RowsMut::from_slice(&mut cross_entropies, 1);
        let mut losses = |label_smoothing, losses: &RowsMut<'_>, lse| {
            let (terms, kept) = (LossTerms::new(label_smoothing, prior), kept.as_deref());
            computed_in!(self.compute, F => {
                let share = || shared_weights::<F>(&terms, classes, run);
                let targets = SmoothedTargets::new(targets, &terms, kept, classes, share)?;
                let job = self.job::<F>(Operation::Loss, None);
                Job { targets: Some(&targets), scalars: Some(losses), lse, ..job }.run(run)
            })
        };
        losses(0.0, nll, None)?;
        losses(1.0, &own, Some(logsumexp))?;
        for (row, &prior_cross_entropy) in cross_entropies.iter().enumerate() {
            run.poll(classes * self.compute.size())?;
            let mut entropy = 0.0;
            if targets.is_ignored(row) {
                // Never read.
                logsumexp.put(row, 0, 0.0);
            } else if let (Some(mask), Some(kept)) = (mask, &kept) {
                match kept[row] {
                    Some(mass) => entropy = kept_entropy(prior, (row, mass), mask, run)?,
                    None => logsumexp.put(row, 0, f64::NEG_INFINITY),
                }
            } else {
                entropy = entropies[prior.place(row)];
            }
            prior_cross_entropies.put(row, 0, prior_cross_entropy);
            // D_KL is never negative, whatever the roundings of its two parts; NaN stays.
            let divergence = prior_cross_entropy - entropy;
            prior_kl.put(row, 0, if divergence < 0.0 { 0.0 } else { divergence });
            prior_entropy.put(row, 0, entropy);
        }
        Ok(())
    }
}

/// H(u), with 0·log 0 = 0: one number, or one for each [`Prior::place`] of a per-row prior.
#[inline(never)] // inlined, its stack frame of several KiB would be part of the caller's
fn entropies(prior: &Prior<'_>, classes: usize, run: &mut Run<'_>) -> Result<Vec<f64>, Error> {
    let rows = match prior {
        Prior::Uniform => return Ok(vec![math::log(count(classes))]),
        Prior::Shared { values, .. } => &Rows::from_slice(values, classes),
        Prior::PerRow { rows, .. } => &rows.distinct().0,
    };
    let level = run.level;
    let read = |_, values: &[f64], sum: &mut ExactSum| {
        level.add_terms(sum, values.len(), |first, terms| {
            terms.iter_mut().zip(&values[first..]).for_each(|(term, u)| *term = surprise(*u));
        });
        Ok(())
    };
    run.read_rows(rows, read, |_, sum| Ok(sum.value()))
}

/// H(u) of row `row` with u renormalised over the classes that are kept, which have this mass. The quotient of a class
/// with nearly all of the mass is rounded to a number near 1, whose logarithm would lose digits: it is that of the mass
/// of the others.
fn kept_entropy(
    prior: &Prior<'_>,
    (row, mass): (usize, f64),
    mask: &Rows<'_>,
    run: &mut Run<'_>,
) -> Result<f64, Error> {
    let classes = mask.classes();
    let (rows, place) = match prior {
        Prior::Uniform => return Ok(math::log(mass)),
        Prior::Shared { values, .. } => (&Rows::from_slice(values, classes), 0),
        Prior::PerRow { rows, .. } => (rows, row),
    };
    let kept = |k| if mask.get(row, k) == 0.0 { 0.0 } else { rows.get(place, k) };
    let (mut large, mut others) = (None, 0.0);
    // They take no memory.
    let of_part =
        |first, part: &mut [()]| Ok((first..first + part.len()).find(|k| kept(*k) > mass / 2.0));
    run.on_parts(&mut vec![(); classes], (TERMS_PER_PART, 1), &of_part, &mut |found| {
        large = large.or(found);
    })?;
    if large.is_some() {
        others = run.sum_of_terms(classes, (TERMS_PER_PART, 1), &|first, terms| {
            for (k, term) in (first..).zip(terms) {
                *term = if Some(k) == large { 0.0 } else { kept(k) };
            }
        })?;
    }
    run.sum_of_terms(classes, (TERMS_PER_PART, 1), &|first, terms| {
        for (k, term) in (first..).zip(terms) {
            let u = kept(k) / mass;
            *term = if Some(k) == large {
                math::log_quotient([others / mass, 0.0], [u, 0.0], true)[0] * u
            } else {
                surprise(u)
            };
        }
    })
}

/// −u·log u, with 0·log 0 = 0.
fn surprise(u: f64) -> f64 {
    if u == 0.0 { 0.0 } else { -u * math::log(u) }
}

#[cfg(test)]
mod tests;
