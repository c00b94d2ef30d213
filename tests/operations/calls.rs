//! A mean over nothing, and work that is stopped.

use crate::rows::IGNORED;
use smoothxent::{
    CrossEntropy, Error, Labels, Level, LossTerms, Prior, Reduction, Rows, RowsMut, Run, Targets,
    logsumexp,
};

#[test]
fn nothing_counted() {
    let logits = [f32::NAN, 1.0, 2.0];
    let targets = &Targets::Labels(
        Labels::new([IGNORED].into_iter(), 3, Some(IGNORED), &mut || Ok(())).unwrap(),
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
