//! The operations on a batch: what the bindings and the Rust tests call.

/// Evaluates `$body`, where `$F` is the type that `$compute` names. Both are compiled here, once for all callers.
macro_rules! computed_in {
    ($compute:expr, $F:ident => $body:expr) => {
        match $compute {
            Storage::F32 => {
                type $F = f32;
                $body
            }
            Storage::F64 => {
                type $F = f64;
                $body
            }
            other => panic!("rows are computed in F32 or F64, not in {other:?}"),
        }
    };
}

mod chosen;
mod chunk;
mod cross_entropy_terms;
pub(crate) mod inputs;

pub use chunk::{Smoothing, finish_chunks};
pub use inputs::{read_labels, read_prior, read_probabilities, read_weights};

use crate::batch::{Hessian, Job, Run, SUMS_PER_PART, TERMS_PER_PART, Workspace, rows_per_sum};
use crate::error::Error;
use crate::kernel::{MOST_CLASSES, Operation, SEGMENT, Temperature};
use crate::math::count;
use crate::panel::Panel;
use crate::simd::{Float, Rows, RowsMut, Storage};
use crate::target::{LossTerms, SmoothedTargets, Targets, WeightValues};
use inputs::{kept_masses, shared_weights};

/// Rows of logits and how they are computed: what every operation works on.
pub struct Batch<'a> {
    /// z. Operations panic if there are rows, but no classes.
    pub logits: Rows<'a>,
    /// The classes that take part are those where it is not 0; without a mask, all.
    pub mask: Option<Rows<'a>>,
    /// T > 0, by which the logits are divided.
    pub temperature: f64,
    /// The type in which rows are computed: F32 or F64.
    pub compute: Storage,
}

impl Batch<'_> {
    /// Softmax or log-softmax of every row; or its log Σ exp(z), for which `out` has one element a row.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], or the error of `run.checkpoint`.
    ///
    /// # Panics
    /// When `out` has a different number of rows or classes, or the operation is none of these three.
    pub fn apply(
        &self,
        operation: Operation,
        out: &mut RowsMut<'_>,
        run: &mut Run<'_>,
    ) -> Result<(), Error> {
        let out = &*out;
        let (output, scalars) = match operation {
            Operation::Softmax | Operation::LogSoftmax => (Some(out), None),
            Operation::LogSumExp => (None, Some(out)),
            Operation::Loss | Operation::Gradient => panic!("{operation:?} has targets"),
        };
        self.assert_same_shape(output);
        if let Some(scalars) = scalars {
            self.assert_one_per_row(scalars);
        }
        computed_in!(self.compute, F => {
            let mut job = self.job::<F>(operation, output);
            (job.scalars, job.rounds) = (scalars, true);
            job.run(run)
        })
    }

    /// The job of an operation that writes `output`.
    #[inline(always)]
    fn job<'j, F: Float>(
        &'j self,
        operation: Operation,
        output: Option<&'j RowsMut<'j>>,
    ) -> Job<'j, F> {
        let is_log = operation == Operation::LogSoftmax;
        let masked = if is_log { F::NEG_INFINITY } else { F::default() };
        let (logits, mask) = (&self.logits, self.mask.as_ref());
        let mut job = Job {
            operation,
            temperature: Temperature::new(self.temperature),
            panel: Panel { logits, mask, output, prescale: 1.0, masked, masks_outputs: false },
            targets: None,
            scalars: None,
            are_summed: false,
            lse: None,
            hessian: None,
            top: None,
            rounds: false,
        };
        // Afterwards, so that the temperature is made in its final place.
        job.panel.prescale = job.temperature.prescale;
        job
    }

    fn assert_same_shape(&self, out: Option<&RowsMut<'_>>) {
        let shape @ (rows, classes) = (self.logits.rows(), self.logits.classes());
        let fits = self.mask.as_ref().is_none_or(|mask| (mask.rows(), mask.classes()) == shape)
            && out.is_none_or(|out| (out.rows(), out.classes()) == shape);
        assert!(fits, "mask and out of {rows} rows of {classes} classes");
    }

    fn assert_one_per_row(&self, out: &RowsMut<'_>) {
        assert!((out.rows(), out.classes()) == (self.logits.rows(), 1), "one element for each row");
    }
}

/// How the losses of the rows are combined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduction {
    /// One loss a row.
    None,
    /// Their sum.
    Sum,
    /// Their sum over Σ_i s_i Σ_k q_ik c_k, the weighted mass of the unsmoothed targets.
    Mean,
    /// Their sum over the number of rows with a weight other than 0; 0 if there are none.
    SumByNonzeroWeights,
}

/// Smoothed cross-entropy H(q', p) with q' = (1 − ε)q + εu.
pub struct CrossEntropy<'a> {
    /// q
    pub targets: &'a Targets<'a>,
    /// ε, u and the weights
    pub terms: LossTerms<'a>,
    /// What is returned.
    pub reduction: Reduction,
    /// Replaces the divisor of a mean.
    pub normalizer: Option<f64>,
}

impl CrossEntropy<'_> {
    /// Returns the reduced loss, or writes the losses of the rows to `losses` and returns NaN. Writes the gradient of
    /// the reduced loss to `grad`, and the diagonal of its Hessian to `hessian`. With [`Reduction::None`], which needs
    /// `losses`, the derivatives are those of the sum.
    ///
    /// # Errors
    /// [`Error::MaskedPrior`] for the first row whose prior has no mass on the classes that the mask
    /// keeps; [`Error::OutOfMemory`], or the error of `run.checkpoint`.
    ///
    /// # Panics
    /// When the views disagree in rows or classes, or if a Hessian is requested for more than [`SEGMENT`] classes or
    /// without a gradient.
    pub fn run(
        &self,
        batch: &Batch<'_>,
        losses: Option<&mut RowsMut<'_>>,
        grad: Option<&mut RowsMut<'_>>,
        hessian: Option<&mut Hessian<'_>>,
        run: &mut Run<'_>,
    ) -> Result<f64, Error> {
        let (logits, mask) = (&batch.logits, batch.mask.as_ref());
        let (grad, hessian) = (grad.map(|grad| &*grad), hessian.map(|hessian| &*hessian));
        if let Some(hessian) = hessian {
            batch.assert_same_shape(Some(&hessian.out));
            assert!(logits.classes() <= SEGMENT, "rows of one segment");
            assert!(grad.is_some(), "a gradient beside the Hessian");
        }
        assert!(self.targets.rows() == logits.rows(), "one target for each row");
        batch.assert_same_shape(grad);
        // For few rows no memory is allocated. The losses of many rows of few classes are added while they are computed,
        // since an array of them would be written to memory and read again.
        let (mut few, mut many) = ([0.0; 8], None);
        let has_few_classes = logits.classes() <= MOST_CLASSES;
        let are_summed = losses.is_none() && has_few_classes && logits.rows() > few.len();
        let is_reduced = losses.is_none() && self.reduction != Reduction::None;
        let per_sum = rows_per_sum(logits.classes());
        let len = if are_summed { logits.rows().div_ceil(per_sum) } else { logits.rows() };
        if losses.is_none() && len > few.len() {
            many.insert(Workspace::new(len)).reserve(1)?;
        }
        let few = few.get_mut(..len).unwrap_or_default();
        let row_losses = many.as_mut().map_or(few, Workspace::first);
        let own_losses = RowsMut::from_slice(row_losses, 1);
        let losses = losses.map_or(&own_losses, |losses| {
            batch.assert_one_per_row(losses);
            &*losses
        });
        let kept = match mask {
            None => None, // the most frequent case: nothing is copied
            Some(mask) => Some(kept_masses(mask, self.targets, &self.terms, run)?),
        };
        let (targets, LossTerms { class_weight, sample_weight, .. }) = (self.targets, self.terms);
        // In a quotient of sums, the unit of weights cancels, or the quotient is multiplied by it at the end.
        let are_units = matches!(self.reduction, Reduction::Mean | Reduction::SumByNonzeroWeights);
        let unit_of = |weights: Option<&WeightValues>| weights.map_or(1.0, |weights| weights.unit);
        let units = [unit_of(class_weight), unit_of(sample_weight)];
        let all_units = units[0] * units[1];
        let (mut divisor, mut unit) = match (self.reduction, self.normalizer) {
            (Reduction::None | Reduction::Sum, _) => (1.0, 1.0),
            // A small normalizer is converted to the units of small weights: otherwise the quotient could overflow.
            (_, Some(normalizer)) if all_units.is_normal() && normalizer.max(all_units) < 1.0 => {
                (normalizer / all_units, 1.0)
            }
            (_, Some(normalizer)) => (normalizer, all_units),
            (reduction, None) => {
                let is_mean = reduction == Reduction::Mean;
                let fill = |first: usize, terms: &mut [f64]| {
                    self.set_terms_of_divisor(first, kept.as_deref(), terms);
                };
                let is_weighted = sample_weight.is_some() || is_mean && class_weight.is_some();
                let divisor = match targets {
                    Targets::Labels(all) if !is_weighted && mask.is_none() => count(all.counted),
                    _ => run.sum_of_terms(targets.rows(), (TERMS_PER_PART, 1), &fill)?,
                };
                (divisor, if is_mean { 1.0 } else { all_units })
            }
        };
        if !unit.is_normal() && divisor != 0.0 {
            // The product of the units is out of range, but the quotient by the divisor may not be.
            (divisor, unit) = ((divisor / units[0]).clamp(f64::SMALLEST, f64::MAX), units[1]);
        }
        let (classes, kept) = (logits.classes(), kept.as_deref());
        // If no row counts, the mean is 0/0, but its gradient is 0.
        let operation = if grad.is_some() { Operation::Gradient } else { Operation::Loss };
        computed_in!(batch.compute, F => {
            let share = || shared_weights::<F>(&self.terms, classes, run);
            let mut rows = SmoothedTargets::new(targets, &self.terms, kept, classes, share)?;
            (rows.are_units, rows.divisor, rows.unit) = (are_units, divisor, unit);
            let mut job = batch.job::<F>(operation, grad);
            job.targets = Some(&rows);
            job.panel.masks_outputs = rows.mask_gradients();
            job.hessian = hessian;
            (job.scalars, job.are_summed) = (Some(losses), are_summed);
            job.rounds = self.reduction == Reduction::None;
            job.run(run)?;
        });
        if !is_reduced {
            return Ok(f64::NAN);
        }
        // In the order of the rows, whichever threads computed them.
        let row_losses = &*row_losses;
        let copy = |first: usize, terms: &mut [f64]| {
            terms.copy_from_slice(&row_losses[first..][..terms.len()]);
        };
        let sums = (if are_summed { 1 } else { per_sum }, SUMS_PER_PART);
        let sum = match row_losses {
            [only] => *only,
            rows => run.sum_of_terms(rows.len(), sums, &copy)?,
        };
        // 0/0 and x/0 are both the mean over nothing.
        Ok(match self.reduction {
            Reduction::SumByNonzeroWeights if divisor == 0.0 => 0.0,
            _ if divisor == 0.0 => f64::NAN,
            _ => sum / divisor * unit,
        })
    }

    /// Sets the terms of the divisor of a mean, for the rows from `first` on: their masses with their weights; or for
    /// [`Reduction::SumByNonzeroWeights`], 1 for rows that count.
    fn set_terms_of_divisor(&self, first: usize, kept: Option<&[Option<f64>]>, terms: &mut [f64]) {
        self.terms.set_row_weights(first, kept, true, terms);
        if self.reduction == Reduction::Mean {
            return self.targets.multiply_by_masses(first, self.terms.class_weight, terms);
        }
        for (row, term) in (first..).zip(terms) {
            *term = (*term != 0.0 && !self.targets.is_ignored(row)).into();
        }
    }
}

/// Numbers that are copied at a time, and numbers in one part of the work.
const COPIED: usize = 512;
const COPIED_PER_PART: usize = 1 << 17;

/// Copies rows to others of the same shape, rounding each number to their type. Allocates no memory.
///
/// # Errors
/// That of `run.checkpoint`.
///
/// # Panics
/// When the shapes differ.
pub fn copy(from: &Rows<'_>, to: &mut RowsMut<'_>, run: &mut Run<'_>) -> Result<(), Error> {
    let to = &*to;
    assert!((to.rows(), to.classes()) == (from.rows(), from.classes()), "rows of the same shape");
    let most = COPIED.min(from.classes()).max(1);
    let per_row = from.classes().div_ceil(most);
    let (pieces, per_part) = (from.rows() * per_row, COPIED_PER_PART / most);
    run.each(run.threads, pieces.div_ceil(per_part), per_part * most * size_of::<f64>(), &|part| {
        let mut buffer = [0.0_f64; COPIED];
        for piece in part * per_part..pieces.min((part + 1) * per_part) {
            let (row, class) = (piece / per_row, piece % per_row * most);
            let values = &mut buffer[..most.min(from.classes() - class)];
            from.gather_from(row, class, values);
            to.scatter_from(row, class, values);
        }
    })
}

/// Bytes of new memory that are touched at a time: some milliseconds.
const BYTES_PER_TOUCH: usize = 1 << 21;
/// Bytes of a page, the smallest unit in which the system provides memory.
const PAGE: usize = 1 << 12;

/// Touches each page of new memory, rows of one element that follow one another.
///
/// # Errors
/// That of `run.checkpoint`.
pub fn touch(elements: &mut RowsMut<'_>, run: &mut Run<'_>) -> Result<(), Error> {
    let (elements, item) = (&*elements, elements.storage().size());
    let bytes = elements.rows() * item;
    run.each(run.threads, bytes.div_ceil(BYTES_PER_TOUCH), BYTES_PER_TOUCH, &|part| {
        let end = bytes.min((part + 1) * BYTES_PER_TOUCH);
        (part * BYTES_PER_TOUCH..end).step_by(PAGE).for_each(|at| elements.put(at / item, 0, 0.0));
    })
}
