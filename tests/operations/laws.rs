//! What holds between results, whatever the logits are: exactly in theory, and here but for the
//! roundings of both.

use crate::formulas::{Expected, Sized, check};
use crate::memory::epsilon;
use crate::options::{HOW, Of, Operands, Options};
use crate::random::{self, MILD};
use crate::rows::{Kind, Problem, Random};
use proptest::prelude::*;
use smoothxent::{Float, Operation, Reduction};

/// What is promised for losses in a row's own type; the laws compare two of them.
const ULPS: f64 = 2.0;
/// The same for probabilities and gradients.
const CLASS_ULPS: f64 = 3.5;
const CASES: u32 = 1000;

/// Losses and gradients of both are equal but for the roundings of each; `place` is where a
/// class of the first is in the second.
fn assert_close<F: Float>(
    problem: &Problem,
    (other, place): (&Problem, &dyn Fn(usize) -> Option<usize>),
    options: Options,
    other_options: Options,
) {
    let operands = Operands::new::<F>(problem, options);
    let sizes = Expected::new::<F>(problem, &options, &operands).grad;
    let found = operands.call().loss::<F>(true, HOW());
    let wanted = Operands::new::<F>(other, other_options).call().loss::<F>(true, HOW());
    let close = |what: &str, found, value, size, ulps| {
        check(what, found, Sized { value, size }, F::STORAGE, 2.0 * ulps);
    };
    close("loss", found.value, wanted.value, wanted.value, ULPS);
    for (row, (loss, wanted)) in
        found.losses.values().into_iter().zip(wanted.losses.values()).enumerate()
    {
        close(&format!("loss of row {row}"), loss, wanted, wanted, ULPS);
    }
    let wanted = wanted.grad.values();
    for (at, grad) in found.grad.values().into_iter().enumerate() {
        let (row, class) = (at / problem.classes, at % problem.classes);
        let there = place(class).map(|class| wanted[row * other.classes + class]);
        // What is not there has none.
        let (wanted, size) = there.map_or((0.0, 0.0), |wanted| (wanted, sizes[at].size));
        close(&format!("gradient {class} of row {row}"), grad, wanted, size, CLASS_ULPS);
    }
}

/// Logits in sixteenths, and a shift that keeps them exact in f32.
fn check_shift<F: Float>() {
    let problems = random::problems::<F>(&MILD);
    let cases = (problems, random::options::<F>(), -(1 << 15)..1i32 << 15);
    random::check(CASES, cases, |(mut problem, options, shift)| {
        // z_loss is there to make a shift cost something.
        let options = Options::dense::<F>(Options { z_loss: 0.0, ..options });
        problem.logits.iter_mut().for_each(|z| *z = (*z * 16.0).round() / 16.0);
        let mut shifted = problem.clone();
        shifted.logits.iter_mut().for_each(|z| *z += f64::from(shift) / 16.0);
        assert_close::<F>(&problem, (&shifted, &Some), options, options);
    });
}

#[test]
fn a_shift_changes_nothing() {
    check_shift::<f32>();
    check_shift::<f64>();
}

fn check_order<F: Float>() {
    let cases = (random::problems::<F>(&Kind::SUMMABLE), random::options::<F>(), any::<u64>());
    random::check(CASES, cases, |(problem, options, seed)| {
        let options = Options::dense::<F>(options);
        let mut order: Vec<usize> = (0..problem.classes).collect();
        let mut random = Random(seed);
        for end in (1..order.len()).rev() {
            order.swap(end, random.below(end + 1));
        }
        let permuted = problem.with_classes(&order);
        let place = |class| order.iter().position(|k| *k == class);
        assert_close::<F>(&problem, (&permuted, &place), options, options);
    });
}

#[test]
fn the_order_of_the_classes_changes_nothing() {
    check_order::<f32>();
    check_order::<f64>();
}

/// A masked class is as good as a class that does not exist.
fn check_mask<F: Float>() {
    let cases = (random::problems::<F>(&Kind::SUMMABLE), random::options::<F>());
    random::check(CASES, cases, |(mut problem, options)| {
        let masked = Options::dense::<F>(Options { mask: Of::AllRows, ..options });
        let kept: Vec<usize> = (0..problem.classes).filter(|k| problem.mask[*k] != 0.0).collect();
        // What is asked of a class that is not there costs +inf.
        for row in 0..problem.rows() {
            let label = problem.labels[row];
            problem.set_label(row, kept[row % kept.len()]);
            if label < 0 {
                problem.labels[row] = label;
            }
            for k in (0..problem.classes).filter(|k| problem.mask[*k] == 0.0) {
                problem.probabilities[row * problem.classes + k] = 0.0;
            }
        }
        let mut sliced = problem.with_classes(&kept);
        // What is left of a prior is renormalised.
        for u in [&mut sliced.prior, &mut sliced.priors] {
            for u in u.chunks_mut(kept.len()) {
                let sum = sum(u);
                for u in u {
                    *u /= sum;
                }
            }
        }
        let place = |class| kept.iter().position(|k| *k == class);
        let unmasked = Options { mask: Of::None, ..masked };
        assert_close::<F>(&problem, (&sliced, &place), masked, unmasked);
    });
}

#[test]
fn a_mask_leaves_classes_out() {
    check_mask::<f32>();
    check_mask::<f64>();
}

/// Rounded once: Neumaier's sum.
fn sum(values: &[f64]) -> f64 {
    let (mut sum, mut lost) = (0.0_f64, 0.0);
    for value in values {
        let next = sum + value;
        let (large, small) = if sum.abs() >= value.abs() { (sum, *value) } else { (*value, sum) };
        lost += (large - next) + small;
        sum = next;
    }
    sum + lost
}

/// Σ p = 1 and Σ g = 0: each p is within so many ulp, so 2·ulps·ε/2 of itself, and at most the
/// smallest normal number where it is flushed; likewise each gradient of its size.
fn check_sums<F: Float>() {
    let cases = (random::problems::<F>(&Kind::SUMMABLE), random::options::<F>());
    random::check(CASES, cases, |(problem, options)| {
        let options = Options::dense::<F>(Options { z_loss: 0.0, ..options });
        let operands = Operands::new::<F>(&problem, options);
        let call = operands.call();
        let classes = problem.classes;
        let bound = |size: f64| CLASS_ULPS * epsilon(F::STORAGE) * size + 1e3 * F::MIN_POSITIVE;
        let p = call.apply::<F>(Operation::Softmax, HOW()).values();
        for (row, p) in p.chunks(classes).enumerate() {
            let sum = sum(p);
            let is_empty = options.mask == Of::EachRow
                && problem.masks[row * classes..][..classes].iter().all(|kept| *kept == 0.0);
            let wanted = if is_empty { 0.0 } else { 1.0 };
            assert!((sum - wanted).abs() <= bound(wanted), "row {row}: Σp = {sum:e}");
        }
        let sizes = Expected::new::<F>(&problem, &options, &operands).grad;
        let grad = call.loss::<F>(true, HOW()).grad.values();
        for (row, (grad, sizes)) in grad.chunks(classes).zip(sizes.chunks(classes)).enumerate() {
            let size = sizes.iter().map(|sized| sized.size).sum();
            let sum = sum(grad);
            // Where the mask takes the label away the loss is +inf, and so is what Σg = 0 rests on.
            let has_target = sizes.iter().map(|sized| sized.value).sum::<f64>().abs() <= 1e-9;
            assert!(!has_target || sum.abs() <= bound(size), "row {row}: Σg = {sum:e}");
        }
    });
}

#[test]
fn probabilities_sum_to_one_and_gradients_to_zero() {
    check_sums::<f32>();
    check_sums::<f64>();
}

/// H(q', p) = (1 − ε)·H(q, p) + ε·H(u, p), and D_KL(u‖p) = H(u, p) − H(u).
fn check_terms<F: Float>() {
    let cases = (random::problems::<F>(&Kind::SUMMABLE), random::options::<F>(), 0.0..=1.0);
    random::check(CASES, cases, |(problem, options, label_smoothing)| {
        let options = Options::dense::<F>(Options {
            label_smoothing,
            reduction: Reduction::None,
            class_weight: false,
            sample_weight: false,
            z_loss: 0.0,
            ..options
        });
        let operands = Operands::new::<F>(&problem, options);
        let call = operands.call();
        let [nll, prior_cross_entropy, prior_kl, prior_entropy, _] =
            call.terms::<F>(HOW()).map(|term| term.values());
        for (row, loss) in call.loss::<F>(false, HOW()).losses.values().into_iter().enumerate() {
            let (hard, smooth) = (nll[row], prior_cross_entropy[row]);
            let value = (1.0 - label_smoothing) * hard + label_smoothing * smooth;
            let wanted = Sized { value, size: value };
            check(&format!("loss of row {row}"), loss, wanted, F::STORAGE, 2.0 * ULPS);
            let wanted = Sized { value: smooth - prior_entropy[row], size: smooth };
            check(&format!("KL of row {row}"), prior_kl[row], wanted, F::STORAGE, 2.0 * ULPS);
        }
    });
}

#[test]
fn the_terms_recombine_to_the_loss() {
    check_terms::<f32>();
    check_terms::<f64>();
}

/// The loss of weights c + d is the loss of c and the loss of d.
fn check_sum_of_weights<F: Float>() {
    let cases = (random::problems::<F>(&Kind::SUMMABLE), random::options::<F>());
    random::check(CASES, cases, |(problem, options)| {
        let options = Options::dense::<F>(Options {
            class_weight: true,
            z_loss: 0.0,
            reduction: Reduction::None,
            ..options
        });
        let (mut other, mut both) = (problem.clone(), problem.clone());
        other.class_weight.reverse();
        for (both, d) in both.class_weight.iter_mut().zip(&other.class_weight) {
            *both += d;
        }
        let losses = |problem: &_| {
            Operands::new::<F>(problem, options).call().loss::<F>(false, HOW()).losses.values()
        };
        let parts = losses(&problem).into_iter().zip(losses(&other));
        for (row, (loss, (c, d))) in losses(&both).into_iter().zip(parts).enumerate() {
            let wanted = Sized { value: c + d, size: c + d };
            check(&format!("loss of row {row}"), loss, wanted, F::STORAGE, 2.0 * ULPS);
        }
    });
}

#[test]
fn losses_add_up_over_class_weights() {
    check_sum_of_weights::<f32>();
    check_sum_of_weights::<f64>();
}
