//! Segments in any order, at every level.

use super::{Best, MASKED, order, scan};
use crate::simd::{Float, Level, Source, Vector, VectorJob};
use std::collections::BinaryHeap;

const SEGMENT: usize = 257;

/// Scans segments one after another.
struct Scans<'s> {
    z: &'s [f32],
    segments: &'s [usize],
    best: &'s mut Best,
}

fn is_kept(class: usize) -> bool {
    !class.is_multiple_of(5)
}

impl VectorJob<f32> for Scans<'_> {
    type Output = ();

    fn run<V: Vector<Scalar = f32>>(self, token: V::Token) {
        for start in self.segments.iter().map(|segment| segment * SEGMENT) {
            // As they are loaded: masked logits are −inf.
            let logit = |class| if is_kept(class) { self.z[class] } else { f32::NEG_INFINITY };
            let z: Vec<f32> = (start..start + SEGMENT).map(logit).collect();
            scan::<V>(token, Source::from_slice(&z), start, self.best, is_kept);
        }
    }
}

#[test]
fn segments_in_any_order() {
    let values = [-1.0, f32::NEG_INFINITY, 1e-40, -0.0, 0.0, 1e30, 2.0, f32::MIN, 1e-40, 0.5];
    let rows = [
        (0..4 * SEGMENT).map(|class| values[class * class % 97 % values.len()]).collect(),
        vec![f32::NEG_INFINITY; 4 * SEGMENT],
        vec![1e-40; 4 * SEGMENT],
        (0..4 * SEGMENT).map(|class| if class % 9 == 0 { f32::NAN } else { -3.0 }).collect(),
    ];
    for z in rows {
        let z: Vec<f32> = z;
        let entry =
            |class: usize| (if is_kept(class) { order(z[class].to_f64()) } else { MASKED }, class);
        let mut wanted: Vec<_> = (0..z.len()).map(entry).collect();
        wanted.sort_unstable();
        for level in Level::available() {
            for segments in [[0, 1, 2, 3], [3, 2, 1, 0], [2, 3, 0, 1]] {
                for len in [1, 7, 300, z.len()] {
                    let mut best = Best { heap: BinaryHeap::new(), len };
                    let scans = Scans { z: &z, segments: &segments, best: &mut best };
                    level.run(scans);
                    let found = best.heap.into_sorted_vec();
                    assert!(found == wanted[..len], "{}, {segments:?}, {len}", level.name());
                }
            }
        }
    }
}
