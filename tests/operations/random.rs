//! Random problems and options, the same in every run; what fails is made smaller.

use crate::levels::LENGTHS;
use crate::options::{COMBINATIONS, Options};
use crate::rows::{IGNORED, Kind, Problem};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use smoothxent::Float;

/// Kinds with finite logits whose probabilities are all normal numbers, however they are weighted.
pub const MILD: [Kind; 4] = [Kind::Ordinary, Kind::Confident, Kind::Ties, Kind::TinyDifferences];

/// Asserts that `law` holds for so many values.
pub fn check<S: Strategy>(cases: u32, values: S, law: impl Fn(S::Value)) {
    let config = Config { failure_persistence: None, ..Config::with_cases(cases) };
    let random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let outcome = TestRunner::new_with_rng(config, random).run(&values, |value| {
        law(value);
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}

/// Up to six rows of these kinds, of every length; one in eight is ignored.
pub fn problems<F: Float>(kinds: &[Kind]) -> impl Strategy<Value = Problem> + use<F> {
    let row = (select(kinds.to_vec()), 0..8u8);
    let classes = prop_oneof![1..=40usize, select(LENGTHS.to_vec())];
    (vec(row, 1..=6), classes, any::<u64>()).prop_map(|(rows, classes, seed)| {
        let kinds: Vec<Kind> = rows.iter().map(|row| row.0).collect();
        let mut problem = Problem::new::<F>(&kinds, classes, seed);
        for (label, (_, fate)) in problem.labels.iter_mut().zip(rows) {
            if fate == 7 {
                *label = IGNORED;
            }
        }
        problem
    })
}

pub fn options<F: Float>() -> impl Strategy<Value = Options> {
    (0..COMBINATIONS).prop_map(Options::nth::<F>)
}
