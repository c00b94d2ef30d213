//! Rows of few classes: a tile has as many rows as a vector has lanes, and is computed class by class.
//!
//! ```text
//! vector k holds class k of LANES rows
//! M    = max_k z_k,  z_y
//! e_k  = exp(z_k/T)·2^(H − N)
//! sum  = Σ of the others: f32: by pairs of classes, e0 + e1 is added to doubles; f64: one by one, compensated
//! dot  = Σ w_k (M − z_k), in the same order; the rounding errors of products are added as well
//! out  = the epilogue of every class
//! ```
//!
//! Several tiles are computed together, each step for all of them before the next step: while one tile waits for its
//! results, the processor works on another.
//!
//! Rows of so few classes are always computed in tiles, whatever their layout and number (a partial tile is padded). So
//! tiles have their own order of summation. Except for softmax of f32, all maxima of a row are left out of the sum and
//! counted. They are added again in double precision: all of them for softmax, all but one otherwise.
//!
//! Rows of some more classes may be computed in tiles or as rows, whichever takes less time. Therefore their sums use
//! the order of rows, and leave out only the first maximum.

mod special;
mod sweep;
mod write;

use super::Operation;
use super::exp::{Base, Exponential};
use super::finish::{Formula, Slopes};
use super::reduce::{MOST_IN_TILES, WeightKind};
use super::scalars::{ReducedLanes, TargetLanes};
use crate::math::{Real, two_sum};
use crate::simd::{
    Float, MOST_LANES, Source, Vector, Widened, inlined, outlined, outlined_if_compact,
};
use special::{Specials, mark_nans};

/// Rows of at most so many classes are computed in tiles, in the order of summation of tiles.
pub(crate) const MOST_CLASSES: usize = 64;

/// The label of a row that does not count.
pub(crate) const IGNORED: i32 = -1;
/// The label of a row without a label, or whose label has no weight.
pub(crate) const NO_LABEL: i32 = -2;

/// The largest number of tiles that are computed together. More would not fit on the smallest stack of a thread, 32 KiB.
pub(crate) const MOST_TILES: usize = 5;

/// The number of tiles that are computed together. More classes keep the processor busy longer, and need more of the
/// first-level cache.
pub(crate) fn tiles_at_once(classes: usize) -> usize {
    if classes <= MOST_LANES {
        MOST_TILES
    } else if classes <= MOST_CLASSES {
        2
    } else {
        1
    }
}

/// The parameters of tiles that are computed together.
pub(crate) struct Tiles<'t, F: Float> {
    pub(crate) formula: Formula<'t, F>,
    /// Are the lse of the rows results, in addition to the loss?
    pub(crate) has_lse: bool,
    /// c of the Hessian, if it is computed besides the gradient.
    pub(crate) hessian: Option<f64>,
    /// Elements of a tile: LANES times the number of classes.
    pub(crate) len: usize,
    /// For each tile the targets of its rows, one in each lane.
    pub(crate) targets: &'t [TargetLanes],
    /// Do all rows have the target of the first tile, the same for each? Then they are finished with less work.
    pub(crate) has_one_target: bool,
    /// May there be rows whose label is [`IGNORED`]? Their results are 0.
    pub(crate) has_ignored: bool,
    pub(crate) weight_kind: WeightKind,
    /// Reads the logits of a row as they are in memory, −inf where they are masked.
    pub(crate) reread: &'t dyn Fn(usize, &mut [F]),
    /// Memory that is prefetched: the logits of the next tiles, and where the outputs of these will be written; if there is
    /// only one of these, twice. It is a cache line of each for each class, since a processor waits for no more than some
    /// lines at a time (Xeon of model 167: softmax of 1000000 rows of ten classes takes 0.76 of the time that it takes
    /// if all lines of a tile are prefetched at once, of 8192 rows of 64 classes 0.7 of the time without).
    pub(crate) prefetched: Option<[Source<'t, F>; 2]>,
}

/// A tile. Its fields are in this order, so that no vector lies across two cache lines.
#[repr(C)]
pub(crate) struct Tile<'m, F> {
    /// y of the row in each lane, [`NO_LABEL`] or [`IGNORED`].
    pub(crate) labels: [F; MOST_LANES],
    /// M for the sweep, which is 0 in shifted rows.
    max: [F; MOST_LANES],
    /// z_y, shifted as well; −inf if there is no label.
    z_label: [F; MOST_LANES],
    reduced: ReducedLanes,
    /// The row in the first lane.
    pub(crate) first: usize,
    /// LANES of class 0, of class 1, ...
    pub(crate) z: &'m mut [F],
    /// Memory for the outputs, in the same order; until they are written, for the exponentials.
    pub(crate) out: &'m mut [F],
    /// The weights in the same order; read only if they differ.
    pub(crate) weights: &'m mut [F],
    /// The mask in the same order, for the layers above.
    pub(crate) kept: &'m mut [F],
    specials: Option<Specials>,
}

impl<F: Float> Tile<'_, F> {
    /// Without memory. As a constant it is written to an array in place, while tiles that a function returns would be
    /// copied and would need the stack twice.
    pub(crate) const fn empty() -> Self {
        Self {
            labels: [F::NEG_INFINITY; MOST_LANES],
            max: [F::NEG_INFINITY; MOST_LANES],
            z_label: [F::NEG_INFINITY; MOST_LANES],
            reduced: ReducedLanes {
                unit: [1.0; MOST_LANES],
                weight_label: [1.0; MOST_LANES],
                ..ReducedLanes::ZEROS
            },
            first: 0,
            z: &mut [],
            out: &mut [],
            weights: &mut [],
            kept: &mut [],
            specials: None,
        }
    }

    /// May some rows be filled with NaN?
    pub(crate) fn has_specials(&self) -> bool {
        self.specials.is_some()
    }

    /// The lse of the rows that have been computed, if they are results. They overwrite the maxima.
    pub(crate) fn lse(&mut self) -> &mut [f64] {
        &mut self.reduced.max
    }
}

impl<F: Float> Tiles<'_, F> {
    /// Reduces the logits of the tiles and writes their outputs. The Hessian overwrites the logits. Writes the scalars of
    /// the rows of all tiles, in their order: the lse, the loss or, for log-probabilities, L.
    #[inline(always)]
    pub(crate) fn run<V: Vector<Scalar = F>>(
        &self,
        token: V::Token,
        tiles: &mut [Tile<'_, F>],
        scalars: &mut [f64],
    ) {
        use Operation::{Gradient, LogSoftmax, LogSumExp, Loss, Softmax};
        use WeightKind::{Absent, Each, Ones};
        // Compiled for each named case separately, without the code that it does not need.
        macro_rules! run {
            ($operation:expr, $weights:expr) => {
                outlined!(V, token, self.steps::<V>(($operation, $weights), token, tiles, scalars))
            };
        }
        match (self.formula.operation, self.weight_kind) {
            (operation, weights) if V::IS_COMPACT => run!(operation, weights),
            (Softmax, _) => run!(Softmax, Absent),
            (operation @ (LogSoftmax | LogSumExp), _) => run!(operation, Absent),
            (Loss, Absent) => run!(Loss, Absent),
            (Loss, Ones) => run!(Loss, Ones),
            (Gradient, Absent) => run!(Gradient, Absent),
            (Gradient, Ones) => run!(Gradient, Ones),
            (operation, Each) => run!(operation, Each),
        }
    }

    /// The largest of `values`, which have LANES of class 0, of class 1, ..., in each lane, and the one at the label,
    /// `none` in lanes without a label. The largest is arbitrary for rows with a NaN, which the sums detect.
    #[inline(always)]
    fn largest_and_at_labels<V: Vector<Scalar = F>>(
        token: V::Token,
        values: &[F],
        labels: &[F],
        none: F,
    ) -> [V; 2] {
        let splat = inlined!(|number: f64| V::splat(token, F::from_f64(number)));
        let (labels, mut at_label) = (V::from_slice(token, labels), V::splat(token, none));
        // Of the even classes and of the odd ones, since each maximum waits for the one before; where a vector is one
        // register, so does each number.
        let turns = const { V::IS_ONE_REGISTER };
        let step = splat(if turns { 2.0 } else { 1.0 });
        let (mut largest, mut numbers) = ([splat(f64::NEG_INFINITY); 2], [splat(0.0), splat(1.0)]);
        let mut take = inlined!(|values: &[F], i: usize| {
            let (values, number) =
                (V::from_slice(token, values), &mut numbers[if turns { i } else { 0 }]);
            largest[i] = largest[i].max(values);
            at_label = V::select(number.eq(labels), values, at_label);
            *number = *number + step;
        });
        let mut pairs = values.chunks_exact(const { 2 * V::LANES });
        for pair in &mut pairs {
            take(pair, 0);
            take(&pair[V::LANES..], 1);
        }
        if !pairs.remainder().is_empty() {
            take(pairs.remainder(), 0);
        }
        [largest[0].max(largest[1]), at_label]
    }

    #[inline(always)]
    fn steps<V: Vector<Scalar = F>>(
        &self,
        what: (Operation, WeightKind),
        token: V::Token,
        tiles: &mut [Tile<'_, F>],
        scalars: &mut [f64],
    ) {
        let limit = V::splat(token, self.formula.temperature.limit);
        for tile in &mut *tiles {
            let find = inlined!(|tile: &Tile<'_, F>| {
                let z = &tile.z[..self.len];
                Self::largest_and_at_labels::<V>(token, z, &tile.labels, F::NEG_INFINITY)
            });
            if self.has_ignored {
                // The logits of the rows that do not count may be anything.
                outlined!(V, token, {
                    let ignored = V::splat(token, F::from_f64(IGNORED.into()));
                    let is_ignored = V::from_slice(token, &tile.labels).eq(ignored);
                    if V::bits(is_ignored) != 0 {
                        for z in tile.z[..self.len].chunks_exact_mut(V::LANES) {
                            V::from_slice(token, z).only_where(!is_ignored).to_slice(z);
                        }
                    }
                });
            }
            let [mut max, mut z_label] = find(tile);
            if tile.specials.take().is_some() {
                // Those of the rows before.
                tile.reduced.unit = [1.0; MOST_LANES];
            }
            if !V::all(limit.ge(max) & max.ge(-limit)) {
                max = self.shift_specials(tile, max);
                [_, z_label] = find(tile);
            }
            max.to_slice(&mut tile.max);
            if matches!(what.0, Operation::Loss | Operation::Gradient) {
                z_label.to_slice(&mut tile.z_label);
            }
        }
        // The registers of AVX2 hold little more than the constants of the exponential: so this is a function of its own.
        // Compact code does not prefetch.
        if self.prefetched.is_some() && !V::IS_COMPACT {
            outlined!(V, token, self.exponentials::<V, true>(token, tiles));
        } else {
            outlined!(V, token, self.exponentials::<V, false>(token, tiles));
        }
        for tile in &mut *tiles {
            outlined_if_compact!(V, token, self.reduce::<V>(what, token, tile));
        }
        // The target and its slopes, which are used only if all rows have this target.
        let target = self.targets[0].splat::<V::Eight>(token, 0);
        let mut shared = None;
        if const { may_share::<V>() } && self.has_one_target && self.formula.z_loss == 0.0 {
            shared = Slopes::ordinary::<F>(&target).map(|slopes| (&target, slopes));
        }
        let scalars = scalars.chunks_exact_mut(V::LANES);
        for (i, (tile, scalars)) in tiles.iter_mut().zip(scalars).enumerate() {
            let target = &self.targets[if self.has_one_target { 0 } else { i }];
            let target = (target, shared);
            outlined_if_compact!(V, token, self.write::<V>(what, token, target, tile, scalars));
        }
    }

    /// Computes the sums of the rows from the exponentials, as far as the operation needs them: for softmax, S and its
    /// rounding error.
    #[inline(always)]
    fn reduce<V: Vector<Scalar = F>>(
        &self,
        (operation, weights): (Operation, WeightKind),
        token: V::Token,
        tile: &mut Tile<'_, F>,
    ) {
        let max = V::from_slice(token, &tile.max);
        let (sum, lost, dot, ties) = self.sums::<V>((operation, weights), token, max, tile);
        let rows = &mut tile.reduced;
        if !V::Doubles::all(sum.eq(sum)) {
            let mut sums = [0.0; MOST_LANES];
            sum.to_slice(&mut sums);
            mark_nans(&sums, &mut tile.specials);
        }
        if operation == Operation::Softmax && !F::IS_DOUBLE {
            return sum.to_slice(&mut rows.sum);
        }
        let temperature = self.formula.temperature;
        let exp = Exponential::<V>::new(token, temperature);
        let base = Base::<V>::new(temperature, max);
        let top = V::Doubles::widen(exp.of(max, base));
        let mut ties = V::Doubles::widen(ties);
        if operation != Operation::Softmax {
            ties = ties - top.like(1.0);
        }
        let (sum, from_ties) = two_sum(sum, ties * top);
        sum.to_slice(&mut rows.sum);
        // The sums of f32 have digits to spare.
        if F::IS_DOUBLE {
            (lost + from_ties).to_slice(&mut rows.lost);
        }
        if operation == Operation::Softmax {
            return;
        }
        let [wide_top, wide_top_lost]: [V::Doubles; 2] = exp.wide(max, base);
        top.to_slice(&mut rows.top);
        wide_top.to_slice(&mut rows.wide_top);
        if F::IS_DOUBLE {
            wide_top_lost.to_slice(&mut rows.wide_top_lost);
        }
        let wide_max = V::Doubles::widen(max);
        wide_max.to_slice(&mut rows.max);
        if matches!(operation, Operation::Loss | Operation::Gradient) {
            dot.to_slice(&mut rows.dot);
            let z_label = V::from_slice(token, &tile.z_label);
            (wide_max - V::Doubles::widen(z_label)).to_slice(&mut rows.gap);
            if operation == Operation::Gradient {
                V::Doubles::widen(exp.of(z_label, base)).to_slice(&mut rows.exp_label);
            }
        }
        // If all weights are 1, those at the labels are from the beginning.
        if operation == Operation::Gradient && weights != WeightKind::Ones {
            let mut weight_label = top.like(0.0);
            if weights == WeightKind::Each {
                let (weights, none) = (&tile.weights[..self.len], F::default());
                let [_, weight] =
                    Self::largest_and_at_labels::<V>(token, weights, &tile.labels, none);
                weight_label = V::Doubles::widen(weight);
            }
            weight_label.to_slice(&mut rows.weight_label);
        }
        if tile.specials.is_some() || !V::Doubles::all(dot.like(f64::MAX).ge(dot)) {
            self.take_care_of_specials::<V>(tile);
        }
    }
}

/// May rows with one target be finished with its slopes? Not in compact code, nor for f64. Where a condition is a
/// constant in itself, the compiler never sees the code that is not needed, which takes long to compile.
const fn may_share<V: Vector>() -> bool {
    !V::IS_COMPACT && !V::Scalar::IS_DOUBLE
}

/// Are the classes of this tile summed in the order of rows?
#[inline(always)]
fn is_in_row_order<V: Vector>(z: &[V::Scalar]) -> bool {
    !V::Scalar::IS_DOUBLE && z.len() > MOST_CLASSES * V::LANES
}
