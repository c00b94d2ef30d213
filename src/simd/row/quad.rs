//! Four neighbouring vectors of a row.

use crate::simd::element::Float;
use crate::simd::{LINE, Vector};
#[cfg(target_arch = "x86_64")]
use std::arch::asm;
use std::marker::PhantomData;

/// Vectors that are loaded, summed and stored together.
pub(crate) const QUAD: usize = 4;

/// Four vectors inside a row, for reading one by one after a single bounds check.
#[derive(Clone, Copy)]
pub(crate) struct QuadSource<'a, F> {
    pub(super) start: *const F,
    pub(super) lanes: usize,
    pub(super) memory: PhantomData<&'a F>,
}

impl<F: Float> QuadSource<'_, F> {
    /// The same vectors, addressed by one register. A load that is addressed by two is an operation of its own for
    /// an x86 processor; by one, it is part of the operation that uses it. The compiler picks either, this forces
    /// one: 3 % of the time of softmax where a vector is a register.
    #[inline(always)]
    #[allow(clippy::pointers_in_nomem_asm_block, reason = "nothing is done with what it points to")]
    pub(crate) fn in_one_register(self) -> Self {
        #[cfg(target_arch = "x86_64")]
        let start = {
            let mut start = self.start;
            // SAFETY: no instruction; the pointer that comes in goes out.
            unsafe {
                asm!("/* {} */", inout(reg) start, options(pure, nomem, nostack, preserves_flags));
            }
            start
        };
        #[cfg(not(target_arch = "x86_64"))]
        let start = self.start;
        Self { start, ..self }
    }

    #[inline(always)]
    pub(crate) fn vector<V: Vector<Scalar = F>>(self, token: V::Token, index: usize) -> V {
        assert!((index + 1) * V::LANES <= QUAD * self.lanes);
        // SAFETY: QUAD vectors of `lanes` lie inside the row, by the check of `quad`.
        unsafe { V::load(token, self.start.add(index * V::LANES)) }
    }
}

/// Four vectors inside a row, for writing one by one after a single bounds check.
pub(crate) struct QuadSink<'a, F> {
    pub(super) start: *mut F,
    pub(super) lanes: usize,
    pub(super) memory: PhantomData<&'a mut F>,
}

impl<F: Float> QuadSink<'_, F> {
    #[inline(always)]
    pub(crate) fn set<V: Vector<Scalar = F>>(&mut self, index: usize, vector: V) {
        assert!((index + 1) * V::LANES <= QUAD * self.lanes);
        // SAFETY: QUAD vectors of `lanes` lie inside the row, by the check of `quad`.
        unsafe { vector.store(self.start.add(index * V::LANES)) };
    }

    /// As [`QuadSink::set`], past the caches; the row's quads begin with lines of memory.
    #[inline(always)]
    pub(crate) fn stream<V: Vector<Scalar = F>>(&mut self, index: usize, vector: V) {
        assert!(index < QUAD && V::LANES == self.lanes && self.start.addr().is_multiple_of(LINE));
        // SAFETY: QUAD vectors of this many lanes, each a line, lie inside the row, by the checks.
        unsafe { vector.stream(self.start.add(index * V::LANES)) };
    }
}
