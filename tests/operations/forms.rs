//! The same question in another form has an answer of the same bits.

use crate::memory::{Layout, same};
use crate::options::{HOW, Loss, Of, Operands, Options, Output, Target, assert_same};
use crate::random::{self, MILD};
use crate::rows::{Kind, Problem};
use proptest::prelude::*;
use proptest::sample::select;
use smoothxent::{Float, Reduction};

const CASES: u32 = 1000;

fn outputs<F: Float>(problem: &Problem, options: Options) -> Vec<Output> {
    Operands::new::<F>(problem, options).call().outputs::<F>(HOW())
}

/// The loss, the losses and the gradient.
fn numbers<F: Float>(problem: &Problem, options: Options) -> Vec<f64> {
    let Loss { value, losses, grad } =
        Operands::new::<F>(problem, options).call().loss::<F>(true, HOW());
    [vec![value], losses.values(), grad.values()].concat()
}

fn assert_bits(found: &[f64], wanted: &[f64], place: &str) {
    assert!(found.len() == wanted.len());
    for (at, (a, b)) in found.iter().zip(wanted).enumerate() {
        assert!(same(*a, *b), "{place}: number {at} is {a:e}, not {b:e}");
    }
}

/// Problems and options of every kind.
fn cases<F: Float>() -> impl Strategy<Value = (Problem, Options)> {
    (random::problems::<F>(&Kind::ALL), random::options::<F>())
}

fn check_layouts<F: Float>() {
    let layouts = [Layout::Gapped, Layout::Reversed, Layout::ClassMajor, Layout::Grid];
    random::check(
        CASES,
        (cases::<F>(), select(layouts.to_vec())),
        |((problem, options), layout)| {
            let storage = options.memory.0;
            let [here, there] = [Layout::Dense, layout].map(|layout| {
                outputs::<F>(&problem, Options { memory: (storage, layout), ..options })
            });
            assert_same(&there, &here, &problem, &format!("{layout:?}"));
        },
    );
}

#[test]
fn wherever_the_numbers_lie() {
    check_layouts::<f32>();
    check_layouts::<f64>();
}

fn check_slices<F: Float>() {
    random::check(CASES, (cases::<F>(), 0..6usize, 0..6usize), |((problem, options), i, j)| {
        // Nothing but the divisor of a mean is of all rows.
        let has_divisor = options.normalizer.is_some() || options.reduction == Reduction::Sum;
        let reduction = if has_divisor { options.reduction } else { Reduction::None };
        let options = Options { reduction, ..options };
        let (i, j) = (i % problem.rows(), j % problem.rows());
        let rows = i.min(j)..i.max(j) + 1;
        let slice = problem.slice(rows.clone());
        let of_rows = |mut outputs: Vec<Output>, rows: std::ops::Range<usize>| {
            outputs.retain(|output| output.row_len > 0);
            for Output { numbers, row_len, .. } in &mut outputs {
                *numbers = numbers.part(rows.start * *row_len..rows.end * *row_len);
            }
            outputs
        };
        let wanted = of_rows(outputs::<F>(&problem, options), rows.clone());
        let alone = of_rows(outputs::<F>(&slice, options), 0..rows.len());
        assert_same(&alone, &wanted, &slice, "fewer rows");
    });
}

#[test]
fn whichever_rows_are_around() {
    check_slices::<f32>();
    check_slices::<f64>();
}

fn check_labels<F: Float>() {
    random::check(CASES, cases::<F>(), |(mut problem, options)| {
        // A row of probabilities is never ignored.
        for row in 0..problem.rows() {
            problem.set_label(row, row * 7 % problem.classes);
        }
        let [labels, one_hot] = [Target::Labels, Target::OneHot]
            .map(|target| outputs::<F>(&problem, Options { target, ..options }));
        assert_same(&one_hot, &labels, &problem, "one-hot");
    });
}

#[test]
fn a_label_is_a_distribution_with_one_class() {
    check_labels::<f32>();
    check_labels::<f64>();
}

fn check_unsmoothed<F: Float>() {
    random::check(CASES, cases::<F>(), |(problem, options)| {
        let with =
            |prior| numbers::<F>(&problem, Options { prior, label_smoothing: 0.0, ..options });
        for prior in [Of::AllRows, Of::EachRow] {
            assert_bits(&with(prior), &with(Of::None), &format!("{prior:?}"));
        }
    });
}

#[test]
fn without_smoothing_the_prior_is_not_read() {
    check_unsmoothed::<f32>();
    check_unsmoothed::<f64>();
}

fn check_repeated<F: Float>() {
    random::check(CASES, cases::<F>(), |(mut problem, options)| {
        problem.priors = problem.prior.repeat(problem.rows());
        problem.masks = problem.mask.repeat(problem.rows());
        let with = |of| {
            let mask = if options.mask == Of::None { Of::None } else { of };
            outputs::<F>(&problem, Options { prior: of, mask, ..options })
        };
        assert_same(&with(Of::EachRow), &with(Of::AllRows), &problem, "repeated");
    });
}

#[test]
fn one_prior_and_mask_for_all_rows_are_the_same_for_each() {
    check_repeated::<f32>();
    check_repeated::<f64>();
}

fn check_alone<F: Float>() {
    random::check(CASES, cases::<F>(), |(problem, options)| {
        let operands = Operands::new::<F>(&problem, options);
        let call = operands.call();
        let [with, alone] = [true, false].map(|with_grad| call.loss::<F>(with_grad, HOW()));
        assert_bits(&alone.losses.values(), &with.losses.values(), "losses");
        assert_bits(&[alone.value], &[with.value], "loss");
    });
}

#[test]
fn the_gradient_changes_nothing_of_the_loss() {
    check_alone::<f32>();
    check_alone::<f64>();
}

/// A power of two in the weights comes out of losses and gradients as it went in, or goes out
/// with the divisor of a mean.
fn check_powers<F: Float>() {
    let weights = (-12..=12i32, any::<bool>());
    let cases = (random::problems::<F>(&MILD), random::options::<F>(), weights);
    random::check(CASES, cases, |(problem, options, (power, of_rows))| {
        let (class_weight, sample_weight) = (true, true);
        // No class has z_loss.
        let z_loss = if of_rows { options.z_loss } else { 0.0 };
        let options = Options { class_weight, sample_weight, z_loss, ..options }.dense::<F>();
        let mut heavy = problem.clone();
        let weights = if of_rows { &mut heavy.sample_weight } else { &mut heavy.class_weight };
        for weight in weights {
            *weight *= 2f64.powi(power);
        }
        let is_mean = options.reduction == Reduction::Mean && options.normalizer.is_none();
        let factor = if is_mean { 1.0 } else { 2f64.powi(power) };
        let light = numbers::<F>(&problem, options);
        let wanted: Vec<f64> = light.iter().map(|number| number * factor).collect();
        assert_bits(&numbers::<F>(&heavy, options), &wanted, &format!("2^{power}"));
    });
}

#[test]
fn a_power_of_two_goes_through_the_weights() {
    check_powers::<f32>();
    check_powers::<f64>();
}
