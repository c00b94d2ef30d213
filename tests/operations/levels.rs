//! A row's bits do not depend on the instruction set or the threads.
//!
//! ```text
//! for each compute type, length and kind of row, for every two values of any two options
//!     portable = every other level
//! for batches large enough to be divided
//!     one thread = 2 = 3 = 5
//! ```

use crate::options::{COMBINATIONS, Call, Operands, Options, assert_same};
use crate::rows::{IGNORED, Kind, Problem};
use smoothxent::{Float, Level, Operation, Reduction, pool};

/// Where the sweeps change their way, with the neighbours.
pub const LENGTHS: [usize; 25] = [
    1, 2, // no choice, the smallest choice
    7, 8, 9, // a vector of f64
    15, 16, 17, // a vector of f32
    31, 32, 33, // a quad of f64
    63, 64, 65, // a quad of f32, the most classes of a tile: see border.rs
    127, 128, 129, // two quads of f32
    255, 256, 257, // four
    1000, 1001, // an ordinary length, an odd one
    1023, 1024, 1025, // many quads
];
/// A segment, after which the lanes are joined.
const LONG_LENGTHS: [usize; 3] = [16_383, 16_384, 16_385];

/// A row of every kind, every other one with its maximum for the label, the others at the next `turn`; before them
/// two that are ignored. They are a tile of f32, or two of f64, and two rows of another.
fn rows_of_every_kind<F: Float>(classes: usize, turn: usize) -> Problem {
    // In this order the last ones are finite.
    let kinds = [Kind::Nan, Kind::Ordinary].into_iter().chain(Kind::ALL.into_iter().rev());
    let kinds: Vec<Kind> = kinds.collect();
    let mut problem = Problem::new::<F>(&kinds, classes, classes as u64);
    for row in (turn % 2..problem.rows()).step_by(2) {
        let logits = &problem.logits[row * classes..][..classes];
        let above = |best: usize, k: usize| if logits[k] > logits[best] { k } else { best };
        problem.set_label(row, (0..classes).fold(0, above));
    }
    problem.labels[..2].fill(IGNORED);
    problem
}

/// Every level gives the bits of the portable one, with each of `combinations`.
fn check_levels<F: Float>(problem: &Problem, combinations: impl Iterator<Item = usize>) {
    let (portable, others) = Level::available().split_first().expect("the portable level");
    for options in combinations.map(Options::nth::<F>) {
        let operands = Operands::new::<F>(problem, options);
        let call = operands.call();
        let wanted = call.outputs::<F>((*portable, 1));
        for level in others {
            let place = format!("{}, {options:?}", level.name());
            assert_same(&call.outputs::<F>((*level, 1)), &wanted, problem, &place);
        }
    }
}

fn check_lengths<F: Float>() {
    for (index, classes) in LENGTHS.into_iter().enumerate() {
        check_levels::<F>(&rows_of_every_kind::<F>(classes, index), 0..COMBINATIONS);
        // Sums and means of the others are NaN.
        let summable = Problem::new::<F>(&Kind::SUMMABLE, classes, classes as u64);
        let is_sum = |index: &usize| Options::nth::<F>(*index).reduction != Reduction::None;
        check_levels::<F>(&summable, (0..COMBINATIONS).filter(is_sum));
    }
    for (index, classes) in LONG_LENGTHS.into_iter().enumerate() {
        let problem = Problem::new::<F>(&Kind::ALL, classes, classes as u64);
        check_levels::<F>(&problem, (index..COMBINATIONS).step_by(LONG_LENGTHS.len()));
    }
}

#[test]
fn levels_f32() {
    check_lengths::<f32>();
}

#[test]
fn levels_f64() {
    check_lengths::<f64>();
}

/// Threads know nothing of options; one in so many is enough.
const OF_COMBINATIONS: usize = 6;
/// From so many bytes of logits on a call is worth five threads.
const BYTES_OF_FIVE_THREADS: usize = 4 << 19;

/// Just enough logits for 5 threads, in short, ordinary and long rows.
#[test]
fn threads() {
    for (index, classes) in [27, 1000, 66_000].into_iter().enumerate() {
        let rows = BYTES_OF_FIVE_THREADS.div_ceil(classes * size_of::<f32>());
        let kinds: Vec<Kind> = Kind::SUMMABLE.into_iter().cycle().take(rows).collect();
        let problem = Problem::new::<f32>(&kinds, classes, classes as u64);
        assert_divided(&Operands::new::<f32>(&problem, Options::nth::<f32>(0)).call());
        for options in (index..COMBINATIONS).step_by(OF_COMBINATIONS).map(Options::nth::<f32>) {
            let operands = Operands::new::<f32>(&problem, options);
            let call = operands.call();
            let wanted = call.outputs::<f32>((Level::current(), 1));
            for threads in [2, 3, 5] {
                let found = call.outputs::<f32>((Level::current(), threads));
                assert_same(&found, &wanted, &problem, &format!("{threads} threads, {options:?}"));
            }
        }
    }
}

/// Asserts that a call on no more than the rows, without targets to check, has four threads started beside its own.
fn assert_divided(call: &Call<'_>) {
    let are_there = |_| {
        call.apply::<f32>(Operation::LogSumExp, (Level::current(), 5));
        pool::describe().spawned >= 4
    };
    // Again where another test starts threads at this moment: then a call makes do with those that are there.
    assert!((0..100).any(are_there), "too few logits for five threads");
}
