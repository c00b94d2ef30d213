//! One 64-byte logical vector, the same on every instruction set.
//!
//! The arithmetic of this crate is written once, with the trait [`Vector`]: 16 lanes of `f32` or 8 lanes of `f64`,
//! whatever the size of the hardware registers. A lane holds classes `i`, `i + LANES`, ... of one row, or one row of
//! a tile. So the order in which numbers are added does not depend on the registers, and every instruction set gives
//! the same bits. This needs two rules:
//!
//! 1. `mul_add` is a true fused multiply-add everywhere, emulated exactly where the hardware has none;
//! 2. the result of an operation must not depend on the hardware. `max` keeps a NaN in the second operand and may
//!    lose one in the first, so NaN is detected in the sums, never in the maximum of a row.
//!
//! This module and its children contain `unsafe` code. No other module names anything of the SIMD library they use.

/// A closure that is always inlined: otherwise it might be compiled without the instruction set of its caller.
macro_rules! inlined {
    ($closure:expr) => {{
        #[inline(always)]
        $closure
    }};
}
pub(crate) use inlined;

/// Runs an expression in a separate function, compiled for the instruction set of a [`Vector`]: see
/// [`Vector::outlined`].
macro_rules! outlined {
    ($vector:ident, $token:expr, $job:expr) => {
        $vector::outlined($token, $crate::simd::inlined!(|| $job))
    };
}
pub(crate) use outlined;

/// The same in small code only. Other code does it in place.
macro_rules! outlined_if_compact {
    ($vector:ident, $token:expr, $job:expr) => {
        if $vector::IS_COMPACT { $crate::simd::outlined!($vector, $token, $job) } else { $job }
    };
}
pub(crate) use outlined_if_compact;

/// An array with a value for each index. It is a plain loop, since a closure that is not inlined would be compiled
/// without the instruction set of its vectors, and inlining is not guaranteed.
macro_rules! each {
    ($len:expr, |$i:ident| $value:expr) => {{
        let mut $i = 0;
        let mut result = [$value; $len];
        while $i + 1 < $len {
            $i += 1;
            result[$i] = $value;
        }
        result
    }};
}
pub(crate) use each;

mod element;
mod fearless;
pub mod fpenv;
mod instruction_set;
mod lanes;
mod level;
mod memory;
mod outer;
mod row;
mod storage;
mod sum;
mod transpose;

pub use element::{Element, Float, Slices, Storage};
pub(crate) use instruction_set::fence;
pub use lanes::{Eights, LaneSum, Widened};
pub use level::Level;
pub(crate) use memory::{AsDoubles, Copied, GatherNeighbours, Neighbours};
pub use memory::{Rows, RowsMut};
pub use outer::Outer;
pub(crate) use row::{Lines, QUAD, Sink, Source, transpose, with_value};
pub(crate) use sum::ExactSum;

use fearless_simd::{Bytes, ExtractToken, Select, Simd, SimdMask, u8x64};
use instruction_set::InstructionSet;
use std::ops::{Add, Div, Mul, Neg, Sub};

/// Bytes of a cache line, and of a vector.
pub const LINE: usize = 64;

/// The largest number of lanes of a vector: that of `f32`.
pub const MOST_LANES: usize = 16;

/// Numbers that begin with a cache line, so that no vector of them lies across two.
#[repr(align(64))]
pub(crate) struct Aligned<T>(pub(crate) T);

/// The cache into which memory is prefetched.
#[derive(Clone, Copy, Debug)]
pub enum Cache {
    /// For memory that is needed within some 100 ns.
    First,
    /// For memory that is needed later. This cache is larger, and the processor can wait for more cache lines at a
    /// time.
    Second,
}

/// A vector of `LANES` scalars: 64 bytes.
pub trait Vector:
    Copy
    + ExtractToken<S = <Self as Vector>::Token>
    + Bytes<Bytes = u8x64<<Self as Vector>::Token>>
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
{
    /// Proof that the processor has the instruction set; needed to make a vector.
    type Token: InstructionSet;
    type Scalar: Float;
    /// True or false in each lane.
    type Mask: SimdMask<Self::Token> + Select<Self>;
    /// A double for each lane.
    type Doubles: Widened<Self>;
    /// A double for each of the first eight lanes.
    type Eight: Widened<Self>;
    const LANES: usize;
    /// Words of a scalar: loads and stores of some lanes count words.
    const WORDS: usize = MOST_LANES / Self::LANES;
    /// Should the code be small rather than fast? If so, it is scalar code.
    const IS_COMPACT: bool = Self::Token::IS_COMPACT;
    /// Is a vector a single register? Then operations on one vector would wait for each other, so two vectors are
    /// processed in turns.
    const IS_ONE_REGISTER: bool = size_of::<<Self::Token as Simd>::f32s>() == LINE;

    /// Runs `job` in a separate function, compiled for the instruction set, so that code which several operations share
    /// is compiled once.
    #[inline(always)]
    fn outlined<R>(token: Self::Token, job: impl FnOnce() -> R) -> R {
        /// For small code: its stack frame is not part of that of its callers, either.
        #[inline(never)]
        fn apart<R>(job: impl FnOnce() -> R) -> R {
            job()
        }
        if Self::IS_COMPACT { apart(job) } else { token.vectorize(job) }
    }
    fn splat(token: Self::Token, value: Self::Scalar) -> Self;
    /// Loads the `LANES` scalars at `source`.
    ///
    /// # Safety
    /// - `source` is valid for reading `LANES` scalars; no alignment is needed.
    unsafe fn load(token: Self::Token, source: *const Self::Scalar) -> Self;
    /// Writes the `LANES` scalars to `target`.
    ///
    /// # Safety
    /// - `target` is valid for writing `LANES` scalars; no alignment is needed.
    unsafe fn store(self, target: *mut Self::Scalar);
    /// Loads the first `count` lanes from `source`; the others are those of `pad`.
    ///
    /// # Safety
    /// - `source` is valid for reading `count` ≤ `LANES` scalars; no alignment is needed.
    #[inline(always)]
    unsafe fn load_head(pad: Self, source: *const Self::Scalar, count: usize) -> Self {
        // SAFETY: as the caller says; `count` scalars are that many words.
        unsafe { pad.token().load_head(pad.bitcast(), source.cast(), count * Self::WORDS) }
            .bitcast()
    }
    /// Writes the first `count` lanes to `target`.
    ///
    /// # Safety
    /// - `target` is valid for writing `count` ≤ `LANES` scalars; no alignment is needed.
    #[inline(always)]
    unsafe fn store_head(self, target: *mut Self::Scalar, count: usize) {
        // SAFETY: as the caller says; `count` scalars are that many words.
        unsafe { self.token().store_head(self.bitcast(), target.cast(), count * Self::WORDS) };
    }

    /// Loads the first `LANES` elements of `values`.
    #[inline(always)]
    fn from_slice(token: Self::Token, values: &[Self::Scalar]) -> Self {
        assert!(values.len() >= Self::LANES);
        // SAFETY: that many scalars are readable.
        unsafe { Self::load(token, values.as_ptr()) }
    }
    /// Stores the lanes to the first `LANES` elements of `values`.
    #[inline(always)]
    fn to_slice(self, values: &mut [Self::Scalar]) {
        assert!(values.len() >= Self::LANES);
        // SAFETY: that many scalars are writable.
        unsafe { self.store(values.as_mut_ptr()) };
    }
    /// One scalar a lane, and zeros after the last.
    #[inline(always)]
    fn to_array(self) -> [Self::Scalar; MOST_LANES] {
        let mut scalars = [Self::Scalar::default(); MOST_LANES];
        self.to_slice(&mut scalars);
        scalars
    }

    /// `self * b + c`, rounded once.
    fn mul_add(self, b: Self, c: Self) -> Self;
    /// The larger of both; NaN where `other` is NaN. The SIMD library does not document this, but its instructions have
    /// this result, and `kernel::exp` tests it at every level. At the portable level it is a comparison and a
    /// selection.
    fn max(self, other: Self) -> Self;
    /// `self >= other`, false for NaN.
    fn ge(self, other: Self) -> Self::Mask;
    fn eq(self, other: Self) -> Self::Mask;
    /// `self` where `mask` is true, +0 elsewhere.
    fn only_where(self, mask: Self::Mask) -> Self;
    /// One bit for each lane; the lowest bit is that of the first lane.
    #[inline(always)]
    fn bits(mask: Self::Mask) -> u64 {
        mask.to_bitmask()
    }
    /// Is the mask true in every lane?
    #[inline(always)]
    fn all(mask: Self::Mask) -> bool {
        mask.all_true()
    }
    /// `a` where `mask` is true, else `b`.
    #[inline(always)]
    fn select(mask: Self::Mask, a: Self, b: Self) -> Self {
        mask.select(a, b)
    }
    /// The lanes of both interleaved: those of the lower halves, and those of the upper halves.
    fn zip(self, other: Self) -> (Self, Self);
    /// Shifts the bits up to the exponent field: for `t = e + 1.5·2^(MANTISSA_BITS)` with an
    /// integer e ≥ 0 this is the number whose exponent field is `e` and whose mantissa is 0.
    fn exponent_from_low_bits(self) -> Self;
}

/// Work that is generic over the vector of scalar type `F`.
pub trait VectorJob<F: Float> {
    type Output;
    fn run<V: Vector<Scalar = F>>(self, token: V::Token) -> Self::Output;
}
