//! Rows whose classes lie in chunks of whole segments have the bits of rows in one piece, at every level and
//! with any number of threads.

use crate::rows::{Kind, Problem, labels};
use smoothxent::{
    Batch, CHUNK_ROW, CrossEntropy, Float, Level, LossTerms, Operation, Prior, ROW_CONSTANTS,
    Reduction, Rows, RowsMut, Run, SEGMENT, SEGMENT_SUMS, Smoothing, Targets, finish_chunks,
    read_prior,
};

const LABEL_SMOOTHING: f64 = 0.1;

/// A row a kind, the classes of each in pieces of these lengths.
struct Pieces<'p> {
    problem: &'p Problem,
    /// The first class, and the end.
    cuts: Vec<(usize, usize)>,
    smoothing: Smoothing<'p>,
}

impl Pieces<'_> {
    /// Classes of all rows, rounded to `F`.
    fn logits<F: Float>(&self, (start, end): (usize, usize)) -> Vec<F> {
        let rows = self.problem.logits.chunks_exact(self.problem.classes);
        rows.flat_map(|row| row[start..end].iter().map(|z| F::from_f64(*z))).collect()
    }

    /// M of each row, the segment that has it first, and whether a logit is −inf: 1 or 0.
    fn maxima(&self) -> Vec<(f64, usize, f64)> {
        let of_row = |row: &[f64]| {
            let larger = |best: (f64, usize), (k, z): (usize, &f64)| {
                if *z > best.0 { (*z, k) } else { best }
            };
            let (max, class) = row.iter().enumerate().fold((f64::NEG_INFINITY, 0), larger);
            let has_infinity = f64::from(u8::from(row.contains(&f64::NEG_INFINITY)));
            (max, class / SEGMENT, has_infinity)
        };
        self.problem.logits.chunks_exact(self.problem.classes).map(of_row).collect()
    }

    /// The outputs, or one number a row.
    fn run<F: Float>(&self, operation: Operation, how: (Level, usize)) -> Vec<f64> {
        let (rows, maxima) = (self.problem.rows(), self.maxima());
        let mut sums = vec![Vec::new(); rows];
        for &(start, end) in &self.cuts {
            let (logits, width) =
                (self.logits::<F>((start, end)), (end - start).div_ceil(SEGMENT) * SEGMENT_SUMS);
            let told = maxima.iter().zip(&self.problem.labels).flat_map(|(row, label)| {
                let place = |value: usize, first: usize| {
                    if value < first {
                        -1.0
                    } else {
                        f64::from(u32::try_from(value - first).unwrap())
                    }
                };
                let first = place(row.1, start / SEGMENT);
                let label = place(usize::try_from(*label).unwrap(), start);
                [row.0, first, row.2, label]
            });
            let told: Vec<f64> = told.collect();
            let mut out = vec![0.0; rows * width];
            let prior = self.problem.prior[start..end].to_vec();
            let prior = Rows::from_slice(&prior, end - start);
            let smoothing = match self.smoothing {
                _ if operation != Operation::Loss => Smoothing::None,
                Smoothing::Prior(_) => Smoothing::Prior(&prior),
                same => same,
            };
            let batch = batch(&logits, end - start);
            let told = Rows::from_slice(&told, CHUNK_ROW);
            let view = &mut RowsMut::from_slice(&mut out, width);
            with(how, |run| batch.reduce_chunk(operation, &told, smoothing, view, run));
            for (sums, own) in sums.iter_mut().zip(out.chunks_exact(width)) {
                sums.extend_from_slice(own);
            }
        }
        let (width, sums) = (sums[0].len(), sums.concat());
        let told: Vec<f64> = maxima.iter().map(|row| row.0).collect();
        let mut constants = vec![0.0; rows * ROW_CONSTANTS];
        let (sums, told) = (Rows::from_slice(&sums, width), Rows::from_slice(&told, 1));
        let view = &mut RowsMut::from_slice(&mut constants, ROW_CONSTANTS);
        let (prior, classes) = (self.prior(), self.problem.classes);
        let terms = (&LossTerms::new(self.label_smoothing(), &prior), classes);
        with(how, |run| finish_chunks(F::STORAGE, operation, terms, &sums, &told, view, run));
        if !matches!(operation, Operation::Softmax | Operation::LogSoftmax) {
            return constants.chunks_exact(ROW_CONSTANTS).map(|row| row[0]).collect();
        }
        let told: Vec<f64> = (0..rows)
            .flat_map(|row| [maxima[row].0, constants[2 * row], constants[2 * row + 1]])
            .collect();
        let mut outputs = vec![Vec::new(); rows];
        for &(start, end) in &self.cuts {
            let logits = self.logits::<F>((start, end));
            let mut out = vec![F::default(); logits.len()];
            let batch = batch(&logits, end - start);
            let told = Rows::from_slice(&told, 1 + ROW_CONSTANTS);
            let view = &mut RowsMut::from_slice(&mut out, end - start);
            with(how, |run| batch.write_chunk(operation, &told, view, run));
            for (outputs, own) in outputs.iter_mut().zip(out.chunks_exact(end - start)) {
                outputs.extend(own.iter().map(|value| value.to_f64()));
            }
        }
        outputs.concat()
    }

    fn prior(&self) -> Prior<'_> {
        if !matches!(self.smoothing, Smoothing::Prior(_)) {
            return Prior::Uniform;
        }
        let prior = Rows::from_slice(&self.problem.prior, self.problem.classes);
        Run::with_defaults(|run| read_prior(prior, run)).unwrap()
    }

    fn label_smoothing(&self) -> f64 {
        if matches!(self.smoothing, Smoothing::None) { 0.0 } else { LABEL_SMOOTHING }
    }

    /// The same by the operations on whole rows.
    fn whole<F: Float>(&self, operation: Operation) -> Vec<f64> {
        let (problem, how) = (self.problem, (Level::current(), 1));
        let values = self.logits::<F>((0, problem.classes));
        let batch = batch(&values, problem.classes);
        let mut out = vec![F::default(); values.len()];
        let mut numbers = vec![0.0; problem.rows()];
        let outputs = &mut RowsMut::from_slice(&mut out, problem.classes);
        let scalars = &mut RowsMut::from_slice(&mut numbers, 1);
        match operation {
            Operation::Softmax | Operation::LogSoftmax => {
                with(how, |run| batch.apply(operation, outputs, run));
                return out.iter().map(|value| value.to_f64()).collect();
            }
            Operation::LogSumExp => with(how, |run| batch.apply(operation, scalars, run)),
            _ => {
                let classes = problem.classes;
                let labels = with(how, |run| labels(&problem.labels, classes, None, run));
                let targets = &Targets::Labels(labels);
                let prior = self.prior();
                let terms = LossTerms::new(self.label_smoothing(), &prior);
                let (reduction, normalizer) = (Reduction::Sum, None);
                let loss = CrossEntropy { targets, terms, reduction, normalizer };
                with(how, |run| loss.run(&batch, Some(scalars), None, None, run));
            }
        }
        numbers
    }
}

fn batch<F: Float>(logits: &[F], classes: usize) -> Batch<'_> {
    let logits = Rows::from_slice(logits, classes);
    Batch { logits, mask: None, temperature: 1.0, compute: F::STORAGE }
}

fn with<R>(
    (level, threads): (Level, usize),
    body: impl FnOnce(&mut Run<'_>) -> Result<R, smoothxent::Error>,
) -> R {
    body(&mut Run::new(level, threads, &mut || Ok(()))).unwrap()
}

fn check<F: Float>() {
    let len = SEGMENT;
    let mut problem = Problem::new::<F>(&Kind::ALL, 2 * len + 77, 9);
    // Where logits are −inf, no loss may be infinite for that: half of the classes have no prior.
    problem.prior.iter_mut().step_by(2).for_each(|u| *u = 0.0);
    let mass: f64 = problem.prior.iter().sum();
    problem.prior.iter_mut().for_each(|u| *u /= mass);
    let infinite = Kind::ALL.iter().position(|kind| *kind == Kind::MinusInfinity).unwrap();
    let row = &mut problem.logits[infinite * problem.classes..][..problem.classes];
    row.iter_mut().skip(1).step_by(2).filter(|z| z.is_infinite()).for_each(|z| *z = 0.5);
    problem.set_label(infinite, 1);
    let none = Rows::from_slice(&problem.prior, problem.classes);
    let ends = [(0, len), (len, 2 * len), (2 * len, problem.classes)];
    let cuts = [ends.to_vec(), vec![(0, 2 * len), ends[2]]];
    // Nothing but a loss depends on the smoothing.
    let questions = [
        (Operation::Softmax, Smoothing::None),
        (Operation::LogSoftmax, Smoothing::Uniform),
        (Operation::LogSumExp, Smoothing::Prior(&none)),
        (Operation::Loss, Smoothing::None),
        (Operation::Loss, Smoothing::Uniform),
        (Operation::Loss, Smoothing::Prior(&none)),
    ];
    for (operation, smoothing) in questions {
        let pieces = |cuts| Pieces { problem: &problem, cuts, smoothing };
        let wanted = pieces(Vec::new()).whole::<F>(operation);
        for cuts in &cuts {
            let pieces = pieces(cuts.clone());
            for (index, level) in Level::available().iter().enumerate() {
                let how = (*level, [3, 1][index % 2]);
                let got = pieces.run::<F>(operation, how);
                let same = |(a, b): (&f64, &f64)| {
                    let is_lse = operation == Operation::LogSumExp;
                    let a = if is_lse { F::from_f64(*a).to_f64() } else { *a };
                    a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan()
                };
                let place = got.iter().zip(&wanted).position(|pair| !same(pair));
                let name = how.0.name();
                assert_eq!((got.len(), place), (wanted.len(), None), "{operation:?}, {name}");
            }
        }
    }
}

#[test]
fn chunks_f32() {
    check::<f32>();
}

#[test]
fn chunks_f64() {
    check::<f64>();
}
