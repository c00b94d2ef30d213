//! Every level finds the first maximum, wherever the row lies in memory.

use super::*;
use crate::simd::{Level, Sink, VectorJob};
use std::slice::from_mut;

struct FirstMaximum<'z, F>(bool, &'z [F]);

impl<F: Float> VectorJob<F> for FirstMaximum<'_, F> {
    type Output = (F, usize);
    #[inline(always)]
    fn run<V: Vector<Scalar = F>>(self, token: V::Token) -> Self::Output {
        let (z, exps) = (Source::from_slice(self.1), Sink::from_slice(&mut []));
        let mut part = Part::new(z, F::default(), exps);
        find_maxima::<V>(token, self.0, from_mut(&mut part));
        (part.max, part.apart)
    }
}

/// Rows of small numbers, so that many classes have the maximum, and some begin with −inf, 0 and −0.
fn check<F: Float>(len: usize, start: usize, seed: usize) {
    let number = |k: usize| match (k * k * 31 + k * seed * 17 + seed) % (9 + len) {
        k if k < 2 + seed % 3 => [f64::NEG_INFINITY, 0.0, -0.0][seed % 3],
        k => -count(k),
    };
    let all: Vec<F> = (0..start + len).map(|k| F::from_f64(number(k))).collect();
    let z = &all[start..];
    let mut wanted = (z[0], 0);
    for (class, logit) in z.iter().enumerate() {
        if *logit > wanted.0 {
            wanted = (*logit, class);
        }
    }
    for level in Level::available() {
        let found = level.run(FirstMaximum(true, z));
        assert_eq!(found.1, wanted.1, "{len} from {start} on at {}", level.name());
        let others = [found.0, level.run(FirstMaximum(false, z)).0];
        assert!(others.iter().all(|max| *max == wanted.0), "{len}, {start}, {}", level.name());
    }
}

#[test]
fn it_is_the_first() {
    for len in (1..300).chain([1000, 16_384]) {
        for start in [0, 1, 7, 8, 15] {
            for seed in 0..6 {
                check::<f32>(len, start, seed);
                check::<f64>(len, start, seed);
            }
        }
    }
}

/// Otherwise the sweep would not see the NaN.
#[test]
fn a_nan_is_not_left_out() {
    for len in [1, 5, 16, 63, 64, 65, 130, 257] {
        for nan in 0..len {
            let mut z: Vec<f32> = (0..len).map(|k| f32::from_f64(count(k * 37 % 11))).collect();
            z[nan] = f32::NAN;
            for level in Level::available() {
                let (max, place) = level.run(FirstMaximum(true, &z));
                assert!(!max.is_finite() || place != nan, "{nan} of {len} at {}", level.name());
            }
        }
    }
}
