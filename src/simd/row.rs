//! One row of neighbouring elements: the loads and stores of the kernels, checked against its length.

use super::Vector;
use crate::element::Float;
use std::marker::PhantomData;

/// One row to read: `len` neighbouring elements.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a, F> {
    start: *const F,
    len: usize,
    memory: PhantomData<&'a F>,
}

/// One row to write: `len` neighbouring elements.
pub(crate) struct Sink<'a, F> {
    start: *mut F,
    len: usize,
    memory: PhantomData<&'a mut F>,
}

/// Vectors that are loaded, summed and stored together.
pub(crate) const QUAD: usize = 4;

/// Four vectors inside a row, for reading one by one after a single bounds check.
#[derive(Clone, Copy)]
pub(crate) struct QuadSource<'a, F> {
    start: *const F,
    lanes: usize,
    memory: PhantomData<&'a F>,
}

impl<F: Float> QuadSource<'_, F> {
    #[inline(always)]
    pub(crate) fn vector<V: Vector<Scalar = F>>(self, token: V::Token, index: usize) -> V {
        assert!(index < QUAD && V::LANES == self.lanes);
        // SAFETY: QUAD vectors of this many lanes lie inside the row, by the check of `quad`.
        unsafe { V::load(token, self.start.add(index * V::LANES)) }
    }
}

/// Four vectors inside a row, for writing one by one after a single bounds check.
pub(crate) struct QuadSink<'a, F> {
    start: *mut F,
    lanes: usize,
    memory: PhantomData<&'a mut F>,
}

impl<F: Float> QuadSink<'_, F> {
    #[inline(always)]
    pub(crate) fn set<V: Vector<Scalar = F>>(&mut self, index: usize, vector: V) {
        assert!(index < QUAD && V::LANES == self.lanes);
        // SAFETY: QUAD vectors of this many lanes lie inside the row, by the check of `quad`.
        unsafe { vector.store(self.start.add(index * V::LANES)) };
    }
}

/// One vector of a row that is swept in whole quads first: see [`Sink::fill_with`].
#[derive(Clone, Copy)]
pub(crate) enum Place {
    /// Vector `index` of the quad at `at`.
    Quad { at: usize, index: usize },
    /// The vector at an element after the last whole quad; the row may end in it.
    Rest { at: usize },
}

/// The bounds check of every access, made once for `count` neighbours.
#[inline(always)]
fn check(at: usize, count: usize, len: usize) {
    assert!(at <= len && count <= len - at, "elements {at}.. of {len}");
}

impl<'a, F: Float> Source<'a, F> {
    /// # Safety
    /// - `len` elements from `start` on stay readable for `'a`; no alignment is needed.
    #[inline(always)]
    pub(super) unsafe fn from_raw(start: *const F, len: usize) -> Self {
        Self { start, len, memory: PhantomData }
    }

    #[inline(always)]
    pub(crate) fn from_slice(values: &'a [F]) -> Self {
        Self { start: values.as_ptr(), len: values.len(), memory: PhantomData }
    }

    #[inline(always)]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    #[inline(always)]
    pub(crate) fn get(&self, index: usize) -> F {
        check(index, 1, self.len);
        // SAFETY: index < len, and `len` elements are readable.
        unsafe { self.start.add(index).read_unaligned() }
    }

    /// The four neighbouring vectors from element `at` on.
    #[inline(always)]
    pub(crate) fn quad<V: Vector<Scalar = F>>(&self, at: usize) -> QuadSource<'a, F> {
        check(at, QUAD * V::LANES, self.len);
        // SAFETY: the four vectors lie inside the row, by the check.
        let start = unsafe { self.start.add(at) };
        QuadSource { start, lanes: V::LANES, memory: PhantomData }
    }

    /// The vector at `place`, `pad` in the lanes after the row's end.
    #[inline(always)]
    pub(crate) fn at<V: Vector<Scalar = F>>(&self, token: V::Token, place: Place, pad: F) -> V {
        match place {
            Place::Quad { at, index } => self.quad::<V>(at).vector(token, index),
            Place::Rest { at } => self.vector(token, at, pad),
        }
    }

    /// The vector from element `at` on, `pad` in the lanes after the row's end.
    #[inline(always)]
    pub(crate) fn vector<V: Vector<Scalar = F>>(&self, token: V::Token, at: usize, pad: F) -> V {
        if at + V::LANES <= self.len {
            // SAFETY: LANES elements from `at` lie inside the row.
            unsafe { V::load(token, self.start.add(at)) }
        } else {
            self.head(token, at, pad)
        }
    }

    /// The elements from `at` on, as many as there are, and `pad` in the lanes after the row's end.
    #[inline(always)]
    pub(crate) fn head<V: Vector<Scalar = F>>(&self, token: V::Token, at: usize, pad: F) -> V {
        check(at, 0, self.len);
        let count = (self.len - at).min(V::LANES);
        // SAFETY: `count` elements from `at` lie inside the row.
        unsafe { V::load_head(V::splat(token, pad), self.start.add(at), count) }
    }
}

impl<'a, F: Float> Sink<'a, F> {
    /// # Safety
    /// - `len` elements from `start` on stay writable for `'a`; no alignment is needed.
    #[inline(always)]
    pub(super) unsafe fn from_raw(start: *mut F, len: usize) -> Self {
        Self { start, len, memory: PhantomData }
    }

    #[inline(always)]
    pub(crate) fn from_slice(values: &'a mut [F]) -> Self {
        Self { start: values.as_mut_ptr(), len: values.len(), memory: PhantomData }
    }

    #[inline(always)]
    pub(crate) fn set(&mut self, index: usize, value: F) {
        check(index, 1, self.len);
        // SAFETY: index < len, and `len` elements are writable.
        unsafe { self.start.add(index).write_unaligned(value) };
    }

    #[inline(always)]
    pub(crate) fn fill(&mut self, value: F) {
        for index in 0..self.len {
            self.set(index, value);
        }
    }

    /// The four neighbouring vectors from element `at` on.
    #[inline(always)]
    pub(crate) fn quad<V: Vector<Scalar = F>>(&mut self, at: usize) -> QuadSink<'_, F> {
        check(at, QUAD * V::LANES, self.len);
        // SAFETY: the four vectors lie inside the row, by the check.
        let start = unsafe { self.start.add(at) };
        QuadSink { start, lanes: V::LANES, memory: PhantomData }
    }

    /// Writes `vector(place)` everywhere.
    #[inline(always)]
    pub(crate) fn fill_with<V: Vector<Scalar = F>>(&mut self, vector: impl Fn(Place) -> V) {
        let mut at = 0;
        while at + QUAD * V::LANES <= self.len {
            let mut quad = self.quad::<V>(at);
            for index in 0..QUAD {
                quad.set(index, vector(Place::Quad { at, index }));
            }
            at += QUAD * V::LANES;
        }
        while at < self.len {
            self.set_vector(at, vector(Place::Rest { at }));
            at += V::LANES;
        }
    }

    /// `vector` to the elements from `at` on, as many lanes as there are elements.
    #[inline(always)]
    pub(crate) fn set_vector<V: Vector<Scalar = F>>(&mut self, at: usize, vector: V) {
        if at + V::LANES <= self.len {
            // SAFETY: LANES elements from `at` lie inside the row.
            unsafe { vector.store(self.start.add(at)) };
        } else {
            self.set_head(at, vector);
        }
    }

    /// The first lanes of `vector` to the elements from `at` on, as many as there are.
    #[inline(always)]
    pub(crate) fn set_head<V: Vector<Scalar = F>>(&mut self, at: usize, vector: V) {
        check(at, 0, self.len);
        let count = (self.len - at).min(V::LANES);
        // SAFETY: `count` elements from `at` lie inside the row.
        unsafe { vector.store_head(self.start.add(at), count) };
    }
}

#[cfg(test)]
mod tests;
