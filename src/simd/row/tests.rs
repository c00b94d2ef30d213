//! Loads and stores reach every element of a row and none outside, at every level.

use super::{LONG, QUAD, Sink, Source, transpose};
use crate::math::count;
use crate::simd::Float;
use crate::simd::{Level, Vector, VectorJob, fence};
use std::panic::catch_unwind;

/// Longer than two quads of the narrowest elements, with elements around the row that must not be written.
const ROOM: usize = 160;
const BEFORE: usize = 5;

/// Copies `from` to `to` vector by vector, from element `first` on, and checks the lanes after the end.
struct Copy<'r, F> {
    from: &'r [F],
    to: &'r mut [F],
    first: usize,
}

impl<F: Float> VectorJob<F> for Copy<'_, F> {
    type Output = ();
    #[inline(always)]
    fn run<V: Vector<Scalar = F>>(self, token: V::Token) {
        let pad = F::from_f64(-1.0);
        let (from, mut to) = (Source::from_slice(self.from), Sink::from_slice(self.to));
        for at in (self.first..from.len()).step_by(V::LANES) {
            let vector = from.vector::<V>(token, at, pad);
            for lane in 0..V::LANES {
                let wanted = if at + lane < from.len() { from.get(at + lane) } else { pad };
                assert!(
                    vector.to_array()[lane] == wanted,
                    "lane {lane} of element {at} of {}",
                    from.len()
                );
            }
            to.set_vector(at, vector);
        }
    }
}

struct FillWith<'r, F> {
    to: &'r mut [F],
    from: &'r [F],
    label: Option<(usize, F)>,
    streams: bool,
}

impl<F: Float> VectorJob<F> for FillWith<'_, F> {
    type Output = ();
    #[inline(always)]
    fn run<V: Vector<Scalar = F>>(self, token: V::Token) {
        let (mut to, from) = (Sink::from_slice(self.to), Source::from_slice(self.from));
        let copy = |[element]: [V; 1]| element;
        if self.streams {
            to.fill_from::<V, true, 1>(token, [from], self.label, copy);
            fence();
        } else {
            to.fill_from::<V, false, 1>(token, [from], self.label, copy);
        }
    }
}

fn check_copies<F: Float + std::fmt::Debug>() {
    let from: Vec<F> = (0..ROOM).map(|i| F::from_f64(count(i))).collect();
    let untouched = F::from_f64(-2.0);
    for level in Level::available() {
        for len in 0..ROOM - 2 * BEFORE {
            let source = &from[BEFORE..BEFORE + len];
            for first in 0..len.min(3) {
                let mut to = [untouched; ROOM];
                let target = &mut to[BEFORE..BEFORE + len];
                level.run(Copy { from: source, to: target, first });
                let (here, rest) = to.split_at(BEFORE + len);
                assert!(here[..BEFORE + first].iter().chain(rest).all(|x| *x == untouched));
                assert!(here[BEFORE + first..] == source[first..], "{len} from {first}");
            }
            let labels = (0..len).step_by(7).map(|class| Some((class, F::from_f64(-1.0))));
            for (label, streams) in
                [None].into_iter().chain(labels).flat_map(|label| [(label, false), (label, true)])
            {
                let mut to = [untouched; ROOM];
                let target = &mut to[BEFORE..BEFORE + len];
                level.run(FillWith { to: target, from: source, label, streams });
                let mut wanted = source.to_vec();
                if let Some((class, value)) = label {
                    wanted[class] = value;
                }
                let (here, rest) = to.split_at(BEFORE + len);
                assert!(here[..BEFORE].iter().chain(rest).all(|x| *x == untouched));
                assert!(here[BEFORE..] == wanted, "{len} elements, {streams}, {}", level.name());
            }
        }
    }
}

/// Long rows, which are written from a cache line on, wherever they begin, also in place.
fn check_long_rows<F: Float + std::fmt::Debug>() {
    let all: Vec<F> = (0..LONG + 3 * ROOM).map(|i| F::from_f64(count(i))).collect();
    for level in Level::available() {
        for (first, len) in
            (0..20).flat_map(|first| [LONG, LONG + 7, LONG + 70].map(|l| (first, l)))
        {
            let row = first..first + len;
            for class in [0, 1, 15, 16, len - 1] {
                let (mut to, mut wanted) = (all.clone(), all.clone());
                wanted[first + class] = F::from_f64(-1.0);
                let target = &mut to[row.clone()];
                level.run(InPlace { row: target, label: (class, F::from_f64(-1.0)) });
                assert!(to == wanted, "{len} from {first}, {class}, {}", level.name());
            }
        }
    }
}

/// Writes a row over itself, except for the label.
struct InPlace<'r, F> {
    row: &'r mut [F],
    label: (usize, F),
}

impl<F: Float> VectorJob<F> for InPlace<'_, F> {
    type Output = ();
    #[inline(always)]
    fn run<V: Vector<Scalar = F>>(self, token: V::Token) {
        let mut row = Sink::from_slice(self.row);
        let from = row.as_source();
        row.fill_from::<V, false, 1>(token, [from], Some(self.label), |[element]| element);
    }
}

#[test]
fn long_rows_are_written_wherever_they_begin() {
    check_long_rows::<f32>();
    check_long_rows::<f64>();
}

#[test]
fn every_length_is_copied() {
    check_copies::<f32>();
    check_copies::<f64>();
}

/// An access that reaches one element too far.
#[derive(Clone, Copy, Debug)]
enum Access {
    Load,
    Quad,
    Transpose,
    Store,
    StoreQuad,
}

struct TooFar(Access);

impl<F: Float> VectorJob<F> for TooFar {
    type Output = ();
    #[inline(always)]
    fn run<V: Vector<Scalar = F>>(self, token: V::Token) {
        let mut row = [F::default(); 100];
        let quad_end = row.len() - QUAD * V::LANES;
        let zero = F::default();
        let (source, vector) = (Source::from_slice(&row), V::splat(token, zero));
        let _ = match self.0 {
            Access::Load => source.vector(token, 101, zero),
            Access::Quad => source.quad::<V>(quad_end + 1).nth(token, 0),
            Access::Transpose => {
                // The last of LANES vectors ends one element after the row.
                let last = row.len() - V::LANES - (V::LANES - 1) * 3;
                let target = &mut Sink::from_slice(&mut []);
                transpose::<V>(token, source.part(last + 1, 100), (3, 3), target, 3);
                vector
            }
            Access::Store => {
                Sink::from_slice(&mut row).set_vector(101, vector);
                vector
            }
            Access::StoreQuad => {
                Sink::from_slice(&mut row).quad::<V>(quad_end + 1).set_vector(0, vector);
                vector
            }
        };
    }
}

#[test]
fn no_access_reaches_beyond_the_row() {
    assert!(catch_unwind(|| Source::from_slice(&[0f32; 4]).get(4)).is_err());
    assert!(catch_unwind(|| Sink::from_slice(&mut [0f32; 4]).set(4, 0.0)).is_err());
    for level in Level::available() {
        for access in
            [Access::Load, Access::Quad, Access::Transpose, Access::Store, Access::StoreQuad]
        {
            let f32s = catch_unwind(|| level.run::<f32, _>(TooFar(access)));
            let f64s = catch_unwind(|| level.run::<f64, _>(TooFar(access)));
            assert!(f32s.is_err() && f64s.is_err(), "{access:?} at {}", level.name());
        }
    }
}

/// Transposes a block of LANES rows.
struct Block<'r, F> {
    from: &'r [F],
    stride: usize,
    columns: usize,
    to: &'r mut [F],
    target_stride: usize,
}

impl<F: Float> VectorJob<F> for Block<'_, F> {
    type Output = usize;
    #[inline(always)]
    fn run<V: Vector<Scalar = F>>(self, token: V::Token) -> usize {
        let (source, mut target) = (Source::from_slice(self.from), Sink::from_slice(self.to));
        let shape = (self.stride, self.columns);
        transpose::<V>(token, source, shape, &mut target, self.target_stride);
        V::LANES
    }
}

/// Strides of the rows, and how many columns are needed.
const SHAPES: [(usize, usize); 13] = [
    (1, 1),
    (3, 3),
    (4, 4),
    (8, 8),
    (10, 10),
    (12, 12),
    (15, 15),
    (16, 16),
    (20, 20),
    (20, 16),
    (20, 9),
    (20, 4),
    (20, 1),
];

/// The result is that of a loop over columns and rows, as far as neither overlaps the next one. Nothing is written
/// between the vectors of the target, or after its end. `from_bits` makes a number of these bits, or of the lower half.
fn check_blocks<F: Float>(from_bits: fn(u64) -> F, to_bits: fn(F) -> u64) {
    // All different, and half of them subnormal, half NaN.
    let from: Vec<F> = (0..400).map(|i| from_bits(if i % 2 == 0 { i } else { !i })).collect();
    let untouched = F::from_f64(-2.0);
    let are_equal = |a: F, b: F| to_bits(a) == to_bits(b);
    for level in Level::available() {
        for (stride, columns) in SHAPES {
            for target_stride in [1, 3, 4, 8, 10, 12, 15, 16, 20] {
                for len in (0..100).chain([155, 160, 185, 190, 200, 300, 316, 320, 390]) {
                    let mut to = [untouched; 400];
                    let target = &mut to[BEFORE..BEFORE + len];
                    let block = Block { from: &from, stride, columns, to: target, target_stride };
                    let lanes = level.run(block);
                    let place =
                        format!("{stride} to {target_stride}, {columns}, {len}, {}", level.name());
                    for column in 0..lanes.min(columns) {
                        for row in 0..lanes.min(target_stride) {
                            let at = column * target_stride + row;
                            if at < len {
                                let wanted = from[row * stride + column];
                                assert!(are_equal(to[BEFORE + at], wanted), "{place}");
                            }
                        }
                    }
                    for column in 0..lanes {
                        for row in lanes..target_stride {
                            let at = column * target_stride + row;
                            assert!(at >= len || to[BEFORE + at] == untouched, "{place}");
                        }
                    }
                    let outside = to[..BEFORE].iter().chain(&to[BEFORE + len..]);
                    assert!(outside.into_iter().all(|value| *value == untouched), "{place}");
                }
            }
        }
    }
}

#[test]
#[allow(clippy::cast_possible_truncation, reason = "the lower half")]
fn blocks_are_transposed() {
    check_blocks(|bits| f32::from_bits(bits as u32), |value| value.to_bits().into());
    check_blocks(f64::from_bits, f64::to_bits);
}

/// Streaming stores write the same numbers.
struct Stream<'r, F>(&'r [F], &'r mut [F]);

impl<F: Float> VectorJob<F> for Stream<'_, F> {
    type Output = ();
    #[inline(always)]
    fn run<V: Vector<Scalar = F>>(self, token: V::Token) {
        let (from, mut to) = (Source::from_slice(self.0), Sink::from_slice(self.1));
        to.stream_from::<V>(token, from);
        fence();
    }
}

fn check_streams<F: Float + std::fmt::Debug>() {
    let from: Vec<F> = (0..100).map(|i| F::from_f64(count(i))).collect();
    for level in Level::available() {
        // Aligned to cache lines, and not aligned.
        for start in 0..17 {
            let mut to = [F::from_f64(-2.0); 120];
            level.run(Stream(&from, &mut to[start..start + 100]));
            assert!(to[start..start + 100] == from, "{start} at {}", level.name());
            let around = to[..start].iter().chain(&to[start + 100..]);
            assert!(around.copied().all(|value| value == F::from_f64(-2.0)));
        }
    }
}

#[test]
fn rows_are_streamed() {
    check_streams::<f32>();
    check_streams::<f64>();
}
