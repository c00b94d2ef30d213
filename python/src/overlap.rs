//! Do two elements of an array share memory?
//!
//! ```text
//! they do    where  |Σ_i d_i s_i| < size of an element,  |d_i| < n_i,  not all d_i = 0
//! ```
//!
//! for lengths n and byte strides s. Where each axis steps over all of the narrower ones, as in every
//! layout that slicing, transposing and reshaping make, nothing but d = 0 comes near. Else the d_i are
//! tried, the widest axis first, and of each those that the narrower axes can still balance.

/// Trials after which the answer is not known. Of two or three axes there are few.
const TRIALS: usize = 1 << 16;

/// `None` where that takes too long to tell.
pub(super) fn overlaps(
    axes: impl DoubleEndedIterator<Item = (usize, isize)> + Clone,
    item: usize,
) -> Option<bool> {
    let axes = axes.filter(|axis| axis.0 != 1);
    // As they are where they lie in C order, which needs no memory.
    if axes.clone().any(|axis| axis.0 == 0) || step_over(axes.clone().rev(), item) {
        return Some(false);
    }
    let mut axes: Vec<_> = axes.collect();
    axes.sort_unstable_by_key(|axis| axis.1.unsigned_abs());
    if step_over(axes.iter().copied(), item) {
        return Some(false);
    }
    if axes[0].1 == 0 {
        return Some(true);
    }
    let wide = |(len, stride): (usize, isize)| (len as i128, stride.unsigned_abs() as i128);
    let axes: Vec<_> = axes.into_iter().rev().map(wide).collect();
    meet(&axes, item as i128, 0, false, &mut 0)
}

/// Does each axis step over all before it?
fn step_over(mut axes: impl Iterator<Item = (usize, isize)>, item: usize) -> bool {
    let mut span = item;
    axes.all(|(len, stride)| {
        let steps_over = stride.unsigned_abs() >= span;
        span += (len - 1) * stride.unsigned_abs();
        steps_over
    })
}

/// Can `sum` be balanced by the `axes`, with d ≠ 0 for one of them unless `moved`? They step by less
/// and less, but not by nothing.
fn meet(
    axes: &[(i128, i128)],
    item: i128,
    sum: i128,
    moved: bool,
    trials: &mut usize,
) -> Option<bool> {
    let [(len, stride), narrower @ ..] = axes else { return Some(moved) };
    let reach: i128 = narrower.iter().map(|(len, stride)| (len - 1) * stride).sum();
    // −limit < sum + d·stride < limit
    let limit = item + reach;
    let least = (-sum - limit).div_euclid(*stride) + 1;
    let most = -(sum - limit).div_euclid(*stride) - 1;
    // d and −d are the same pair.
    let least = if moved { least.max(1 - len) } else { 0 };
    for d in least..=most.min(len - 1) {
        *trials += 1;
        if *trials > TRIALS {
            return None;
        }
        if meet(narrower, item, sum + d * stride, moved || d != 0, trials)? {
            return Some(true);
        }
    }
    Some(false)
}
