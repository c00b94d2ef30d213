//! The vector over `pulp`: `N` registers of the native width.

use crate::kernel::{LANES, Token, Vector};
use pulp::bytemuck::{cast_slice, cast_slice_mut};
use pulp::x86::{V3, V4};
use pulp::{Simd, WithSimd, cast};

pub type Avx2 = Registers<V3, 2>;
pub type Avx512 = Registers<V4, 1>;

pub fn tokens() -> (Option<V3>, Option<V4>) {
    (V3::try_new(), V4::try_new())
}

struct Job<F>(F);

impl<R, F: FnOnce() -> R> WithSimd for Job<F> {
    type Output = R;
    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) -> R {
        (self.0)()
    }
}

impl<S: Native> Token for S {
    #[inline(always)]
    fn outlined<R>(self, job: impl FnOnce() -> R) -> R {
        Simd::vectorize(self, Job(job))
    }
}

/// What `Simd` lacks, for each instruction set.
pub trait Native: Simd {
    fn widen(self, floats: Self::f32s) -> [Self::f64s; 2];
    /// All ones where `mask` is true: `select` costs an instruction more on AVX2.
    fn bits(self, mask: Self::m32s) -> Self::u32s;
}

#[rustfmt::skip]
impl Native for V3 {
    #[inline(always)] fn widen(self, floats: pulp::f32x8) -> [pulp::f64x4; 2] {
        let [low, high]: [pulp::f32x4; 2] = cast(floats);
        [self.convert_f32x4_to_f64x4(low), self.convert_f32x4_to_f64x4(high)]
    }
    #[inline(always)] fn bits(self, mask: pulp::m32x8) -> pulp::u32x8 { cast(mask) }
}

#[rustfmt::skip]
impl Native for V4 {
    #[inline(always)] fn widen(self, floats: pulp::f32x16) -> [pulp::f64x8; 2] {
        let [low, high]: [pulp::f32x8; 2] = cast(floats);
        [self.convert_f32x8_to_f64x8(low), self.convert_f32x8_to_f64x8(high)]
    }
    #[inline(always)] fn bits(self, mask: pulp::b16) -> pulp::u32x16 { self.convert_mask_b16_to_u32x16(mask) }
}

#[derive(Clone, Copy)]
pub struct Registers<S: Simd, const N: usize>(S, [S::f32s; N]);

/// `$operation` of the registers of each operand.
macro_rules! each {
    ($self:ident.$operation:ident($($operand:ident),*)) => {{
        let mut registers = $self.1;
        for i in 0..N {
            registers[i] = $self.0.$operation($($operand.1[i]),*);
        }
        Self($self.0, registers)
    }};
}

#[rustfmt::skip]
impl<S: Native, const N: usize> Vector for Registers<S, N> {
    type Token = S;
    type Mask = [S::m32s; N];
    type Sum = (S, [[S::f64s; 2]; N]);

    #[inline(always)] fn splat(simd: S, value: f32) -> Self { Self(simd, [simd.splat_f32s(value); N]) }
    #[inline(always)] fn load(simd: S, lanes: &[f32; LANES]) -> Self {
        let mut registers = [simd.splat_f32s(0.0); N];
        registers.copy_from_slice(cast_slice(lanes));
        Self(simd, registers)
    }
    #[inline(always)] fn store(self, lanes: &mut [f32; LANES]) { cast_slice_mut(lanes).copy_from_slice(&self.1); }
    #[inline(always)] fn add(self, b: Self) -> Self { each!(self.add_f32s(self, b)) }
    #[inline(always)] fn sub(self, b: Self) -> Self { each!(self.sub_f32s(self, b)) }
    #[inline(always)] fn mul(self, b: Self) -> Self { each!(self.mul_f32s(self, b)) }
    #[inline(always)] fn mul_add(self, b: Self, c: Self) -> Self { each!(self.mul_add_f32s(self, b, c)) }
    #[inline(always)] fn neg_mul_add(self, b: Self, c: Self) -> Self { each!(self.negate_mul_add_f32s(self, b, c)) }
    #[inline(always)] fn max(self, b: Self) -> Self { each!(self.max_f32s(self, b)) }
    #[inline(always)] fn le(self, b: Self) -> Self::Mask {
        std::array::from_fn(#[inline(always)] |i| self.0.less_than_or_equal_f32s(self.1[i], b.1[i]))
    }
    #[inline(always)] fn zero_where(self, mask: Self::Mask) -> Self {
        self.only_where(mask.map(#[inline(always)] |mask| self.0.not_m32s(mask)))
    }
    #[inline(always)] fn only_where(mut self, mask: Self::Mask) -> Self {
        for (register, mask) in self.1.iter_mut().zip(mask) {
            let bits = self.0.and_u32s(self.0.bits(mask), self.0.transmute_u32s_f32s(*register));
            *register = self.0.transmute_f32s_u32s(bits);
        }
        self
    }
    #[inline(always)] fn exponent_from_low_bits(mut self, bias: u32) -> Self {
        let (bias, shift) = (self.0.splat_u32s(bias), self.0.splat_u32s(23));
        for register in &mut self.1 {
            let bits = self.0.add_u32s(self.0.transmute_u32s_f32s(*register), bias);
            *register = self.0.transmute_f32s_u32s(self.0.wrapping_dyn_shl_u32s(bits, shift));
        }
        self
    }
    #[inline(always)] fn no_sum(simd: S) -> Self::Sum { (simd, [[simd.splat_f64s(0.0); 2]; N]) }
    #[inline(always)] fn flush(self, (simd, mut sum): Self::Sum) -> Self::Sum {
        for (sum, register) in sum.iter_mut().zip(self.1) {
            let [low, high] = simd.widen(register);
            *sum = [simd.add_f64s(sum[0], low), simd.add_f64s(sum[1], high)];
        }
        (simd, sum)
    }
    #[inline(always)] fn joined((simd, sum): Self::Sum) -> [f64; LANES / 2] {
        let add = |a, b| simd.add_f64s(a, b);
        let [first, last] = [sum[0], sum[N - 1]];
        let half = if N == 1 { [add(first[0], first[1]); 2] } else { [add(first[0], last[0]), add(first[1], last[1])] };
        std::array::from_fn(|i| cast_slice(&half)[i])
    }
}
