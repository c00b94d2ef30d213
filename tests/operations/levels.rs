//! A row's bits depend on the row alone: not on the instruction set, the threads or the batch.
//!
//! ```text
//! for each type, length and kind of row, for every operation and form of target
//!     digests of all rows: portable = every other level = each row alone
//! for batches large enough to be divided
//!     one thread = 2 = 3 = 8
//! ```
//!
//! NaN is one value here: its sign and payload are the hardware's.

use crate::rows::{IGNORED, Kind, Problem};
use smoothxent::{
    Activation, CrossEntropy, Float, Labels, Level, LossTerms, Prior, Probabilities, Reduction,
    Rows, RowsMut, Run, Targets, TermsOut, activation, cross_entropy_terms, logsumexp,
};
use std::collections::BTreeMap;

/// Where the sweeps change their way, with the neighbours.
const LENGTHS: [usize; 25] = [
    1, 2, // no choice, the smallest choice
    7, 8, 9, // a vector of f64
    15, 16, 17, // a vector of f32
    31, 32, 33, // a quad of f64
    63, 64, 65, // a quad of f32
    127, 128, 129, // a block of f64, after which block sums go to wide lanes
    255, 256, 257, // a block of f32
    1000, 1001, // an ordinary length, an odd one
    1023, 1024, 1025, // many blocks
];
/// A segment, after which the lanes are joined.
const LONG_LENGTHS: [usize; 3] = [16_383, 16_384, 16_385];

/// Two rows of every kind, one of them with its maximum for the label, and two ignored rows.
fn rows_of_every_kind<S: Float>(classes: usize) -> Problem<S> {
    let kinds = Kind::ALL.into_iter().chain(Kind::ALL).chain([Kind::Nan, Kind::Ordinary]);
    let mut problem = Problem::<S>::new(kinds.collect(), classes);
    for row in 0..Kind::ALL.len() {
        let logits = &problem.logits[row * classes..][..classes];
        let above = |best: usize, k: usize| if logits[k] > logits[best] { k } else { best };
        problem.set_label(row, (0..classes).fold(0, above));
    }
    let rows = problem.kinds.len();
    problem.labels[rows - 2..].fill(IGNORED);
    problem
}

/// The problem of row `row` alone.
fn only<S: Float>(problem: &Problem<S>, row: usize) -> Problem<S> {
    let of_row = |values: &[S]| values[row * problem.classes..][..problem.classes].to_vec();
    Problem {
        classes: problem.classes,
        kinds: vec![problem.kinds[row]],
        logits: of_row(&problem.logits),
        labels: vec![problem.labels[row]],
        one_hot: of_row(&problem.one_hot),
        probabilities: of_row(&problem.probabilities),
        prior: problem.prior.clone(),
        priors: of_row(&problem.priors),
    }
}

/// A digest of the bits of each row of one result.
struct Output {
    rows: Vec<u64>,
    /// Whether row i of the result depends on row i of the logits only.
    by_row: bool,
}

impl Output {
    fn new<S: Float>(values: &[S], row_len: usize, by_row: bool) -> Self {
        Self { rows: values.chunks(row_len).map(digest).collect(), by_row }
    }
}

/// FNV-1a
fn digest<S: Float>(values: &[S]) -> u64 {
    let bits = |value: f64| if value.is_nan() { u64::MAX } else { value.to_bits() };
    values.iter().fold(0xcbf2_9ce4_8422_2325, |digest, value| {
        (digest ^ bits(value.to_f64())).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Every result on one problem, by operation and options.
struct Outputs(BTreeMap<String, Output>);

/// Every operation with every form of target and prior, computed in `F`.
fn outputs<F: Float, S: Float>(
    problem: &Problem<S>,
    label_smoothings: &[f64],
    level: Level,
    threads: usize,
) -> Outputs {
    let mut outputs = Outputs(BTreeMap::new());
    let mut checkpoint = || Ok(());
    let run = &mut Run { level, threads, checkpoint: &mut checkpoint };
    outputs.add_activations::<F, S>(problem, run);

    let rows = |values| Rows::from_slice(values, problem.classes);
    let labels = problem.labels.iter().copied();
    let labels = Labels::new(labels, problem.classes, Some(IGNORED), &mut || Ok(())).unwrap();
    let probabilities = |values| {
        Targets::Probabilities(Probabilities::new(rows(values), None, &mut || Ok(())).unwrap())
    };
    for (target, targets) in [
        ("labels", Targets::Labels(labels)),
        ("one-hot", probabilities(&problem.one_hot)),
        ("probabilities", probabilities(&problem.probabilities)),
    ] {
        for (name, prior) in [
            ("uniform", Prior::Uniform),
            ("shared", Prior::new(rows(&problem.prior), &mut || Ok(())).unwrap()),
            ("per-row", Prior::new(rows(&problem.priors), &mut || Ok(())).unwrap()),
        ] {
            for &label_smoothing in label_smoothings {
                let name = format!("{target}, {label_smoothing}, {name}");
                let mut add = |what, reduction| {
                    let loss = CrossEntropy {
                        targets: &targets,
                        terms: LossTerms::new(label_smoothing, &prior),
                        reduction,
                        normalizer: None,
                    };
                    outputs.add_loss::<F, S>(&format!("{what}, {name}"), problem, &loss, run);
                };
                add("losses", Reduction::None);
                add("sum", Reduction::Sum);
                add("mean", Reduction::Mean);
            }
            let name = format!("{target}, {name}");
            outputs.add_terms::<F, S>(&name, problem, (&targets, &prior), run);
        }
    }
    outputs
}

impl Outputs {
    fn add_activations<F: Float, S: Float>(&mut self, problem: &Problem<S>, run: &mut Run<'_>) {
        let classes = problem.classes;
        let logits = Rows::from_slice(&problem.logits, classes);
        let mut out = vec![S::default(); problem.logits.len()];
        for kind in [Activation::Softmax, Activation::LogSoftmax] {
            activation::<F>(kind, 1.0, &logits, None, &RowsMut::from_slice(&mut out, classes), run)
                .unwrap();
            self.0.insert(format!("{kind:?}"), Output::new(&out, classes, true));
        }
        let mut out = vec![S::default(); problem.kinds.len()];
        logsumexp::<F>(1.0, &logits, None, &RowsMut::from_slice(&mut out, 1), run).unwrap();
        self.0.insert("logsumexp".to_owned(), Output::new(&out, 1, true));
    }

    /// The loss with its gradient, and alone.
    fn add_loss<F: Float, S: Float>(
        &mut self,
        name: &str,
        problem: &Problem<S>,
        loss: &CrossEntropy<'_>,
        run: &mut Run<'_>,
    ) {
        let classes = problem.classes;
        let logits = Rows::from_slice(&problem.logits, classes);
        let mut grad = vec![S::default(); problem.logits.len()];
        let mut losses = vec![S::default(); problem.kinds.len()];
        let by_row = loss.reduction == Reduction::None;
        for suffix in ["", " alone"] {
            let losses_out = RowsMut::from_slice(&mut losses, 1);
            let grad_out = RowsMut::from_slice(&mut grad, classes);
            let losses_out = by_row.then_some(&losses_out);
            let grad_out = suffix.is_empty().then_some(&grad_out);
            let value = loss.run::<F>(&logits, None, losses_out, grad_out, run).unwrap();
            let output = if by_row {
                Output::new(&losses, 1, true)
            } else {
                Output::new(&[value], 1, false)
            };
            self.0.insert(format!("{name}{suffix}"), output);
        }
        self.0.insert(format!("grad of {name}"), Output::new(&grad, classes, by_row));
    }

    fn add_terms<F: Float, S: Float>(
        &mut self,
        name: &str,
        problem: &Problem<S>,
        (targets, prior): (&Targets<'_>, &Prior<'_>),
        run: &mut Run<'_>,
    ) {
        let logits = Rows::from_slice(&problem.logits, problem.classes);
        let mut terms = [(); 5].map(|()| vec![S::default(); problem.kinds.len()]);
        {
            let [nll, prior_cross_entropy, prior_kl, prior_entropy, logsumexp] =
                terms.each_mut().map(|term| RowsMut::from_slice(term, 1));
            let out = TermsOut { nll, prior_cross_entropy, prior_kl, prior_entropy, logsumexp };
            cross_entropy_terms::<F>(&logits, None, targets, prior, 1.0, &out, run).unwrap();
        }
        for (index, term) in terms.iter().enumerate() {
            self.0.insert(format!("term {index}, {name}"), Output::new(term, 1, true));
        }
    }

    /// Asserts that all digests are those of `wanted`.
    fn assert_same<S>(&self, wanted: &Outputs, problem: &Problem<S>, place: &str) {
        for (name, output) in &self.0 {
            for (row, wanted) in wanted.0[name].rows.iter().enumerate() {
                let kind = problem.kinds[row];
                assert!(
                    output.rows[row] == *wanted,
                    "{place}: {name}: row {row} ({kind:?}) of {} classes",
                    problem.classes
                );
            }
        }
    }

    /// Asserts that the only row here, computed alone, is row `row` of `batch`.
    fn assert_row<S>(&self, batch: &Outputs, row: usize, problem: &Problem<S>) {
        for (name, output) in self.0.iter().filter(|(_, output)| output.by_row) {
            let kind = problem.kinds[row];
            assert!(
                output.rows == batch.0[name].rows[row..=row],
                "alone: {name}: row {row} ({kind:?}) of {} classes",
                problem.classes
            );
        }
    }

    /// Asserts that results agree which are the same by definition.
    fn assert_identities<S>(&self, problem: &Problem<S>) {
        for (name, output) in &self.0 {
            // Without smoothing the prior is not read.
            let unsmoothed = name.contains(", 0, ");
            let same = [
                (" alone", "", true),
                ("one-hot", "labels", true),
                ("shared", "uniform", unsmoothed),
                ("per-row", "uniform", unsmoothed),
            ];
            for (what, is_same_as, always) in same {
                let same = name.replace(what, is_same_as);
                let rows = output.rows.iter().zip(&self.0[&same].rows).enumerate();
                for (row, (here, there)) in rows.filter(|_| always) {
                    // A row of probabilities is never ignored.
                    let labels =
                        if output.by_row { &problem.labels[row..=row] } else { &problem.labels };
                    assert!(
                        here == there || what == "one-hot" && labels.contains(&IGNORED),
                        "{name} is not {same}: row {row} of {} classes",
                        problem.classes
                    );
                }
            }
        }
    }
}

/// Computed in `F`, stored in `S`: every level gives the bits of the portable one, every row
/// those of the row alone.
fn check_levels_and_rows<F: Float, S: Float>() {
    let with_kinds = |kinds: &[Kind], classes| Problem::<S>::new(kinds.to_vec(), classes);
    let all = LENGTHS.into_iter().map(rows_of_every_kind);
    let long = LONG_LENGTHS.into_iter().map(|classes| with_kinds(&Kind::ALL, classes));
    // Sums and means of the others are NaN.
    let summable = LENGTHS.into_iter().map(|classes| with_kinds(&Kind::SUMMABLE, classes));
    for problem in all.chain(long).chain(summable) {
        let outputs = |problem: &_, level| outputs::<F, S>(problem, &[0.0, 0.1, 1.0], level, 1);
        let (portable, others) = Level::available().split_first().expect("the portable level");
        let wanted = outputs(&problem, *portable);
        wanted.assert_identities(&problem);
        for level in others {
            outputs(&problem, *level).assert_same(&wanted, &problem, level.name());
        }
        for row in 0..problem.kinds.len() {
            outputs(&only(&problem, row), Level::current()).assert_row(&wanted, row, &problem);
        }
    }
}

#[test]
fn levels_and_rows_f32() {
    check_levels_and_rows::<f32, f32>();
}

#[test]
fn levels_and_rows_f64() {
    check_levels_and_rows::<f64, f64>();
}

/// Rows that are converted on their way in and out.
#[test]
fn levels_and_rows_f32_computed_in_f64() {
    check_levels_and_rows::<f64, f32>();
}

/// Enough logits for 8 threads, in short, ordinary and long rows; the second batch is also too
/// much for one slice between two looks for Ctrl-C.
#[test]
fn threads() {
    for (rows, classes) in [(190_000, 10), (4_300, 1000), (28, 70_000)] {
        let kinds = Kind::SUMMABLE.into_iter().cycle().take(rows).collect();
        let problem = Problem::<f32>::new(kinds, classes);
        let outputs =
            |problem: &_, threads| outputs::<f32, f32>(problem, &[0.1], Level::current(), threads);
        let wanted = outputs(&problem, 1);
        for threads in [2, 3, 8] {
            outputs(&problem, threads).assert_same(
                &wanted,
                &problem,
                &format!("{threads} threads"),
            );
        }
        for row in [0, rows / 2, rows - 1] {
            outputs(&only(&problem, row), 1).assert_row(&wanted, row, &problem);
        }
    }
}
