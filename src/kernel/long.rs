//! One row on several threads, segment by segment.
//!
//! ```text
//! M, Σ z                          largest of the segments' maxima, their sums in their order
//! Σ, ties, dot                    of each segment; then joined in their order
//! once: log, quotients, the constants of the epilogue
//! exp again; the epilogue         of each segment
//! ```
//!
//! A segment is the unit in which a row is summed wherever it is summed (stats.rs), so the bits are
//! those of one thread. Exponentials are not kept: to compute them again takes less time than to
//! write and read so many, and far less than to get the memory.

mod memory;

use super::exp::{Exp, Kept, PLAIN, TEMPERED, Temperature};
use super::first::{First, first};
use super::group::{AtLabel, Epilogue, Flow, Group, LaneMask, kept_of, write_row};
use super::odd;
use super::stats::{RowClass, RowWeights, Stats, Sums, Weights, kept_len};
pub(crate) use super::sweep::SEGMENT;
use super::sweep::{Fetch, Row, wide_dot_after};
use crate::alloc::filled_up;
use crate::crew::{Crew, lock};
use crate::element::Float;
use crate::simd::lanes::WideLanes;
use crate::simd::row::{Sink, Source};
use crate::simd::{MOST_LANES, Vector};
use crate::wide::Real;
pub(crate) use memory::RowMemory;
use memory::odd_len;
use std::sync::Mutex;

/// Neighbouring classes of a row, and memory for them.
pub(crate) struct Segment<'s, F: Float> {
    z: Source<'s, F>,
    out: Option<Sink<'s, F>>,
    /// Exponentials, and z − M: of an odd row only.
    exps: &'s mut [F],
    shifted: &'s mut [F],
    first: First<F>,
    class: RowClass,
    sums: Sums<F>,
}

/// The segments of a row of so many classes.
pub(crate) const fn segments_of(classes: usize) -> usize {
    classes.div_ceil(SEGMENT)
}

impl<'s, F: Float> Segment<'s, F> {
    /// The segments of the row `z`, to `segments`, which has room for them.
    pub(crate) fn of_row(
        z: Source<'s, F>,
        mut out: Option<Sink<'s, F>>,
        segments: &mut Vec<Mutex<Self>>,
    ) {
        for index in 0..segments_of(z.len()) {
            segments.push(Mutex::new(Self {
                z: z.part(index * SEGMENT, SEGMENT),
                out: out.as_mut().map(|out| out.split_off(SEGMENT)),
                exps: &mut [],
                shifted: &mut [],
                first: First::none(),
                class: RowClass::Finite,
                sums: Sums::zero(),
            }));
        }
    }
}

/// A group of one row.
pub(crate) struct LongRow<'g, 's, V: Vector> {
    token: V::Token,
    z: Source<'s, V::Scalar>,
    segments: &'g [Mutex<Segment<'s, V::Scalar>>],
    /// Until it is taken for an odd row.
    odd: Option<&'s mut Vec<V::Scalar>>,
    /// With what the exponentials are computed; none while they are kept.
    exp: Option<RowExp<V>>,
    flow: Flow,
    crew: &'g mut dyn Crew,
}

impl<'g, 's, V: Vector> LongRow<'g, 's, V> {
    /// The row `z`, of [`Segment::of_row`].
    pub(crate) fn new(
        token: V::Token,
        z: Source<'s, V::Scalar>,
        segments: &'g [Mutex<Segment<'s, V::Scalar>>],
        odd: &'s mut Vec<V::Scalar>,
        flow: Flow,
        crew: &'g mut dyn Crew,
    ) -> Self {
        assert!(segments.len() == segments_of(z.len()));
        Self { token, z, segments, odd: Some(odd), exp: None, flow, crew }
    }

    /// Runs `body` on each segment, with the number of its first class.
    fn each(&mut self, body: impl Fn(&mut Segment<'s, V::Scalar>, usize) + Sync) {
        let segments = self.segments;
        let bytes = SEGMENT * V::Scalar::STORAGE.size();
        self.crew.each(segments.len(), bytes, &|index| {
            body(&mut lock(&segments[index]), index * SEGMENT);
        });
    }

    /// The sums of all segments, the first first.
    fn joined(&self) -> Sums<V::Scalar> {
        let sums = self.segments.iter().map(|segment| lock(segment).sums);
        sums.fold(Sums::zero(), Sums::followed_by)
    }

    fn first(&mut self, weights: Weights<'_, V::Scalar>) -> First<V::Scalar> {
        let token = self.token;
        self.each(|segment, _| segment.first = first::<V>(token, segment.z, weights));
        let parts = self.segments.iter().map(|segment| lock(segment).first);
        parts.fold(First::none(), First::followed_by)
    }

    /// The sums of each segment.
    fn sweep<const STORE: bool>(&mut self, row: RowExp<V>, weights: Weights<'_, V::Scalar>) {
        let RowExp { exp, is_tempered, max } = row;
        let first = First { max, ..First::none() };
        self.each(|segment, start| {
            let shifted = Source::from_slice(segment.shifted);
            let z = if segment.shifted.is_empty() { segment.z } else { shifted };
            let row = Row { exp, is_tempered, z, first, fetch: Fetch::default() };
            segment.sums = row.swept::<STORE>(weights.part(start, SEGMENT), segment.exps);
        });
    }

    /// As [`odd::sums`].
    fn odd_sums<const STORE: bool>(
        &mut self,
        row: RowExp<V>,
        max: V::Scalar,
        is_in_range: bool,
        weights: Weights<'_, V::Scalar>,
    ) -> (RowClass, Sums<V::Scalar>) {
        self.keep::<STORE>(!is_in_range);
        self.each(|segment, _| {
            segment.class = odd::classify(segment.z);
            odd::shift(segment.z, max, segment.shifted);
        });
        let classes = self.segments.iter().map(|segment| lock(segment).class);
        let class = classes.reduce(RowClass::with).unwrap_or(RowClass::Finite);
        if class != RowClass::Finite {
            return (class, Sums::zero());
        }
        self.sweep::<STORE>(row, Weights::Absent);
        let mut sums = self.joined();
        for (index, segment) in self.segments.iter().enumerate() {
            // One after the other, to be given up in between.
            if !self.crew.may_go_on(SEGMENT * V::Scalar::STORAGE.size()) {
                break;
            }
            let weights = weights.part(index * SEGMENT, SEGMENT);
            sums.dot = wide_dot_after(sums.dot, lock(segment).z, max, weights, odd::UNIT);
        }
        (class, sums)
    }

    /// Memory for the exponentials of an odd row, and for a shifted row.
    fn keep<const STORE: bool>(&mut self, is_shifted: bool) {
        let Some(odd) = self.odd.take() else { return };
        if let Err(error) = filled_up(odd, odd_len(self.z.len()), self.crew) {
            return self.crew.stop(error);
        }
        let mut rest = &mut odd[..];
        let mut part = |len: usize| rest.split_off_mut(..len).unwrap_or_default();
        for segment in self.segments {
            let mut segment = lock(segment);
            let len = segment.z.len();
            segment.exps = part(if STORE { kept_len(len, MOST_LANES) } else { 0 });
            segment.shifted = part(if is_shifted { len } else { 0 });
        }
    }

    fn reduced<const STORE: bool>(
        &mut self,
        weights: Weights<'_, V::Scalar>,
        temperature: &Temperature<V::Scalar>,
    ) -> Stats<V> {
        let token = self.token;
        let first = self.first(weights);
        let max = first.max;
        let is_in_range = temperature.is_in_range(max);
        let swept_max = if is_in_range { max } else { V::Scalar::default() };
        let exp = Exp::<V>::new(token, V::splat(token, swept_max), temperature);
        let is_tempered = !temperature.is_one();
        let row = RowExp { exp, is_tempered, max: swept_max };
        let mut class = RowClass::Finite;
        let mut unit = 1.0;
        let mut sums = None;
        if is_in_range {
            self.exp = Some(row);
            self.sweep::<false>(row, weights);
            let mut joined = self.joined();
            if matches!(weights, Weights::Ones) {
                joined.dot = first.gaps(self.z.len());
            }
            sums = Some(joined).filter(Sums::are_finite);
        }
        let sums = sums.unwrap_or_else(|| {
            self.exp = None;
            unit = odd::UNIT;
            let sums;
            (class, sums) = self.odd_sums::<STORE>(row, max, is_in_range, weights);
            sums
        });
        let peaks = if is_tempered { exp.peaks::<TEMPERED>() } else { exp.peaks::<PLAIN>() };
        let doubles = |value: f64| V::splat(token, V::Scalar::default()).to_doubles().like(value);
        Stats {
            class: [class; MOST_LANES],
            max: V::splat(token, max),
            ties: doubles(sums.ties),
            peak: peaks.summed,
            exact_peak: peaks.exact,
            others: V::Wide::splat(token, sums.others),
            dot: V::Wide::splat(token, sums.dot),
            unit: doubles(unit),
            inverse_unit: doubles(1.0 / unit),
        }
    }

    fn write_with<E: Epilogue<V>>(
        &mut self,
        epilogue: E,
        weights: Weights<'_, V::Scalar>,
        label: Option<(usize, V::Scalar)>,
    ) {
        let (token, flow) = (self.token, self.flow);
        self.each(|segment, start| {
            let values = if E::OF_EXPS {
                kept_of(segment.exps)
            } else {
                Kept { value: segment.z, lost: segment.z }
            };
            // Elsewhere than in this segment, it is never met.
            let label = label.map(|(class, value)| (class.wrapping_sub(start), value));
            let weights = weights.part(start, SEGMENT);
            let Some(out) = &mut segment.out else { return };
            write_row::<V, E>(token, flow, epilogue, values, weights, label, out);
            if flow.streams {
                V::fence(token);
            }
        });
    }

    fn at(&self, is_counted: bool, value: impl FnOnce() -> V::Scalar) -> V {
        V::splat(self.token, if is_counted { value() } else { V::Scalar::default() })
    }
}

/// What the exponentials of a row are computed with; see [`Row`].
#[derive(Clone, Copy)]
struct RowExp<V: Vector> {
    exp: Exp<V>,
    is_tempered: bool,
    max: V::Scalar,
}

/// An epilogue of exponentials, as one of logits.
#[derive(Clone, Copy)]
struct OfLogits<V: Vector, E, const HEAT: bool> {
    exp: Exp<V>,
    epilogue: E,
}

impl<V: Vector, E: Epilogue<V>, const HEAT: bool> Epilogue<V> for OfLogits<V, E, HEAT> {
    const OF_EXPS: bool = false;
    const IS_WEIGHTED: bool = E::IS_WEIGHTED;

    /// Already of one row.
    #[inline(always)]
    fn each_row(self) -> impl Fn(usize) -> Self {
        move |_| self
    }
    #[inline(always)]
    fn apply<const WEIGHTS: u8>(&self, logits: Kept<V>, high: V, low: V) -> V {
        let exps = self.exp.parts::<HEAT>(logits.value).rounded();
        self.epilogue.apply::<WEIGHTS>(exps, high, low)
    }
}

impl<V: Vector> Group<V> for LongRow<'_, '_, V> {
    fn token(&self) -> V::Token {
        self.token
    }
    fn rows(&self) -> usize {
        1
    }
    fn classes(&self) -> usize {
        self.z.len()
    }

    #[inline(always)]
    fn reduce<const STORE: bool>(
        &mut self,
        counted: &LaneMask,
        weights: &RowWeights<'_, V::Scalar>,
        temperature: &Temperature<V::Scalar>,
    ) -> Stats<V> {
        if !counted[0] {
            return Stats::none(self.token);
        }
        V::outlined(
            self.token,
            #[inline(always)]
            || self.reduced::<STORE>(weights.of_row(0), temperature),
        )
    }

    fn logits_at(&self, counted: &LaneMask, classes: &[usize; MOST_LANES]) -> V {
        self.at(counted[0], || self.z.get(classes[0]))
    }

    #[inline(always)]
    fn exps_at(&self, counted: &LaneMask, classes: &[usize; MOST_LANES]) -> Kept<V> {
        let class = classes[0];
        match self.exp {
            Some(RowExp { exp, is_tempered, .. }) => {
                let z = self.logits_at(counted, classes);
                let hot = exp.parts::<TEMPERED>(z).rounded();
                if is_tempered { hot } else { exp.parts::<PLAIN>(z).rounded() }
            }
            None => {
                let part = |part: usize| {
                    self.at(counted[0], || {
                        let exps = &lock(&self.segments[class / SEGMENT]).exps;
                        // None where the work was given up for want of memory.
                        let at = part * (exps.len() / 2) + class % SEGMENT;
                        exps.get(at).copied().unwrap_or_default()
                    })
                };
                Kept { value: part(0), lost: part(1) }
            }
        }
    }

    #[inline(always)]
    fn write<E: Epilogue<V>>(
        &mut self,
        written: &LaneMask,
        epilogue: &E,
        weights: &RowWeights<'_, V::Scalar>,
        label: Option<&AtLabel<V>>,
    ) {
        if !written[0] {
            return;
        }
        let epilogue = epilogue.each_row()(0);
        let weights = if E::IS_WEIGHTED { weights.of_row(0) } else { Weights::Absent };
        let label = label.filter(|label| label.rows[0]);
        let label = label.map(|label| (label.classes[0], label.values.to_array()[0]));
        match self.exp.filter(|_| E::OF_EXPS) {
            None => self.write_with(epilogue, weights, label),
            Some(RowExp { exp, is_tempered: false, .. }) => {
                self.write_with(OfLogits::<V, E, PLAIN> { exp, epilogue }, weights, label);
            }
            Some(RowExp { exp, is_tempered: true, .. }) => {
                self.write_with(OfLogits::<V, E, TEMPERED> { exp, epilogue }, weights, label);
            }
        }
    }

    fn fill(&mut self, _lane: usize, value: V::Scalar) {
        self.each(|segment, _| {
            if let Some(out) = &mut segment.out {
                out.fill(value);
            }
        });
    }

    fn crew(&mut self) -> &mut dyn Crew {
        self.crew
    }
}
