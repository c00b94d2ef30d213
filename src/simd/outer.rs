//! The axes that number the rows of a view.

/// Lengths and byte strides of the axes that number the rows, in C order.
#[derive(Clone, Debug)]
pub enum Outer {
    /// One axis, or several that step like one.
    Line {
        /// Its length, or the product of theirs.
        len: usize,
        /// From one row to the next.
        stride: isize,
    },
    /// Any axes.
    Grid(Vec<(usize, isize)>),
}

/// The rows of a view that are not repetitions of others.
#[derive(Debug)]
pub struct Distinct {
    /// The axes that number them.
    pub own: Outer,
    /// As offsets: which of them a row of the view is, and which row of the view is the first to be one of them.
    pub places: Outer,
    pub firsts: Outer,
}

impl Outer {
    /// From the length and stride of each axis; neighbours that step like one become one.
    #[inline(always)] // made where it is wanted: a copy would wait for its parts
    pub fn new(axes: impl Iterator<Item = (usize, isize)>) -> Self {
        let mut axes = axes.filter(|axis| axis.0 != 1);
        let Some((mut len, mut stride)) = axes.next() else {
            return Outer::Line { len: 1, stride: 0 };
        };
        let mut grid = Vec::new();
        for inner in axes {
            // Two neighbouring axes are one when the outer steps over all of the inner.
            if inner.0.cast_signed().checked_mul(inner.1) == Some(stride) {
                (len, stride) = (len * inner.0, inner.1);
            } else {
                grid.push((len, stride));
                (len, stride) = inner;
            }
        }
        if grid.is_empty() {
            return Outer::Line { len, stride };
        }
        grid.push((len, stride));
        Outer::Grid(grid)
    }

    /// The length and stride of the innermost axis.
    #[must_use]
    #[inline(always)]
    pub fn inner(&self) -> (usize, isize) {
        match self {
            Outer::Line { len, stride } => (*len, *stride),
            Outer::Grid(axes) => axes[axes.len() - 1],
        }
    }

    /// Their number.
    #[must_use]
    #[inline(always)]
    pub fn rows(&self) -> usize {
        match self {
            Outer::Line { len, .. } => *len,
            Outer::Grid(axes) => Self::grid_rows(axes),
        }
    }

    fn grid_rows(axes: &[(usize, isize)]) -> usize {
        axes.iter().map(|axis| axis.0).product()
    }

    /// Where a row begins, in bytes from the first.
    #[must_use]
    #[inline(always)]
    pub fn offset(&self, row: usize) -> isize {
        match self {
            Outer::Line { stride, .. } => row.cast_signed() * stride,
            Outer::Grid(axes) => Self::grid_offset(axes, row),
        }
    }

    /// The rows without repetitions, which axes that step nowhere make.
    #[must_use]
    pub fn distinct(&self) -> Distinct {
        let line = |len, stride| Outer::Line { len, stride };
        let axes = match self {
            Outer::Line { len, stride: 0 } => {
                let (own, places, firsts) = (line(1, 0), line(*len, 0), line(1, 0));
                return Distinct { own, places, firsts };
            }
            Outer::Line { len, .. } => {
                let (own, places, firsts) = (self.clone(), line(*len, 1), line(*len, 1));
                return Distinct { own, places, firsts };
            }
            Outer::Grid(axes) => axes,
        };
        let (mut own, mut places, mut firsts) = (Vec::new(), Vec::new(), Vec::new());
        let (mut rows, mut own_rows) = (1, 1);
        for &(len, stride) in axes.iter().rev() {
            if stride == 0 {
                places.push((len, 0));
            } else {
                own.push((len, stride));
                places.push((len, own_rows));
                firsts.push((len, rows));
                own_rows *= len.cast_signed();
            }
            rows *= len.cast_signed();
        }
        let [own, places, firsts] =
            [own, places, firsts].map(|axes| Outer::new(axes.into_iter().rev()));
        Distinct { own, places, firsts }
    }

    fn grid_offset(axes: &[(usize, isize)], mut row: usize) -> isize {
        let mut offset = 0;
        for &(len, stride) in axes.iter().rev() {
            offset += (row % len).cast_signed() * stride;
            row /= len;
        }
        offset
    }
}
