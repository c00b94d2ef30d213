//! The values are those of the paper's formulas, with every option.

use crate::formulas::{Expected, Sized, check};
use crate::options::{HOW, Operands, Options, Target};
use crate::random;
use crate::rows::{IGNORED, Kind, Problem};
use smoothxent::{Float, Operation, Reduction, Storage};

/// How far results may be off, in units in the last place.
#[derive(Clone, Copy)]
struct Ulps {
    /// Of softmax and gradient.
    classes: f64,
    /// Of log_softmax, logsumexp and losses.
    logs: f64,
}

/// What is promised for any row; some random rows have all roundings go one way.
const F32_ULPS: Ulps = Ulps { classes: 5.0, logs: 3.0 };
/// The reference's own error for f64: M − x is up to 2000/0.3, where the last bit is 2^-40.
const F64_ULPS: Ulps = Ulps { classes: 4096.0, logs: 4096.0 };
const CASES: u32 = 2000;

/// Kinds that the plain reference can hold: M − z of the largest f64 overflows.
fn kinds<F: Float>() -> Vec<Kind> {
    let overflows =
        |kind: &Kind| F::STORAGE == Storage::F64 && matches!(kind, Kind::Largest | Kind::Lowest);
    Kind::ALL.into_iter().filter(|kind| !overflows(kind)).collect()
}

fn check_activations<F: Float>(problem: &Problem, options: Options, ulps: Ulps) {
    let operands = Operands::new::<F>(problem, options);
    let (call, wanted) = (operands.call(), Expected::new::<F>(problem, &options, &operands));
    let storage = options.memory.0;
    for (kind, wanted) in
        [(Operation::Softmax, &wanted.softmax), (Operation::LogSoftmax, &wanted.log_softmax)]
    {
        for (at, value) in call.apply::<F>(kind, HOW()).values().into_iter().enumerate() {
            let sized = Sized { value: wanted[at], size: wanted[at] };
            let ulps = if kind == Operation::Softmax { ulps.classes } else { ulps.logs };
            check(&format!("{kind:?} {at}"), value, sized, storage, ulps);
        }
    }
    for (row, value) in
        call.apply::<F>(Operation::LogSumExp, HOW()).values().into_iter().enumerate()
    {
        check(&format!("logsumexp {row}"), value, wanted.logsumexp[row], storage, ulps.logs);
    }
    let terms = call.terms::<F>(HOW()).map(|term| term.values());
    for (index, wanted) in wanted.terms.iter().enumerate() {
        for (row, wanted) in wanted.iter().enumerate() {
            check(
                &format!("term {index} of {row}"),
                terms[index][row],
                *wanted,
                F::STORAGE,
                ulps.logs,
            );
        }
    }
    for (row, lse) in wanted.logsumexp.into_iter().enumerate() {
        // An ignored row is never read.
        let is_ignored = options.target == Target::Labels && problem.labels[row] == IGNORED;
        let wanted = if is_ignored { Sized { value: 0.0, size: 0.0 } } else { lse };
        check(&format!("lse of terms of {row}"), terms[4][row], wanted, F::STORAGE, ulps.logs);
    }
}

fn check_loss<F: Float>(problem: &Problem, options: Options, ulps: Ulps) {
    let operands = Operands::new::<F>(problem, options);
    let (call, wanted) = (operands.call(), Expected::new::<F>(problem, &options, &operands));
    let loss = call.loss::<F>(true, HOW());
    if options.reduction == Reduction::None {
        assert!(loss.value.is_nan());
        for (row, value) in loss.losses.values().into_iter().enumerate() {
            let sized = Sized { value: wanted.losses[row], size: wanted.losses[row] };
            check(&format!("loss of row {row}"), value, sized, F::STORAGE, ulps.logs);
        }
    } else {
        // All terms are ≥ 0. The reduced loss is in double precision whatever F is.
        let sized = Sized { value: wanted.value, size: wanted.value };
        check("loss", loss.value, sized, F::STORAGE, ulps.logs);
    }
    for (at, value) in loss.grad.values().into_iter().enumerate() {
        check(&format!("gradient {at}"), value, wanted.grad[at], options.memory.0, ulps.classes);
        if wanted.is_absent[at] {
            assert_eq!(value.to_bits(), 0, "gradient {at} of what is not there");
        }
    }
}

fn check_values<F: Float>(ulps: Ulps) {
    let cases = (random::problems::<F>(&kinds::<F>()), random::options::<F>());
    random::check(CASES, cases, |(problem, options)| {
        check_activations::<F>(&problem, options, ulps);
        check_loss::<F>(&problem, options, ulps);
    });
}

#[test]
fn values_f32() {
    check_values::<f32>(F32_ULPS);
}

#[test]
fn values_f64() {
    check_values::<f64>(F64_ULPS);
}
