//! Rows through the core, and how far the results are off.
//!
//! ```text
//! s, sc, e      = fraction, scale, rounded exponential       e is about sc·exp(f)
//! n             = log2 sc + N − H                            sc must be a power of two
//! error of s    = s − (exp(z − n·ln 2) − 1)                  in u
//! error of e/sc = e/sc − exp(z − n·ln 2)                     in its ulp
//! ```

use super::super::{Exp, PLAIN, Temperature};
use super::truth::Truth;
use crate::element::Float;
use crate::simd::row::{Sink, Source};
use crate::simd::{Level, Vector, VectorJob};
use std::f64::consts::{LN_2, LOG2_E};
use std::ops::RangeInclusive;

/// Logits in a row; the largest f32 are 1/16 apart, so 32 in all, which the cut spares.
pub const ROW: usize = 512;

/// The worst errors there are.
pub struct Bounds {
    /// Of s, in u.
    pub fraction: RangeInclusive<f64>,
    /// Of e/sc, in ulp.
    pub exp: RangeInclusive<f64>,
    /// |z − n·ln 2|
    pub reduced: f64,
    /// |mean error of s|, in u: what a sum of many exponentials is off by.
    pub bias: f64,
}

/// A row and what the core makes of it.
pub struct Row<F> {
    pub max: F,
    pub z: [F; ROW],
    pub fraction: [F; ROW],
    pub scale: [F; ROW],
    pub rounded: [F; ROW],
}

impl<F: Float> Row<F> {
    pub fn new() -> Self {
        let zeros = [F::default(); ROW];
        Self { max: F::default(), z: zeros, fraction: zeros, scale: zeros, rounded: zeros }
    }

    #[inline(always)]
    fn evaluate<V: Vector<Scalar = F>>(&mut self, token: V::Token) {
        let exp = Exp::<V>::new(token, V::splat(token, self.max), &Temperature::new(1.0));
        for at in (0..ROW).step_by(V::LANES) {
            let parts = exp.parts::<PLAIN>(Source::from_slice(&self.z).vector(token, at, self.max));
            Sink::from_slice(&mut self.fraction).set_vector(at, parts.fraction);
            Sink::from_slice(&mut self.scale).set_vector(at, parts.scale);
            Sink::from_slice(&mut self.rounded).set_vector(at, parts.rounded().value);
        }
    }

    pub fn at_level(&mut self, level: Level) {
        F::dispatch(level, Evaluate(self));
    }
}

struct Evaluate<'r, F>(&'r mut Row<F>);

impl<F: Float> VectorJob<F> for Evaluate<'_, F> {
    type Output = ();
    #[inline(always)]
    fn run<V: Vector<Scalar = F>>(self, token: V::Token) {
        self.0.evaluate::<V>(token);
    }
}

/// How far one input is off.
pub struct Errors {
    pub fraction: f64,
    pub exp: f64,
    pub reduced: f64,
}

impl<F: Truth> Row<F> {
    /// N − H
    #[inline(always)]
    pub fn base(&self) -> f64 {
        (self.max.to_f64() * LOG2_E).round_ties_even() - F::EXP.headroom as f64
    }

    #[inline(always)]
    pub fn errors(&self, i: usize, base: f64) -> Errors {
        let (z, fraction) = (self.z[i].to_f64(), self.fraction[i].to_f64());
        let (scale, rounded) = (self.scale[i].to_f64(), self.rounded[i].to_f64());
        let n = exponent(scale) + base;
        let (high, low) = F::truth(z, n);
        // Below 1 an ulp of the exponential is half as large.
        let ulp = if high < 0.0 { F::ULP / 2.0 } else { F::ULP };
        Errors {
            fraction: ((fraction - high) - low) / (F::ULP / 2.0),
            exp: (((rounded / scale - 1.0) - high) - low) / ulp,
            reduced: z - n * LN_2,
        }
    }
}

/// The exponent field less its bias, by way of the last bits of 2^52 + field: it is vectorised.
#[inline(always)]
pub fn exponent(scale: f64) -> f64 {
    const TWO_TO_52: f64 = 4_503_599_627_370_496.0;
    f64::from_bits((scale.to_bits() >> 52) | TWO_TO_52.to_bits()) - TWO_TO_52 - 1023.0
}

/// The bits of an f64 that are 0 in a power of two.
const NOT_EXPONENT: u64 = 0x800f_ffff_ffff_ffff;

/// Lanes of [`Worst`]: independent, so that the compiler can make vectors of them.
const WIDTH: usize = 8;

/// What many inputs come to, in [`WIDTH`] shares.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Worst {
    fraction: [f64; WIDTH],
    fraction_at: [f64; WIDTH],
    exp: [f64; WIDTH],
    exp_at: [f64; WIDTH],
    reduced: [f64; WIDTH],
    /// Sum of the errors of s, which a NaN anywhere makes NaN.
    sum: [f64; WIDTH],
    /// Bits that a power of two does not have.
    stray_bits: [u64; WIDTH],
    /// Of all bits of all results.
    digest: [u64; WIDTH],
    rows: usize,
}

impl Worst {
    #[inline(always)]
    fn add<F: Truth>(&mut self, row: &Row<F>) {
        let base = row.base();
        for at in (0..ROW).step_by(WIDTH) {
            for lane in 0..WIDTH {
                let i = at + lane;
                let errors = row.errors(i, base);
                if errors.fraction.abs() > self.fraction[lane] {
                    self.fraction[lane] = errors.fraction.abs();
                    self.fraction_at[lane] = row.z[i].to_f64();
                }
                if errors.exp.abs() > self.exp[lane] {
                    self.exp[lane] = errors.exp.abs();
                    self.exp_at[lane] = row.z[i].to_f64();
                }
                self.reduced[lane] = errors.reduced.abs().max(self.reduced[lane]);
                self.sum[lane] += errors.fraction;
                self.stray_bits[lane] |= row.scale[i].to_f64().to_bits() & NOT_EXPONENT;
                for result in [row.fraction[i], row.scale[i], row.rounded[i]] {
                    self.digest[lane] =
                        self.digest[lane].rotate_left(7) ^ result.to_f64().to_bits();
                }
            }
        }
        self.rows += 1;
    }

    /// Asserts that the worst errors of all shares are within `bounds`.
    pub fn assert_within(shares: &[Self], bounds: &Bounds, level: Level) {
        let worst = |errors: fn(&Self) -> (&[f64; WIDTH], &[f64; WIDTH])| {
            shares.iter().flat_map(|share| std::iter::zip(errors(share).0, errors(share).1)).fold(
                (0.0, 0.0),
                |worst, (error, at)| {
                    if *error > worst.0 { (*error, *at) } else { worst }
                },
            )
        };
        let level = level.name();
        let (fraction, at) = worst(|share| (&share.fraction, &share.fraction_at));
        assert!(bounds.fraction.contains(&fraction), "{level}: s of {at:?} is off by {fraction} u");
        let (exp, at) = worst(|share| (&share.exp, &share.exp_at));
        assert!(bounds.exp.contains(&exp), "{level}: exp({at:?}) is off by {exp} ulp");
        let (reduced, _) = worst(|share| (&share.reduced, &share.reduced));
        assert!(reduced <= bounds.reduced, "{level}: |f| is up to {reduced}");
        assert!(
            shares.iter().all(|share| share.stray_bits == [0; WIDTH]),
            "{level}: a scale is no power of two"
        );
        let inputs = shares.iter().map(|share| share.rows * ROW).sum::<usize>() as f64;
        let bias = shares.iter().flat_map(|share| share.sum).sum::<f64>() / inputs;
        // False for NaN.
        assert!(bias.abs() <= bounds.bias, "{level}: the mean error of s is {bias} u");
    }
}

/// Evaluates and measures rows; `fill` makes a row of its index and gives its maximum.
struct Sweep<Rows, Fill> {
    rows: Rows,
    fill: Fill,
}

impl<F: Truth, Rows: Iterator<Item = usize>, Fill: Fn(usize, &mut [F; ROW]) -> F> VectorJob<F>
    for Sweep<Rows, Fill>
{
    type Output = Worst;
    #[inline(always)]
    fn run<V: Vector<Scalar = F>>(self, token: V::Token) -> Worst {
        let mut row = Row::new();
        let mut worst = Worst::default();
        for index in self.rows {
            row.max = (self.fill)(index, &mut row.z);
            row.evaluate::<V>(token);
            worst.add(&row);
        }
        worst
    }
}

/// Every row of `rows`, a share for each thread.
pub fn sweep<F: Truth>(
    level: Level,
    rows: impl Iterator<Item = usize> + Clone + Send,
    fill: impl Fn(usize, &mut [F; ROW]) -> F + Copy + Send,
) -> Vec<Worst> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let start = |first| {
            let rows = rows.clone().skip(first).step_by(threads);
            scope.spawn(move || F::dispatch(level, Sweep { rows, fill }))
        };
        let shares: Vec<_> = (0..threads).map(start).collect();
        shares.into_iter().map(|share| share.join().expect("no panic in a sweep")).collect()
    })
}
