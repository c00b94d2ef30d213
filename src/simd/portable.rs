//! [`Vector`] without any instruction set: arrays, one scalar operation per lane.
//!
//! The reference for every other level, and the level of processors without
//! FMA: there `mul_add` is a call of a correctly rounded `fma`, of the C library or of Rust's own.
//! Slow and exact, and not inlined, which would only make it slow to compile.

use super::element::Float;
use super::lanes::{CompensatedSum, DoubleVector, Doubles, Widened};
use super::partial::copy;
use super::storage::Halves;
use super::transpose::shuffled;
use super::{Cache, MOST_LANES, Vector};
use crate::math::Real;
use std::array::from_fn;

/// Proof of nothing: any processor will do.
#[derive(Clone, Copy, Debug)]
pub struct Portable;

/// `N` scalars, aligned like the registers they stand for.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub struct Lanes<T, const N: usize>([T; N]);

impl Halves for Portable {}

impl<T: Copy, const N: usize> Lanes<T, N> {
    #[inline(always)]
    fn both<R: Copy>(self, other: Self, f: impl Fn(T, T) -> R) -> [R; N] {
        from_fn(|i| f(self.0[i], other.0[i]))
    }
}

macro_rules! portable {
    ($scalar:ty, $lanes:literal, $mantissa:literal, $doubles:ty, $sum:ty) => {
        impl Vector for Lanes<$scalar, $lanes> {
            type Token = Portable;
            type Scalar = $scalar;
            type Mask = [bool; $lanes];
            type Doubles = $doubles;
            type Eight = Doubles<Lanes<f64, 8>, 1>;
            type Sum = $sum;
            const LANES: usize = $lanes;
            const IS_COMPACT: bool = true;

            #[inline(never)]
            fn outlined<R>(_token: Portable, job: impl FnOnce() -> R) -> R {
                job()
            }
            #[inline(always)]
            fn splat(_token: Portable, value: $scalar) -> Self {
                Self([value; $lanes])
            }
            #[inline(always)]
            unsafe fn load(_token: Portable, source: *const $scalar) -> Self {
                // SAFETY: the caller vouches for LANES readable scalars; read by value, unaligned.
                Self(unsafe { source.cast::<[$scalar; $lanes]>().read_unaligned() })
            }
            #[inline(always)]
            unsafe fn store(self, target: *mut $scalar) {
                // SAFETY: the caller vouches for LANES writable scalars; written unaligned.
                unsafe { target.cast::<[$scalar; $lanes]>().write_unaligned(self.0) };
            }
            #[inline(always)]
            unsafe fn stream(self, target: *mut $scalar) {
                // SAFETY: the caller vouches for LANES writable scalars.
                unsafe { self.store(target) };
            }
            #[inline(always)]
            fn fence(_token: Portable) {}
            #[inline(always)]
            fn prefetch(_token: Portable, _cache: Cache, _source: *const $scalar) {}
            #[inline(never)]
            unsafe fn load_head(mut pad: Self, source: *const $scalar, count: usize) -> Self {
                assert!(count <= $lanes);
                // SAFETY: the caller vouches for `count` readable scalars, of which there is room for.
                unsafe { copy(source, pad.0.as_mut_ptr(), count) };
                pad
            }
            #[inline(never)]
            unsafe fn store_head(self, target: *mut $scalar, count: usize) {
                assert!(count <= $lanes);
                // SAFETY: the caller vouches for `count` writable scalars, and so many are here.
                unsafe { copy(self.0.as_ptr(), target, count) };
            }
            #[inline(always)]
            fn token(self) -> Portable {
                Portable
            }
            #[inline(never)]
            fn add(self, other: Self) -> Self {
                Self(self.both(other, |a, b| a + b))
            }
            #[inline(never)]
            fn sub(self, other: Self) -> Self {
                Self(self.both(other, |a, b| a - b))
            }
            #[inline(never)]
            fn mul(self, other: Self) -> Self {
                Self(self.both(other, |a, b| a * b))
            }
            #[inline(never)]
            fn div(self, other: Self) -> Self {
                Self(self.both(other, |a, b| a / b))
            }
            #[inline(never)]
            fn mul_add(self, b: Self, c: Self) -> Self {
                Self(from_fn(|i| self.0[i].mul_add(b.0[i], c.0[i])))
            }
            #[inline(never)]
            fn mul_sub(self, b: Self, c: Self) -> Self {
                Self(from_fn(|i| self.0[i].mul_add(b.0[i], -c.0[i])))
            }
            #[inline(never)]
            fn neg_mul_add(self, b: Self, c: Self) -> Self {
                Self(from_fn(|i| (-self.0[i]).mul_add(b.0[i], c.0[i])))
            }
            #[inline(never)]
            fn max(self, other: Self) -> Self {
                Self(self.both(other, |a, b| if a > b { a } else { b }))
            }
            #[inline(never)]
            fn le(self, other: Self) -> Self::Mask {
                self.both(other, |a, b| a <= b)
            }
            #[inline(never)]
            fn ge(self, other: Self) -> Self::Mask {
                self.both(other, |a, b| a >= b)
            }
            #[inline(never)]
            #[allow(clippy::float_cmp, reason = "lane by lane, exactly")]
            fn eq(self, other: Self) -> Self::Mask {
                self.both(other, |a, b| a == b)
            }
            #[inline(never)]
            fn zero_where(self, mask: Self::Mask) -> Self {
                Self(from_fn(|i| if mask[i] { 0.0 } else { self.0[i] }))
            }
            #[inline(never)]
            fn only_where(self, mask: Self::Mask) -> Self {
                Self(from_fn(|i| if mask[i] { self.0[i] } else { 0.0 }))
            }
            #[inline(never)]
            fn both(mask: Self::Mask, other: Self::Mask) -> Self::Mask {
                from_fn(|i| mask[i] && other[i])
            }
            #[inline(never)]
            fn bits(mask: Self::Mask) -> u64 {
                mask.iter().rev().fold(0, |bits, lane| 2 * bits + u64::from(*lane))
            }
            #[inline(never)]
            fn any(mask: Self::Mask) -> bool {
                mask.into_iter().any(|lane| lane)
            }
            #[inline(never)]
            fn all(mask: Self::Mask) -> bool {
                mask.into_iter().all(|lane| lane)
            }
            #[inline(never)]
            fn select(mask: Self::Mask, a: Self, b: Self) -> Self {
                Self(from_fn(|i| if mask[i] { a.0[i] } else { b.0[i] }))
            }
            #[inline(never)]
            fn zip(self, other: Self) -> (Self, Self) {
                let turn = |i: usize| if i % 2 == 0 { self.0[i / 2] } else { other.0[i / 2] };
                (Self(from_fn(turn)), Self(from_fn(|i| turn($lanes + i))))
            }
            #[inline(never)]
            fn transpose(vectors: &mut [Self; MOST_LANES]) {
                shuffled(vectors);
            }
            #[inline(never)]
            unsafe fn transpose_block(
                _token: Portable,
                source: *const $scalar,
                stride: usize,
                target: *mut $scalar,
                target_stride: usize,
                len: usize,
            ) {
                for row in 0..$lanes {
                    for column in 0..$lanes.min(len.saturating_sub(row * target_stride)) {
                        // SAFETY: inside the vectors to read, and before `len`.
                        unsafe {
                            let value = source.add(column * stride + row).read_unaligned();
                            target.add(row * target_stride + column).write_unaligned(value);
                        }
                    }
                }
            }
            #[inline(never)]
            fn exponent_from_low_bits(self) -> Self {
                Self(self.0.map(|x| <$scalar>::from_bits(x.to_bits() << $mantissa)))
            }
        }
    };
}

portable!(f32, 16, 23, Doubles<Lanes<f64, 8>, 2>, Doubles<Lanes<f64, 8>, 2>);
portable!(f64, 8, 52, Doubles<Self, 1>, CompensatedSum<Self>);

impl Widened<Lanes<f32, 16>> for Doubles<Lanes<f64, 8>, 2> {
    #[inline(never)]
    fn widen(vector: Lanes<f32, 16>) -> Self {
        let half = |first: usize| Lanes(from_fn(|i| f64::from(vector.0[first + i])));
        Self([half(0), half(8)])
    }
    #[inline(never)]
    fn narrow(self) -> Lanes<f32, 16> {
        let Self([low, high]) = self;
        Lanes(from_fn(|i| f32::from_f64(if i < 8 { low.0[i] } else { high.0[i - 8] })))
    }
}
impl Widened<Lanes<f32, 16>> for Doubles<Lanes<f64, 8>, 1> {
    #[inline(never)]
    fn widen(vector: Lanes<f32, 16>) -> Self {
        Self([Lanes(from_fn(|i| f64::from(vector.0[i])))])
    }
    #[inline(never)]
    fn narrow(self) -> Lanes<f32, 16> {
        Lanes(from_fn(|i| if i < 8 { f32::from_f64(self.0[0].0[i]) } else { 0.0 }))
    }
}

impl DoubleVector for Lanes<f64, 8> {
    #[inline(never)]
    fn abs(self) -> Self {
        Self(self.0.map(f64::abs))
    }
    #[inline(never)]
    fn bits_and(self, mask: u64) -> Self {
        Self(self.0.map(|x| x.bits_and(mask)))
    }
    #[inline(never)]
    fn bits_plus(self, term: u64) -> Self {
        Self(self.0.map(|x| x.bits_plus(term)))
    }
    #[inline(never)]
    fn bits_minus(self, other: Self) -> Self {
        Self(self.both(other, f64::bits_minus))
    }
    #[inline(never)]
    fn bits_after_significand(self) -> Self {
        Self(self.0.map(f64::bits_after_significand))
    }
    #[inline(never)]
    fn joined(self) -> f64 {
        let [a, b, c, d, e, f, g, h] = self.0;
        ((a + e) + (c + g)) + ((b + f) + (d + h))
    }
}
