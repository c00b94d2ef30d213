//! From the sums of rows to the constants of their outputs: the scalars of several rows, a lane each, in
//! double precision. The only kernel with logarithms.
//!
//! ```text
//! S    = e_M + others                       as the sweep has e_M: equal logits get equal probabilities
//! L    = log1p(others / e_M)                with an e_M that is not rounded to the rows' type
//! lse  = M/T + L
//!
//! q'   = spike·δ_y + β·w,  Q = Σ β·w        target/normal.rs
//! loss = {spike·[(M − z_y)/T + L] + β·Σ w_k (M − z_k)/T + Q·L + z_loss·lse²}·weight      all terms ≥ 0
//! g_k  = (A·p_k − β·w_k)·scale              A = spike + Q + 2·z_loss·lse
//! g_y  = (−spike·(S − e_y)/S + (A − spike)·e_y/S − β·w_y)·scale                     never p_y − 1
//! ```
//!
//! (equations of section 7 of arXiv 1512.00567 with Σ q' = spike + Q, which is 1 for distributions).
//! S − e_y is `others` where y has the maximum, so no digit is lost on confident rows.

use super::exp::{Temperature, is_double};
use super::rows::Operation;
use crate::math::{Real, log1p, two_sum};
use crate::simd::{DoubleLanes, Float, MOST_LANES, Vector};

/// A number of each row.
pub(crate) type Lanes = [f64; MOST_LANES];

/// Rows that are reduced.
#[derive(Clone, Copy, Default)]
#[repr(align(64))]
pub(crate) struct ReducedLanes {
    /// M
    pub(crate) max: Lanes,
    /// Of exponentials without the first maximum, as [`super::reduce::Partial::sum`].
    pub(crate) sum: Lanes,
    /// What that sum lost; 0 for float32 rows.
    pub(crate) lost: Lanes,
    /// e_M as the sweep has it.
    pub(crate) top: Lanes,
    /// others / e_M, which is not rounded here.
    pub(crate) quotient: Lanes,
    /// Σ w_k (M − z_k), in units.
    pub(crate) dot: Lanes,
    /// M − z_y, in units; anything where there is no spike.
    pub(crate) gap: Lanes,
    /// 1, or a power of two where the two above would overflow.
    pub(crate) unit: Lanes,
    /// The exponential at the label.
    pub(crate) exp_label: Lanes,
    /// w at the label.
    pub(crate) weight_label: Lanes,
}

/// The targets of rows: see the formulas above. Zeros for rows that do not count.
#[derive(Clone, Copy, Default)]
#[repr(align(64))]
pub(crate) struct TargetLanes {
    pub(crate) spike: Lanes,
    pub(crate) beta: Lanes,
    pub(crate) smooth_mass: Lanes,
    /// What the loss is multiplied by.
    pub(crate) weight: Lanes,
    /// What the gradient is multiplied by: the weight, 1/T, 1/divisor.
    pub(crate) scale: Lanes,
}

/// What becomes of rows, as far as the operation has it.
#[derive(Clone, Copy, Default)]
#[repr(align(64))]
pub(crate) struct FinishedLanes {
    /// The loss.
    pub(crate) loss: Lanes,
    /// M/T + L
    pub(crate) lse: Lanes,
    /// L
    pub(crate) excess: Lanes,
    /// Of the gradient: factor·e + minus·w, all of it, and `label` at the label, in units.
    pub(crate) factor: Lanes,
    pub(crate) minus: Lanes,
    pub(crate) label: Lanes,
    /// 1, or a power of two where the above would be far from 1.
    pub(crate) unit: Lanes,
}

/// Rows are finished so many at a time: more have no room in the registers of AVX2.
pub(super) const AT_ONCE: usize = 8;

/// Finishes the first `count` rows, and as many more as there are lanes.
#[allow(clippy::too_many_arguments, reason = "plain data in, plain data out")]
pub(crate) fn finish_lanes<V: Vector>(
    token: V::Token,
    operation: Operation,
    temperature: &Temperature<V::Scalar>,
    z_loss: f64,
    count: usize,
    rows: &ReducedLanes,
    target: &TargetLanes,
    finished: &mut FinishedLanes,
) {
    V::outlined(
        token,
        #[inline(always)]
        || {
            for at in (0..count.min(MOST_LANES)).step_by(AT_ONCE) {
                let finish = Finish::<V> { token, temperature, z_loss, at, rows, target };
                finish.run(operation, finished);
            }
        },
    );
}

/// Eight rows.
struct Finish<'f, V: Vector> {
    token: V::Token,
    temperature: &'f Temperature<V::Scalar>,
    z_loss: f64,
    /// The lane of the first.
    at: usize,
    rows: &'f ReducedLanes,
    target: &'f TargetLanes,
}

/// What all outputs of rows are made of.
struct Stats<D> {
    /// S
    sum: D,
    /// 1/S
    inverse: D,
    /// S without the first maximum.
    others: D,
    /// L
    excess: D,
    /// M/T + L
    lse: D,
}

impl<V: Vector> Finish<'_, V> {
    #[inline(always)]
    fn lanes(&self, values: &Lanes) -> V::Eight {
        V::Eight::from_slice(self.token, &values[self.at..])
    }

    #[inline(always)]
    fn run(&self, operation: Operation, finished: &mut FinishedLanes) {
        let at = self.at;
        let stats = self.stats();
        stats.lse.to_slice(&mut finished.lse[at..]);
        if matches!(operation, Operation::LogSoftmax | Operation::LogSumExp) {
            stats.excess.to_slice(&mut finished.excess[at..]);
            return;
        }
        self.loss(&stats).to_slice(&mut finished.loss[at..]);
        if operation == Operation::Gradient {
            self.gradient(&stats, finished);
        }
    }

    #[inline(always)]
    fn stats(&self) -> Stats<V::Eight> {
        let is_double = const { is_double::<V::Scalar>() };
        let excess = log1p(self.lanes(&self.rows.quotient), is_double);
        let [max, others] = [self.lanes(&self.rows.max), self.lanes(&self.rows.sum)];
        let lse = max.mul_add(max.like(self.temperature.inverse), excess);
        let (sum, from_top) = two_sum(others, self.lanes(&self.rows.top));
        let inverse = inverse_of::<V::Scalar, _>(sum, self.lanes(&self.rows.lost) + from_top);
        Stats { sum, inverse, others, excess, lse }
    }

    #[inline(always)]
    fn loss(&self, stats: &Stats<V::Eight>) -> V::Eight {
        let [spike, beta] = [self.lanes(&self.target.spike), self.lanes(&self.target.beta)];
        let smooth_mass = self.lanes(&self.target.smooth_mass);
        let zero = spike.like(0.0);
        // A spike of 0 is skipped: the label's logit may be −inf. So is a β of 0.
        let gap = V::Eight::pick(spike.eq(zero), zero, self.lanes(&self.rows.gap));
        let dot = V::Eight::pick(beta.eq(zero), zero, self.lanes(&self.rows.dot));
        let unit = self.lanes(&self.rows.unit);
        let gaps = dot.mul_add(beta, gap * spike) * spike.like(self.temperature.inverse);
        let mass = spike + smooth_mass;
        let mut loss = stats.excess.mul_add(mass, gaps * unit);
        if self.z_loss != 0.0 {
            loss = loss + stats.lse * spike.like(self.z_loss) * stats.lse;
        }
        let weight = self.lanes(&self.target.weight);
        let fits = spike.like(f64::MAX).ge(loss);
        if const { !is_double::<V::Scalar>() } || V::Eight::all(fits) {
            return loss * weight;
        }
        // What is beyond the range may be within it once it is weighted.
        let mut weighted = (stats.excess * weight).mul_add(mass, gaps * weight * unit);
        if self.z_loss != 0.0 {
            weighted = weighted + stats.lse * weight * spike.like(self.z_loss) * stats.lse;
        }
        V::Eight::pick(fits, loss * weight, weighted)
    }

    #[inline(always)]
    fn gradient(&self, stats: &Stats<V::Eight>, finished: &mut FinishedLanes) {
        let at = self.at;
        let [mut spike, mut beta] = [self.lanes(&self.target.spike), self.lanes(&self.target.beta)];
        let mut smooth_mass = self.lanes(&self.target.smooth_mass);
        let mut scale = self.lanes(&self.target.scale);
        let mut smooth = smooth_mass;
        let (zero, one) = (spike.like(0.0), spike.like(1.0));
        if self.z_loss != 0.0 {
            let (most, lowest) = (zero.like(f64::MAX), zero.like(f64::MIN));
            let lse = V::Eight::pick(most.ge(stats.lse), stats.lse, most);
            let lse = V::Eight::pick(lse.ge(lowest), lse, lowest);
            let slope = spike.like(2.0 * self.z_loss);
            // Where the product overflows, all terms are in units of 2^600.
            let fits = most.ge((lse * slope).abs());
            let down = V::Eight::pick(fits, one, one.like(1.0 / TWO_TO_600));
            (spike, beta, smooth_mass) = (spike * down, beta * down, smooth_mass * down);
            scale = scale * V::Eight::pick(fits, one, one.like(TWO_TO_600));
            smooth = lse.mul_add(slope * down, smooth_mass);
        }
        let weight = spike + smooth;
        let size = (weight.abs() + smooth_mass) * scale;
        let mut unit = one;
        let is_small = V::Eight::all(size.like(LARGEST_FACTOR).ge(size));
        if !(is_small && V::Eight::all(size.ge(size.like(SMALLEST_FACTOR)))) {
            // Rows whose factor is not ordinary are in units of a power of two near it.
            unit = unit_of(size);
            scale = scale / unit;
        }
        let inverse = stats.inverse;
        let factor = weight * scale * inverse;
        // Where the label has the maximum, nothing cancels.
        let [gap, exp_label] = [self.lanes(&self.rows.gap), self.lanes(&self.rows.exp_label)];
        let rest = V::Eight::pick(gap.eq(zero), stats.others, stats.sum - exp_label);
        let label = if self.z_loss == 0.0 {
            (smooth * exp_label - spike * rest) * inverse
        } else {
            // e_y holds a power of two that could make the product overflow.
            smooth * (exp_label * inverse) - spike * rest * inverse
        };
        let label = (label - beta * self.lanes(&self.rows.weight_label)) * scale;
        factor.to_slice(&mut finished.factor[at..]);
        // Finite in the type of the rows: weights that are all 0 stay so.
        let (pull, most) = (beta * scale, zero.like(1.0 / V::Scalar::MIN_POSITIVE));
        let pull = V::Eight::pick(most.ge(pull), pull, most);
        (pull * zero.like(-1.0)).to_slice(&mut finished.minus[at..]);
        label.to_slice(&mut finished.label[at..]);
        unit.to_slice(&mut finished.unit[at..]);
    }
}

/// 1/(sum + lost), of float64 rows to within one rounding.
#[inline(always)]
pub(super) fn inverse_of<F: Float, D: Real>(sum: D, lost: D) -> D {
    let (one, minus_one) = (sum.like(1.0), sum.like(-1.0));
    let inverse = one / sum;
    if const { !is_double::<F>() } {
        return inverse;
    }
    let left = inverse.mul_add(minus_one * sum, one) - lost * inverse;
    inverse.mul_add(left, inverse)
}

/// Factors up to 2^100 and down to 2^-40 stay far from the ends of f32 with S, which is between 2^29 and
/// 2^63.
const LARGEST_FACTOR: f64 = 1_267_650_600_228_229_401_496_703_205_376.0;
const SMALLEST_FACTOR: f64 = 1.0 / 1_099_511_627_776.0;
const EXPONENT: u64 = 0x7ff0_0000_0000_0000;
const TWO_TO_600: f64 = f64::from_bits((1023 + 600) << 52);

/// 1 where the size of a factor is ordinary, or 0; else a power of two near it if it is small, and 2^100 below
/// it if it is large: terms that are much smaller than others keep their digits.
#[inline(always)]
fn unit_of<D: Real>(size: D) -> D {
    let one = size.like(1.0);
    // Within normal numbers.
    let (least, most) = (size.like(f64::MIN_POSITIVE), size.like(f64::MAX));
    let clamped = D::pick(most.ge(size), D::pick(size.ge(least), size, least), most);
    let power = clamped.bits_and(EXPONENT);
    let power = D::pick(size.eq(size.like(0.0)), one, power);
    let from_below = D::pick(size.ge(size.like(SMALLEST_FACTOR)), one, power);
    let from_above = power * size.like(1.0 / LARGEST_FACTOR);
    D::pick(size.like(LARGEST_FACTOR).ge(size), from_below, from_above)
}

/// The exponential below which a probability, times `factor` and `unit`, is written as 0: where it would be
/// below the normal numbers.
#[inline(always)]
pub(super) fn least<F: Float>(factor: F, unit: f64) -> F {
    // Correctly rounded for `f32` as well: twice the digits, and two more.
    F::from_f64(F::from_f64(F::MIN_POSITIVE / unit).to_f64() / factor.to_f64().abs())
}
