//! Evaluates rows with the core and measures the errors.
//!
//! ```text
//! e          = exp(z/T)·2^(H − N), rounded
//! n          = round(z/T·log2 e)                        any n near it would do
//! error of e = e/2^(n − N + H) − exp(z/T − n·ln 2)      in its ulp
//! ```

use super::super::{Base, Exponential, Temperature};
use super::truth::Truth;
use crate::math::Real;
use crate::simd::{Float, Level, MOST_LANES, Sink, Source, Vector, VectorJob};
use std::f64::consts::LOG2_E;
use std::ops::RangeInclusive;

/// Logits in a row. The largest f32 are 1/16 apart, so that a row of them spans 32: none is below the cut.
pub const ROW: usize = 512;

/// The bounds of the errors.
pub struct Bounds {
    /// Of e, in ulp.
    pub exp: RangeInclusive<f64>,
    /// The same relative to e, in halves of ulp(1): the bounds of sums and quotients follow from it.
    pub relative: RangeInclusive<f64>,
    /// |mean error of e|, in ulp: the error of a sum of many exponentials.
    pub bias: f64,
}

/// A row and the results of the core.
pub struct Row<F> {
    /// T
    pub temperature: f64,
    pub max: F,
    pub z: [F; ROW],
    pub e: [F; ROW],
    /// N − H
    pub base: f64,
    /// The exponential of the maximum, in double precision.
    pub wide_of_max: f64,
}

impl<F: Float> Row<F> {
    pub fn new() -> Self {
        let zeros = [F::default(); ROW];
        let max = F::default();
        Self { temperature: 1.0, max, z: zeros, e: zeros, base: 0.0, wide_of_max: 0.0 }
    }

    #[inline(always)]
    fn evaluate<V: Vector<Scalar = F>>(&mut self, token: V::Token) {
        let temperature = Temperature::new(self.temperature);
        let exp = Exponential::<V>::new(token, &temperature);
        let max = V::splat(token, self.max);
        let base = Base::<V>::new(&temperature, max);
        // The magic number is that of the type plus H + bias − N.
        let magic = base.magic.to_array()[0].to_f64();
        self.base = F::EXP.magic.to_f64() + F::EXP.exponent_bias - magic;
        for at in (0..ROW).step_by(V::LANES) {
            let z = Source::from_slice(&self.z).vector(token, at, self.max);
            Sink::from_slice(&mut self.e).set_vector(at, exp.of(z, base));
        }
        let mut wide = [0.0; MOST_LANES];
        exp.wide::<V::Doubles>(max, base)[0].to_slice(&mut wide);
        self.wide_of_max = wide[0];
    }

    pub fn at_level(&mut self, level: Level) {
        level.run(Evaluate(self));
    }

    #[inline(always)]
    fn has_the_bits_of(&self, other: &Self) -> bool {
        let differ = |one: f64, another: f64| one.to_bits() ^ another.to_bits();
        let pairs = std::iter::zip(&self.e, &other.e);
        // Without a branch, so that it is vectorised.
        let of_e = pairs.fold(0, |bits, (e, other)| bits | differ(e.to_f64(), other.to_f64()));
        let of_base = differ(self.base, other.base);
        of_e | of_base | differ(self.wide_of_max, other.wide_of_max) == 0
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

/// 1.5·2^52: adding and subtracting it rounds to an integer.
const ROUND: f64 = 6_755_399_441_055_744.0;
/// 2^52, whose last bit counts ones.
const TWO_TO_52: f64 = 4_503_599_627_370_496.0;

#[inline(always)]
fn rounded(value: f64) -> f64 {
    (value + ROUND) - ROUND
}

/// 2^n, a normal number, from the last bits of 2^52 + field, so that it is vectorised.
#[inline(always)]
fn power(n: f64) -> f64 {
    f64::from_bits((n + (1023.0 + TWO_TO_52)).to_bits() << 52)
}

impl<F: Truth> Row<F> {
    /// Are all inputs so near to 0 that their exponentials are within 1/64 ulp of 1, and is every result exactly 1?
    /// Most floats are so small; their errors need not be measured.
    #[inline(always)]
    fn is_one(&self) -> bool {
        let [least, most] =
            [-1.0, 1.0].map(|sign| F::from_f64(sign * F::ULP / 128.0 * self.temperature));
        // Counted without an early exit, so that it is vectorised.
        if self.z.iter().filter(|z| (least..=most).contains(*z)).count() < ROW {
            return false;
        }
        let one = F::from_f64(power(-self.base));
        self.e.iter().filter(|e| **e == one).count() == ROW
    }

    /// The error of e for one input, in ulp, and relative to e.
    #[inline(always)]
    pub fn error(&self, i: usize) -> (f64, f64) {
        self.error_of(self.z[i], self.e[i].to_f64())
    }

    /// The same for a given exponential.
    #[inline(always)]
    pub fn error_of(&self, z: F, e: f64) -> (f64, f64) {
        // z/T in two parts.
        let inverse = 1.0 / self.temperature;
        let quotient = z.to_f64() * inverse;
        let rest = quotient.mul_add(-self.temperature, z.to_f64()) * inverse;
        let n = rounded(quotient * LOG2_E);
        let (high, low) = F::truth(quotient, n);
        let low = low + (1.0 + high) * rest;
        let e = e * power(self.base - n);
        let error = ((e - 1.0) - high) - low;
        // Below 1 an ulp of the exponential is half as large.
        let of_ulp = if high < 0.0 { 2.0 / F::ULP } else { 1.0 / F::ULP };
        (error * of_ulp, error / e * (2.0 / F::ULP))
    }
}

/// Lanes of [`Worst`]: independent, so that the compiler can make vectors of them.
const WIDTH: usize = 8;

/// The worst errors for many inputs, in [`WIDTH`] shares.
#[derive(Default)]
pub struct Worst {
    exp: [f64; WIDTH],
    exp_at: [f64; WIDTH],
    relative: [f64; WIDTH],
    /// Sum of the errors: NaN if any is NaN.
    sum: [f64; WIDTH],
    rows: usize,
}

impl Worst {
    #[inline(always)]
    fn add<F: Truth>(&mut self, row: &Row<F>) {
        self.rows += 1;
        if row.is_one() {
            return;
        }
        for at in (0..ROW).step_by(WIDTH) {
            for lane in 0..WIDTH {
                let i = at + lane;
                let (error, relative) = row.error(i);
                if error.abs() > self.exp[lane] {
                    self.exp[lane] = error.abs();
                    self.exp_at[lane] = row.z[i].to_f64();
                }
                self.relative[lane] = relative.abs().max(self.relative[lane]);
                self.sum[lane] += error;
            }
        }
    }

    /// Asserts that the worst errors of all shares are within `bounds`.
    pub fn assert_within(shares: &[Self], bounds: &Bounds) {
        let errors = shares.iter().flat_map(|share| share.exp.into_iter().zip(share.exp_at));
        let (exp, at) =
            errors.fold((0.0, 0.0), |worst, one| if one.0 > worst.0 { one } else { worst });
        assert!(bounds.exp.contains(&exp), "e of {at:?} is off by {exp} ulp");
        let relative = shares.iter().flat_map(|share| share.relative).fold(0.0, f64::max);
        assert!(bounds.relative.contains(&relative), "e is off by {relative} u of itself");
        let sum: f64 = shares.iter().flat_map(|share| share.sum).sum();
        let inputs = (shares.iter().map(|share| share.rows).sum::<usize>() * ROW) as f64;
        let bias = sum / inputs;
        assert!(bias.abs() <= bounds.bias, "the mean error of e is {bias} ulp");
    }
}

/// Evaluates and measures rows; `fill` fills the row of an index and returns its maximum.
struct Sweep<Rows, Fill> {
    others: &'static [Level],
    temperature: f64,
    rows: Rows,
    fill: Fill,
}

impl<F: Truth, Rows: Iterator<Item = usize>, Fill: Fn(usize, &mut [F; ROW]) -> F> VectorJob<F>
    for Sweep<Rows, Fill>
{
    type Output = Worst;
    #[inline(always)]
    fn run<V: Vector<Scalar = F>>(self, token: V::Token) -> Worst {
        let mut row = Row { temperature: self.temperature, ..Row::new() };
        let mut other = Row { temperature: self.temperature, ..Row::new() };
        let mut worst = Worst::default();
        for index in self.rows {
            row.max = (self.fill)(index, &mut row.z);
            row.evaluate::<V>(token);
            (other.max, other.z) = (row.max, row.z);
            for level in self.others {
                other.at_level(*level);
                assert!(other.has_the_bits_of(&row), "{} has bits of its own", level.name());
            }
            worst.add(&row);
        }
        worst
    }
}

/// The worst errors in `rows` at the last of `levels`, a share for each thread; the others must have the same bits.
pub fn sweep<F: Truth>(
    levels: &'static [Level],
    temperature: f64,
    rows: impl Iterator<Item = usize> + Clone + Send,
    fill: impl Fn(usize, &mut [F; ROW]) -> F + Copy + Send,
) -> Vec<Worst> {
    let (level, others) = levels.split_last().expect("a level");
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let start = |first| {
            let rows = rows.clone().skip(first).step_by(threads);
            scope.spawn(move || level.run(Sweep { others, temperature, rows, fill }))
        };
        let shares: Vec<_> = (0..threads).map(start).collect();
        shares.into_iter().map(|share| share.join().expect("no panic in a sweep")).collect()
    })
}
