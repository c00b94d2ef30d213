//! The normal form of a row's target, and how it is made from targets, ε, prior and weights.

mod made;
mod shared;

use super::{LossTerms, NO_CLASS, Prior, ProbabilityRow, Targets, unit_of};
use crate::error::Error;
use crate::math::{RunningSum, count};
use crate::simd::{Float, Rows, Source};
pub(crate) use made::UniformSmoothing;

/// The weights w of `dot`.
#[derive(Clone, Copy, Default)]
pub(crate) enum Weights<'r, F> {
    /// No `dot`: it stays 0.
    #[default]
    Absent,
    /// w = 1
    Ones,
    /// One for each class.
    Row(Source<'r, F>),
}

impl<F: Float> Weights<'_, F> {
    /// w of one class.
    pub(crate) fn get(&self, class: usize) -> f64 {
        match self {
            Weights::Absent => 0.0,
            Weights::Ones => 1.0,
            Weights::Row(row) => row.get(class).to_f64(),
        }
    }

    /// The weights of at most `len` classes from `start` on.
    pub(crate) fn part(&self, start: usize, len: usize) -> Self {
        match self {
            Weights::Row(row) => Weights::Row(row.part(start, len)),
            same => *same,
        }
    }
}

/// The target of a row in normal form: q' = spike·δ_class + β·w. By default zeros.
#[derive(Clone, Copy, Default)]
pub(crate) struct RowTarget<'r, F> {
    pub(crate) class: usize,
    pub(crate) spike: f64,
    pub(crate) weights: Weights<'r, F>,
    pub(crate) beta: f64,
    /// Q; NaN if it is known only after [`SmoothedTargets::fill`].
    pub(crate) smooth_mass: f64,
    /// What spike + Q is less than the exact Σ q', because 1 − ε, its product with q or c, and Q are rounded.
    pub(crate) mass_lost: f64,
    /// The factor of the loss.
    pub(crate) weight: f64,
    /// The targets whose [`SmoothedTargets::fill`] computes w, if it must be computed.
    pub(crate) made_by: Option<&'r SmoothedTargets<'r, F>>,
}

impl<F: Float> RowTarget<'_, F> {
    /// Sets Q of row `row` from Σ u·c, if it is known only from that.
    #[inline(never)]
    pub(crate) fn set_mass(&mut self, row: usize, sum: f64) {
        let Some(maker) = self.made_by.filter(|_| self.smooth_mass.is_nan()) else { return };
        let smooth = |beta| RunningSum::of_product(beta, sum);
        let (mass, lost) = match maker.distribution(row) {
            // Its β is not that of a label.
            Some((_, mass)) => maker.mass(mass, smooth(maker.prior_factor(row).0)),
            None => {
                let RunningSum { sum, lost } = smooth(self.beta);
                (sum, lost)
            }
        };
        (self.smooth_mass, self.mass_lost) = (mass, self.mass_lost + lost);
    }

    /// Without a label and smoothing: the loss is 0.
    pub(crate) fn none() -> Self {
        Self { weight: 1.0, ..Self::default() }
    }
}

/// q' of every row: targets, ε, u, c and s.
pub(crate) struct SmoothedTargets<'a, F> {
    targets: &'a Targets<'a>,
    pub(crate) terms: &'a LossTerms<'a>,
    /// For each row, Σ u over the classes that a mask keeps, or their number if u is uniform; None where it keeps none.
    kept: Option<&'a [Option<f64>]>,
    smooth: Smooth<'a, F>,
    classes: usize,
    /// Are weights left in their units, for a quotient of sums?
    pub(crate) are_units: bool,
    /// The divisor of the gradient: 1, except in a mean. If it is 0, no row counts, so the gradient is 0.
    pub(crate) divisor: f64,
    /// A factor by which loss and gradient are multiplied after the division.
    pub(crate) unit: f64,
}

/// Where u·c of a row is.
enum Smooth<'a, F> {
    /// Nowhere: without smoothing it is not read.
    Absent,
    /// It is 1/K, and all probabilities are smoothed alike; None for labels, and for ε = 1, where q' = u.
    Uniform(Option<UniformSmoothing<F>>),
    /// The same for all rows, and its sum, which is read only with class weights.
    Shared(Vec<F>, f64),
    /// In the rows of the prior, which are read in place.
    Rows(&'a Rows<'a>),
    /// Computed for each row by [`SmoothedTargets::fill`].
    Made,
}

impl<'a, F: Float> SmoothedTargets<'a, F> {
    /// If u·c and its sum are the same for all rows, `share` computes them.
    #[inline(always)]
    pub(crate) fn new(
        targets: &'a Targets<'a>,
        terms: &'a LossTerms<'a>,
        kept: Option<&'a [Option<f64>]>,
        classes: usize,
        share: impl FnOnce() -> Result<(Vec<F>, f64), Error>,
    ) -> Result<Self, Error> {
        let is_unweighted = terms.class_weight.is_none();
        let mut all = Self::unshared(targets, terms, kept, classes);
        all.smooth = match terms.prior {
            _ if terms.label_smoothing == 0.0 => Smooth::Absent,
            _ if kept.is_some() => Smooth::Made,
            Prior::Uniform if is_unweighted => {
                let are_probabilities = matches!(targets, Targets::Probabilities(_));
                let are_smoothed = are_probabilities && terms.label_smoothing < 1.0;
                Smooth::Uniform(are_smoothed.then(|| UniformSmoothing::new(terms, classes)))
            }
            Prior::PerRow { rows, .. } if is_unweighted && rows.is_direct::<F>() => {
                Smooth::Rows(rows)
            }
            Prior::PerRow { .. } => Smooth::Made,
            Prior::Uniform | Prior::Shared { .. } => {
                let (weights, mass) = share()?;
                Smooth::Shared(weights, mass)
            }
        };
        Ok(all)
    }

    /// With u·c computed for each row.
    pub(crate) fn unshared(
        targets: &'a Targets<'a>,
        terms: &'a LossTerms<'a>,
        kept: Option<&'a [Option<f64>]>,
        classes: usize,
    ) -> Self {
        let (smooth, are_units) = (Smooth::Made, false);
        Self { targets, terms, kept, smooth, classes, are_units, divisor: 1.0, unit: 1.0 }
    }

    /// The weight of lse² in the loss, in the units of the class weights if there are any.
    pub(crate) fn z_loss(&self) -> f64 {
        let unit = self.terms.class_weight.map_or(1.0, |weights| weights.unit);
        (self.terms.z_loss / unit).min(f64::MAX)
    }

    /// May rows have weights that [`SmoothedTargets::fill`] computes?
    pub(crate) fn are_made(&self) -> bool {
        matches!(self.targets, Targets::Probabilities(_)) || matches!(self.smooth, Smooth::Made)
    }

    /// Must the gradients of masked classes be set to 0, since they may be infinite with probabilities, and −0 with a z_loss?
    pub(crate) fn mask_gradients(&self) -> bool {
        matches!(self.targets, Targets::Probabilities(_)) || self.terms.z_loss != 0.0
    }

    /// Do all rows count, with neither class weights nor sample weights?
    pub(crate) fn is_unweighted(&self) -> bool {
        let LossTerms { class_weight, sample_weight, .. } = self.terms;
        self.divisor != 0.0 && class_weight.is_none() && sample_weight.is_none()
    }

    /// (1 − ε)·`mass` + `smooth`, and for float64 rows the rounding error.
    #[inline(always)]
    fn mass(&self, mass: f64, mut smooth: RunningSum) -> (f64, f64) {
        let label_weight = self.terms.label_weight();
        if !F::IS_DOUBLE {
            return (mass.mul_add(label_weight.sum, smooth.sum), 0.0);
        }
        smooth.add_product(label_weight.sum, mass);
        smooth.lost += label_weight.lost * mass;
        smooth.parts()
    }

    /// The unit of the weights of a row of probabilities: 1, or a power of two near their sum if that is large. Without
    /// smoothing it may be small as well; ε·u would be large in a small unit.
    pub(super) fn unit_of(&self, mass: f64) -> f64 {
        let unit = unit_of(mass);
        if self.terms.label_smoothing == 0.0 { unit } else { unit.max(1.0) }
    }

    /// Are the weights of rows the probabilities, smoothed alike or as they are, unless their sum is not ordinary?
    fn are_plain(&self) -> bool {
        self.smoothing().is_some() || self.are_targets_plain()
    }

    /// u·c, if it is the same for all rows and has been computed.
    fn shared(&self) -> Option<&[F]> {
        if let Smooth::Shared(weights, _) = &self.smooth { Some(weights) } else { None }
    }

    /// Are they the probabilities as they are?
    fn are_targets_plain(&self) -> bool {
        let LossTerms { label_smoothing, class_weight, .. } = self.terms;
        *label_smoothing == 0.0 && class_weight.is_none() && self.kept.is_none()
    }

    /// How probabilities are smoothed, if all classes of all rows are smoothed alike.
    fn smoothing(&self) -> Option<UniformSmoothing<F>> {
        if let Smooth::Uniform(smoothing) = self.smooth { smoothing } else { None }
    }

    /// β of a row with a mask, which keeps some classes, and a uniform prior without class weights.
    #[inline(always)]
    pub(crate) fn beta(&self, row: usize) -> f64 {
        let kept = self.kept.map_or(1.0, |kept| kept[row].unwrap_or(1.0));
        if self.terms.label_smoothing == 0.0 { 0.0 } else { self.terms.smoothing_per(kept) }
    }

    /// c of a class.
    pub(crate) fn class_weight(&self, class: usize) -> f64 {
        self.terms.class_weight.map_or(1.0, |c| c.get(class))
    }

    /// The target with its spike: that of a label, or of the only class of probabilities, where q·c is `mass`.
    #[inline(always)]
    pub(crate) fn with_spike<'r>(&self, target: RowTarget<'r, F>, mass: f64) -> RowTarget<'r, F> {
        let (spike, lost) = if F::IS_DOUBLE {
            self.mass(mass, RunningSum::default())
        } else {
            // Without a multiply-add, which would be a call: this is compiled for any processor.
            (mass * self.terms.label_weight().sum, 0.0)
        };
        RowTarget { spike, mass_lost: target.mass_lost + lost, ..target }
    }

    /// The factors of the losses of rows from `first` on, if they are not ignored; 0 where a row does not count.
    #[inline(never)]
    pub(crate) fn weights(&self, first: usize, weights: &mut [f64]) {
        self.terms.set_row_weights(first, self.kept, self.are_units, weights);
        let class_weight = self.terms.class_weight.filter(|_| !self.are_units);
        if let Some(unit) = class_weight.map(|weights| weights.unit).filter(|unit| *unit != 1.0) {
            for weight in weights.iter_mut().filter(|weight| **weight != 0.0) {
                *weight = (*weight * unit).clamp(f64::SMALLEST, f64::MAX);
            }
        }
        if self.divisor == 0.0 {
            weights.fill(0.0);
        }
    }

    /// The probabilities that are read for a row, and their sum: None if it has one class only, or if q' = u.
    #[inline(always)]
    fn distribution(&self, row: usize) -> Option<(&Rows<'_>, f64)> {
        let Targets::Probabilities(targets) = self.targets else { return None };
        let ProbabilityRow { only, mass } = targets.summary[row];
        let is_read = only == NO_CLASS && self.terms.label_smoothing < 1.0;
        is_read.then_some((&targets.rows, mass))
    }

    /// The normal form of row `row`; `None` where it does not count.
    pub(crate) fn row(&self, row: usize) -> Option<RowTarget<'_, F>> {
        let mut weight = [0.0];
        self.weights(row, &mut weight);
        if self.targets.is_ignored(row) || weight == [0.0] {
            return None;
        }
        let mut target = RowTarget { weight: weight[0], ..self.smooth(row) };
        let targets = match self.targets {
            Targets::Labels(labels) => {
                target.class = labels.class(row);
                return Some(self.with_spike(target, self.class_weight(target.class)));
            }
            Targets::Probabilities(targets) => targets,
        };
        if self.terms.label_smoothing == 1.0 {
            // q' = u: the target is not read.
            return Some(target);
        }
        let ProbabilityRow { only, mass } = targets.summary[row];
        if only != NO_CLASS {
            target.class = only as usize;
            return Some(self.with_spike(target, mass));
        }
        if !target.smooth_mass.is_nan() {
            let smooth = RunningSum { sum: target.smooth_mass, lost: target.mass_lost };
            (target.smooth_mass, target.mass_lost) = self.mass(mass, smooth);
        }
        // Probabilities whose sum is not ordinary are divided by a power of two, so they are not read in place.
        target.beta = self.unit_of(mass);
        let is_plain = self.are_targets_plain() && target.beta == 1.0;
        let direct = targets.rows.direct(row).filter(|_| is_plain);
        target.made_by = direct.is_none().then_some(self);
        target.weights = direct.map_or(Weights::Absent, Weights::Row);
        Some(target)
    }

    /// ε·u·c of one row.
    #[inline(always)]
    fn smooth(&self, row: usize) -> RowTarget<'_, F> {
        let LossTerms { label_smoothing, prior, class_weight, .. } = *self.terms;
        let weights = match &self.smooth {
            Smooth::Absent => return RowTarget::none(),
            Smooth::Uniform(_) => Weights::Ones,
            Smooth::Shared(weights, _) => Weights::Row(Source::from_slice(weights)),
            Smooth::Rows(rows) => Weights::Row(rows.direct(row).expect("else they are made")),
            Smooth::Made => Weights::Absent,
        };
        let beta = self.prior_factor(row).0;
        let mass = match (class_weight, &self.smooth, prior) {
            (Some(_), Smooth::Shared(_, mass), _) => *mass,
            // Known when the weights have been computed.
            (Some(_), _, _) => f64::NAN,
            (None, _, Prior::Shared { mass, .. }) if self.kept.is_none() => *mass,
            (None, _, Prior::PerRow { summary, .. }) if self.kept.is_none() => {
                summary[prior.place(row)].mass
            }
            (None, _, _) => 1.0,
        };
        let factor = if class_weight.is_some() { beta } else { label_smoothing };
        let RunningSum { sum: smooth_mass, lost } = RunningSum::of_product(factor, mass);
        let mass_lost = if smooth_mass.is_nan() { 0.0 } else { lost };
        let made_by = matches!(self.smooth, Smooth::Made).then_some(self);
        RowTarget { weights, beta, smooth_mass, mass_lost, made_by, ..RowTarget::none() }
    }

    /// The factor of u, which is in units, and the unit. The factor is ε, divided by K if u is uniform, or with a mask
    /// by the sum of u over the classes that are kept. If that sum is tiny, the unit is a power of two near it, so that
    /// u keeps its digits when it is rounded to the type of the row.
    #[inline(always)]
    fn prior_factor(&self, row: usize) -> (f64, f64) {
        let (mass, unit) = match (self.kept, self.terms.prior) {
            (Some(kept), _) => {
                // A row without kept classes does not count, but `labels` takes what all rows share from row 0.
                let mass = kept[row].unwrap_or(1.0);
                (mass, unit_of(mass))
            }
            (None, Prior::Uniform) => (count(self.classes), 1.0),
            (None, _) => (1.0, 1.0),
        };
        (self.terms.smoothing_per(mass / unit), unit)
    }
}
