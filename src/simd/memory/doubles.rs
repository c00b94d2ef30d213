//! Parts of rows that are read as doubles, a vector at a time.

use super::Rows;
use crate::math::Real;
use crate::simd::{MOST_LANES, Source, Vector, Widened};

/// Numbers that are read as doubles, one for each of some neighbouring classes.
pub(crate) enum AsDoubles<'r> {
    /// The same number for each class.
    Same(f64),
    Floats(Source<'r, f32>),
    Doubles(Source<'r, f64>),
    /// Not in place: `len` classes of row `row` from `start` on.
    Others {
        rows: &'r Rows<'r>,
        row: usize,
        start: usize,
        len: usize,
    },
}

impl<'r> AsDoubles<'r> {
    /// Those of `len` classes of row `row` from `start` on.
    #[inline(always)]
    pub(crate) fn of_row(rows: &'r Rows<'r>, (row, start): (usize, usize), len: usize) -> Self {
        if let Some(floats) = rows.direct::<f32>(row) {
            Self::Floats(floats.part(start, len))
        } else if let Some(doubles) = rows.direct::<f64>(row) {
            Self::Doubles(doubles.part(start, len))
        } else {
            Self::Others { rows, row, start, len }
        }
    }

    /// The numbers from number `at` on: 0 after the last, unless all are the same.
    #[inline(always)]
    pub(crate) fn vector<V: Vector>(&self, token: V::Token, at: usize) -> V::Doubles {
        outlined_if_compact!(
            V,
            token,
            match *self {
                Self::Same(number) => V::Doubles::splat(token, number),
                Self::Floats(numbers) => V::Doubles::load_floats(token, numbers, at),
                Self::Doubles(numbers) => V::Doubles::load(token, numbers, at),
                Self::Others { rows, row, start, len } => {
                    let mut numbers = [0.0; MOST_LANES];
                    let some = &mut numbers[..V::LANES.min(len - at)];
                    rows.gather::<V, f64>(token, row, start + at, some);
                    V::Doubles::from_slice(token, &numbers)
                }
            }
        )
    }
}
