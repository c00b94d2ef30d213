//! w·e/S and w·e/S − q at every level: where they are exact, where they are 0.

use super::Scale;
use crate::element::Float;
use crate::kernel::exp::Kept;
use crate::kernel::stats::{RowClass, Stats};
use crate::simd::lanes::WideLanes;
use crate::simd::{Level, MOST_LANES, Vector, VectorJob};
use crate::wide::Wide;

/// w·e/S − q of one exponential in a row with the maximum exp(M) = 1 and the others' sum.
struct Scaled {
    exp: f32,
    lost: f32,
    others: f64,
    weight: f64,
    q: Option<f64>,
}

impl VectorJob<f32> for Scaled {
    type Output = f32;
    #[inline(always)]
    fn run<V: Vector<Scalar = f32>>(self, token: V::Token) -> f32 {
        let wide = |value| V::Wide::splat(token, value);
        let one = wide(1.0);
        let stats = Stats::<V> {
            class: [RowClass::Finite; MOST_LANES],
            max: V::splat(token, 0.0),
            ties: one.value(),
            peak: one,
            exact_peak: one,
            others: wide(self.others),
            dot: wide(0.0),
            unit: one.value(),
            inverse_unit: one.value(),
        };
        let (scale, q) = Scale::<V>::new(&stats, wide(self.weight), wide(self.q.unwrap_or(0.0)));
        let exps = Kept { value: V::splat(token, self.exp), lost: V::splat(token, self.lost) };
        let scaled = match self.q {
            None => scale.probability(exps),
            Some(_) => scale.probability_less(exps, q),
        };
        scaled.to_array()[0]
    }
}

fn at_every_level(scaled: impl Fn() -> Scaled) -> f32 {
    let results = Level::available().iter().map(|level| f32::dispatch(*level, scaled()));
    let bits: Vec<u32> = results.map(f32::to_bits).collect();
    assert!(bits.iter().all(|of_level| *of_level == bits[0]), "levels differ: {bits:x?}");
    f32::from_bits(bits[0])
}

#[test]
fn a_probability_is_at_least_the_smallest_normal_number_or_zero() {
    // S = 4: of 4·2^-126 the probability is the smallest normal number.
    let p = |exp| at_every_level(|| Scaled { exp, lost: 0.0, others: 3.0, weight: 1.0, q: None });
    let least = 4.0 * f32::MIN_POSITIVE;
    assert_eq!(p(least), f32::MIN_POSITIVE);
    assert_eq!(p(least.next_down()).to_bits(), 0);
    assert_eq!(p(0.0).to_bits(), 0);
    assert_eq!(p(1.0), 0.25);
}

/// Weighted by up to 2^127, whose guarded product would be infinite.
#[test]
fn a_large_weight_overflows_nothing() {
    for weight in [1.0, 2f64.powi(64), 2f64.powi(65), 2f64.powi(127)] {
        let p = at_every_level(|| Scaled { exp: 0.5, lost: 0.0, others: 3.0, weight, q: None });
        assert_eq!(f64::from(p), weight / 8.0);
        let g = at_every_level(|| Scaled {
            exp: 0.5,
            lost: 0.0,
            others: 3.0,
            weight,
            q: Some(weight / 16.0),
        });
        assert_eq!(f64::from(g), weight / 16.0);
    }
}

/// The low parts of exp, 1/S and q hold 24 bits more: what is left of p − q is right to 2^-46 of p,
/// not to the 2^-24 of either rounded.
#[test]
fn what_p_and_q_cancel_to_keeps_its_digits() {
    for others in [2.0, 5.3, 1e3] {
        for exp in [0.9f32, 0.123_456_7, 1e-3] {
            for (part, lost) in
                [(0.0, 0.0), (2f64.powi(-30), exp / 3e7), (-2f64.powi(-27), -exp / 4e7)]
            {
                let p = (f64::from(exp) + f64::from(lost)) / (1.0 + others);
                let q = p.value() * (1.0 - part);
                let g = at_every_level(|| Scaled { exp, lost, others, weight: 1.0, q: Some(q) });
                let off = (f64::from(g) - (p - q)).abs();
                assert!(off <= 2f64.powi(-46) * p, "{exp}/(1 + {others}) − q is off by {off:e}");
            }
        }
    }
}
