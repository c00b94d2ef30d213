//! placeholder
pub struct ExpCore<F: 'static> {
    pub log2e: F, pub magic: F, pub ln2_high: F, pub ln2_low: F,
    pub coefficients: &'static [F],
    pub exponent_bias: i64, pub headroom: i64,
}
pub const EXP_F32: ExpCore<f32> = ExpCore { log2e: std::f32::consts::LOG2_E, magic: 12582912.0, ln2_high: 0.693359375, ln2_low: -2.12194440e-4,
 coefficients: &[0.5, 0.16666666, 0.041666667, 0.008333334, 0.0013888889], exponent_bias: 127, headroom: 30 };
pub const EXP_F64: ExpCore<f64> = ExpCore { log2e: std::f64::consts::LOG2_E, magic: 6755399441055744.0, ln2_high: 0.693145751953125, ln2_low: 1.428606820309417232121458176568075500134e-6,
 coefficients: &[0.5, 1.0/6.0, 1.0/24.0, 1.0/120.0, 1.0/720.0, 1.0/5040.0, 1.0/40320.0, 1.0/362880.0, 1.0/3628800.0, 1.0/39916800.0, 1.0/479001600.0], exponent_bias: 1023, headroom: 60 };
pub fn log1p(x: f64, low: f64) -> (f64, f64) { (x.ln_1p(), low / (1.0 + x)) }
pub fn log_count(c: f64) -> (f64, f64) { (c.ln(), 0.0) }
pub fn log(x: f64) -> f64 { x.ln() }
