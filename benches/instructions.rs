//! One call of each main kernel, to have its instructions counted.
//!
//! ```text
//! instructions LEVEL
//! for each kernel: make its arrays, call it inside `counted`, compare the answer with the formulas
//!                  print "name,logits"
//! ```
//!
//! `benches/instructions.py` runs this under a counter that looks at `counted` alone: arrays and
//! comparisons are not in the counts. Calls are large enough that what a call takes whatever its
//! size is little, and small enough for a counter that is fifty times slower than the processor.

#[path = "../tests/operations/memory.rs"]
#[allow(dead_code, reason = "tests need more of it")]
mod memory;

use memory::{Buffer, Layout};
use smoothxent::{
    Batch, CrossEntropy, Labels, Level, LossTerms, Prior, Reduction, Rows, Run, Storage, Targets,
    read_labels, read_prior, read_probabilities,
};

/// ε
const LABEL_SMOOTHING: f64 = 0.1;
/// Logits of a call: 4096 rows of 10, 40 of 1000.
const LOGITS: usize = 40960;
/// Of long rows.
const FEWEST_ROWS: usize = 2;
/// The largest error of an answer, a tenth of a percent of which would be news to the tests: this
/// only asks whether it was the right kernel that ran, to the end. bfloat16 has 8 bits.
const TOLERANCE: f64 = 1e-2;

#[derive(Clone, Copy)]
enum Operation {
    Loss,
    LossAndGrad,
    /// To a prior of its own, the same for all rows.
    SharedPrior,
    /// To a prior for each row.
    RowPriors,
    /// Of probabilities, which are read and checked on the way.
    SoftTargets,
    Apply(smoothxent::Operation),
    /// Softmax without every fourth class.
    MaskedSoftmax,
}

struct Kernel {
    name: &'static str,
    operation: Operation,
    storage: Storage,
    layout: Layout,
    classes: usize,
}

const fn f32_kernel(name: &'static str, operation: Operation, classes: usize) -> Kernel {
    Kernel { name, operation, storage: Storage::F32, layout: Layout::Dense, classes }
}

/// Loss and gradient of 1000 classes that lie in memory in another way.
const fn lying(name: &'static str, storage: Storage, layout: Layout) -> Kernel {
    Kernel { name, operation: Operation::LossAndGrad, storage, layout, classes: 1000 }
}

const KERNELS: [Kernel; 21] = {
    use Layout::{ClassMajor, Dense};
    use Operation::{Apply, Loss, LossAndGrad, MaskedSoftmax, RowPriors, SharedPrior, SoftTargets};
    use Storage::{Bf16, F32, F64};
    use smoothxent::Operation::{LogSoftmax, Softmax};
    [
        f32_kernel("loss f32 10", Loss, 10),
        f32_kernel("loss f32 1000", Loss, 1000),
        f32_kernel("loss f32 32000", Loss, 32000),
        f32_kernel("loss_and_grad f32 10", LossAndGrad, 10),
        f32_kernel("loss_and_grad f32 1000", LossAndGrad, 1000),
        f32_kernel("loss_and_grad f32 32000", LossAndGrad, 32000),
        f32_kernel("softmax f32 10", Apply(Softmax), 10),
        f32_kernel("softmax f32 1000", Apply(Softmax), 1000),
        f32_kernel("softmax f32 32000", Apply(Softmax), 32000),
        f32_kernel("masked softmax f32 10", MaskedSoftmax, 10),
        f32_kernel("masked softmax f32 1000", MaskedSoftmax, 1000),
        f32_kernel("log_softmax f32 10", Apply(LogSoftmax), 10),
        f32_kernel("log_softmax f32 1000", Apply(LogSoftmax), 1000),
        f32_kernel("log_softmax f32 32000", Apply(LogSoftmax), 32000),
        f32_kernel("loss_and_grad f32 1000 shared prior", SharedPrior, 1000),
        f32_kernel("loss_and_grad f32 10 priors of rows", RowPriors, 10),
        f32_kernel("loss_and_grad f32 10 soft targets", SoftTargets, 10),
        f32_kernel("loss_and_grad f32 1000 soft targets", SoftTargets, 1000),
        lying("loss_and_grad f64 1000", F64, Dense),
        lying("loss_and_grad bf16 1000", Bf16, Dense),
        lying("loss_and_grad f32 1000 Fortran order", F32, ClassMajor),
    ]
};

/// What is counted, found by this name: one call of the core and nothing around it.
#[inline(never)]
fn counted<R>(call: impl FnOnce() -> R) -> R {
    std::hint::black_box(call())
}

/// Roughly normal, of deviation √3, the same in every run.
fn make_logits(rows: usize, classes: usize) -> Vec<f64> {
    let mut state = 1_u64;
    let mut uniform = || {
        // Knuth's linear congruential generator; the upper bits are the random ones.
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        f64::from(u32::try_from(state >> 32).expect("32 bits")) / 2f64.powi(32) - 0.5
    };
    (0..rows * classes).map(|_| 3.0 * (uniform() + uniform() + uniform() + uniform())).collect()
}

fn label(row: usize, classes: usize) -> usize {
    row * 7 % classes
}

/// q
fn target(operation: Operation, row: usize, class: usize, classes: usize) -> f64 {
    let is_label = class == label(row, classes);
    if !matches!(operation, Operation::SoftTargets) {
        return f64::from(is_label);
    }
    let others = 0.25 / f64::from(u32::try_from(classes).expect("few classes"));
    if is_label { 0.75 + others } else { others }
}

/// u
fn prior(operation: Operation, classes: usize) -> Vec<f64> {
    let weight = |k: usize| match operation {
        Operation::SharedPrior | Operation::RowPriors => {
            f64::from(u32::try_from(k + 1).expect("few classes"))
        }
        _ => 1.0,
    };
    let sum: f64 = (0..classes).map(weight).sum();
    (0..classes).map(|k| weight(k) / sum).collect()
}

/// log p of every logit.
fn log_p(logits: &[f64], classes: usize) -> Vec<f64> {
    let rows = logits.chunks_exact(classes);
    rows.flat_map(|row| {
        let lse = row.iter().map(|z| z.exp()).sum::<f64>().ln();
        row.iter().map(move |z| z - lse)
    })
    .collect()
}

impl Kernel {
    fn rows(&self) -> usize {
        (LOGITS / self.classes).max(FEWEST_ROWS)
    }

    /// Calls it twice, the second time counted, and compares the answer.
    fn run(&self, level: Level) {
        let (rows, classes) = (self.rows(), self.classes);
        let compute = self.storage.compute_with(Storage::F32);
        let values = make_logits(rows, classes);
        let logits = Buffer::from_values(self.storage, self.layout, classes, &values);
        let mut out = Buffer::new(self.storage, self.layout, rows, classes);
        let mut output = out.rows_mut();
        let mut checkpoint = || Ok(());
        let mut run = Run::new(level, 1, &mut checkpoint);

        let label = |row: usize| i64::try_from(label(row, classes)).expect("a small number");
        let values: Vec<_> = (0..rows).map(label).collect();
        let (elements, mut labels) = (Rows::from_slice(&values, 1), Labels::default());
        read_labels(&elements, "targets", classes, None, &mut labels, &mut run)
            .expect("good labels");
        let is_of_rows = matches!(self.operation, Operation::RowPriors);
        let own = prior(self.operation, classes).repeat(if is_of_rows { rows } else { 1 });
        let own = Buffer::from_values(Storage::F32, Layout::Dense, classes, &own);
        let own = read_prior(own.rows(), &mut run).expect("a distribution");
        let prior = match self.operation {
            Operation::SharedPrior | Operation::RowPriors => &own,
            _ => &Prior::Uniform,
        };
        let q = |index: usize| target(self.operation, index / classes, index % classes, classes);
        let q: Vec<f64> = (0..rows * classes).map(q).collect();
        let q = Buffer::from_values(self.storage, self.layout, classes, &q);
        let loss = CrossEntropy {
            targets: &Targets::Labels(labels),
            terms: LossTerms::new(LABEL_SMOOTHING, prior),
            reduction: Reduction::Mean,
            normalizer: None,
        };
        let kept = (0..rows * classes)
            .map(|index| f64::from(index % classes % 4 != 3))
            .collect::<Vec<_>>();
        let kept = Buffer::from_values(Storage::Bool, self.layout, classes, &kept);
        let is_masked = matches!(self.operation, Operation::MaskedSoftmax);
        let mask = is_masked.then(|| kept.rows());
        let batch = Batch { logits: logits.rows(), mask, temperature: 1.0, compute };
        let mut call = || match self.operation {
            Operation::Apply(kind) => batch.apply(kind, &mut output, &mut run).map(|()| 0.0),
            Operation::MaskedSoftmax => {
                batch.apply(smoothxent::Operation::Softmax, &mut output, &mut run).map(|()| 0.0)
            }
            Operation::Loss => loss.run(&batch, None, None, None, &mut run),
            Operation::SoftTargets => {
                let targets = &read_probabilities(q.rows(), compute, None, &mut run)?;
                let loss = CrossEntropy { targets, ..loss };
                loss.run(&batch, None, Some(&mut output), None, &mut run)
            }
            Operation::LossAndGrad | Operation::SharedPrior | Operation::RowPriors => {
                loss.run(&batch, None, Some(&mut output), None, &mut run)
            }
        };
        // The first call makes the workspace, which later ones find.
        let first = call().expect("no error");
        let answer = counted(call).expect("no error");
        assert_eq!(answer.to_bits(), first.to_bits(), "{}: another answer", self.name);
        let mut logits = logits.values();
        if is_masked {
            let masked = logits.iter_mut().zip(kept.values()).filter(|(_, kept)| *kept == 0.0);
            masked.for_each(|(z, _)| *z = f64::NEG_INFINITY);
        }
        self.check(&logits, answer, &out.values());
    }

    /// Panics if the loss or an element of the output is not what the formulas say. Where it begins, the counts so far
    /// are written: a function of its own.
    #[inline(never)]
    fn check(&self, logits: &[f64], loss: f64, output: &[f64]) {
        let (rows, classes) = (self.rows(), self.classes);
        let log_p = log_p(logits, classes);
        let u = prior(self.operation, classes);
        let is_close = |got: f64, right: f64, size: f64| (got - right).abs() <= TOLERANCE * size;
        if let Operation::Apply(_) | Operation::MaskedSoftmax = self.operation {
            let is_log =
                matches!(self.operation, Operation::Apply(smoothxent::Operation::LogSoftmax));
            for (&got, &log_p) in output.iter().zip(&log_p) {
                let right = if is_log { log_p } else { log_p.exp() };
                assert!(is_close(got, right, right.abs()), "{}: {got}, not {right}", self.name);
            }
            return;
        }
        let count = f64::from(u32::try_from(rows).expect("few rows"));
        let (mut sum, has_grad) = (0.0, !matches!(self.operation, Operation::Loss));
        for (index, &log_p) in log_p.iter().enumerate() {
            let (row, class) = (index / classes, index % classes);
            let q = (1.0 - LABEL_SMOOTHING) * target(self.operation, row, class, classes)
                + LABEL_SMOOTHING * u[class];
            sum -= q * log_p;
            let (got, right) = (output[index] * count, log_p.exp() - q);
            let is_right = !has_grad || is_close(got, right, q.max(log_p.exp()));
            assert!(is_right, "{}: {got}, not {right}", self.name);
        }
        assert!(is_close(loss, sum / count, loss), "{}: {loss}, not {}", self.name, sum / count);
    }
}

fn main() {
    let name = std::env::args().nth(1).unwrap_or_default();
    let available = Level::available();
    let Some(&level) = available.iter().find(|level| level.name() == name) else {
        let names: Vec<_> = available.iter().map(|level| level.name()).collect();
        eprintln!("usage: instructions {}", names.join("|"));
        std::process::exit(2);
    };
    smoothxent::pool::init();
    for kernel in &KERNELS {
        kernel.run(level);
        println!("{},{}", kernel.name, kernel.rows() * kernel.classes);
    }
}
