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

/// The bounds check of every vector access, made once for `count` neighbours.
#[inline(always)]
fn check(at: usize, count: usize, len: usize) {
    assert!(at <= len && count <= len - at, "elements {at}.. of {len}");
}

impl<'a, F: Float> Source<'a, F> {
    /// # Safety
    /// - `len` elements from `start` on stay readable for `'a`; no alignment is needed.
    #[inline(always)]
    pub(super) unsafe fn from_raw(start: *const F, len: usize) -> Self {
        Self {
            start,
            len,
            memory: PhantomData,
        }
    }

    #[inline(always)]
    pub(crate) fn from_slice(values: &'a [F]) -> Self {
        Self {
            start: values.as_ptr(),
            len: values.len(),
            memory: PhantomData,
        }
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

    /// Four neighbouring vectors from element `at` on.
    #[inline(always)]
    pub(crate) fn quad<V: Vector<Scalar = F>>(&self, token: V::Token, at: usize) -> [V; 4] {
        check(at, 4 * V::LANES, self.len);
        // SAFETY: the four vectors lie inside the row, by the check.
        unsafe {
            let start = self.start.add(at);
            [
                V::load(token, start),
                V::load(token, start.add(V::LANES)),
                V::load(token, start.add(2 * V::LANES)),
                V::load(token, start.add(3 * V::LANES)),
            ]
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
        let mut lanes = [pad; 16];
        // SAFETY: `count` elements from `at` lie inside the row; `lanes` is ours and holds 16.
        unsafe {
            self.start
                .add(at)
                .cast::<u8>()
                .copy_to_nonoverlapping(lanes.as_mut_ptr().cast(), count * size_of::<F>());
            V::load(token, lanes.as_ptr())
        }
    }
}

impl<'a, F: Float> Sink<'a, F> {
    /// # Safety
    /// - `len` elements from `start` on stay writable for `'a`; no alignment is needed.
    #[inline(always)]
    pub(super) unsafe fn from_raw(start: *mut F, len: usize) -> Self {
        Self {
            start,
            len,
            memory: PhantomData,
        }
    }

    #[inline(always)]
    pub(crate) fn from_slice(values: &'a mut [F]) -> Self {
        Self {
            start: values.as_mut_ptr(),
            len: values.len(),
            memory: PhantomData,
        }
    }

    #[inline(always)]
    pub(crate) fn len(&self) -> usize {
        self.len
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

    /// Four neighbouring vectors from element `at` on.
    #[inline(always)]
    pub(crate) fn set_quad<V: Vector<Scalar = F>>(&mut self, at: usize, vectors: [V; 4]) {
        check(at, 4 * V::LANES, self.len);
        for (i, vector) in vectors.into_iter().enumerate() {
            // SAFETY: the four vectors lie inside the row, by the check.
            unsafe { vector.store(self.start.add(at + i * V::LANES)) };
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
        let mut lanes = [F::default(); 16];
        // SAFETY: `lanes` is ours and holds 16; `count` elements from `at` lie inside the row.
        unsafe {
            vector.store(lanes.as_mut_ptr());
            let target = self.start.add(at).cast::<u8>();
            target.copy_from_nonoverlapping(lanes.as_ptr().cast(), count * size_of::<F>());
        }
    }
}
