//! Parts of rows that are read as doubles, a vector at a time.

use super::Rows;
use crate::math::Real;
use crate::simd::{Eights, Float, Source, Vector};

/// Numbers that are read as doubles, one for each of some neighbouring classes.
pub(crate) enum AsDoubles<'r> {
    /// The same number for each class.
    Same(f64),
    Floats(Source<'r, f32>),
    Doubles(Source<'r, f64>),
}

/// Memory for a copy of some classes.
pub(crate) type Copied = Option<[f64; AsDoubles::AT_ONCE]>;

impl<'r> AsDoubles<'r> {
    /// The number of classes that are read at once.
    pub(crate) const AT_ONCE: usize = 256;

    /// Those of `len` classes of row `row` from `start` on: in place, or else copied to `copy`.
    #[inline(always)]
    pub(crate) fn of_row<V: Vector>(
        token: V::Token,
        rows: &Rows<'r>,
        (row, start): (usize, usize),
        (len, copy): (usize, &'r mut Copied),
    ) -> Self {
        if let Some(floats) = rows.direct::<f32>(row) {
            Self::Floats(floats.part(start, len))
        } else if let Some(doubles) = rows.direct::<f64>(row) {
            Self::Doubles(doubles.part(start, len))
        } else {
            let copy = &mut copy.get_or_insert([0.0; Self::AT_ONCE])[..len];
            rows.gather::<<f64 as Float>::Vector<_>>(token, row, start, copy);
            Self::Doubles(Source::from_slice(copy))
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
            }
        )
    }
}
