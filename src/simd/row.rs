//! One row of neighbouring elements: the loads and stores of the kernels, with bounds checks.

mod lines;

use super::element::Float;
use super::instruction_set::{InstructionSet, prefetch, stream_element};
use super::transpose::{Block, transpose_block};
use super::{Cache, LINE, MOST_LANES, Vector};
use crate::math::count;
pub(crate) use lines::Lines;
#[cfg(target_arch = "x86_64")]
use std::arch::asm;
use std::marker::PhantomData;

/// Vectors that are loaded, summed and stored together.
pub(crate) const QUAD: usize = 4;

/// Rows of at least so many elements are written in vectors that begin with a cache line, so that no store touches two
/// lines. For shorter rows that costs more than it saves: a vector that is read then overlaps two vectors that the
/// sweep has just stored, and must wait for both.
const LONG: usize = 512;

/// Replaces one element of `vector`, whose first lane is element `at` of the row, if the element is in this vector.
#[inline(always)]
pub(crate) fn with_value<V: Vector>(
    vector: V,
    at: usize,
    (element, value): (usize, V::Scalar),
) -> V {
    #[allow(clippy::cast_precision_loss, reason = "exact for lanes")]
    let lane = V::Scalar::from_f64(element.wrapping_sub(at).cast_signed() as f64);
    let (token, numbers) = (vector.token(), each!(MOST_LANES, |i| V::Scalar::from_f64(count(i))));
    let is_lane = V::from_slice(token, &numbers).eq(V::splat(token, lane));
    V::select(is_lane, V::splat(token, value), vector)
}

/// Transposes a block of LANES rows of LANES elements. In `source` the rows begin `stride` elements apart; in `target`
/// the rows of the result begin `target_stride` apart. Only the first `columns` elements of each row are needed: the
/// later rows of the result are arbitrary. If `target_stride` is less than LANES, only so many elements of each row of
/// the result are defined. Nothing is written between the rows of the result, or after the end of the target.
#[inline(always)]
pub(crate) fn transpose<V: Vector>(
    token: V::Token,
    source: Source<'_, V::Scalar>,
    (stride, columns): (usize, usize),
    target: &mut Sink<'_, V::Scalar>,
    target_stride: usize,
) {
    check(0, (V::LANES - 1) * stride + V::LANES, source.len);
    // In a loop over blocks, the compiler would keep the address of each row in memory.
    let (source, row) = (source.in_one_register(), target.row.in_one_register());
    let (source, target, len) = (source.start, row.start.cast_mut(), row.len);
    // SAFETY: all vectors lie inside the source, by the check; `len` elements of the target are writable.
    unsafe {
        transpose_block::<V>(token, Block { source, stride, columns, target, target_stride, len });
    }
}

/// A row that is read: `len` neighbouring elements.
#[derive(Clone, Copy)]
pub struct Source<'a, F> {
    start: *const F,
    len: usize,
    memory: PhantomData<&'a F>,
}

/// A row that is written: `len` neighbouring elements.
pub(crate) struct Sink<'a, F> {
    /// The same row as a source, made from a pointer for writing.
    row: Source<'a, F>,
}

// SAFETY: a row is numbers; racing accesses give unspecified values only (see memory.rs).
unsafe impl<F: Send> Send for Source<'_, F> {}
// SAFETY: as for Send.
unsafe impl<F: Sync> Sync for Source<'_, F> {}

/// The bounds check of every access, made once for `count` neighbouring elements.
fn check(at: usize, count: usize, len: usize) {
    // Of the two comparisons, a loop over a row repeats one.
    if count > len || at > len - count {
        outside(at, count, len);
    }
}

/// It takes numbers by value: numbers that are formatted in place would be stored before every check.
#[cold]
#[inline(never)]
fn outside(at: usize, count: usize, len: usize) -> ! {
    panic!("{count} elements from {at} on, of {len}");
}

impl<'a, F: Float> Source<'a, F> {
    /// # Safety
    /// - `len` elements from `start` on stay readable for `'a`; no alignment is needed.
    pub(super) unsafe fn from_raw(start: *const F, len: usize) -> Self {
        Self { start, len, memory: PhantomData }
    }

    pub(crate) fn from_slice(values: &'a [F]) -> Self {
        Self { start: values.as_ptr(), len: values.len(), memory: PhantomData }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn get(&self, index: usize) -> F {
        check(index, 1, self.len);
        // SAFETY: index < len, and `len` elements are readable.
        unsafe { self.start.add(index).read_unaligned() }
    }

    /// At most `len` elements from `start` on.
    pub(crate) fn part(&self, start: usize, len: usize) -> Self {
        check(start, 0, self.len);
        // SAFETY: the part lies inside the row, by the check.
        unsafe { Self::from_raw(self.start.add(start), len.min(self.len - start)) }
    }

    /// Prefetches the cache line of element `at`, which may be outside the row.
    pub(crate) fn prefetch(&self, cache: Cache, at: usize) {
        prefetch(cache, self.start.wrapping_add(at).cast());
    }

    /// The number of elements before the first one that begins a cache line, at most the length of the row. If elements
    /// are not aligned to their size, so that none begins a line, it is an approximation.
    pub(crate) fn elements_to_line(&self) -> usize {
        let misaligned = self.start.addr() % LINE;
        ((LINE - misaligned) % LINE / size_of::<F>()).min(self.len)
    }

    /// The four neighbouring vectors from element `at` on, as a row of fixed length, with one bounds check for all.
    #[inline(always)]
    pub(crate) fn quad<V: Vector<Scalar = F>>(&self, at: usize) -> Self {
        check(at, QUAD * V::LANES, self.len);
        // SAFETY: the four vectors lie inside the row, by the check.
        unsafe { Self::from_raw(self.start.add(at), QUAD * V::LANES) }
    }

    /// The same elements, addressed by one register. For an x86 processor, a load with two address registers is a
    /// separate operation, while a load with one is fused with the operation that uses it. The compiler may choose
    /// either; this forces one register, which saves 3 % of the time of softmax where a vector is a single register.
    #[inline(always)]
    #[allow(clippy::pointers_in_nomem_asm_block, reason = "nothing is done with what it points to")]
    #[cfg_attr(not(target_arch = "x86_64"), allow(unused_mut, reason = "nothing is forced"))]
    pub(crate) fn in_one_register(mut self) -> Self {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: no instruction; the pointer that comes in goes out.
        unsafe {
            asm!("/* {} */", inout(reg) self.start, options(pure, nomem, nostack, preserves_flags));
        };
        self
    }

    /// Vector `index` of a row that consists of whole vectors.
    #[inline(always)]
    pub(crate) fn nth<V: Vector<Scalar = F>>(&self, token: V::Token, index: usize) -> V {
        check(index * V::LANES, V::LANES, self.len);
        // SAFETY: the vector lies inside the row, by the check.
        unsafe { V::load(token, self.start.add(index * V::LANES)) }
    }

    /// The vector from element `at` on, `pad` in the lanes after the row's end.
    #[inline(always)]
    pub(crate) fn vector<V: Vector<Scalar = F>>(&self, token: V::Token, at: usize, pad: F) -> V {
        check(at, 0, self.len);
        let (source, count) = (self.start.wrapping_add(at), self.len - at);
        // SAFETY: as many elements from `at` lie inside the row, by the check.
        unsafe {
            if count >= V::LANES {
                V::load(token, source)
            } else {
                V::load_head(V::splat(token, pad), source, count)
            }
        }
    }
}

impl<'a, F: Float> Sink<'a, F> {
    /// # Safety
    /// - `len` elements from `start` on stay writable for `'a`; no alignment is needed.
    pub(super) unsafe fn from_raw(start: *mut F, len: usize) -> Self {
        Self { row: Source { start, len, memory: PhantomData } }
    }

    pub(crate) fn from_slice(values: &'a mut [F]) -> Self {
        // SAFETY: as many elements, which are borrowed for 'a.
        unsafe { Self::from_raw(values.as_mut_ptr(), values.len()) }
    }

    pub(crate) fn reborrow(&mut self) -> Sink<'_, F> {
        Sink { row: self.row }
    }

    /// At most `len` elements from `start` on, as many as there are.
    pub(crate) fn part(self, start: usize, len: usize) -> Self {
        Self { row: self.row.part(start, len) }
    }

    /// The same elements for reading. Both views may be used at the same time: every access is by raw pointer.
    pub(crate) fn as_source(&self) -> Source<'a, F> {
        self.row
    }

    /// Replaces every element.
    pub(crate) fn update(&mut self, new: impl Fn(F) -> F) {
        (0..self.row.len).for_each(|index| self.set(index, new(self.row.get(index))));
    }

    /// Multiplies every element by a factor.
    pub(crate) fn multiply(&mut self, factor: f64) {
        self.update(|value| F::from_f64(value.to_f64() * factor));
    }

    pub(crate) fn set(&mut self, index: usize, value: F) {
        check(index, 1, self.row.len);
        // SAFETY: index < len, and `len` elements are writable.
        unsafe { self.row.start.cast_mut().add(index).write_unaligned(value) };
    }

    pub(crate) fn fill(&mut self, value: F) {
        for index in 0..self.row.len {
            self.set(index, value);
        }
    }

    /// Like [`Source::quad`].
    #[inline(always)]
    pub(crate) fn quad<V: Vector<Scalar = F>>(&mut self, at: usize) -> Sink<'_, F> {
        Sink { row: self.row.quad::<V>(at) }
    }

    /// Writes the results of `make` for the elements of `sources`, which are at least as long as the row, except that
    /// the element of `label` is given. With `STREAM` it uses streaming stores of whole cache lines. With `STREAM`, or
    /// if the row is long, the elements before the first whole cache line are written first.
    #[inline(always)]
    pub(crate) fn fill_from<V: Vector<Scalar = F>, const STREAM: bool, const N: usize>(
        &mut self,
        token: V::Token,
        sources: [Source<'_, F>; N],
        label: Option<(usize, F)>,
        make: impl Fn([V; N]) -> V,
    ) {
        // With streaming stores each line is written only once; otherwise the element of the label is written
        // afterwards.
        let (label, after) = if STREAM { (label, None) } else { (None, label) };
        let is_in = |at: usize, len: usize| label.is_some_and(|(k, _)| k.wrapping_sub(at) < len);
        let with_label = inlined!(|vector: V, at: usize| match label {
            Some(label) if is_in(at, V::LANES) => with_value(vector, at, label),
            _ => vector,
        });
        let made = inlined!(|at: usize| {
            let elements = each!(N, |i| sources[i].vector::<V>(token, at, F::default()));
            with_label(make(elements), at)
        });
        let mut at = 0;
        if STREAM || self.row.len >= LONG {
            at = self.row.elements_to_line();
        }
        if at > 0 {
            self.reborrow().part(0, at).put::<V, STREAM>(0, made(0));
        }
        while at + QUAD * V::LANES <= self.row.len {
            let has_label = is_in(at, QUAD * V::LANES);
            let (quads, mut quad) = (each!(N, |i| sources[i].quad::<V>(at)), self.quad::<V>(at));
            for index in 0..QUAD {
                let mut written = make(each!(N, |i| quads[i].nth::<V>(token, index)));
                if has_label {
                    written = with_label(written, at + index * V::LANES);
                }
                quad.put::<V, STREAM>(index * V::LANES, written);
            }
            at += QUAD * V::LANES;
        }
        while at < self.row.len {
            self.put::<V, STREAM>(at, made(at));
            at += V::LANES;
        }
        if let Some((class, value)) = after.filter(|(class, _)| *class < self.row.len) {
            self.set(class, value);
        }
    }

    /// Writes `values`, which are at least as long as the row, by streaming stores. Compiled once.
    pub(crate) fn stream_from<V: Vector<Scalar = F>>(
        &mut self,
        token: V::Token,
        values: Source<'_, F>,
    ) {
        let mut to = self.reborrow();
        outlined!(V, token, {
            let copy = inlined!(|[value]: [V; 1]| value);
            if to.has_lines::<V>() {
                to.fill_from::<V, true, 1>(token, [values], None, copy);
            } else {
                to.fill_from::<V, false, 1>(token, [values], None, copy);
            }
        });
    }

    /// Like [`Sink::set_vector`]; with `STREAM` by streaming stores, for a whole cache line or a part of one.
    ///
    /// The rest of a partial line belongs to the previous or the next row. If it were written through the caches, the
    /// processor would read the line from memory first, and all later stores would wait.
    #[inline(always)]
    fn put<V: Vector<Scalar = F>, const STREAM: bool>(&mut self, at: usize, vector: V) {
        if !STREAM {
            return self.set_vector(at, vector);
        }
        check(at, 0, self.row.len);
        let target = self.row.start.cast_mut().wrapping_add(at);
        if self.row.len - at >= V::LANES {
            assert!(target.addr().is_multiple_of(LINE));
            // SAFETY: LANES elements from `at`, a line, lie inside the row, by the checks.
            return unsafe { vector.token().stream(vector.bitcast(), target.cast()) };
        }
        let lanes = vector.to_array();
        for i in 0..self.row.len - at {
            // SAFETY: element `at + i` < len.
            unsafe { stream_element(target.wrapping_add(i), lanes[i]) };
        }
    }

    /// May this row be written by streaming stores? Its elements must be aligned to their size, so that each line
    /// begins with an element. Small code does not use streaming stores.
    #[inline(always)]
    pub(crate) fn has_lines<V: Vector>(&self) -> bool {
        !V::IS_COMPACT && self.row.start.addr().is_multiple_of(size_of::<F>())
    }

    /// Writes `vector` to the elements from `at` on, as many lanes as there are elements.
    #[inline(always)]
    pub(crate) fn set_vector<V: Vector<Scalar = F>>(&mut self, at: usize, vector: V) {
        let Source { start, len, .. } = self.row;
        check(at, 0, len);
        let (target, count) = (start.cast_mut().wrapping_add(at), len - at);
        // SAFETY: as many elements from `at` lie inside the row, by the check.
        unsafe {
            if count >= V::LANES {
                vector.store(target);
            } else {
                vector.store_head(target, count);
            }
        }
    }
}

#[cfg(test)]
mod tests;
