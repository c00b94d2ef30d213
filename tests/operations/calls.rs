//! A mean over nothing, and work that is stopped.

use crate::rows::IGNORED;
use smoothxent::{
    Alone, CrossEntropy, Error, Labels, Level, LossTerms, Prior, Probabilities, Reduction, Rows,
    RowsMut, Run, Targets, logsumexp,
};

#[test]
fn nothing_counted() {
    let logits = [f32::NAN, 1.0, 2.0];
    let targets = &Targets::Labels(
        Labels::new(1, |_| IGNORED, 3, Some(IGNORED), &mut Alone::default()).unwrap(),
    );
    for (reduction, wanted) in [(Reduction::Mean, f64::NAN), (Reduction::Sum, 0.0)] {
        let mut grad = [f32::NAN; 3];
        let loss = CrossEntropy {
            targets,
            terms: LossTerms::new(0.1, &Prior::Uniform),
            reduction,
            normalizer: None,
        };
        let grad_out = RowsMut::from_slice(&mut grad, 3);
        let value = Run::with_defaults(|run| {
            loss.run::<f32>(&Rows::from_slice(&logits, 3), None, None, Some(&grad_out), run)
        })
        .unwrap();
        assert!(value == wanted || value.is_nan() && wanted.is_nan(), "{reduction:?}: {value}");
        assert_eq!(grad.map(f32::to_bits), [0; 3], "{reduction:?}");
    }
}

/// Between slices of long work the caller is asked, and an error ends the call.
#[test]
fn checkpoint() {
    let (rows, classes) = (20_000, 1000);
    let logits = vec![1f32; rows * classes];
    let logits = Rows::from_slice(&logits, classes);
    let mut lse = vec![0f32; rows];
    for stop_at in [None, Some(1), Some(2)] {
        let mut calls = 0;
        let mut checkpoint = || {
            calls += 1;
            if Some(calls) == stop_at { Err(Error::Interrupted) } else { Ok(()) }
        };
        let mut run = Run { level: Level::current(), threads: 2, checkpoint: &mut checkpoint };
        let result =
            logsumexp::<f32>(1.0, &logits, None, &RowsMut::from_slice(&mut lse, 1), &mut run);
        match stop_at {
            None => {
                assert_eq!(result, Ok(()));
                assert!(calls >= 2, "80 MB are two slices: {calls} calls");
            }
            Some(stop_at) => assert_eq!((result, calls), (Err(Error::Interrupted), stop_at)),
        }
    }
}

/// Between parts of targets and priors that are validated, too: also of a single row.
#[test]
fn checkpoint_of_validation() {
    let ones = vec![1f64; 6_000_000];
    for (classes, share) in [(1000, 1e-3), (ones.len(), 1.0 / 6e6)] {
        let rows = || Rows::from_slice(&ones, classes);
        let shares = vec![share; ones.len()];
        for stop_at in [1, 2] {
            let mut calls = 0;
            let mut checkpoint = || {
                calls += 1;
                if calls == stop_at { Err(Error::Interrupted) } else { Ok(()) }
            };
            let mut run = Run { level: Level::current(), threads: 1, checkpoint: &mut checkpoint };
            let result = Probabilities::new(rows(), None, &mut run.team()).map(|_| ());
            assert_eq!((result, calls), (Err(Error::Interrupted), stop_at), "{classes} classes");
        }
        let mut checkpoint = || Err(Error::Interrupted);
        let mut run = Run { level: Level::current(), threads: 1, checkpoint: &mut checkpoint };
        let prior = Prior::new(Rows::from_slice(&shares, classes), &mut run.team());
        if classes < ones.len() {
            assert_eq!(prior.err(), Some(Error::Interrupted));
        }
        let labels = Labels::new(ones.len(), |_| 0, 1, None, &mut run.team());
        assert_eq!(labels.err(), Some(Error::Interrupted));
    }
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
    for _ in 0..20 {
        let (label, probability) = Run::with_defaults(|run| {
            run.threads = 2;
            let label = |row| if bad(row) { 7 } else { 1 };
            let labels = Labels::new(rows, label, 2, None, &mut run.team());
            let probabilities = Probabilities::new(Rows::from_slice(&q, 2), None, &mut run.team());
            (labels.err(), probabilities.err())
        });
        let (index, num_classes, ignore_index) = (vec![49_999], 2, None);
        assert_eq!(label, Some(Error::Label { index, value: 7, num_classes, ignore_index }));
        let index = vec![49_999, 1];
        assert_eq!(probability, Some(Error::Probability { index, value: -1.0 }));
    }
}
