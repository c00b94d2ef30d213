//! Computes the scalars of rows from their sums: logsumexp, loss, and the constants from which outputs are computed.
//! Several rows are computed side by side, one in each lane, in double precision.
//!
//! ```text
//! S    = e_M + others                       e_M as in the sweep: equal logits get equal probabilities
//! L    = log1p(others / e_M)                with an e_M that is not rounded to the rows' type
//! lse  = M/T + L
//!
//! q'   = spike·δ_y + β·w,  Q = Σ β·w        target/normal.rs
//! loss = {spike·[(M − z_y)/T + L] + β·Σ w_k (M − z_k)/T + Q·L + z_loss·lse²}·weight      all terms ≥ 0
//! g_k  = (A·p_k − β·w_k)·scale              A = spike + Q + 2·z_loss·lse
//! g_y  = (−spike·(S − e_y)/S + (A − spike)·e_y/S − β·w_y)·scale    (f64: mostly A·e_y/S − spike)
//! ```
//!
//! (equations of section 7 of arXiv 1512.00567 with Σ q' = spike + Q, which is 1 for distributions).
//! S − e_y is `others` where y has the maximum, so no digit is lost on confident rows.

use super::Operation;
use super::exp::Temperature;
use super::scalars::{FinishedLanes, ReducedLanes, TargetLanes};
use crate::math::{Real, RunningSum, log_quotient, two_sum};
use crate::simd::{Float, MOST_LANES, Vector, inlined, outlined};

/// The parameters that all rows share.
#[derive(Clone, Copy)]
pub(crate) struct Formula<'f, F> {
    pub(crate) operation: Operation,
    pub(crate) temperature: &'f Temperature<F>,
    pub(crate) z_loss: f64,
}

/// Finishes the first `count` rows, eight at a time; in compact code, all rows. Returns whether some gradients
/// [`are_tiny`].
pub(super) fn finish_lanes<V: Vector>(
    token: V::Token,
    formula: Formula<'_, V::Scalar>,
    (rows, count): (&ReducedLanes, usize),
    target: &TargetLanes,
    finished: &mut FinishedLanes,
) -> bool {
    let mut some_are_tiny = false;
    if V::IS_COMPACT {
        for lane in 0..MOST_LANES {
            let (row, target) = (rows.vectors((), lane), target.vectors((), lane));
            let row = finish::<_, f64>(formula, &row, (&target, None));
            row.put(finished, lane);
            some_are_tiny |= are_tiny::<V::Scalar, _>(row.factor, row.minus, row.unit);
        }
        return some_are_tiny;
    }
    for first in (0..count).step_by(8) {
        some_are_tiny |= outlined!(V, token, {
            let (rows, target) = (rows.vectors(token, first), target.vectors(token, first));
            let rows = finish::<_, V::Eight>(formula, &rows, (&target, None));
            rows.put(finished, first);
            are_tiny::<V::Scalar, _>(rows.factor, rows.minus, rows.unit)
        });
    }
    some_are_tiny
}

/// Finishes rows. The slopes of their targets are computed unless they are known.
#[inline(always)]
pub(super) fn finish<F: Float, D: Real>(
    formula: Formula<'_, F>,
    rows: &ReducedLanes<D>,
    (target, slopes): (&TargetLanes<D>, Option<Slopes<D>>),
) -> FinishedLanes<D> {
    let Formula { operation, temperature, z_loss } = formula;
    let top = [rows.wide_top, rows.wide_top_lost];
    let [excess, excess_lost] = log_quotient([rows.sum, rows.lost], top, F::IS_DOUBLE);
    let inverse = excess.like(temperature.inverse);
    let (zero, one) = (excess.like(0.0), excess.like(1.0));
    let mut lse = rows.max.mul_add(inverse, excess);
    if F::IS_DOUBLE {
        // Rounded once, unless it overflows.
        let scaled = rows.max * inverse;
        let (sum, lost) = two_sum(scaled, excess);
        let once = sum + (lost + (rows.max.mul_add(inverse, zero - scaled) + excess_lost));
        lse = D::pick(once.eq(once), once, lse);
    }
    let mut finished = FinishedLanes {
        scalar: if operation == Operation::LogSoftmax { excess } else { lse },
        lse,
        factor: zero,
        minus: zero,
        label: zero,
        unit: one,
    };
    if matches!(operation, Operation::Loss | Operation::Gradient) {
        finished.scalar = loss(formula, rows, target, [excess, excess_lost, lse]);
    }
    if operation == Operation::Gradient {
        let slopes = match slopes {
            Some(slopes) => slopes,
            None => Slopes::new::<F>(target, z_loss, lse),
        };
        gradient::<F, D>(z_loss, rows, slopes, &mut finished);
    }
    finished
}

#[inline(always)]
fn loss<F: Float, D: Real>(
    Formula { temperature, z_loss, .. }: Formula<'_, F>,
    rows: &ReducedLanes<D>,
    target: &TargetLanes<D>,
    [excess, excess_lost, lse]: [D; 3],
) -> D {
    let TargetLanes { spike, beta, smooth_mass, weight, .. } = *target;
    let zero = spike.like(0.0);
    // A spike of 0 is skipped: the label's logit may be −inf. So is a β of 0.
    let gap = D::pick(spike.eq(zero), zero, rows.gap);
    let dot = D::pick(beta.eq(zero), zero, rows.dot);
    let inverse = spike.like(temperature.inverse);
    let gaps = dot.mul_add(beta, gap * spike) * inverse;
    let (mass, mass_lost) = two_sum(spike, smooth_mass);
    let with_z_loss = inlined!(|loss: D, weight: D| {
        if z_loss == 0.0 { loss } else { loss + lse * weight * spike.like(z_loss) * lse }
    });
    let of = inlined!(|weight| (excess * weight).mul_add(mass, gaps * weight * rows.unit));
    let (one, plain) = (spike.like(1.0), of(spike.like(1.0)));
    if !F::IS_DOUBLE {
        return with_z_loss(plain, one) * weight;
    }
    // The sum of the three products is rounded once, unless one is infinite.
    let mut gaps = RunningSum::of_product(gap, spike);
    gaps.add_product(dot, beta);
    let mut sum = RunningSum::of_product(gaps.sum * rows.unit, inverse);
    sum.add_product(excess, mass);
    let mass_lost = mass_lost + target.mass_lost;
    let lost = excess_lost.mul_add(mass, excess.mul_add(mass_lost, sum.lost));
    let once = sum.sum + (gaps.lost * inverse).mul_add(rows.unit, lost);
    let loss = with_z_loss(D::pick(once.eq(once), once, plain), one);
    let fits = spike.like(f64::MAX).ge(loss);
    if D::all(fits) {
        return loss * weight;
    }
    // A loss that overflows may be in range when it is weighted.
    D::pick(fits, loss * weight, with_z_loss(of(weight), weight))
}

/// The targets as the gradient needs them.
#[derive(Clone, Copy)]
pub(super) struct Slopes<D> {
    spike: D,
    beta: D,
    /// Q + 2·z_loss·lse. This, the spike and β are multiplied by 2^-600 where the product would overflow.
    smooth: D,
    /// The factor of all terms, without the unit.
    scale: D,
    /// A·scale: without 1/S, the factor of the exponentials.
    factor: D,
    /// The rounding error of the factor, for float64 rows.
    factor_lost: D,
    /// −β·scale, finite in the type of the rows, so that a weight of 0 still gives 0.
    minus: D,
    /// As in [`FinishedLanes`].
    unit: D,
}

impl<D: Real> Slopes<D> {
    /// `lse` is read if z_loss is not 0.
    #[inline(always)]
    pub(super) fn new<F: Float>(target: &TargetLanes<D>, z_loss: f64, lse: D) -> Self {
        let TargetLanes { mut spike, mut beta, mut smooth_mass, mut mass_lost, mut scale, .. } =
            *target;
        let mut smooth = smooth_mass;
        let (zero, one) = (spike.like(0.0), spike.like(1.0));
        if z_loss != 0.0 {
            let (most, lowest) = (zero.like(f64::MAX), zero.like(f64::MIN));
            let lse = D::pick(most.ge(lse), lse, most);
            let lse = D::pick(lse.ge(lowest), lse, lowest);
            // Where 2·z_loss or the product overflows, so that 0 times it is NaN, all terms are in units of 2^600.
            let fits = (lse * spike.like(2.0 * z_loss) * zero).eq(zero);
            let down = D::pick(fits, one, one.like(1.0 / TWO_TO_600));
            (spike, beta, smooth_mass) = (spike * down, beta * down, smooth_mass * down);
            mass_lost = mass_lost * down;
            scale = scale * D::pick(fits, one, one.like(TWO_TO_600));
            smooth = lse.mul_add((down + down) * one.like(z_loss), smooth_mass);
        }
        let (weight, lost) = two_sum(spike, smooth);
        let positive = D::pick(weight.ge(zero), weight, zero - weight);
        let (size, pull) = ((positive + smooth_mass) * scale, beta * scale);
        // β is large where the weights w are small: then β·w, not β, is of the size of the mass.
        let larger = D::pick(size.ge(pull), size, pull);
        let size = D::pick(size.like(LARGEST_FACTOR).ge(pull), size, larger);
        let is_small = D::all(size.like(LARGEST_FACTOR).ge(size));
        let mut unit = one;
        if !(is_small && D::all(size.ge(size.like(SMALLEST_FACTOR)))) {
            // Rows whose factor is not ordinary are in units of a power of two near it, in which β·scale does not
            // overflow in the type of the rows, nor the scale in f64.
            let least_of_scale = scale * scale.like(2.0 * f64::MIN_POSITIVE);
            let least = pull.mul_add(pull.like(2.0 * F::MIN_POSITIVE), least_of_scale);
            let larger = D::pick(size.ge(least), size, least);
            unit = unit_of(D::pick(size.eq(zero), one, larger));
            scale = scale / unit;
        }
        let (pull, most) = (beta * scale, one.like(1.0 / F::MIN_POSITIVE));
        let minus = D::pick(most.ge(pull), pull, most) * one.like(-1.0);
        let (factor, mut factor_lost) = (weight * scale, zero);
        if F::IS_DOUBLE {
            factor_lost = (lost + mass_lost).mul_add(scale, weight.mul_add(scale, zero - factor));
        }
        Self { spike, beta, smooth, scale, factor, factor_lost, minus, unit }
    }

    /// The same without z_loss, if the gradients are in units of 1 and β·scale is not tiny; None otherwise.
    #[inline(always)]
    pub(super) fn ordinary<F: Float>(target: &TargetLanes<D>) -> Option<Self> {
        let not_read = target.spike;
        let slopes = Self::new::<F>(target, 0.0, not_read);
        let unit = slopes.unit.like(1.0);
        let is_unsmoothed = D::all(target.beta.eq(unit.like(0.0)));
        let is_tiny = !is_unsmoothed && are_tiny::<F, _>(slopes.factor, slopes.minus, unit);
        let is_ordinary = !is_tiny && D::all(slopes.unit.eq(unit));
        is_ordinary.then_some(Self { unit, ..slopes })
    }
}

#[inline(always)]
fn gradient<F: Float, D: Real>(
    z_loss: f64,
    rows: &ReducedLanes<D>,
    slopes: Slopes<D>,
    finished: &mut FinishedLanes<D>,
) {
    let Slopes { spike, beta, smooth, scale, factor, factor_lost, .. } = slopes;
    let zero = spike.like(0.0);
    (finished.minus, finished.unit) = (slopes.minus, slopes.unit);
    let (sum, from_top) = two_sum(rows.sum, rows.top);
    let lost = rows.lost + from_top;
    let inverse = inverse_of::<F, _>(sum, lost);
    finished.factor = factor * inverse;
    let rest = sum - rows.exp_label;
    if F::IS_DOUBLE {
        // Rounded once, unless it overflows.
        let left = finished.factor.mul_add(zero - sum, factor) - finished.factor * lost;
        let once = (left + factor_lost).mul_add(inverse, finished.factor);
        finished.factor = D::pick(once.eq(once), once, finished.factor);
    }
    // Where the label has the maximum, nothing cancels.
    let rest = D::pick(rows.gap.eq(zero), rows.sum, rest);
    let label = if z_loss == 0.0 {
        smooth.mul_add(rows.exp_label, zero - spike * rest) * inverse
    } else {
        // e_y holds a power of two that could make the product overflow.
        smooth * (rows.exp_label * inverse) - spike * rest * inverse
    };
    finished.label = (zero - beta).mul_add(rows.weight_label, label) * scale;
    if F::IS_DOUBLE {
        // If 1 − p_y is not small beside p_y, or the spike beside the rest, start from p_y, with fewer roundings.
        let far = finished.factor.mul_add(rows.exp_label, zero - spike * scale);
        let far = finished.minus.mul_add(rows.weight_label, far);
        // NaN if the factor overflows.
        let far = D::pick(far.eq(far), far, finished.label);
        let near = D::pick(smooth.ge(spike), far, finished.label);
        finished.label = D::pick(rest.ge(rows.exp_label), far, near);
    }
}

/// 1/(sum + lost), for float64 rows with the error of a single rounding.
#[inline(always)]
pub(super) fn inverse_of<F: Float, D: Real>(sum: D, lost: D) -> D {
    let (one, minus_one) = (sum.like(1.0), sum.like(-1.0));
    let inverse = one / sum;
    if !F::IS_DOUBLE {
        return inverse;
    }
    let left = inverse.mul_add(minus_one * sum, one) - lost * inverse;
    inverse.mul_add(left, inverse)
}

/// Factors from 2^-40 to 2^100, divided by S, which is between 2^29 and 2^63, are well within the range of f32.
const LARGEST_FACTOR: f64 = 1_267_650_600_228_229_401_496_703_205_376.0;
const SMALLEST_FACTOR: f64 = 1.0 / 1_099_511_627_776.0;
const TWO_TO_56: f64 = f64::from_bits((1023 + 56) << 52);
const TWO_TO_600: f64 = f64::from_bits((1023 + 600) << 52);

/// 1 if the size of a factor is ordinary. If it is small, a power of two near it; if it is large, one some 2^100
/// times smaller, so that terms that are much smaller than others keep their digits.
#[inline(always)]
fn unit_of<D: Real>(size: D) -> D {
    let one = size.like(1.0);
    // Within normal numbers.
    let (least, most) = (size.like(f64::MIN_POSITIVE), size.like(f64::MAX));
    let clamped = D::pick(most.ge(size), D::pick(size.ge(least), size, least), most);
    let power = clamped.power();
    let from_below = D::pick(size.ge(size.like(SMALLEST_FACTOR)), one, power);
    let from_above = power * size.like(1.0 / LARGEST_FACTOR);
    D::pick(size.like(LARGEST_FACTOR).ge(size), from_below, from_above)
}

/// May a p below the smallest normal number not be negligible beside the number that is added to it? Not in rows that do
/// not count or are missing, whose factor is 0 or NaN.
#[inline(always)]
pub(super) fn are_tiny<F: Float, D: Real>(factor: D, minus: D, unit: D) -> bool {
    let lowest = unit.like(-F::MIN_POSITIVE * TWO_TO_56);
    let added = D::pick(factor.eq(unit.like(0.0)), lowest, minus * unit);
    let added = D::pick(factor.eq(factor), added, lowest);
    !D::all(lowest.ge(added))
}

/// Smaller exponentials are written as 0, since their product with `factor` and `unit` would be below the smallest
/// normal number.
#[inline(always)]
pub(super) fn least<F: Float>(factor: F, unit: f64) -> F {
    // Correctly rounded for `f32` as well, since f64 has more than twice its digits (53 ≥ 2·24 + 2).
    F::from_f64(F::from_f64(F::MIN_POSITIVE / unit).to_f64() / factor.to_f64().abs())
}
