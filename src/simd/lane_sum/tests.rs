//! Which numbers are added to which, and what is not lost.

use super::LaneSum;
use crate::element::Float;
use crate::simd::{Level, Vector, VectorJob};
use crate::wide::Wide;

/// The total of blocks, one vector each.
struct Total<'b, F>(&'b [[F; 16]]);

impl<F: Float> VectorJob<F> for Total<'_, F> {
    type Output = F::Wide;
    #[inline(always)]
    fn run<V: Vector<Scalar = F>>(self, token: V::Token) -> F::Wide {
        let mut sum = V::Sum::zero(token);
        for block in self.0 {
            // SAFETY: a block has at least as many lanes as any vector.
            sum.add(unsafe { V::load(token, block.as_ptr()) });
        }
        sum.total()
    }
}

/// Lane i with lane i + half, until one is left.
fn tree<W: Wide>(lanes: Vec<W>) -> W {
    let half = lanes.len() / 2;
    if half == 0 {
        return lanes[0];
    }
    tree((0..half).map(|lane| lanes[lane] + lanes[lane + half]).collect())
}

/// Numbers too far apart for a sum without roundings, in an order of their own for each `turn`.
fn lanes<F: Float>(count: usize, step: i32, turn: usize) -> Vec<F> {
    let number = |lane: usize| {
        let place = i32::try_from((lane + turn) * 7 % count).expect("a lane");
        F::from_f64((1.0 + (f64::from(place) * 0.618).fract()) * 2f64.powi(-step * place))
    };
    (0..count).map(number).collect()
}

fn check_tree<F: Float>(count: usize, step: i32)
where
    F::Wide: PartialEq + std::fmt::Debug,
{
    let (mut is_own, mut is_neighbours) = (false, false);
    for turn in 0..count {
        let lanes = lanes::<F>(count, step, turn);
        let mut block = [F::default(); 16];
        block[..count].copy_from_slice(&lanes);
        let wide: Vec<F::Wide> = lanes.iter().map(|lane| Wide::new(lane.to_f64())).collect();
        let wanted = tree(wide.clone());
        for level in Level::available() {
            let total = F::dispatch(*level, Total(&[block]));
            assert_eq!(total, wanted, "turn {turn}, {}", level.name());
        }
        is_own |= wide.iter().fold(F::Wide::new(0.0), |sum, lane| sum + *lane) != wanted;
        // Lane i beside i + 1 first is the tree of the bits of i in reverse.
        let bits = count.trailing_zeros();
        let reverse = |lane: usize| lane.reverse_bits() >> (usize::BITS - bits);
        is_neighbours |= tree((0..count).map(|lane| wide[reverse(lane)]).collect()) != wanted;
    }
    assert!(is_own && is_neighbours, "these numbers cannot tell one order from another");
}

#[test]
fn lanes_are_joined_by_the_tree() {
    check_tree::<f32>(16, 5);
    check_tree::<f64>(8, 18);
}

#[test]
fn f32_blocks_are_added_in_f64() {
    let blocks: Vec<[f32; 16]> =
        [16_777_216.0].iter().chain(&[1.0; 100]).map(|x| [*x; 16]).collect();
    for level in Level::available() {
        let total = f32::dispatch(*level, Total(&blocks));
        assert_eq!(total, 16.0 * (16_777_216.0 + 100.0), "{}", level.name());
    }
}

/// A thousand numbers too small to change 1, and then no 1.
#[test]
fn f64_blocks_keep_what_additions_lose() {
    let tiny = 2f64.powi(-60);
    let numbers = [1.0].iter().chain(&[tiny; 1000]).chain(&[-1.0]).copied().collect::<Vec<f64>>();
    let blocks: Vec<[f64; 16]> = numbers.iter().map(|x| [*x; 16]).collect();
    for level in Level::available() {
        let total = f64::dispatch(*level, Total(&blocks));
        assert_eq!(total.value(), 8.0 * 1000.0 * tiny, "{}", level.name());
    }
}
