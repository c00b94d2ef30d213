//! The options of the operations, few combinations of which hold many pairs.
//!
//! ```text
//! combination i = 7a + b    the choices a, b, b + a, b + 2a, ..., b + 6a, modulo 7
//! ```
//!
//! 7 is a prime, so of any two choices every pair of values occurs once among the 49.

use crate::memory::{Buffer, Layout, Numbers};
use crate::rows::{IGNORED, Problem, labels};
use smoothxent::{
    Batch, CrossEntropy, Float, Level, LossTerms, Operation, Prior, Reduction, Rows, Run, Storage,
    Targets, WeightValues, read_prior, read_probabilities, read_weights,
};
use std::collections::BTreeSet;

/// Which target of a [`Problem`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    Labels,
    OneHot,
    Probabilities,
}

/// Which prior or mask of a [`Problem`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// The uniform prior, no mask.
    None,
    AllRows,
    EachRow,
}

/// Everything that may be chosen about a loss.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub target: Target,
    pub prior: Of,
    pub label_smoothing: f64,
    pub reduction: Reduction,
    pub normalizer: Option<f64>,
    pub class_weight: bool,
    pub sample_weight: bool,
    pub temperature: f64,
    pub z_loss: f64,
    pub mask: Of,
    /// Storage and layout of logits, probabilities, gradient and activations; layout of the others.
    pub memory: (Storage, Layout),
}

/// Number of combinations.
pub const COMBINATIONS: usize = 49;
const CHOICES: usize = 8;

fn digit(combination: usize, choice: usize) -> usize {
    let (a, b) = (combination / 7, combination % 7);
    if choice == 0 { a } else { (b + (choice - 1) * a) % 7 }
}

impl Options {
    /// Combination `index` for rows computed in `F`.
    pub fn nth<F: Float>(index: usize) -> Self {
        use Layout::{ClassMajor, Dense, Gapped, Grid, Reversed};
        fn pick<T: Copy>(values: &[T], digit: usize) -> T {
            values[digit % values.len()]
        }
        let own = F::STORAGE;
        let narrow = if own == Storage::F64 { Storage::F32 } else { Storage::F16 };
        let [target, prior, smoothing, divisor, weights, factors, mask, memory] =
            std::array::from_fn::<usize, CHOICES, _>(|choice| digit(index, choice));
        let divisors = [
            (Reduction::None, None),
            (Reduction::Mean, None),
            (Reduction::SumByNonzeroWeights, None),
            (Reduction::Mean, Some(7.0)),
            (Reduction::Sum, None),
        ];
        let (reduction, normalizer) = pick(&divisors, divisor);
        let all_weights = [(false, false), (true, true), (true, false), (false, true)];
        let (class_weight, sample_weight) = pick(&all_weights, weights);
        let (temperature, z_loss) =
            pick(&[(1.0, 0.0), (2.5, 1e-2), (0.3, 0.0), (1.0, 1e-3)], factors);
        Self {
            target: pick(&[Target::Labels, Target::Probabilities, Target::OneHot], target),
            prior: pick(&[Of::None, Of::AllRows, Of::EachRow], prior),
            label_smoothing: pick(&[0.1, 0.0, 1.0], smoothing),
            reduction,
            normalizer,
            class_weight,
            sample_weight,
            temperature,
            z_loss,
            mask: pick(&[Of::None, Of::EachRow, Of::AllRows], mask),
            memory: pick(
                &[
                    (own, Dense),
                    (Storage::Bf16, Dense),
                    (own, Gapped),
                    (narrow, Reversed),
                    (own, ClassMajor),
                    (Storage::F16, Grid),
                    (own, Reversed),
                ],
                memory,
            ),
        }
    }

    /// The same with nothing rounded to another type than that of the rows.
    pub fn dense<F: Float>(self) -> Self {
        Self { memory: (F::STORAGE, Layout::Dense), ..self }
    }
}

/// The best level, one thread.
pub const HOW: fn() -> (Level, usize) = || (Level::current(), 1);

#[test]
fn any_two_values_meet() {
    for (first, second) in (0..CHOICES).flat_map(|i| (0..i).map(move |j| (i, j))) {
        let pair = |index| (digit(index, first), digit(index, second));
        let pairs: BTreeSet<_> = (0..COMBINATIONS).map(pair).collect();
        assert_eq!(pairs.len(), 7 * 7, "choices {first} and {second}");
    }
}

/// A problem in memory.
pub struct Operands<'p> {
    problem: &'p Problem,
    options: Options,
    compute: Storage,
    pub logits: Buffer,
    /// Probabilities; the labels as such if they are the target.
    pub q: Buffer,
    pub prior: Option<Buffer>,
    pub mask: Option<Buffer>,
}

impl<'p> Operands<'p> {
    /// For rows computed in `F`.
    pub fn new<F: Float>(problem: &'p Problem, options: Options) -> Self {
        let Problem { classes, .. } = *problem;
        let (storage, layout) = options.memory;
        let buffer =
            |storage, values: &[f64]| Buffer::from_values(storage, layout, classes, values);
        let choose = |of, storage, all: &[f64], each: &[f64]| match of {
            Of::None => None,
            Of::AllRows => Some(buffer(storage, all)),
            Of::EachRow => Some(buffer(storage, each)),
        };
        let q = match options.target {
            Target::Labels | Target::OneHot => &problem.one_hot,
            Target::Probabilities => &problem.probabilities,
        };
        Self {
            problem,
            options,
            compute: F::STORAGE,
            logits: buffer(storage, &problem.logits),
            q: buffer(storage, q),
            // 16 bits are too few for a sum of 1.
            prior: choose(options.prior, F::STORAGE, &problem.prior, &problem.priors),
            mask: choose(options.mask, Storage::Bool, &problem.mask, &problem.masks),
        }
    }

    fn targets(&self, class_weight: Option<&WeightValues>, run: &mut Run<'_>) -> Targets<'_> {
        if self.options.target != Target::Labels {
            return read_probabilities(self.q.rows(), self.compute, class_weight, run).unwrap();
        }
        let labels = labels(&self.problem.labels, self.problem.classes, Some(IGNORED), run);
        Targets::Labels(labels.unwrap())
    }

    /// Validated.
    pub fn call(&self) -> Call<'_> {
        Run::with_defaults(|run| self.validated(run))
    }

    fn validated(&self, run: &mut Run<'_>) -> Call<'_> {
        let Self { problem, options, .. } = self;
        let mut weights = |is_asked: bool, values: &[f64], name| {
            is_asked.then(|| read_weights(&Rows::from_slice(values, 1), name, run).unwrap())
        };
        let class_weight = weights(options.class_weight, &problem.class_weight, "class_weight");
        let sample_weight = weights(options.sample_weight, &problem.sample_weight, "sample_weight");
        let prior = match &self.prior {
            None => Prior::Uniform,
            Some(prior) => read_prior(prior.rows(), run).unwrap(),
        };
        let mask = self.mask.as_ref().map(|mask| match options.mask {
            Of::AllRows => mask.repeated(problem.rows()),
            _ => mask.rows(),
        });
        Call {
            problem,
            options,
            targets: self.targets(class_weight.as_ref(), run),
            unweighted: class_weight.is_some().then(|| self.targets(None, run)),
            class_weight,
            sample_weight,
            prior,
            logits: self.logits.rows(),
            mask,
        }
    }
}

/// What the operations are called with.
pub struct Call<'c> {
    problem: &'c Problem,
    options: &'c Options,
    targets: Targets<'c>,
    /// Without class weights, if they are asked for.
    unweighted: Option<Targets<'c>>,
    class_weight: Option<WeightValues>,
    sample_weight: Option<WeightValues>,
    prior: Prior<'c>,
    logits: Rows<'c>,
    mask: Option<Rows<'c>>,
}

/// What a loss gives.
pub struct Loss {
    pub value: f64,
    /// One a row if they are not reduced, else zeros.
    pub losses: Numbers,
    /// Empty if it is not asked for.
    pub grad: Numbers,
}

/// The result of one operation.
pub struct Output {
    pub name: String,
    pub numbers: Numbers,
    /// 0 if the result is of all rows.
    pub row_len: usize,
}

impl Call<'_> {
    fn run<R>(
        (level, threads): (Level, usize),
        body: impl FnOnce(&mut Run<'_>) -> Result<R, smoothxent::Error>,
    ) -> R {
        body(&mut Run::new(level, threads, &mut || Ok(()))).unwrap()
    }

    fn buffer(&self, classes: usize) -> Buffer {
        let (storage, layout) = self.options.memory;
        Buffer::new(storage, layout, self.problem.rows(), classes)
    }

    fn batch<F: Float>(&self) -> Batch<'_> {
        Batch {
            logits: self.logits.clone(),
            mask: self.mask.clone(),
            temperature: self.options.temperature,
            compute: F::STORAGE,
        }
    }

    pub fn loss<F: Float>(&self, with_grad: bool, how: (Level, usize)) -> Loss {
        let Options { reduction, normalizer, label_smoothing, .. } = *self.options;
        let (problem, is_reduced) = (self.problem, reduction != Reduction::None);
        let loss = CrossEntropy {
            targets: &self.targets,
            terms: LossTerms {
                class_weight: self.class_weight.as_ref(),
                sample_weight: self.sample_weight.as_ref(),
                z_loss: self.options.z_loss,
                ..LossTerms::new(label_smoothing, &self.prior)
            },
            reduction,
            normalizer,
        };
        let mut grad = with_grad.then(|| self.buffer(problem.classes));
        let mut losses = Buffer::new(F::STORAGE, Layout::Dense, problem.rows(), 1);
        let value = {
            let (mut losses, mut grad) = (losses.rows_mut(), grad.as_mut().map(Buffer::rows_mut));
            let losses = (!is_reduced).then_some(&mut losses);
            let batch = self.batch::<F>();
            Self::run(how, |run| loss.run(&batch, losses, grad.as_mut(), None, run))
        };
        let none = || Numbers::from_values(&[], self.options.memory.0);
        let grad = grad.map_or_else(none, Buffer::into_numbers);
        Loss { value, losses: losses.into_numbers(), grad }
    }

    /// In the order of [`Batch::cross_entropy_terms`].
    pub fn terms<F: Float>(&self, how: (Level, usize)) -> [Numbers; 5] {
        let rows = self.problem.rows();
        let mut terms = [(); 5].map(|()| Buffer::new(F::STORAGE, Layout::Dense, rows, 1));
        let mut out = terms.each_mut().map(Buffer::rows_mut);
        let batch = self.batch::<F>();
        let targets = self.unweighted.as_ref().unwrap_or(&self.targets);
        Self::run(how, |run| batch.cross_entropy_terms(targets, &self.prior, &mut out, run));
        terms.map(Buffer::into_numbers)
    }

    /// Softmax, log-softmax or logsumexp.
    pub fn apply<F: Float>(&self, operation: Operation, how: (Level, usize)) -> Numbers {
        let is_scalar = operation == Operation::LogSumExp;
        let mut out = self.buffer(if is_scalar { 1 } else { self.problem.classes });
        let (batch, mut rows) = (self.batch::<F>(), out.rows_mut());
        Self::run(how, |run| batch.apply(operation, &mut rows, run));
        out.into_numbers()
    }

    /// The loss with its gradient and alone; what does not depend on its divisor with
    /// [`Reduction::None`] only.
    pub fn outputs<F: Float>(&self, how: (Level, usize)) -> Vec<Output> {
        let classes = self.problem.classes;
        let is_reduced = self.options.reduction != Reduction::None;
        let mut outputs = Vec::new();
        let mut add = |name: &str, numbers, row_len| {
            outputs.push(Output { name: name.to_owned(), numbers, row_len });
        };
        let mut add_loss = |name: &str, with_grad| {
            let Loss { value, losses, grad } = self.loss::<F>(with_grad, how);
            if is_reduced {
                add(name, Numbers::from_values(&[value], Storage::F64), 0);
            } else {
                add(name, losses, 1);
            }
            if with_grad {
                add("gradient", grad, classes);
            }
            value
        };
        let value = add_loss("loss", true);
        // A sum that is NaN tells nothing of what it was made from.
        if !(is_reduced && value.is_nan()) {
            add_loss("loss alone", false);
        }
        if !is_reduced {
            for (index, term) in self.terms::<F>(how).into_iter().enumerate() {
                add(&format!("term {index}"), term, 1);
            }
            for (operation, row_len) in [
                (Operation::Softmax, classes),
                (Operation::LogSoftmax, classes),
                (Operation::LogSumExp, 1),
            ] {
                add(&format!("{operation:?}"), self.apply::<F>(operation, how), row_len);
            }
        }
        outputs
    }
}

/// Asserts that results agree to the bit.
pub fn assert_same(found: &[Output], wanted: &[Output], problem: &Problem, place: &str) {
    assert!(found.len() == wanted.len(), "{place}: one of two sums is NaN");
    for (found, wanted) in found.iter().zip(wanted) {
        let (name, row_len) = (&found.name, found.row_len.max(1));
        if let Some((at, found, wanted)) = found.numbers.first_difference(&wanted.numbers) {
            let (row, class) = (at / row_len, at % row_len);
            let kind = problem.kinds[row];
            panic!(
                "{place}: {name}, {class}, of row {row} ({kind:?}) of {} classes: {found:e} is not {wanted:e}",
                problem.classes
            );
        }
    }
}
