//! The axes that number the rows of a view.

/// Lengths and byte strides of the axes that number the rows, in C order.
#[derive(Clone, Debug)]
pub struct Outer {
    rows: usize,
    /// The length of the innermost axis, or of several axes that can be treated as one.
    len: usize,
    stride: isize,
    /// Length and stride of the other axes, the outermost first.
    others: Vec<(usize, isize)>,
}

/// Two neighbouring axes as one, if the outer stride is the inner stride times the inner length.
fn merged(outer: (usize, isize), inner: (usize, isize)) -> Option<(usize, isize)> {
    let is_one = inner.0.cast_signed().checked_mul(inner.1) == Some(outer.1);
    is_one.then_some((outer.0 * inner.0, inner.1))
}

impl Outer {
    /// Makes it from the length and stride of each axis. Neighbouring axes that can be treated as one are merged.
    #[inline(always)] // made in its final place: a copy would wait for its parts
    pub(crate) fn new(axes: impl Iterator<Item = (usize, isize)>) -> Self {
        let mut axes = axes.filter(|axis| axis.0 != 1);
        let mut last = axes.next().unwrap_or((1, 0));
        let (mut rows, mut others) = (last.0, Vec::new());
        for inner in axes {
            rows *= inner.0;
            last = merged(last, inner).unwrap_or_else(|| {
                others.push(last);
                inner
            });
        }
        Self { rows, len: last.0, stride: last.1, others }
    }

    /// The length and stride of the innermost axis.
    pub(crate) fn inner(&self) -> (usize, isize) {
        (self.len, self.stride)
    }

    /// The number of rows from `row` on along the innermost axis.
    pub(crate) fn left_from(&self, row: usize) -> usize {
        let place = if self.others.is_empty() { row } else { row % self.len };
        self.len - place
    }

    /// The stride from each row to the next, if it is the same for all rows.
    pub(crate) fn step(&self) -> Option<isize> {
        self.others.is_empty().then_some(self.stride)
    }

    /// The number of rows.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// The offset of a row in bytes from the first row.
    pub(crate) fn offset(&self, row: usize) -> isize {
        if self.others.is_empty() { row.cast_signed() * self.stride } else { self.grid_offset(row) }
    }

    #[inline(never)] // if inlined, its registers would be saved even for rows of a single axis
    fn grid_offset(&self, mut row: usize) -> isize {
        let mut offset = (row % self.len).cast_signed() * self.stride;
        row /= self.len;
        let Some(((_, outermost), others)) = self.others.split_first() else { return offset };
        for (len, stride) in others.iter().rev() {
            offset += (row % len).cast_signed() * stride;
            row /= len;
        }
        offset + row.cast_signed() * outermost
    }

    fn axes(&self) -> impl Iterator<Item = (usize, isize)> {
        self.others.iter().copied().chain([self.inner()])
    }

    /// The distinct rows, of which other rows are repetitions (along axes of stride 0). Also returns, as an offset, the
    /// distinct row for each row.
    pub(crate) fn distinct(&self) -> (Self, Self) {
        let own = Self::new(self.axes().filter(|axis| axis.1 != 0));
        let mut rows = own.rows();
        let mut within = |len| {
            // Without rows any offsets are right.
            rows = rows.checked_div(len).unwrap_or(0);
            rows.cast_signed()
        };
        let places = self.axes().map(|(len, step)| (len, if step == 0 { 0 } else { within(len) }));
        (own, Self::new(places))
    }
}
