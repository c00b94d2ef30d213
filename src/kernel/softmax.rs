//! Softmax, log-softmax and log-sum-exp: epilogues of the reduction.

use super::exp::{Kept, Temperature};
use super::group::{Epilogue, Group, LaneMask};
use super::scale::{Scale, each_row};
use super::stats::{RowClass, RowWeights, Stats, Weights};
use crate::element::Float;
use crate::simd::lanes::WideLanes;
use crate::simd::{MOST_LANES, Vector};
use crate::wide::{Real, Wide};

const ALL: LaneMask = [true; MOST_LANES];

/// Fills the rows that are not finite: NaN, +inf and rows of −inf have no probabilities.
#[inline(always)]
fn fill_odd<V: Vector, G: Group<V>>(group: &mut G, finite: &LaneMask) {
    for lane in (0..group.rows()).filter(|&lane| !finite[lane]) {
        group.fill(lane, V::Scalar::NAN);
    }
}

/// p_k = exp(z_k) / Σ exp(z)
#[inline(always)]
pub(crate) fn softmax<V: Vector, G: Group<V>>(group: &mut G, temperature: &Temperature<V::Scalar>) {
    let weights = RowWeights::Same(Weights::Absent);
    let stats = group.reduce::<true>(&ALL, &weights, temperature);
    let finite = stats.finite(&ALL);
    if group.classes() == 1 {
        // Whatever the rounding of 1/S.
        for lane in 0..group.rows() {
            group.fill(lane, V::Scalar::from_f64(1.0));
        }
    } else {
        let one = stats.peak.constant(1.0);
        let (scale, _) = Scale::<V>::new(&stats, one, stats.peak.constant(0.0));
        group.write(&finite, &Probability { scale }, &weights, None);
    }
    fill_odd::<V, G>(group, &finite);
}

#[derive(Clone, Copy)]
struct Probability<V: Vector> {
    scale: Scale<V>,
}

impl<V: Vector> Epilogue<V> for Probability<V> {
    const OF_EXPS: bool = true;
    const IS_WEIGHTED: bool = false;

    #[inline(always)]
    fn each_row(self) -> impl Fn(usize) -> Self {
        let scale = self.scale.each_row();
        #[inline(always)]
        move |lane| Self { scale: scale(lane) }
    }
    #[inline(always)]
    fn apply<const WEIGHTS: u8>(&self, exps: Kept<V>, _high: V, _low: V) -> V {
        self.scale.probability(exps)
    }
}

/// A maximum up to this is too small for z − M to overflow: it is below half of the last bit of
/// the largest number.
const LEAST_HALVED: f64 = 1e30;

/// log p_k = (z_k − M)/T − L, kept apart until the end.
#[inline(always)]
pub(crate) fn log_softmax<V: Vector, G: Group<V>>(
    group: &mut G,
    temperature: &Temperature<V::Scalar>,
) {
    let weights = RowWeights::Same(Weights::Absent);
    let stats = group.reduce::<false>(&ALL, &weights, temperature);
    let finite = stats.finite(&ALL);
    let (high, low) = V::split(stats.log_excess());
    let (inverse, inverse_low) = temperature.parts();
    // (z − M)/T may be a number where z − M is none: then half of it over T/2. Nothing of z that
    // halving could lose reaches the last bit of such an M.
    let max = stats.max.to_doubles();
    let one = max.like(1.0);
    let mut unit = one;
    if temperature.inverse.value() < 1.0 {
        let is_halved = max.ge(max.like(LEAST_HALVED));
        unit = V::Doubles::pick(is_halved, max.like(0.5), one);
    }
    let epilogue = LogProbability {
        unit: V::from_doubles(unit),
        max: V::from_doubles(max * unit),
        high,
        low,
        inverse: V::from_doubles(max.like(inverse.to_f64()) / unit),
        inverse_low: V::from_doubles(max.like(inverse_low.to_f64()) / unit),
    };
    group.write(&finite, &epilogue, &weights, None);
    fill_odd::<V, G>(group, &finite);
}

#[derive(Clone, Copy)]
struct LogProbability<V> {
    /// 1, or 1/2 where all of z and M are halved.
    unit: V,
    max: V,
    /// L in two parts.
    high: V,
    low: V,
    /// 1/T in two parts.
    inverse: V,
    inverse_low: V,
}

impl<V: Vector> Epilogue<V> for LogProbability<V> {
    const OF_EXPS: bool = false;
    const IS_WEIGHTED: bool = false;

    #[inline(always)]
    fn each_row(self) -> impl Fn(usize) -> Self {
        let row =
            each_row([self.unit, self.max, self.high, self.low, self.inverse, self.inverse_low]);
        #[inline(always)]
        move |lane| {
            let [unit, max, high, low, inverse, inverse_low] = row(lane);
            Self { unit, max, high, low, inverse, inverse_low }
        }
    }
    #[inline(always)]
    fn apply<const WEIGHTS: u8>(&self, logits: Kept<V>, _high: V, _low: V) -> V {
        let z = logits.value;
        let gap = z.mul_sub(self.unit, self.max);
        let lowest = V::splat(z.token(), V::Scalar::NEG_INFINITY);
        // −inf·0 would be NaN.
        let rest = gap.mul(self.inverse_low).zero_where(gap.le(lowest)).sub(self.low);
        gap.mul_add(self.inverse, rest).sub(self.high)
    }
}

/// lse = M/T + L of each row.
#[inline(always)]
pub(crate) fn logsumexp<V: Vector, G: Group<V>>(
    group: &mut G,
    temperature: &Temperature<V::Scalar>,
) -> [f64; MOST_LANES] {
    let stats = group.reduce::<false>(&ALL, &RowWeights::Same(Weights::Absent), temperature);
    lse_of_any(&stats, temperature)
}

/// The lse of finite rows.
#[inline(always)]
pub(super) fn lse_of<V: Vector>(stats: &Stats<V>, temperature: &Temperature<V::Scalar>) -> V::Wide {
    let inverse = V::Wide::splat(stats.max.token(), temperature.inverse);
    V::Wide::new(stats.max.to_doubles()) * inverse + stats.log_excess()
}

/// The lse of each row.
#[inline(always)]
pub(super) fn lse_of_any<V: Vector>(
    stats: &Stats<V>,
    temperature: &Temperature<V::Scalar>,
) -> [f64; MOST_LANES] {
    let mut values = lse_of(stats, temperature).value().to_scalars();
    for (value, class) in values.iter_mut().zip(&stats.class) {
        match class {
            RowClass::Finite => {}
            RowClass::NaN => *value = f64::NAN,
            RowClass::PlusInfinity => *value = f64::INFINITY,
            RowClass::AllMinusInfinity => *value = f64::NEG_INFINITY,
        }
    }
    values
}
