//! Coefficients and bounds of the exponential core; `kernel/exp.rs` runs it.
//!
//! ```text
//! n = round(z·log2 e)    f = z − n·LN2_HIGH − n·LN2_LOW    exp(z) = 2^n (1 + f·q)
//! q = 1 + f·(C2 + f·(C3 + ...))
//! e = (1 + f·q)·2^n, rounded once
//! ```
//!
//! Why it is exact or bounded (u = 2^-24 for f32, 2^-53 for f64):
//!
//! 1. z − n·LN2_HIGH is exact: for n ≠ 0 both are multiples of 2^-25 (2^-54) and the
//!    difference is below 1/2, so it fits the significand. LN2_HIGH may therefore be
//!    ln 2 rounded to full precision, which makes LN2_LOW as small as possible.
//! 2. At the ends of the interval an ulp of e is 2u below 1, and 4u above. There the last rounding costs 0.5 ulp, that
//!    of f 0.18, that of q 0.17, and those in the rest of the polynomial 0.03. Rounding f·q too would cost up to 0.25.
//! 3. The coefficients C2, C3, ... for f32 are the solution of a linear program on |f| ≤ 0.352. It minimizes the
//!    largest sum of these roundings and the error of the polynomial. So this error may be 0.07 ulp in the middle, and
//!    is nearly 0 at the ends; the mean error is kept near 0. The coefficients for f64 are from a weighted Remez
//!    exchange with 70 digits on |f| ≤ ln 2/2. In both cases the coefficients are rounded one after another, and
//!    the remaining ones are fitted again each time.
//!
//! | | error of e, measured | relative to e | inputs |
//! |---|---|---|---|
//! | f32, degree 6 | 0.8814 ulp | 1.284 u | every float with abs z ≤ 1e6 |
//! | f64, degree 12 | 0.8743 ulp | 1.244 u | 2e9 |
//! | f32, a temperature | 1.03 ulp, 1.34 from 250,000 on | 1.44 u, 1.99 u | 200 temperatures |
//! | f64, a temperature | 1.06 ulp | 1.50 u | 6 temperatures, 2e7 each |
//!
//! The first row is exhaustive, so it is a proof; the test `exp_exhaustive` repeats it. It follows that the error of a
//! float32 softmax is below 5.1 ulp on any row: e has a relative error of up to 1.284 u, S one of up to 2.284 u, since
//! the sum of two exponentials is rounded to f32, and the rounding of 1/S adds 1 u; together these are 4.57 ulp where
//! the significand is near 2. The rounding of the product adds half an ulp. The promise of 5 ulp is tested by a search.
//!
//! The first two rows hold for any temperature that is a power of two. With other temperatures f and q are larger
//! within their binades, and so are their roundings. C1/T is rounded too, but this error is compensated: see
//! `CARRIED_AT` in `kernel/exp.rs`.

/// The constants of the core for one type.
pub struct ExpCore<F: 'static> {
    /// 1.5·2^(mantissa bits): adding it rounds to an integer and leaves it in the low bits.
    pub magic: F,
    /// C1 = 1, C2, ...
    pub coefficients: &'static [F],
    /// Bias of the exponent field.
    pub exponent_bias: f64,
    /// Exponentials are kept 2^headroom times too large, so the smallest are normal.
    pub headroom: f64,
}

/// The number of coefficients of the type with the most.
pub const MOST_COEFFICIENTS: usize = 12;

/// ln 2 in two doubles: rounded, and the rest.
pub const LN2: [f64; 2] = [std::f64::consts::LN_2, f64::from_bits(0x3c7a_bc9e_3b39_803f)]; // 0x1.abc9e3b39803fp-56

/// |z| ≤ 1e6
pub const EXP_F32: ExpCore<f32> = ExpCore {
    magic: 12_582_912.0, // 1.5 * 2^23
    coefficients: &[
        1.0,
        f32::from_bits(0x3eff_fffb), // C2 = 0x1.fffff6p-2
        f32::from_bits(0x3e2a_aa21), // C3 = 0x1.555442p-3
        f32::from_bits(0x3d2a_adf1), // C4 = 0x1.555be2p-5
        f32::from_bits(0x3c09_34a9), // C5 = 0x1.126952p-7
        f32::from_bits(0x3ab4_6569), // C6 = 0x1.68cad2p-10
    ],
    exponent_bias: 127.0,
    headroom: 30.0,
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
    exponent_bias: 1023.0,
    headroom: 60.0,
};
