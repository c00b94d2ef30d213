//! [`Vector`] over the `fearless_simd` crate: one line per operation.

use super::instruction_set::InstructionSet;
use super::lanes::Doubles;
use super::{Float, Vector};
use fearless_simd::{Bytes, SimdBase, SimdFloat, SimdFrom, SimdMask, f32x16, f64x8};
use std::array::from_fn;

/// Implements [`Vector`] for one type; the arguments are what differs between the types.
macro_rules! vector {
    ($vector:ident, $scalar:ty, $lanes:literal, $doubles:ty) => {
        impl<S: InstructionSet> Vector for $vector<S> {
            type Token = S;
            type Scalar = $scalar;
            type Mask = <Self as SimdBase<S>>::Mask;
            type Doubles = $doubles;
            type Eight = Doubles<S, 1>;
            const LANES: usize = $lanes;

            #[inline(always)]
            fn splat(token: S, value: $scalar) -> Self {
                <Self as SimdBase<S>>::splat(token, value)
            }
            #[inline(always)]
            unsafe fn load(token: S, source: *const $scalar) -> Self {
                // SAFETY: the caller vouches for LANES readable scalars; read by value, unaligned.
                let lanes = unsafe { source.cast::<[$scalar; $lanes]>().read_unaligned() };
                Self::simd_from(token, lanes)
            }
            #[inline(always)]
            unsafe fn store(self, target: *mut $scalar) {
                let lanes: [$scalar; $lanes] = self.into();
                // SAFETY: the caller vouches for LANES writable scalars; written unaligned.
                unsafe { target.cast::<[$scalar; $lanes]>().write_unaligned(lanes) };
            }
            #[inline(always)]
            fn mul_add(self, b: Self, c: Self) -> Self {
                if !S::IS_COMPACT {
                    return self.mul_add_precise(b, c);
                }
                // Long, so not inlined. For doubles, a call of `fma` for each lane is faster than the library.
                outlined!(Self, self.simd, {
                    if <$scalar as Float>::IS_DOUBLE {
                        SimdFrom::simd_from(self.simd, from_fn(|i| self[i].mul_add(b[i], c[i])))
                    } else {
                        self.mul_add_precise(b, c)
                    }
                })
            }
            #[inline(always)]
            fn max(self, other: Self) -> Self {
                if S::IS_COMPACT {
                    return fearless_simd::Select::select(self.simd_gt(other), self, other);
                }
                <Self as SimdBase<S>>::max(self, other)
            }
            #[inline(always)]
            fn ge(self, other: Self) -> Self::Mask {
                self.simd_ge(other)
            }
            #[inline(always)]
            fn eq(self, other: Self) -> Self::Mask {
                self.simd_eq(other)
            }
            #[inline(always)]
            fn only_where(self, mask: Self::Mask) -> Self {
                (mask.to_vector() & self.bitcast::<<Self::Mask as SimdMask<S>>::Ints>()).bitcast()
            }
            #[inline(always)]
            fn zip(self, other: Self) -> (Self, Self) {
                self.interleave(other)
            }
            #[inline(always)]
            fn exponent_from_low_bits(self) -> Self {
                let bits: <Self as SimdFloat<S>>::Bits = self.bitcast();
                (bits << (<$scalar>::MANTISSA_DIGITS - 1)).bitcast()
            }
        }
    };
}

vector! { f32x16, f32, 16, Doubles<S, 2> }
vector! { f64x8, f64, 8, Doubles<S, 1> }
