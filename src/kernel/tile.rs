//! Rows in lanes: for few classes, where a row is shorter than what is done once for it, and for
//! rows that are neighbours in memory class by class.
//!
//! ```text
//! vector k holds class k of LANES rows
//! M    = max_k z_k                       Σ = for each lane of a row's vectors an accumulator,
//! e_k  = exp(z_k)                            joined by the same tree
//! ```
//!
//! Every sum is formed in the canonical order of stats.rs, so a row has the bits here that it has
//! alone.

use super::exp::{Exp, Kept, PLAIN, TEMPERED, Temperature};
use super::first::gaps;
use super::group::{AtLabel, Epilogue, Group, LaneMask, counted_lanes};
use super::stats::{RowClass, RowWeights, Stats, Weights};
use super::sweep::SEGMENT;
use super::terms::{ABSENT, ONES, QuadTerms, TWO_PARTS, Terms, class_terms, without_maxima};
use crate::crew::{Alone, Crew};
use crate::element::Float;
use crate::simd::lanes::WideLanes;
use crate::simd::row::QUAD;
use crate::simd::{LaneSum, MOST_LANES, Vector, tree};
use crate::wide::{Real, Wide};
use std::ops::Range;

/// As many rows as there are lanes, class by class.
pub(crate) struct Tile<'t, V: Vector> {
    token: V::Token,
    /// LANES rows of class 0, of class 1, ...
    z: &'t [V::Scalar],
    /// The exponentials, in the same order; in the place of their values then the output.
    exps: Kept<&'t mut [V::Scalar]>,
    max: V,
    alone: Alone,
}

/// Rows of more quads than this for each of a tile's maxima are asked quad by quad whether one is in it.
const QUADS_PER_MAXIMUM: usize = 4;

/// The maxima of rows that are all for the sweeps of this file; for the others see odd.rs. Logits
/// below the range are refused, unless `least` is −∞.
#[inline(always)]
pub(crate) fn ordinary_maxima<V: Vector>(
    token: V::Token,
    z: &[V::Scalar],
    least: V::Scalar,
    temperature: &Temperature<V::Scalar>,
) -> Option<V> {
    let most = V::splat(token, temperature.most());
    let smallest = V::splat(token, V::Scalar::default()).sub(most);
    let lowest = V::splat(token, V::Scalar::NEG_INFINITY);
    let allowed = if least == V::Scalar::NEG_INFINITY { lowest } else { smallest };
    let mut max = lowest;
    let mut in_range = max.eq(max);
    for z in z.chunks_exact(V::LANES) {
        let z = V::from_slice(token, z);
        max = max.max(z);
        // False for NaN.
        in_range = V::both(in_range, z.ge(allowed));
    }
    V::all(V::both(in_range, V::both(max.le(most), max.ge(smallest)))).then_some(max)
}

impl<'t, V: Vector> Tile<'t, V> {
    #[inline(always)]
    pub(crate) fn new(
        token: V::Token,
        z: &'t [V::Scalar],
        exps: Kept<&'t mut [V::Scalar]>,
        max: V,
    ) -> Self {
        Self { token, z, exps, max, alone: Alone::default() }
    }

    #[inline(always)]
    fn vector(&self, class: usize) -> V {
        V::from_slice(self.token, &self.z[class * V::LANES..])
    }

    #[inline(always)]
    fn sums<const STORE: bool, const HEAT: bool>(
        &mut self,
        exp: &Exp<V>,
        weights: Weights<'_, V::Scalar>,
    ) -> TileSums<V> {
        match weights {
            Weights::Absent => self.swept::<STORE, HEAT, ABSENT>(exp, weights),
            Weights::Ones => self.swept::<STORE, HEAT, ONES>(exp, weights),
            Weights::Row { .. } if weights.are_summed_wide(self.classes()) => {
                let sums = self.swept::<STORE, HEAT, ABSENT>(exp, Weights::Absent);
                TileSums { dot: self.wide_dot(weights), ..sums }
            }
            Weights::Row { .. } => self.swept::<STORE, HEAT, TWO_PARTS>(exp, weights),
        }
    }

    #[inline(always)]
    fn swept<const STORE: bool, const HEAT: bool, const WEIGHTS: u8>(
        &mut self,
        exp: &Exp<V>,
        weights: Weights<'_, V::Scalar>,
    ) -> TileSums<V> {
        let (token, classes) = (self.token, self.classes());
        let zero = V::splat(token, V::Scalar::default());
        let none = V::Wide::splat(token, Wide::new(0.0));
        let mut sums = TileSums { others: none, dot: none, ties: none.value() };
        let nothing = V::Sum::zero(token);
        for start in (0..classes).step_by(SEGMENT) {
            let end = classes.min(start + SEGMENT);
            let (mut sum, mut dot) = ([nothing; MOST_LANES], [nothing; MOST_LANES]);
            let mut ties = zero;
            let mut quad = start;
            while quad + QUAD * V::LANES <= end {
                for lane in 0..V::LANES {
                    let (first, ties, dot) = (quad + lane, &mut ties, &mut dot[lane]);
                    let terms =
                        self.terms::<STORE, HEAT, WEIGHTS, QUAD>(exp, first, weights, ties, dot);
                    QuadTerms::of(terms).flush::<WEIGHTS>(&mut sum[lane], dot);
                }
                quad += QUAD * V::LANES;
            }
            for lane in 0..V::LANES.min(end - quad) {
                let (classes, ties, dot) = (quad + lane..end, &mut ties, &mut dot[lane]);
                self.last_quad::<STORE, HEAT, WEIGHTS>(exp, classes, weights, ties, dot)
                    .flush::<WEIGHTS>(&mut sum[lane], dot);
            }
            sums.others = sums.others + total::<V>(&sum);
            if WEIGHTS != ABSENT {
                sums.dot = sums.dot + total::<V>(&dot);
            }
            sums.ties = sums.ties + ties.to_doubles();
        }
        if WEIGHTS == ONES {
            sums.dot = gaps(classes, V::Wide::new(self.max.to_doubles()), sums.dot);
        }
        sums
    }

    /// The first of `classes` and those LANES, 2 LANES and 3 LANES after it, as far as there are any.
    #[inline(always)]
    fn last_quad<const STORE: bool, const HEAT: bool, const WEIGHTS: u8>(
        &mut self,
        exp: &Exp<V>,
        classes: Range<usize>,
        weights: Weights<'_, V::Scalar>,
        ties: &mut V,
        dot: &mut V::Sum,
    ) -> QuadTerms<V> {
        let is_alone = classes.len() <= V::LANES;
        let mut terms = [Terms::zero(self.token); QUAD];
        for (terms, class) in terms.iter_mut().zip(classes.step_by(V::LANES)) {
            [*terms] = self.terms::<STORE, HEAT, WEIGHTS, 1>(exp, class, weights, ties, dot);
        }
        if is_alone { terms[0].alone() } else { QuadTerms::of(terms) }
    }

    /// N classes, LANES apart.
    #[inline(always)]
    fn terms<const STORE: bool, const HEAT: bool, const WEIGHTS: u8, const N: usize>(
        &mut self,
        exp: &Exp<V>,
        first: usize,
        weights: Weights<'_, V::Scalar>,
        ties: &mut V,
        dot: &mut V::Sum,
    ) -> [Terms<V>; N] {
        let mut z = [self.max; N];
        for (i, z) in z.iter_mut().enumerate() {
            *z = self.vector(first + i * V::LANES);
        }
        let mut parts = exp.parts_of::<HEAT, N>(z);
        if STORE {
            for (i, parts) in parts.iter().enumerate() {
                self.keep(first + i * V::LANES, parts.rounded());
            }
        }
        if N < QUAD || self.has_maximum(&z) {
            for (parts, z) in parts.iter_mut().zip(z) {
                *parts = without_maxima(exp, z, *parts, ties);
            }
        }
        let mut terms = [Terms::zero(self.token); N];
        for i in 0..N {
            let weights = self.weights_of::<WEIGHTS>(first + i * V::LANES, z[i], weights);
            terms[i] = class_terms::<V, WEIGHTS>(exp, z[i], weights, parts[i], dot);
            if WEIGHTS == ONES {
                dot.add(z[i]);
            }
        }
        terms
    }

    /// May there be a maximum in a quad? Where they are rare, the other quads are spared taking them out.
    #[inline(always)]
    fn has_maximum(&self, z: &[V]) -> bool {
        let are_rare = self.classes() > QUADS_PER_MAXIMUM * QUAD * V::LANES;
        let largest = z.iter().fold(z[0], |largest, z| largest.max(*z));
        !are_rare || V::any(largest.ge(self.max))
    }

    #[inline(always)]
    fn keep(&mut self, class: usize, Kept { value, lost }: Kept<V>) {
        value.to_slice(&mut self.exps.value[class * V::LANES..]);
        lost.to_slice(&mut self.exps.lost[class * V::LANES..]);
    }

    /// Both parts of the weights; z where there are none to read.
    #[inline(always)]
    fn weights_of<const WEIGHTS: u8>(
        &self,
        class: usize,
        z: V,
        weights: Weights<'_, V::Scalar>,
    ) -> (V, V) {
        match weights {
            Weights::Row { high, .. } if WEIGHTS == TWO_PARTS => {
                let low = V::splat(self.token, weights.low(class));
                (V::splat(self.token, high.get(class)), low)
            }
            _ => (z, z),
        }
    }

    /// Σ w_k (M − z_k), every term wide.
    #[inline(always)]
    fn wide_dot(&self, weights: Weights<'_, V::Scalar>) -> V::Wide {
        let max = V::Wide::new(self.max.to_doubles());
        let mut sum = V::Wide::splat(self.token, Wide::new(0.0));
        for class in 0..self.classes() {
            let weight = weights.get(class);
            if weight.value() != 0.0 {
                let gap = max - V::Wide::new(self.vector(class).to_doubles());
                sum = sum + V::Wide::splat(self.token, weight) * gap;
            }
        }
        sum
    }

    #[inline(always)]
    fn reduced<const STORE: bool>(
        &mut self,
        weights: &RowWeights<'_, V::Scalar>,
        temperature: &Temperature<V::Scalar>,
    ) -> Stats<V> {
        let exp = Exp::<V>::new(self.token, self.max, temperature);
        let weights = weights.of_row(0);
        let (sums, peaks) = if temperature.is_one() {
            (self.sums::<STORE, PLAIN>(&exp, weights), exp.peaks::<PLAIN>())
        } else {
            (self.sums::<STORE, TEMPERED>(&exp, weights), exp.peaks::<TEMPERED>())
        };
        Stats {
            class: [RowClass::Finite; MOST_LANES],
            max: self.max,
            ties: sums.ties,
            peak: peaks.summed,
            exact_peak: peaks.exact,
            others: sums.others,
            dot: sums.dot,
            unit: sums.ties.like(1.0),
            inverse_unit: sums.ties.like(1.0),
        }
    }

    /// Writes the output where the exponentials are.
    #[inline(always)]
    fn written<E: Epilogue<V>, const WEIGHTS: u8>(
        &mut self,
        epilogue: &E,
        weights: Weights<'_, V::Scalar>,
        label: Option<&AtLabel<V>>,
    ) {
        let token = self.token;
        let mut classes = [V::Scalar::from_f64(-1.0); MOST_LANES];
        let mut at_label = V::splat(token, classes[0]);
        if let Some(label) = label {
            at_label = label.values;
            for (lane, class) in classes.iter_mut().enumerate().filter(|lane| label.rows[lane.0]) {
                *class = V::Scalar::from_f64(super::stats::count_to_f64(label.classes[lane]));
            }
        }
        let labels = V::from_slice(token, &classes);
        let mut number = V::splat(token, V::Scalar::default());
        let one = V::splat(token, V::Scalar::from_f64(1.0));
        for class in 0..self.classes() {
            let value = if E::OF_EXPS {
                Kept {
                    value: V::from_slice(token, &self.exps.value[class * V::LANES..]),
                    lost: V::from_slice(token, &self.exps.lost[class * V::LANES..]),
                }
            } else {
                Kept { value: self.vector(class), lost: self.vector(class) }
            };
            let (high, low) = self.weights_of::<WEIGHTS>(class, value.value, weights);
            let written = epilogue.apply::<WEIGHTS>(value, high, low);
            let written = V::select(number.eq(labels), at_label, written);
            written.to_slice(&mut self.exps.value[class * V::LANES..]);
            number = number.add(one);
        }
    }
}

/// The sum over the lanes that a row has when it is alone.
#[inline(always)]
fn total<V: Vector>(sums: &[V::Sum; MOST_LANES]) -> V::Wide {
    let mut lanes = [sums[0].lanes(); MOST_LANES];
    for lane in 1..V::LANES {
        lanes[lane] = sums[lane].lanes();
    }
    tree::<V, _>(&mut lanes)
}

struct TileSums<V: Vector> {
    others: V::Wide,
    dot: V::Wide,
    ties: V::Doubles,
}

impl<V: Vector> Group<V> for Tile<'_, V> {
    #[inline(always)]
    fn token(&self) -> V::Token {
        self.token
    }
    #[inline(always)]
    fn rows(&self) -> usize {
        V::LANES
    }
    #[inline(always)]
    fn classes(&self) -> usize {
        self.z.len() / V::LANES
    }

    #[inline(always)]
    fn reduce<const STORE: bool>(
        &mut self,
        _counted: &LaneMask,
        weights: &RowWeights<'_, V::Scalar>,
        temperature: &Temperature<V::Scalar>,
    ) -> Stats<V> {
        V::outlined(
            self.token,
            #[inline(always)]
            || self.reduced::<STORE>(weights, temperature),
        )
    }

    #[inline(always)]
    fn logits_at(&self, counted: &LaneMask, classes: &[usize; MOST_LANES]) -> V {
        counted_lanes(self.token, counted, |lane| self.z[classes[lane] * V::LANES + lane])
    }

    #[inline(always)]
    fn exps_at(&self, counted: &LaneMask, classes: &[usize; MOST_LANES]) -> Kept<V> {
        let of = |exps: &[V::Scalar]| {
            counted_lanes(self.token, counted, |lane| exps[classes[lane] * V::LANES + lane])
        };
        Kept { value: of(self.exps.value), lost: of(self.exps.lost) }
    }

    #[inline(always)]
    fn write<E: Epilogue<V>>(
        &mut self,
        _written: &LaneMask,
        epilogue: &E,
        weights: &RowWeights<'_, V::Scalar>,
        label: Option<&AtLabel<V>>,
    ) {
        let weights = if E::IS_WEIGHTED { weights.of_row(0) } else { Weights::Absent };
        V::outlined(
            self.token,
            #[inline(always)]
            || match weights {
                Weights::Absent => self.written::<E, ABSENT>(epilogue, weights, label),
                Weights::Ones => self.written::<E, ONES>(epilogue, weights, label),
                Weights::Row { .. } => self.written::<E, TWO_PARTS>(epilogue, weights, label),
            },
        );
    }

    #[inline(always)]
    fn fill(&mut self, lane: usize, value: V::Scalar) {
        for element in self.exps.value.iter_mut().skip(lane).step_by(V::LANES) {
            *element = value;
        }
    }

    fn crew(&mut self) -> &mut dyn Crew {
        &mut self.alone
    }
}
