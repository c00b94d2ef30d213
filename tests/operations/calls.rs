//! Losses that are not reduced, and work that is stopped.

use crate::rows::labels;
use smoothxent::{
    Batch, CrossEntropy, Error, Level, LossTerms, Operation, Prior, Reduction, Rows, RowsMut, Run,
    Storage, Targets, read_prior, read_probabilities, read_weights,
};
use std::array::from_fn;
use std::collections::BTreeSet;
use std::time::Duration;

fn batch(logits: &[f32], classes: usize) -> Batch<'_> {
    let logits = Rows::from_slice(logits, classes);
    Batch { logits, mask: None, temperature: 1.0, compute: Storage::F32 }
}

/// If the losses of the rows are written, no reduced loss is computed.
#[test]
fn losses_that_are_written_are_not_reduced() {
    let logits: [f32; 20] = from_fn(|i| if i % 3 == 0 { 1.0 } else { 0.0 });
    let labels = Run::with_defaults(|run| labels(&[0; 10], 2, None, run)).unwrap();
    let loss = CrossEntropy {
        targets: &Targets::Labels(labels),
        terms: LossTerms::new(0.1, &Prior::Uniform),
        reduction: Reduction::Sum,
        normalizer: None,
    };
    let batch = batch(&logits, 2);
    let mut losses = [f64::NAN; 10];
    let mut out = RowsMut::from_slice(&mut losses, 1);
    let value = Run::with_defaults(|run| loss.run(&batch, Some(&mut out), None, None, run));
    let sum = Run::with_defaults(|run| loss.run(&batch, None, None, None, run)).unwrap();
    assert!(value.unwrap().is_nan());
    assert!((losses.iter().sum::<f64>() - sum).abs() < 1e-14 * sum, "{losses:?}, sum {sum}");
}

/// What a call answers that is given up at its `stop_at`-th look, and how many looks it had.
fn stopped_at<R>(
    threads: usize,
    stop_at: Option<usize>,
    call: impl FnOnce(&mut Run<'_>) -> Result<R, Error>,
) -> (Result<(), Error>, usize) {
    let mut looks = 0;
    let mut checkpoint = || {
        looks += 1;
        if Some(looks) == stop_at { Err(Error::Interrupted) } else { Ok(()) }
    };
    let mut run = Run::new(Level::current(), threads, &mut checkpoint);
    run.between_polls = Duration::ZERO;
    let outcome = call(&mut run).map(|_| ());
    (outcome, looks)
}

/// The looks of a call that may go on. At any of them an error ends it: the first, the last and some in between.
fn looks<R>(call: impl Fn(&mut Run<'_>) -> Result<R, Error>) -> usize {
    const BETWEEN: usize = 4;
    let (outcome, looks) = stopped_at(1, None, &call);
    assert_eq!(outcome, Ok(()));
    let stops = (0..=BETWEEN + 1).map(|i| 1 + i * (looks - 1) / (BETWEEN + 1));
    for stop_at in stops.collect::<BTreeSet<_>>() {
        assert_eq!(stopped_at(1, Some(stop_at), &call), (Err(Error::Interrupted), stop_at));
        // A second thread may leave the caller fewer parts.
        let (outcome, looks) = stopped_at(2, Some(stop_at), &call);
        let expected = if looks == stop_at { Err(Error::Interrupted) } else { Ok(()) };
        assert!(outcome == expected && looks <= stop_at, "{outcome:?} at {looks} of {stop_at}");
    }
    looks
}

#[test]
fn many_rows_are_given_up() {
    let (rows, classes) = (20_000, 100);
    let logits = vec![1f32; rows * classes];
    let looks = looks(|run| {
        let mut lse = vec![0f32; rows];
        let mut out = RowsMut::from_slice(&mut lse, 1);
        batch(&logits, classes).apply(Operation::LogSumExp, &mut out, run)
    });
    assert!(looks >= 8, "8 MB: {looks} looks");
}

/// Also within a single row, while targets and weights are read and brought into their form.
#[test]
fn one_row_is_given_up() {
    // Rows are read by 2^20 numbers; values are copied and checked by 2^16, and brought into their form by
    // 2^14.
    let classes = (1 << 20) + (1 << 16);
    let (read, copied, formed) = (2, 17, 68);
    let (logits, huge) = (vec![1f32; classes], vec![1e30f32; classes]);
    let shares = vec![1.0 / 1_114_112.0; classes];
    let (mask, ones) = (vec![1f32; classes], vec![1f64; classes]);
    let row = |values| Rows::from_slice(values, classes);
    let call = |run: &mut Run<'_>, has_q, has_prior, is_weighted, is_masked: bool| {
        let targets = if has_q {
            read_probabilities(row(&shares), Storage::F32, None, run)?
        } else {
            Targets::Labels(labels(&[1], classes, None, run)?)
        };
        let prior = if has_prior { read_prior(row(&shares), run)? } else { Prior::Uniform };
        let elements = Rows::from_slice(&ones, 1);
        let weights =
            if is_weighted { Some(read_weights(&elements, "class_weight", run)?) } else { None };
        let mut grad = vec![0f32; classes];
        let terms = LossTerms { class_weight: weights.as_ref(), ..LossTerms::new(0.1, &prior) };
        let (reduction, normalizer) = (Reduction::Sum, None);
        let loss = CrossEntropy { targets: &targets, terms, reduction, normalizer };
        let mask = is_masked.then(|| Rows::from_slice(&mask, classes));
        let batch = Batch { mask, ..batch(&logits, classes) };
        let grad = &mut RowsMut::from_slice(&mut grad, classes);
        loss.run(&batch, None, Some(grad), None, run)
    };
    let plain = looks(|run| call(run, false, false, false, false));
    let more = |looks: usize| looks - plain;
    let prior = more(looks(|run| call(run, false, true, false, false)));
    let weights = more(looks(|run| call(run, false, false, true, false)));
    let targets = more(looks(|run| call(run, true, false, false, false)));
    let masked = more(looks(|run| call(run, false, false, false, true)));
    assert!(prior >= read + copied + formed, "{prior}");
    assert!(weights >= copied + formed, "{weights}");
    assert!(targets >= read && masked >= read, "{targets}, {masked}");
    let all = more(looks(|run| call(run, true, true, true, true)));
    assert!(all >= 3 * read + 2 * copied, "{all}");
    let softmax = |z: &[f32], run: &mut Run<'_>| {
        let mut p = vec![0f32; classes];
        let out = &mut RowsMut::from_slice(&mut p, classes);
        batch(z, classes).apply(Operation::Softmax, out, run)
    };
    // Besides, the row is classified.
    let (plain, odd) = (looks(|run| softmax(&logits, run)), looks(|run| softmax(&huge, run)));
    assert_eq!(odd - plain, formed, "{plain} and {odd} looks in {formed} segments");
}

/// Labels and probabilities of many rows, and of long rows, also where numbers are read in place.
#[test]
fn validation_is_given_up() {
    let (doubles, floats) = (vec![1f64; 2_000_000], vec![1f32; 2_000_000]);
    for classes in [1000, 100_000] {
        for q in [Rows::from_slice(&doubles, classes), Rows::from_slice(&floats, classes)] {
            let looks = looks(|run| read_probabilities(q.clone(), Storage::F32, None, run));
            assert!(looks >= 8, "{looks} looks at {classes} classes of {:?}", q.storage());
        }
    }
    let labels = looks(|run| labels(&vec![0; doubles.len()], 1, None, run));
    assert!(labels >= 16, "{labels} looks");
}

/// Parts are checked by several threads, in any order.
#[test]
fn the_first_of_many_bad_rows() {
    let rows = 300_000;
    let bad = |row: usize| row % 50_000 == 49_999;
    let mut q = vec![0.5f64; 2 * rows];
    for row in (0..rows).filter(|row| bad(*row)) {
        q[2 * row + 1] = -1.0;
    }
    let values: Vec<i64> = (0..rows).map(|row| if bad(row) { 7 } else { 1 }).collect();
    for _ in 0..20 {
        let (label, probability) = Run::with_defaults(|run| {
            run.threads = 2;
            let labels = labels(&values, 2, None, run);
            let probabilities =
                read_probabilities(Rows::from_slice(&q, 2), Storage::F64, None, run);
            (labels.err(), probabilities.err())
        });
        let (name, index, num_classes, ignore_index) = ("targets", vec![49_999], 2, None);
        let value = Box::new(7);
        assert_eq!(label, Some(Error::Label { name, index, value, num_classes, ignore_index }));
        let index = vec![49_999, 1];
        assert_eq!(probability, Some(Error::Entry { name: "targets", index, value: -1.0 }));
    }
}
