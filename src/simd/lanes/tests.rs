//! The order in which lanes are added, and the rounding errors that are kept.

use super::LaneSum;
use crate::math::{Real, RunningSum};
use crate::simd::{Float, Level, MOST_LANES, Vector, VectorJob};

/// The total of blocks, one vector each.
struct Total<'b, F>(&'b [[F; 16]]);

/// The total, its rounding error, and the sum of each lane.
type Sums = (f64, f64, [f64; MOST_LANES]);

impl<F: Float> VectorJob<F> for Total<'_, F> {
    type Output = Sums;
    #[inline(always)]
    fn run<V: Vector<Scalar = F>>(self, token: V::Token) -> Sums {
        let mut sum = LaneSum::<V>::zero(token);
        for block in self.0 {
            sum.add(V::from_slice(token, block));
        }
        let ((total, lost), mut lanes) = (sum.total(), [0.0; MOST_LANES]);
        sum.lanes().0.to_slice(&mut lanes);
        (total, lost, lanes)
    }
}

/// Lane i with lane i + half, until one is left.
fn tree(lanes: &[f64]) -> f64 {
    let half = lanes.len() / 2;
    if half == 0 {
        return lanes[0];
    }
    let joined: Vec<f64> = (0..half).map(|lane| lanes[lane] + lanes[lane + half]).collect();
    tree(&joined)
}

/// One after another, with the rounding errors of the additions.
fn line(lanes: &[f64]) -> f64 {
    let mut sum = RunningSum::default();
    for lane in lanes {
        sum.add(*lane);
    }
    sum.value()
}

/// Numbers of such different sizes that their sums are rounded, in a different order for each `turn`.
fn lanes<F: Float>(count: usize, step: i32, turn: usize) -> Vec<F> {
    let number = |lane: usize| {
        let place = i32::try_from((lane + turn) * 7 % count).expect("a lane");
        F::from_f64((1.0 + (f64::from(place) * 0.618).fract()) * 2f64.powi(-step * place))
    };
    (0..count).map(number).collect()
}

fn check_order<F: Float>(count: usize, step: i32, order: fn(&[f64]) -> f64) {
    let (mut is_own, mut is_neighbours) = (false, false);
    for turn in 0..count {
        let lanes = lanes::<F>(count, step, turn);
        let mut block = [F::default(); 16];
        block[..count].copy_from_slice(&lanes);
        let wide: Vec<f64> = lanes.iter().map(|lane| lane.to_f64()).collect();
        let wanted = order(&wide);
        for level in Level::available() {
            let total = level.run(Total(&[block])).0;
            assert_eq!(total, wanted, "turn {turn}, {}", level.name());
        }
        is_own |= wide.iter().sum::<f64>() != wanted;
        // Adding lanes i and i + 1 first is the tree over lanes whose numbers have their bits reversed.
        let bits = count.trailing_zeros();
        let reverse = |lane: usize| lane.reverse_bits() >> (usize::BITS - bits);
        is_neighbours |=
            tree(&(0..count).map(|lane| wide[reverse(lane)]).collect::<Vec<f64>>()) != wanted;
    }
    assert!(is_own && is_neighbours, "these numbers cannot tell one order from another");
}

#[test]
fn lanes_of_f32_are_joined_by_the_tree() {
    check_order::<f32>(16, 5, tree);
}

#[test]
fn lanes_of_f64_are_joined_one_after_another() {
    check_order::<f64>(8, 18, line);
}

#[test]
fn f32_blocks_are_added_in_f64() {
    let blocks: Vec<[f32; 16]> =
        [16_777_216.0].iter().chain(&[1.0; 100]).map(|x| [*x; 16]).collect();
    for level in Level::available() {
        let (total, lost, lanes) = level.run(Total(&blocks));
        assert_eq!((total, lost), (16.0 * (16_777_216.0 + 100.0), 0.0), "{}", level.name());
        assert_eq!(lanes, [16_777_216.0 + 100.0; 16], "{}", level.name());
    }
}

/// 1, then a thousand numbers that are too small to change it, then −1.
#[test]
fn f64_blocks_keep_what_additions_lose() {
    let tiny = 2f64.powi(-60);
    let numbers = [1.0].iter().chain(&[tiny; 1000]).chain(&[-1.0]).copied().collect::<Vec<f64>>();
    let blocks: Vec<[f64; 16]> = numbers.iter().map(|x| [*x; 16]).collect();
    for level in Level::available() {
        let (total, lost, lanes) = level.run(Total(&blocks));
        assert_eq!((total, lost), (8.0 * 1000.0 * tiny, 0.0), "{}", level.name());
        assert_eq!(lanes[..8], [1000.0 * tiny; 8], "{}", level.name());
        // Before 1 is subtracted, the small number is in the rounding error.
        let (total, lost, _) = level.run(Total(&blocks[..2]));
        assert_eq!((total, lost), (8.0, 8.0 * tiny), "{}", level.name());
    }
}

/// Lanes that overflow are infinite; their total is not finite.
#[test]
fn sums_overflow_and_keep_nan() {
    for level in Level::available() {
        let (total, _, lanes) = level.run(Total(&[[f64::MAX; 16]; 2]));
        assert!(!total.is_finite() && lanes[0] == f64::INFINITY, "{}", level.name());
        let nan = [[f64::NAN; 16], [1.0; 16]];
        assert!(level.run(Total(&nan)).0.is_nan(), "{}", level.name());
        let nan = [[f32::NAN; 16], [1.0; 16]];
        assert!(level.run(Total(&nan)).0.is_nan(), "{}", level.name());
    }
}
