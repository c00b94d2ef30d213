//! Every level transposes like a loop over rows and columns.

use crate::simd::{Float, Level, Sink, Source, Vector, VectorJob, transpose};

struct Transpose<'b, F>(&'b [F], &'b mut [F]);

impl<F: Float> VectorJob<F> for Transpose<'_, F> {
    type Output = usize;
    #[inline(always)]
    fn run<V: Vector<Scalar = F>>(self, token: V::Token) -> usize {
        let (from, mut to) = (Source::from_slice(self.0), Sink::from_slice(self.1));
        transpose::<V>(token, from, V::LANES, &mut to, V::LANES);
        V::LANES
    }
}

fn check<F: Float>(lanes: usize, number: impl Fn(usize) -> F, bits: impl Fn(F) -> u64) {
    for level in Level::available() {
        let from: Vec<F> = (0..lanes * lanes).map(&number).collect();
        let mut block = vec![F::default(); lanes * lanes];
        assert_eq!(level.run(Transpose(&from, &mut block)), lanes);
        for row in 0..lanes {
            for column in 0..lanes {
                let (found, wanted) = (block[row * lanes + column], number(column * lanes + row));
                assert_eq!(bits(found), bits(wanted), "{row}, {column} at {}", level.name());
            }
        }
    }
}

/// Arbitrary bits: all numbers of the block are different, and some are subnormal or NaN.
#[test]
fn rows_become_columns() {
    let f32_of = |i: usize| f32::from_bits(u32::try_from(i).expect("few") * 0x00ff_1357);
    check(16, f32_of, |value| value.to_bits().into());
    let f64_of = |i: usize| f64::from_bits(u64::try_from(i).expect("few") * 0x03ff_1357_9bdf_0246);
    check(8, f64_of, f64::to_bits);
}
