//! Coefficients and bounds of the exponential core; `kernel/exp.rs` runs it.
//!
//! ```text
//! n = round(z·log2 e)    f = z − n·LN2_HIGH − n·LN2_LOW    exp(z) = 2^n (1 + s)
//! s = f·(1 + f·(C2 + f·(C3 + ...)))
//! e = 2^n + s·2^n, rounded once
//! ```
//!
//! The arrangement of s is that of `kernel/exp.rs`: for f64 the rounding of f acts through the derivative of
//! f²q alone; for f32, which has two operations less, s has all roundings of f·q.
//!
//! Why it is exact or bounded (u = 2^-24 for f32, 2^-53 for f64):
//!
//! 1. z − n·LN2_HIGH is exact: for n ≠ 0 both are multiples of 2^-25 (2^-54) and the
//!    difference is below 1/2, so it fits the significand. LN2_HIGH may therefore be
//!    ln 2 rounded to full precision, which makes LN2_LOW as small as possible.
//! 2. C2.. come from a weighted Remez exchange at 70 digits on |f| ≤ 0.36 (f32) and
//!    |f| ≤ ln 2/2 (f64), rounded one after another and the rest fitted again; the weight
//!    is 4 below f = −0.28, where an ulp of e is half as large and the rounding of s alone
//!    costs a quarter of it.
//!
//! | | measured e | of itself | inputs |
//! |---|---|---|---|
//! | f32, degree 6 | 1.1325 ulp | 1.585 u | every float with abs z ≤ 1e6 |
//! | f64, degree 12 | 0.8507 ulp | 1.203 u | 2e9 |
//!
//! The f32 figures are exhaustive, hence a proof; the test `exp_exhaustive` repeats it. With them, a softmax
//! of any float32 row is within 4.7 ulp: e and S are off by 1.585 u each, 1/S is rounded by 1 u, which are
//! 4.17 ulp where the significand is near 2, and half an ulp is that of the product.

/// The constants of the core for one type.
pub struct ExpCore<F: 'static> {
    /// 1.5·2^(mantissa bits): adding it rounds to an integer and leaves it in the low bits.
    pub magic: F,
    /// C1 = 1, C2, ...
    pub coefficients: &'static [F],
    /// Bias of the exponent field.
    pub exponent_bias: i64,
    /// Exponentials are kept 2^headroom times too large, so the smallest are normal.
    pub headroom: i64,
}

/// Of the type with the most.
pub const MOST_COEFFICIENTS: usize = 12;

/// ln 2 in two doubles: rounded, and the rest.
pub const LN2: [f64; 2] = [std::f64::consts::LN_2, f64::from_bits(0x3c7a_bc9e_3b39_803f)]; // 0x1.abc9e3b39803fp-56

/// |z| ≤ 1e6
pub const EXP_F32: ExpCore<f32> = ExpCore {
    magic: 12_582_912.0, // 1.5 * 2^23
    coefficients: &[
        1.0,
        f32::from_bits(0x3eff_fff9), // C2 = 0x1.fffff2p-2
        f32::from_bits(0x3e2a_aa35), // C3 = 0x1.55546ap-3
        f32::from_bits(0x3d2a_b038), // C4 = 0x1.55607p-5
        f32::from_bits(0x3c09_2a89), // C5 = 0x1.125512p-7
        f32::from_bits(0x3ab2_90c8), // C6 = 0x1.65219p-10
    ],
    exponent_bias: 127,
    headroom: 30,
};

/// |z| ≤ 1e6
pub const EXP_F64: ExpCore<f64> = ExpCore {
    magic: 6_755_399_441_055_744.0, // 1.5 * 2^52
    coefficients: &[
        1.0,
        f64::from_bits(0x3fe0_0000_0000_0000), // C2 = 0x1p-1
        f64::from_bits(0x3fc5_5555_5555_555b), // C3 = 0x1.555555555555bp-3
        f64::from_bits(0x3fa5_5555_5555_555a), // C4 = 0x1.555555555555ap-5
        f64::from_bits(0x3f81_1111_1110_ed96), // C5 = 0x1.111111110ed96p-7
        f64::from_bits(0x3f56_c16c_16c1_4205), // C6 = 0x1.6c16c16c14205p-10
        f64::from_bits(0x3f2a_01a0_1b32_32f1), // C7 = 0x1.a01a01b3232f1p-13
        f64::from_bits(0x3efa_01a0_1b1c_771f), // C8 = 0x1.a01a01b1c771fp-16
        f64::from_bits(0x3ec7_1ddf_0d4a_edb0), // C9 = 0x1.71ddf0d4aedbp-19
        f64::from_bits(0x3e92_7e4c_3308_98d9), // C10 = 0x1.27e4c330898d9p-22
        f64::from_bits(0x3e5a_f6ae_6c45_e54f), // C11 = 0x1.af6ae6c45e54fp-26
        f64::from_bits(0x3e21_f991_bb1e_0f34), // C12 = 0x1.1f991bb1e0f34p-29
    ],
    exponent_bias: 1023,
    headroom: 60,
};
