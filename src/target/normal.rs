//! The normal form of a row's target, and how it is made from targets, ε, prior and weights.

use super::mixed::{fill, fill_weighted, mixed, row_weights, unit_of};
use super::parts::fill_in_parts;
use super::{LossTerms, NO_CLASS, Prior, ProbabilityRow, Targets};
use crate::alloc::filled;
use crate::crew::Crew;
use crate::element::Float;
use crate::error::Error;
use crate::kernel::exp::Temperature;
use crate::kernel::group::LaneMask;
use crate::kernel::stats::{RowWeights, Weights, count_to_f64};
use crate::simd::MOST_LANES;
use crate::simd::row::Source;
use crate::wide::{DoubleDouble, Wide};

/// The targets of a group of rows in normal form: q' = spike·δ_class + factor·weights. Of a row
/// that does not count all other fields are zeros.
pub(crate) struct GroupTarget<'r, F: Float> {
    /// False: the row is ignored or has weight 0.
    pub(crate) counted: LaneMask,
    pub(crate) class: [usize; MOST_LANES],
    pub(crate) spike: [F::Wide; MOST_LANES],
    pub(crate) weights: RowWeights<'r, F>,
    /// β
    pub(crate) factor: [F::Wide; MOST_LANES],
    /// Q
    pub(crate) smooth_mass: [F::Wide; MOST_LANES],
    /// What the gradient is multiplied by, 1/T included.
    pub(crate) scale: [F::Wide; MOST_LANES],
    /// What the loss is multiplied by.
    pub(crate) row_weight: [f64; MOST_LANES],
    pub(crate) temperature: Temperature<F>,
    pub(crate) z_loss: f64,
}

impl<F: Float> GroupTarget<'_, F> {
    /// No row counts.
    #[inline(always)]
    pub(crate) fn none(targets: &SmoothedTargets<'_, F>) -> Self {
        let zero = F::Wide::new(0.0);
        Self {
            counted: [false; MOST_LANES],
            class: [0; MOST_LANES],
            spike: [zero; MOST_LANES],
            weights: RowWeights::Same(Weights::Absent),
            factor: [zero; MOST_LANES],
            smooth_mass: [zero; MOST_LANES],
            scale: [zero; MOST_LANES],
            row_weight: [0.0; MOST_LANES],
            temperature: targets.temperature,
            z_loss: targets.terms.z_loss,
        }
    }
}

/// spike·δ_class + factor·weights of one row.
struct RowTarget<'r, F: Float> {
    class: u32,
    spike: F::Wide,
    smooth: Smooth<'r, F>,
}

/// factor·weights, and their sum.
#[derive(Clone, Copy)]
pub(super) struct Smooth<'r, F: Float> {
    pub(super) weights: Weights<'r, F>,
    pub(super) factor: F::Wide,
    pub(super) mass: F::Wide,
}

/// Memory for the normal forms of rows: each twice as long as a row for each of them, or empty
/// where no row needs it.
pub(crate) struct TargetScratch<'s, F> {
    pub(crate) prior: &'s mut [F],
    pub(crate) mixture: &'s mut [F],
}

/// q' of every row: targets, ε, u, c and s.
pub(crate) struct SmoothedTargets<'a, F: Float> {
    targets: &'a Targets<'a>,
    terms: LossTerms<'a>,
    /// u·c if it is the same for all rows and not uniform, and after it what rounding lost.
    shared: Vec<F>,
    /// Σ u·c of `shared`.
    shared_mass: DoubleDouble,
    temperature: Temperature<F>,
    scale: F::Wide,
    is_masked: bool,
    classes: usize,
}

impl<'a, F: Float> SmoothedTargets<'a, F> {
    /// Of targets whose gradient is divided by `divisor`, or 0 if that is 0.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], or that of the crew.
    pub(crate) fn new(
        targets: &'a Targets<'a>,
        terms: LossTerms<'a>,
        divisor: f64,
        is_masked: bool,
        classes: usize,
        crew: &mut dyn Crew,
    ) -> Result<Self, Error> {
        let temperature = Temperature::<F>::new(terms.temperature);
        let scale = if divisor == 0.0 {
            F::Wide::new(0.0)
        } else {
            temperature.inverse * F::Wide::new(1.0 / divisor)
        };
        let mut shared = Vec::new();
        let mut shared_mass = DoubleDouble::new(0.0);
        let is_shared = match terms.prior {
            Prior::Shared { .. } => true,
            Prior::Uniform => terms.class_weight.is_some(),
            Prior::PerRow { .. } => false,
        };
        // ε = 0: the prior is not read.
        if terms.label_smoothing > 0.0 && is_shared {
            shared = filled(2 * classes, &F::default(), crew)?;
            let parts = shared.split_at_mut(classes);
            shared_mass = match (terms.prior, terms.class_weight) {
                (Prior::Shared { values, mass }, None) => {
                    fill(crew, parts, values);
                    *mass
                }
                (prior, class_weight) => {
                    let u = |k: usize| match prior {
                        Prior::Shared { values, .. } => values[k],
                        _ => 1.0,
                    };
                    let [_, mass] = fill_weighted(crew, parts, class_weight, u);
                    mass
                }
            };
        }
        crew.outcome()?;
        Ok(Self { targets, terms, shared, shared_mass, temperature, scale, is_masked, classes })
    }

    /// T
    pub(crate) fn temperature(&self) -> &Temperature<F> {
        &self.temperature
    }

    /// Are the weights the same for all rows, and at most 1?
    pub(crate) fn allow_tiles(&self) -> bool {
        let is_label = matches!(self.targets, Targets::Labels(_));
        is_label && self.terms.class_weight.is_none() && self.common().is_some()
    }

    /// −∞ where nothing but a spike may meet such a logit, else a number.
    pub(crate) fn least_in_tile(&self) -> F {
        if self.terms.label_smoothing == 0.0 { F::NEG_INFINITY } else { F::default() }
    }

    /// Does row `row` count?
    pub(crate) fn reads(&self, row: usize) -> bool {
        let has_weight = self.terms.sample_weight.is_none_or(|weights| weights[row] != 0.0);
        has_weight && !self.targets.is_ignored(row)
    }

    /// Elements of [`TargetScratch::prior`] and [`TargetScratch::mixture`].
    pub(crate) fn scratch_lens(&self) -> (usize, usize) {
        let prior = matches!(self.terms.prior, Prior::PerRow { .. }) || self.is_masked;
        let prior = prior && self.terms.label_smoothing > 0.0;
        let mixture = matches!(self.targets, Targets::Probabilities(_));
        let row = self.classes.saturating_mul(2);
        (if prior { row } else { 0 }, if mixture { row } else { 0 })
    }

    /// The normal forms of rows `first`, `first + 1`, ..., `len` in all; `kept` has a row of
    /// classes that are there for each, or nothing where all are. `group` was made by
    /// [`GroupTarget::none`].
    #[inline(never)] // scalars: not worth a copy in each kernel
    pub(crate) fn group<'s>(
        &'s self,
        group: &mut GroupTarget<'s, F>,
        first: usize,
        len: usize,
        kept: &[F],
        scratch: TargetScratch<'s, F>,
        crew: &mut dyn Crew,
    ) {
        if let (Some(smooth), Targets::Labels(labels)) = (self.common(), self.targets) {
            group.weights = RowWeights::Same(smooth.weights);
            for (lane, &class) in labels.classes[first..first + len].iter().enumerate() {
                if class != NO_CLASS {
                    let target = RowTarget { class, spike: self.spike(class), smooth };
                    self.set(group, lane, first + lane, &target);
                }
            }
            return;
        }
        let mut weights = [Weights::Absent; MOST_LANES];
        let mut priors = scratch.prior.chunks_mut(2 * self.classes);
        let mut mixtures = scratch.mixture.chunks_mut(2 * self.classes);
        for lane in 0..len {
            let kept = kept.get(lane * self.classes..(lane + 1) * self.classes).unwrap_or(&[]);
            let prior = priors.next().unwrap_or_default();
            let mixture = mixtures.next().unwrap_or_default();
            if let Some(target) = self.row(first + lane, kept, prior, mixture, crew) {
                weights[lane] = target.smooth.weights;
                self.set(group, lane, first + lane, &target);
            }
        }
        group.weights = RowWeights::Each(weights);
    }

    /// Puts the target of row `row` into a lane, unless its weight is 0.
    #[inline(always)]
    fn set(
        &self,
        group: &mut GroupTarget<'_, F>,
        lane: usize,
        row: usize,
        target: &RowTarget<'_, F>,
    ) {
        let row_weight = self.terms.sample_weight.map_or(1.0, |weights| weights[row]);
        if row_weight == 0.0 {
            return;
        }
        group.counted[lane] = true;
        group.class[lane] = target.class as usize;
        group.spike[lane] = target.spike;
        group.factor[lane] = target.smooth.factor;
        group.smooth_mass[lane] = target.smooth.mass;
        group.scale[lane] =
            if row_weight == 1.0 { self.scale } else { self.scale * F::Wide::new(row_weight) };
        group.row_weight[lane] = row_weight;
    }

    /// (1 − ε)·c_y
    #[inline(always)]
    fn spike(&self, class: u32) -> F::Wide {
        let label_weight = F::Wide::new(1.0) - F::Wide::new(self.terms.label_smoothing);
        match self.terms.class_weight {
            None => label_weight,
            Some(weights) => label_weight * F::Wide::new(weights[class as usize]),
        }
    }

    /// The normal form of row `row`, of whose classes those in `kept` are there (all, if it is
    /// empty); `None` where the row is ignored.
    fn row<'s>(
        &'s self,
        row: usize,
        kept: &[F],
        prior: &'s mut [F],
        mixture: &'s mut [F],
        crew: &mut dyn Crew,
    ) -> Option<RowTarget<'s, F>> {
        let no_spike = F::Wide::new(0.0);
        let targets = match self.targets {
            Targets::Labels(labels) => {
                let class = labels.classes[row];
                return (class != NO_CLASS).then(|| RowTarget {
                    class,
                    spike: self.spike(class),
                    smooth: self.smooth(row, kept, prior, crew),
                });
            }
            Targets::Probabilities(targets) => targets,
        };
        let smooth = self.smooth(row, kept, prior, crew);
        let LossTerms { label_smoothing, class_weight, .. } = self.terms;
        if label_smoothing == 1.0 {
            // q' = u: the target is not read.
            return Some(RowTarget { class: 0, spike: no_spike, smooth });
        }
        let ProbabilityRow { only, mass } = targets.summary[row];
        let mass = F::wide_of(mass);
        let label_weight = F::Wide::new(1.0) - F::Wide::new(label_smoothing);
        if only != NO_CLASS {
            return Some(RowTarget { class: only, spike: label_weight * mass, smooth });
        }
        // Without smoothing, probabilities may be of any size.
        let unit = if label_smoothing == 0.0 { unit_of(mass.value()) } else { 1.0 };
        let rows = &targets.rows;
        let smooth = Smooth {
            mass: smooth.mass + label_weight * mass,
            factor: F::Wide::new(unit),
            weights: match smooth.weights {
                Weights::Absent => row_weights(rows, row, class_weight, unit, mixture, crew).0,
                _ => mixed(rows, row, class_weight, label_weight, &smooth, mixture, crew),
            },
        };
        Some(RowTarget { class: 0, spike: no_spike, smooth })
    }

    /// ε·u·c of every row, where it is the same for all.
    fn common(&self) -> Option<Smooth<'_, F>> {
        let zero = F::Wide::new(0.0);
        let LossTerms { label_smoothing, prior, class_weight, .. } = self.terms;
        if label_smoothing == 0.0 {
            return Some(Smooth { weights: Weights::Absent, factor: zero, mass: zero });
        }
        if self.is_masked {
            return None;
        }
        let smoothing = F::Wide::new(label_smoothing);
        let uniform = smoothing.over(F::Wide::new(count_to_f64(self.classes)));
        // ε/K may underflow, but not to 0: a logit of −inf still costs +inf.
        let is_lost = uniform.value() == 0.0;
        let uniform = if is_lost { F::Wide::new(f64::from_bits(1)) } else { uniform };
        let (high, low) = self.shared.split_at(self.shared.len() / 2);
        let shared = Weights::in_two_parts(high, low);
        let shared_mass = F::wide_of(self.shared_mass);
        let (weights, factor, mass) = match prior {
            Prior::Uniform if class_weight.is_none() => (Weights::Ones, uniform, smoothing),
            Prior::Uniform => (shared, uniform, uniform * shared_mass),
            Prior::Shared { .. } => (shared, smoothing, smoothing * shared_mass),
            Prior::PerRow { .. } => return None,
        };
        Some(Smooth { weights, factor, mass })
    }

    /// ε·u·c of one row.
    fn smooth<'s>(
        &'s self,
        row: usize,
        kept: &[F],
        scratch: &'s mut [F],
        crew: &mut dyn Crew,
    ) -> Smooth<'s, F> {
        if let Some(smooth) = self.common() {
            return smooth;
        }
        if !kept.is_empty() {
            return self.renormalised(row, kept, scratch, crew);
        }
        let LossTerms { label_smoothing, prior, class_weight, .. } = self.terms;
        let Prior::PerRow { rows, masses, .. } = prior else {
            unreachable!("all others are common")
        };
        let (weights, mass) = row_weights(rows, row, class_weight, 1.0, scratch, crew);
        let mass = F::wide_of(mass.unwrap_or(masses[prior.place(row)]));
        let factor = F::Wide::new(label_smoothing);
        Smooth { weights, factor, mass: factor * mass }
    }

    /// ε·u'·c with u' = u / Σ u over the classes that are kept, 0 elsewhere.
    fn renormalised<'s>(
        &self,
        row: usize,
        kept: &[F],
        scratch: &'s mut [F],
        crew: &mut dyn Crew,
    ) -> Smooth<'s, F> {
        let LossTerms { label_smoothing, prior, class_weight, .. } = self.terms;
        let (high, low) = scratch.split_at_mut(self.classes);
        if matches!(prior, Prior::Uniform) && class_weight.is_none() {
            let [count] = fill_in_parts(crew, (high, &mut *low), |start, high, _| {
                let kept = &kept[start..][..high.len()];
                high.copy_from_slice(kept);
                let count = kept.iter().filter(|is_kept| is_kept.to_f64() != 0.0).count();
                [DoubleDouble::new(count_to_f64(count))]
            });
            let smoothing = F::Wide::new(label_smoothing);
            return Smooth {
                weights: Weights::Row { high: Source::from_slice(high), low: None },
                factor: smoothing.over(F::wide_of(count)),
                mass: smoothing,
            };
        }
        let parts = (&mut *high, &mut *low);
        let u = |k: usize| if kept[k].to_f64() == 0.0 { 0.0 } else { prior.get(row, k) };
        let [prior_mass, mass] = fill_weighted(crew, parts, class_weight, u);
        let factor = F::Wide::new(label_smoothing).over(F::wide_of(prior_mass));
        let smooth_mass = F::Wide::new(label_smoothing) * F::wide_of(mass.over(prior_mass));
        Smooth { weights: Weights::in_two_parts(high, low), factor, mass: smooth_mass }
    }
}
