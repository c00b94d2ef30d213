//! [`Vector`] without any instruction set: arrays, one scalar operation per lane.
//!
//! The reference for every other level, and the level of processors without
//! FMA: there `mul_add` is a call of the C library's correctly rounded `fma`.
//! Slow and exact, and not inlined, which would only make it slow to compile.

use super::{Vector, Widen, lane_sum::CompensatedSum, lane_sum::WidenedSum};

/// Proof of nothing: any processor will do.
#[derive(Clone, Copy, Debug)]
pub struct Portable;

/// `N` scalars, aligned like the registers they stand for.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub struct Lanes<T, const N: usize>([T; N]);

impl<T: Copy, const N: usize> Lanes<T, N> {
    #[inline(always)]
    fn zip<R: Copy>(self, other: Self, f: impl Fn(T, T) -> R) -> [R; N] {
        std::array::from_fn(|i| f(self.0[i], other.0[i]))
    }
}

macro_rules! portable {
    ($scalar:ty, $lanes:literal, $uint:ty, $mantissa:literal, $sum:ident) => {
        impl Vector for Lanes<$scalar, $lanes> {
            type Token = Portable;
            type Scalar = $scalar;
            type Mask = [bool; $lanes];
            type Sum = $sum<Self>;
            const LANES: usize = $lanes;

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
            fn lane(self, index: usize) -> $scalar {
                self.0[index]
            }
            #[inline(never)]
            fn add(self, other: Self) -> Self {
                Self(self.zip(other, |a, b| a + b))
            }
            #[inline(never)]
            fn sub(self, other: Self) -> Self {
                Self(self.zip(other, |a, b| a - b))
            }
            #[inline(never)]
            fn mul(self, other: Self) -> Self {
                Self(self.zip(other, |a, b| a * b))
            }
            #[inline(never)]
            fn mul_add(self, b: Self, c: Self) -> Self {
                Self(std::array::from_fn(|i| self.0[i].mul_add(b.0[i], c.0[i])))
            }
            #[inline(never)]
            fn mul_sub(self, b: Self, c: Self) -> Self {
                Self(std::array::from_fn(|i| self.0[i].mul_add(b.0[i], -c.0[i])))
            }
            #[inline(never)]
            fn neg_mul_add(self, b: Self, c: Self) -> Self {
                Self(std::array::from_fn(|i| (-self.0[i]).mul_add(b.0[i], c.0[i])))
            }
            #[inline(never)]
            fn max(self, other: Self) -> Self {
                Self(self.zip(other, |a, b| if a > b { a } else { b }))
            }
            #[inline(never)]
            fn le(self, other: Self) -> Self::Mask {
                self.zip(other, |a, b| a <= b)
            }
            #[inline(never)]
            fn ge(self, other: Self) -> Self::Mask {
                self.zip(other, |a, b| a >= b)
            }
            #[inline(never)]
            #[allow(clippy::float_cmp, reason = "lane by lane, exactly")]
            fn eq(self, other: Self) -> Self::Mask {
                self.zip(other, |a, b| a == b)
            }
            #[inline(never)]
            fn zero_where(self, mask: Self::Mask) -> Self {
                Self(std::array::from_fn(|i| if mask[i] { 0.0 } else { self.0[i] }))
            }
            #[inline(never)]
            fn only_where(self, mask: Self::Mask) -> Self {
                Self(std::array::from_fn(|i| if mask[i] { self.0[i] } else { 0.0 }))
            }
            #[inline(never)]
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "two's complement, as the vector instructions wrap"
            )]
            fn exponent_from_low_bits(self, bias: i64) -> Self {
                let shifted = |x: $scalar| x.to_bits().wrapping_add(bias as $uint) << $mantissa;
                Self(self.0.map(|x| <$scalar>::from_bits(shifted(x))))
            }
        }
    };
}

portable!(f32, 16, u32, 23, WidenedSum);
portable!(f64, 8, u64, 52, CompensatedSum);

impl Widen for Lanes<f32, 16> {
    type Doubles = Lanes<f64, 8>;
    #[inline(never)]
    fn widen(self) -> (Lanes<f64, 8>, Lanes<f64, 8>) {
        let half = |first: usize| Lanes(std::array::from_fn(|i| f64::from(self.0[first + i])));
        (half(0), half(8))
    }
}
