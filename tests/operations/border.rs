//! A row's bits around the most classes of which tiles have an order of their own, and the most that are in tiles.
//!
//! ```text
//! for each compute type, number of classes, form of target, prior and mask
//!     portable, dense = every level, every layout = every row alone
//! ```

use crate::memory::Layout;
use crate::options::{Of, Operands, Options, Output, Target, assert_same};
use crate::rows::{Kind, Problem};
use smoothxent::{Float, Level, Reduction};

/// The order of tiles ends at 64 classes, tiles of f32 at 160. Rows have two whole quads from 128 on.
const BORDERS: [std::ops::RangeInclusive<usize>; 3] = [60..=70, 127..=129, 160..=161];
const LAYOUTS: [Layout; 5] =
    [Layout::Dense, Layout::Gapped, Layout::Reversed, Layout::ClassMajor, Layout::Grid];

/// Every form of target, prior and mask. Softmax, log_softmax, logsumexp, loss and gradient are among
/// the outputs of each.
fn forms<F: Float>() -> Vec<Options> {
    let mut forms = Vec::new();
    for target in [Target::Labels, Target::OneHot, Target::Probabilities] {
        for prior in [Of::None, Of::AllRows, Of::EachRow] {
            for mask in [Of::None, Of::AllRows, Of::EachRow] {
                // Everything else in turn.
                let others = Options::nth::<F>(forms.len()).dense::<F>();
                let others = Options { reduction: Reduction::None, normalizer: None, ..others };
                forms.push(Options { target, prior, label_smoothing: 0.1, mask, ..others });
            }
        }
    }
    forms
}

fn check_border<F: Float>() {
    let (portable, others) = Level::available().split_first().expect("the portable level");
    for classes in BORDERS.into_iter().flatten() {
        // More rows than one vector has lanes, or two, from where on more classes are in tiles; no multiple of them.
        let rows = if classes > 64 { 35 } else { 22 };
        let kinds: Vec<Kind> = Kind::ALL.into_iter().cycle().take(rows).collect();
        let problem = Problem::new::<F>(&kinds, classes, classes as u64);
        let alone = (0..problem.rows()).map(|row| problem.slice(row..row + 1)).collect::<Vec<_>>();
        for (index, options) in forms::<F>().into_iter().enumerate() {
            let mut wanted = Vec::new();
            for layout in LAYOUTS {
                let options = Options { memory: (F::STORAGE, layout), ..options };
                let operands = Operands::new::<F>(&problem, options);
                let call = operands.call();
                for level in Level::available() {
                    let found = call.outputs::<F>((*level, 1));
                    if wanted.is_empty() {
                        wanted = found;
                        continue;
                    }
                    let place = format!("{}, {options:?}", level.name());
                    assert_same(&found, &wanted, &problem, &place);
                }
            }
            for (row, alone) in alone.iter().enumerate() {
                let wanted = of_row(&wanted, row);
                let operands = Operands::new::<F>(alone, options);
                let call = operands.call();
                // The emulated fused operation of the portable level is slow: one row of it.
                let is_portable = row == index % problem.rows();
                for level in others.iter().chain(is_portable.then_some(portable)) {
                    let place = format!("{}, row {row} alone, {options:?}", level.name());
                    assert_same(&call.outputs::<F>((*level, 1)), &wanted, alone, &place);
                }
            }
        }
    }
}

fn of_row(outputs: &[Output], row: usize) -> Vec<Output> {
    let of_row = |output: &Output| Output {
        name: output.name.clone(),
        numbers: output.numbers.part(row * output.row_len..(row + 1) * output.row_len),
        row_len: output.row_len,
    };
    outputs.iter().map(of_row).collect()
}

#[test]
fn the_border_of_tiles_f32() {
    check_border::<f32>();
}

#[test]
fn the_border_of_tiles_f64() {
    check_border::<f64>();
}
