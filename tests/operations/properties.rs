//! The values are those of the paper's formulas, what does not count is not read, and long work
//! can be stopped.

#![allow(clippy::cast_precision_loss, reason = "small integers")]

use crate::formulas::{Reference, check};
use crate::rows::{IGNORED, Kind, Problem};
use smoothxent::{
    Activation, CrossEntropy, Error, Float, Labels, Level, LossTerms, Prior, Probabilities,
    Reduction, Rows, RowsMut, Run, Storage, Targets, TermsOut, activation, cross_entropy_terms,
    logsumexp,
};

/// What is promised for f32.
const F32_ULPS: f64 = 2.0;
/// The reference's own error for f64: M − z is up to 2000, where the last bit is 2^-42.
const F64_ULPS: f64 = 1024.0;

fn run<R>(body: impl FnOnce(&mut Run<'_>) -> Result<R, Error>) -> R {
    let mut checkpoint = || Ok(());
    body(&mut Run { level: Level::current(), threads: 1, checkpoint: &mut checkpoint }).unwrap()
}

/// Kinds that the plain reference can hold: M − z of the largest f64 overflows.
fn kinds<F: Float>() -> Vec<Kind> {
    let overflows =
        |kind: &Kind| F::STORAGE == Storage::F64 && matches!(kind, Kind::Largest | Kind::Lowest);
    Kind::ALL.into_iter().filter(|kind| !overflows(kind)).collect()
}

/// Row `row` of `values`.
fn row_of<F: Float>(values: &[F], row: usize, classes: usize) -> Vec<f64> {
    values[row * classes..][..classes].iter().map(|value| value.to_f64()).collect()
}

fn references<F: Float>(problem: &Problem<F>) -> Vec<Reference> {
    let rows = problem.logits.chunks(problem.classes);
    rows.map(|row| Reference::new(&row_of(row, 0, row.len()), F::MIN_POSITIVE)).collect()
}

fn place<F>(problem: &Problem<F>, row: usize) -> String {
    format!("row {row} ({:?}) of {} classes", problem.kinds[row], problem.classes)
}

fn check_activations<F: Float>(problem: &Problem<F>, ulps: f64) {
    let classes = problem.classes;
    let logits = Rows::from_slice(&problem.logits, classes);
    let mut softmax = vec![F::default(); problem.logits.len()];
    let mut log_softmax = softmax.clone();
    let mut lse = vec![F::default(); problem.kinds.len()];
    for (kind, out) in
        [(Activation::Softmax, &mut softmax), (Activation::LogSoftmax, &mut log_softmax)]
    {
        run(|run| {
            activation::<F>(kind, 1.0, &logits, None, &RowsMut::from_slice(out, classes), run)
        });
    }
    run(|run| logsumexp::<F>(1.0, &logits, None, &RowsMut::from_slice(&mut lse, 1), run));
    for (row, wanted) in references(problem).iter().enumerate() {
        let place = place(problem, row);
        let size = wanted.max.abs().max(wanted.excess);
        check(&format!("logsumexp of {place}"), lse[row], wanted.lse, size, ulps);
        for k in 0..classes {
            let i = row * classes + k;
            let p = wanted.softmax[k];
            check(&format!("softmax, {k}, of {place}"), softmax[i], p, p, ulps);
            let log_p = -(wanted.gaps[k] + wanted.excess);
            check(&format!("log_softmax, {k}, of {place}"), log_softmax[i], log_p, log_p, ulps);
        }
    }
}

/// A target and a prior, and the numbers in them.
struct Case<'a, F> {
    targets: Targets<'a>,
    q: &'a [F],
    prior: Prior<'a>,
    /// One row for all, or one for each; `None` is uniform.
    u: Option<&'a [F]>,
}

impl<F: Float> Case<'_, F> {
    /// q and u of one row.
    fn row(&self, row: usize, classes: usize) -> (Vec<f64>, Vec<f64>) {
        let u = match self.u {
            None => vec![1.0 / classes as f64; classes],
            Some(u) => row_of(u, if u.len() == classes { 0 } else { row }, classes),
        };
        (row_of(self.q, row, classes), u)
    }
}

/// Every form of target with every form of prior.
fn cases<F: Float>(problem: &Problem<F>) -> Vec<Case<'_, F>> {
    let Problem { classes, labels, one_hot, probabilities, prior, priors, .. } = problem;
    let rows = |values| Rows::from_slice(values, *classes);
    let mut cases = Vec::new();
    for u in [None, Some(&prior[..]), Some(&priors[..])] {
        let prior = || u.map_or(Prior::Uniform, |u| Prior::new(rows(u), &mut || Ok(())).unwrap());
        let labels =
            Labels::new(labels.iter().copied(), *classes, Some(IGNORED), &mut || Ok(())).unwrap();
        let dense = Probabilities::new(rows(probabilities), None, &mut || Ok(())).unwrap();
        cases.extend([
            Case { targets: Targets::Labels(labels), q: one_hot, prior: prior(), u },
            Case { targets: Targets::Probabilities(dense), q: probabilities, prior: prior(), u },
        ]);
    }
    cases
}

fn check_loss<F: Float>(problem: &Problem<F>, case: &Case<'_, F>, label_smoothing: f64, ulps: f64) {
    let Case { targets, prior, .. } = case;
    let loss = CrossEntropy {
        targets,
        terms: LossTerms::new(label_smoothing, prior),
        reduction: Reduction::None,
        normalizer: None,
    };
    let classes = problem.classes;
    let mut grad = vec![F::default(); problem.logits.len()];
    let mut losses = vec![F::default(); problem.kinds.len()];
    let logits = Rows::from_slice(&problem.logits, classes);
    let losses_out = RowsMut::from_slice(&mut losses, 1);
    let grad_out = RowsMut::from_slice(&mut grad, classes);
    run(|run| loss.run::<F>(&logits, None, Some(&losses_out), Some(&grad_out), run));
    for (row, wanted) in references(problem).iter().enumerate() {
        let (q, u) = case.row(row, classes);
        let smoothed = |(q, u)| (1.0 - label_smoothing) * q + label_smoothing * u;
        let q: Vec<f64> = q.into_iter().zip(u).map(smoothed).collect();
        let place = format!("{}, label_smoothing {label_smoothing}", place(problem, row));
        let wanted_loss = wanted.loss(&q);
        check(&format!("loss of {place}"), losses[row], wanted_loss, wanted_loss, ulps);
        for (k, q_k) in q.iter().enumerate() {
            let (value, size) = (grad[row * classes + k], wanted.softmax[k].max(*q_k));
            check(&format!("gradient, {k}, of {place}"), value, wanted.grad(&q, k), size, ulps);
        }
    }
}

fn check_terms<F: Float>(problem: &Problem<F>, case: &Case<'_, F>, ulps: f64) {
    let classes = problem.classes;
    let mut terms = [(); 5].map(|()| vec![F::default(); problem.kinds.len()]);
    {
        let [nll, prior_cross_entropy, prior_kl, prior_entropy, logsumexp] =
            terms.each_mut().map(|term| RowsMut::from_slice(term, 1));
        let out = TermsOut { nll, prior_cross_entropy, prior_kl, prior_entropy, logsumexp };
        let logits = Rows::from_slice(&problem.logits, classes);
        run(|run| {
            cross_entropy_terms::<F>(&logits, None, &case.targets, &case.prior, 1.0, &out, run)
        });
    }
    let [nll, prior_cross_entropy, prior_kl, prior_entropy, lse] = terms;
    for (row, wanted) in references(problem).iter().enumerate() {
        let (q, u) = case.row(row, classes);
        let place = place(problem, row);
        let entropy: f64 = u.iter().filter(|u| **u != 0.0).map(|u| -u * u.ln()).sum();
        let (hard, smooth) = (wanted.loss(&q), wanted.loss(&u));
        let size = wanted.max.abs().max(wanted.excess);
        check(&format!("nll of {place}"), nll[row], hard, hard, ulps);
        check(&format!("H(u, p) of {place}"), prior_cross_entropy[row], smooth, smooth, ulps);
        check(&format!("KL of {place}"), prior_kl[row], smooth - entropy, smooth, ulps);
        check(&format!("H(u) of {place}"), prior_entropy[row], entropy, entropy, ulps);
        check(&format!("lse of {place}"), lse[row], wanted.lse, size, ulps);
    }
}

fn check_values<F: Float>(ulps: f64) {
    for classes in [1, 2, 10, 65, 257, 1000] {
        let problem = Problem::<F>::new(kinds::<F>(), classes);
        check_activations(&problem, ulps);
        for case in cases(&problem) {
            for label_smoothing in [0.0, 0.1, 1.0] {
                check_loss(&problem, &case, label_smoothing, ulps);
            }
            check_terms(&problem, &case, ulps);
        }
    }
}

#[test]
fn values_f32() {
    check_values::<f32>(F32_ULPS);
}

#[test]
fn values_f64() {
    check_values::<f64>(F64_ULPS);
}

/// Sum and mean of the losses that count, and their gradients; what does not count is not read.
#[test]
fn reductions() {
    let classes = 10;
    let mut problem =
        Problem::<f64>::new([Kind::Ordinary, Kind::Nan, Kind::Confident].repeat(20), classes);
    for (row, kind) in problem.kinds.iter().enumerate() {
        if *kind == Kind::Nan {
            problem.labels[row] = IGNORED;
        }
    }
    let ignored = |row: usize| problem.kinds[row] == Kind::Nan;
    let logits = Rows::from_slice(&problem.logits, classes);
    let rows = problem.kinds.len();
    let targets = &cases(&problem)[0].targets;
    let loss_and_grad = |reduction| {
        let mut grad = vec![f64::NAN; problem.logits.len()];
        let mut losses = vec![f64::NAN; rows];
        let losses_out = RowsMut::from_slice(&mut losses, 1);
        let grad_out = RowsMut::from_slice(&mut grad, classes);
        let loss = CrossEntropy {
            targets,
            terms: LossTerms::new(0.1, &Prior::Uniform),
            reduction,
            normalizer: None,
        };
        let losses_out = (reduction == Reduction::None).then_some(&losses_out);
        let value = run(|run| loss.run::<f64>(&logits, None, losses_out, Some(&grad_out), run));
        (value, losses, grad)
    };
    let (value, losses, grad) = loss_and_grad(Reduction::None);
    assert!(value.is_nan());
    for row in (0..rows).filter(|row| ignored(*row)) {
        assert_eq!(losses[row].to_bits(), 0, "the loss of ignored row {row}");
        let grad = &grad[row * classes..][..classes];
        assert!(
            grad.iter().all(|g| g.to_bits() == 0),
            "the gradient of ignored row {row}: {grad:?}"
        );
    }
    let (sum, _, grad_of_sum) = loss_and_grad(Reduction::Sum);
    check("sum", sum, losses.iter().sum(), sum, ROUNDING_ULPS);
    assert_eq!(grad_of_sum, grad, "the gradient of the sum is that of every row");
    let (mean, _, grad_of_mean) = loss_and_grad(Reduction::Mean);
    let counted = (0..rows).filter(|row| !ignored(*row)).count() as f64;
    assert_eq!(mean, sum / counted);
    for (value, grad) in grad_of_mean.into_iter().zip(grad) {
        check("gradient of the mean", value, grad / counted, grad / counted, ROUNDING_ULPS);
    }
}

/// Of a sum of 40 numbers, and of two roundings in place of one.
const ROUNDING_ULPS: f64 = 4.0;

#[test]
fn nothing_counted() {
    let logits = [f32::NAN, 1.0, 2.0];
    let targets = &Targets::Labels(
        Labels::new([IGNORED].into_iter(), 3, Some(IGNORED), &mut || Ok(())).unwrap(),
    );
    for (reduction, wanted) in [(Reduction::Mean, f64::NAN), (Reduction::Sum, 0.0)] {
        let mut grad = [f32::NAN; 3];
        let loss = CrossEntropy {
            targets,
            terms: LossTerms::new(0.1, &Prior::Uniform),
            reduction,
            normalizer: None,
        };
        let grad_out = RowsMut::from_slice(&mut grad, 3);
        let value = run(|run| {
            loss.run::<f32>(&Rows::from_slice(&logits, 3), None, None, Some(&grad_out), run)
        });
        assert!(value == wanted || value.is_nan() && wanted.is_nan(), "{reduction:?}: {value}");
        assert_eq!(grad.map(f32::to_bits), [0; 3], "{reduction:?}");
    }
}

/// Between slices of long work the caller is asked, and an error ends the call.
#[test]
fn checkpoint() {
    let (rows, classes) = (12_000, 1000);
    let logits = vec![1f32; rows * classes];
    let logits = Rows::from_slice(&logits, classes);
    let mut lse = vec![0f32; rows];
    for stop_at in [None, Some(1), Some(2)] {
        let mut calls = 0;
        let mut checkpoint = || {
            calls += 1;
            if Some(calls) == stop_at { Err(Error::Interrupted) } else { Ok(()) }
        };
        let mut run = Run { level: Level::current(), threads: 2, checkpoint: &mut checkpoint };
        let result =
            logsumexp::<f32>(1.0, &logits, None, &RowsMut::from_slice(&mut lse, 1), &mut run);
        match stop_at {
            None => {
                assert_eq!(result, Ok(()));
                assert!(calls >= 2, "48 MB are one slice: {calls} calls");
            }
            Some(stop_at) => assert_eq!((result, calls), (Err(Error::Interrupted), stop_at)),
        }
    }
}
