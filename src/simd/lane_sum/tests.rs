//! Which numbers are added to which, and what is not lost.

use super::LaneSum;
use crate::element::{DoubleDouble, Float, Wide};
use crate::simd::{Level, Vector, VectorJob};

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

/// Numbers whose sum rounds differently in any other order: 1 and halves of its last bit.
fn lanes<F: Float>(first: usize) -> [F; 16] {
    let tiny = f64::EPSILON / 2.0;
    std::array::from_fn(|lane| F::from_f64(if lane == first { 1.0 } else { tiny }))
}

#[test]
fn lanes_are_joined_by_the_tree() {
    let mut by_place = Vec::new();
    for first in 0..16 {
        let block = lanes::<f32>(first);
        let wanted = tree(block.map(f64::from).to_vec());
        let in_turn = block.iter().fold(0.0, |sum, lane| sum + f64::from(*lane));
        by_place.push(wanted != in_turn);
        for level in Level::available() {
            let total = f32::dispatch(*level, Total(&[block]));
            assert_eq!(total, wanted, "1 in lane {first}, {}", level.name());
        }
    }
    assert!(by_place.contains(&true), "no order can be told from another");
}

/// In f64 the tree adds numbers of 106 bits: lanes of 1 and halves of the last bit of those.
#[test]
fn lanes_of_f64_are_joined_by_the_tree() {
    for first in 0..8 {
        let mut block = [0.0; 16];
        for (lane, value) in block.iter_mut().take(8).enumerate() {
            let tiny = f64::EPSILON * f64::EPSILON / 4.0;
            *value = if lane == first { 1.0 } else { tiny * (1.0 + f64::EPSILON * 3.0) };
        }
        let wanted = tree(block[..8].iter().map(|lane| DoubleDouble::new(*lane)).collect());
        for level in Level::available() {
            let total = f64::dispatch(*level, Total(&[block]));
            assert_eq!(total, wanted, "1 in lane {first}, {}", level.name());
        }
    }
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
