//! The exponential core against a reference that shares none of its arithmetic.
//!
//! The worst errors are asserted from both sides, so that a sweep that loses its hard inputs
//! fails as well as a core that gets worse.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    reason = "integers far below 2^31"
)]

mod measure;
mod truth;

use super::LARGEST_MAX;
use crate::simd::Level;
use measure::{Bounds, ROW, Row, Worst, sweep};
use std::f64::consts::{LN_2, LOG2_E};
use truth::Truth;

/// Every float: a proof.
const F32: Bounds =
    Bounds { exp: 0.881_39..=0.881_40, relative: 1.283_17..=1.283_18, bias: 0.000_3 };
/// 2e9 inputs, of which the hardest are in [`HARDEST_F64`].
const F64: Bounds = Bounds { exp: 0.874_29..=0.874_30, relative: 1.243_80..=1.243_81, bias: 0.001 };

const HARDEST_F32: [f32; 2] = [-1383.0796, 119_265.234];
const HARDEST_F64: [f64; 2] = [497_294.632_383_265_6, -967_862.638_146_115];

/// No row has a logit with a larger |z| that is not below its cut: see `the_cut_loses_nothing`.
const FARTHEST_F32: f64 = LARGEST_MAX + 157.0 * LN_2;

/// The number of rows of one sign in the enumeration of all floats.
fn f32_rows() -> usize {
    (FARTHEST_F32 as f32).to_bits() as usize / ROW + 1
}

/// The floats with the bits `row·ROW`, ..., the negative ones in separate rows.
#[inline(always)]
fn fill_f32(row: usize, z: &mut [f32; ROW]) -> f32 {
    let rows = f32_rows();
    let (sign, first) = ((row / rows) as u32, (row % rows * ROW) as u32);
    for (i, z) in (0..).zip(&mut *z) {
        *z = f32::from_bits((sign << 31) | (first + i));
    }
    if sign == 0 { z[ROW - 1] } else { z[0] }
}

fn f32_row_of(z: f32) -> usize {
    let bits = z.to_bits();
    f32_rows() * (bits >> 31) as usize + (bits & (u32::MAX >> 1)) as usize / ROW
}

/// Asserts that the worst errors in all rows, and in a part of them, are within `bounds`. The portable level, whose
/// emulated fused multiply-add is slow, is compared only in that part.
fn check<F: Truth>(
    bounds: &Bounds,
    temperature: f64,
    all: impl Iterator<Item = usize> + Clone + Send,
    part: impl Iterator<Item = usize> + Clone + Send,
    fill: impl Fn(usize, &mut [F; ROW]) -> F + Copy + Send,
) {
    let levels = Level::available();
    Worst::assert_within(&sweep(levels, temperature, part, fill), bounds);
    if levels.len() > 1 {
        Worst::assert_within(&sweep(&levels[1..], temperature, all, fill), bounds);
    }
}

/// All f32 that can be in a row and not below its cut.
#[test]
fn exp_exhaustive() {
    let all = 0..2 * f32_rows();
    let part = all.clone().step_by(127).chain(HARDEST_F32.map(f32_row_of));
    check(&F32, 1.0, all, part, fill_f32);
}

/// 1e7 inputs of four kinds in turn, after the hardest known ones.
#[test]
fn exp_f64() {
    let all = 0..20_000;
    let part = all.clone().step_by(5).chain(0..HARDEST_F64.len());
    check(&F64, 1.0, all, part, fill_f64);
}

#[inline(always)]
fn fill_f64(row: usize, z: &mut [f64; ROW]) -> f64 {
    if let Some(hardest) = HARDEST_F64.get(row) {
        z.fill(*hardest);
        return *hardest;
    }
    fill_kinds(row, 1.0, z)
}

/// Inputs of four kinds in turn, times `temperature`.
#[inline(always)]
fn fill_kinds<F: Truth>(row: usize, temperature: f64, z: &mut [F; ROW]) -> F {
    let mut random = Random(row as u64);
    // Far less than the distance from a maximum to its cut.
    let spread = F::LEAST * 0.28;
    let centre = random.within(LARGEST_MAX);
    let binade = 2f64.powi((row / 4 % 1075) as i32 - 1074);
    for z in &mut *z {
        let value = match row % 4 {
            // n = −1, 0, 1
            0 => random.within(1.0),
            // Any n.
            1 => centre + random.within(spread),
            // Around the points where n changes and where f is 0, from far to near.
            2 => {
                let n = ((centre + random.within(spread)) * LOG2_E).round();
                let near = 2f64.powi(-((random.bits() % 50) as i32));
                (n + (random.bits() % 2) as f64 / 2.0 + random.within(near)) * LN_2
            }
            // All magnitudes, subnormal numbers included.
            _ => random.within(binade),
        };
        *z = F::from_f64(value * temperature);
    }
    z.iter().copied().fold(F::NEG_INFINITY, |max, z| if z > max { z } else { max })
}

/// For temperatures that are not powers of two (those have the errors of T = 1). 1/T is rounded, and r and q are larger
/// within their binades. If |z|/T is near its limit, the rounding error of log2(e)/T makes r larger than ln 2 / 2,
/// which is beyond the polynomial of f32. Below 250,000 the error is at most 1.03 ulp (200 temperatures).
const OTHER: Bounds = Bounds { exp: 0.9..=1.34, relative: 1.2..=2.0, bias: 0.02 };
/// The first is the worst known one for f32, the second for f64.
const TEMPERATURES: [f64; 6] = [1.312_567_569_279_876_4, 0.845, 0.07, 0.75, 1.7, 30.0];

fn check_temperatures<F: Truth>() {
    for temperature in TEMPERATURES {
        let fill = |row, z: &mut [F; ROW]| fill_kinds(row, temperature, z);
        let all = 0..4000;
        check::<F>(&OTHER, temperature, all.clone(), all.step_by(3), fill);
    }
}

#[test]
fn exp_of_temperatures() {
    check_temperatures::<f32>();
    check_temperatures::<f64>();
}

/// SplitMix64
struct Random(u64);

impl Random {
    #[inline(always)]
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let bits = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// Uniform in ±limit.
    #[inline(always)]
    fn within(&mut self, limit: f64) -> f64 {
        ((self.bits() >> 11) as f64 * f64::EPSILON - 1.0) * limit
    }
}

/// Maxima on both sides of 0 and of a rounding of N, up to the largest.
const MAXIMA: [f64; 12] = [
    0.0,
    1e-30,
    0.346,
    0.347,
    -0.346,
    -0.347,
    1.0,
    88.7,
    -1000.5,
    12_345.678,
    LARGEST_MAX,
    -LARGEST_MAX,
];

/// Exponentials whose probability could be a subnormal number are accurate, those far below are 0, and there is nothing
/// in between.
fn check_the_cut<F: Truth>(bounds: &Bounds) {
    // The smallest kept scale is normal, so no class below this one can be kept.
    let gone = F::EXP.exponent_bias + F::EXP.headroom;
    for level in Level::available() {
        for max in MAXIMA {
            let mut row = Row { max: F::from_f64(max), ..Row::new() };
            let max = row.max.to_f64();
            let (first, last) = (F::LEAST - 3.0, gone + 3.0);
            for (i, z) in row.z.iter_mut().enumerate() {
                *z = F::from_f64(max - (first + (last - first) * i as f64 / ROW as f64) * LN_2);
            }
            row.at_level(*level);
            let (mut kept, mut dropped) = (0, 0);
            for i in 0..ROW {
                let gap = (max - row.z[i].to_f64()) / LN_2;
                let place = format!("{}: {gap} bits below {max}", level.name());
                let e = row.e[i].to_f64();
                if e.to_bits() == 0 {
                    assert!(gap > F::LEAST, "dropped too early, {place}");
                    dropped += 1;
                    continue;
                }
                assert!(gap < gone, "kept too long, {place}");
                // In the last half binade the result is subnormal and rounded once more: by half of the spacing of
                // subnormal numbers, which is one ulp there.
                let most = bounds.exp.end() + if e >= F::MIN_POSITIVE { 0.0 } else { 1.0 };
                let (error, _) = row.error(i);
                assert!(error.abs() <= most, "{error} ulp, {place}");
                kept += 1;
            }
            assert!(kept > 0 && dropped > 0, "{}: the cut below {max} was not met", level.name());
        }
    }
}

#[test]
fn the_cut_loses_nothing() {
    check_the_cut::<f32>(&F32);
    check_the_cut::<f64>(&F64);
}

fn check_special_values<F: Truth>() {
    for level in Level::available() {
        for max in MAXIMA {
            let mut row = Row { max: F::from_f64(max), ..Row::new() };
            row.z[0] = F::NEG_INFINITY;
            row.z[1] = F::NAN;
            row.z[2] = F::from_f64(max);
            row.at_level(*level);
            let place = format!("{}, max {max}", level.name());
            let e = [0, 1, 2].map(|i| row.e[i].to_f64());
            assert_eq!(e[0].to_bits(), 0, "exp(-inf) is +0: {place}");
            assert!(e[1].is_nan(), "exp(nan) is nan: {place}");
            // 2^headroom times a number in [√½, √2], or a binade off if n and N, which are rounded from different
            // products, differ.
            let headroom = F::EXP.headroom;
            assert!((e[2].log2() - headroom).abs() <= 1.0, "exp(max): {place}");
        }
    }
}

#[test]
fn special_values() {
    check_special_values::<f32>();
    check_special_values::<f64>();
}

fn check_wide_of_max<F: Truth>(temperature: f64, bound: f64) {
    let mut random = Random(1);
    let maxima: Vec<f64> = (0..1000).map(|_| random.within(100.0) * temperature).collect();
    for level in Level::available() {
        for max in &maxima {
            let mut row = Row { temperature, max: F::from_f64(*max), ..Row::new() };
            row.at_level(*level);
            let (error, _) = row.error_of(row.max, row.wide_of_max);
            assert!(error.abs() <= bound, "{}: exp({max}) is off by {error} ulp", level.name());
        }
    }
}

#[test]
fn the_exponential_of_the_maximum_is_wide() {
    // r and the polynomial before its last two coefficients are rounded; with a temperature, these are too.
    check_wide_of_max::<f32>(1.0, 0.25);
    for temperature in TEMPERATURES {
        check_wide_of_max::<f32>(temperature, 0.35);
    }
    // For f64, s and the result are rounded as well.
    check_wide_of_max::<f64>(1.0, 1.5);
}
