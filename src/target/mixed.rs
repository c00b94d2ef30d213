//! Rows of weights: as they lie, or in two parts in the compute type.

use super::normal::Smooth;
use super::parts::fill_in_parts;
use crate::crew::Crew;
use crate::element::Float;
use crate::kernel::stats::Weights;
use crate::simd::memory::Rows;
use crate::wide::{DoubleDouble, Wide};

/// The power of two that weights of this mass are divided by, to stay far from the ends of f32.
pub(super) fn unit_of(mass: f64) -> f64 {
    let is_ordinary = (1e-18..1e18).contains(&mass) || mass == 0.0;
    if is_ordinary { 1.0 } else { f64::from_bits(mass.to_bits() & f64::INFINITY.to_bits()) }
}

/// u·c of class `k`.
fn weighted(u: f64, class_weight: Option<&[f64]>, k: usize) -> DoubleDouble {
    let u = DoubleDouble::new(u);
    class_weight.map_or(u, |weights| u * DoubleDouble::new(weights[k]))
}

/// u of every class in two parts.
pub(super) fn fill<F: Float>(crew: &mut dyn Crew, parts: (&mut [F], &mut [F]), u: &[f64]) {
    fill_in_parts(crew, parts, |start, high, low| {
        for ((high, low), u) in high.iter_mut().zip(low).zip(&u[start..]) {
            (*high, *low) = split(F::Wide::new(*u));
        }
        []
    });
}

/// u·c of every class in two parts; Σ u and Σ u·c.
pub(super) fn fill_weighted<F: Float>(
    crew: &mut dyn Crew,
    parts: (&mut [F], &mut [F]),
    class_weight: Option<&[f64]>,
    u: impl Fn(usize) -> f64 + Sync,
) -> [DoubleDouble; 2] {
    fill_in_parts(crew, parts, |start, high, low| {
        let (mut prior_mass, mut mass) = (DoubleDouble::new(0.0), DoubleDouble::new(0.0));
        for (k, (high, low)) in (start..).zip(high.iter_mut().zip(low)) {
            let u = u(k);
            let weighted = weighted(u, class_weight, k);
            prior_mass = prior_mass + DoubleDouble::new(u);
            mass = mass + weighted;
            (*high, *low) = split_probability(weighted);
        }
        [prior_mass, mass]
    })
}

/// Row `row` of `rows` over `unit`, times c, as weights: as it lies if it is in the compute type and there
/// is no c, else in two parts. Their sum, where they had to be formed.
pub(super) fn row_weights<'s, F: Float>(
    rows: &Rows<'s>,
    row: usize,
    class_weight: Option<&[f64]>,
    unit: f64,
    scratch: &'s mut [F],
    crew: &mut dyn Crew,
) -> (Weights<'s, F>, Option<DoubleDouble>) {
    if rows.storage() == F::STORAGE && class_weight.is_none() && unit == 1.0 {
        return (Weights::Row { high: rows.source(row, scratch), low: None }, None);
    }
    let (high, low) = scratch.split_at_mut(rows.classes());
    let mass = if class_weight.is_none() {
        fill_in_parts(crew, (high, low), |start, high, low| {
            rows.visit(row, start, high.len(), |k, u| {
                (high[k], low[k]) = split(F::Wide::new(u / unit));
            });
            []
        });
        None
    } else {
        let [mass] = fill_in_parts(crew, (high, low), |start, high, low| {
            let mut mass = DoubleDouble::new(0.0);
            rows.visit(row, start, high.len(), |k, u| {
                let weighted = weighted(u / unit, class_weight, start + k);
                mass = mass + weighted;
                (high[k], low[k]) = split_probability(weighted);
            });
            [mass]
        });
        Some(mass)
    };
    let (high, low) = scratch.split_at(rows.classes());
    (Weights::in_two_parts(high, low), mass)
}

/// (1 − ε)·q + β·w in two parts, in the place of q.
pub(super) fn mixed<'s, F: Float>(
    rows: &Rows<'_>,
    row: usize,
    class_weight: Option<&[f64]>,
    label_weight: F::Wide,
    smooth: &Smooth<'_, F>,
    scratch: &'s mut [F],
    crew: &mut dyn Crew,
) -> Weights<'s, F> {
    let (high, low) = scratch.split_at_mut(rows.classes());
    fill_in_parts(crew, (high, low), |start, high, low| {
        let len = high.len();
        match (class_weight, smooth.weights) {
            (None, Weights::Ones) => rows.visit(row, start, len, |k, q| {
                (high[k], low[k]) = split(label_weight * F::Wide::new(q) + smooth.factor);
            }),
            (_, weights) => rows.visit(row, start, len, |k, q| {
                let q = F::wide_of(weighted(q, class_weight, start + k));
                let smooth = smooth.factor * weights.get(start + k);
                (high[k], low[k]) = split(label_weight * q + smooth);
            }),
        }
        []
    });
    let (high, low) = scratch.split_at(rows.classes());
    Weights::in_two_parts(high, low)
}

/// `u` in the compute type and what that rounding lost; a positive probability stays positive.
fn split_probability<F: Float>(u: DoubleDouble) -> (F, F) {
    split(F::wide_of(u))
}

#[inline(always)]
fn split<F: Float>(u: F::Wide) -> (F, F) {
    let (high, low) = F::split(u);
    let is_lost = u.value() > 0.0 && high.to_f64() == 0.0;
    if is_lost { (F::SMALLEST, F::default()) } else { (high, low) }
}
