//! Up to LANES rows together.
//!
//! ```text
//! for each row: M, Σ z                             in the rows, or
//! for each row: Σ, ties, dot; store exp            across them: tile.rs
//! once, a lane for each row: log, quotients, the constants of the epilogue
//! for each row: the epilogue
//! ```
//!
//! What is done once for a row costs as much for one row as for sixteen, so it is done in lanes.

use super::exp::{Exp, Kept, PLAIN, TEMPERED, Temperature};
use super::first::{First, first};
use super::odd;
use super::stats::{RowClass, RowWeights, Stats, Sums, Weights};
use super::sweep::{Fetch, Row};
use super::terms::{ABSENT, ONES, ROW, TWO_PARTS};
use crate::crew::{Alone, Crew};
use crate::element::Float;
use crate::simd::lanes::WideLanes;
use crate::simd::row::{Sink, Source};
use crate::simd::{MOST_LANES, Vector};
use crate::wide::Wide;

/// One truth for each lane.
pub(crate) type LaneMask = [bool; MOST_LANES];

/// Rows that are reduced, finished and written together.
pub(crate) trait Group<V: Vector> {
    fn token(&self) -> V::Token;
    /// At most LANES.
    fn rows(&self) -> usize;
    fn classes(&self) -> usize;

    /// Reduces the rows that count, nothing depends on the others; with `STORE` the exponentials are kept.
    fn reduce<const STORE: bool>(
        &mut self,
        counted: &LaneMask,
        weights: &RowWeights<'_, V::Scalar>,
        temperature: &Temperature<V::Scalar>,
    ) -> Stats<V>;
    /// The logit of a class of each row that counts, 0 of the others.
    fn logits_at(&self, counted: &LaneMask, classes: &[usize; MOST_LANES]) -> V;
    /// The kept exponential of a class of each row that counts.
    fn exps_at(&self, counted: &LaneMask, classes: &[usize; MOST_LANES]) -> Kept<V>;
    /// Writes the rows in `written`.
    fn write<E: Epilogue<V>>(
        &mut self,
        written: &LaneMask,
        epilogue: &E,
        weights: &RowWeights<'_, V::Scalar>,
        label: Option<&AtLabel<V>>,
    );
    /// Writes `value` to every class of a row.
    fn fill(&mut self, lane: usize, value: V::Scalar);
    /// Those who may be called for what else is to be done for long rows.
    fn crew(&mut self) -> &mut dyn Crew;
}

/// `value(lane)` of each row that counts, 0 of the others.
#[inline(always)]
pub(super) fn counted_lanes<V: Vector>(
    token: V::Token,
    counted: &LaneMask,
    value: impl Fn(usize) -> V::Scalar,
) -> V {
    let mut values = [V::Scalar::default(); MOST_LANES];
    for lane in (0..V::LANES).filter(|lane| counted[*lane]) {
        values[lane] = value(lane);
    }
    V::from_slice(token, &values)
}

/// What is written for each class, as a function of its logit or of its exponential.
pub(crate) trait Epilogue<V: Vector>: Copy + Sync {
    /// A function of the exponential, not of the logit?
    const OF_EXPS: bool;
    /// Do weights go in?
    const IS_WEIGHTED: bool;
    /// The constants of the row in one lane, in all lanes.
    fn each_row(self) -> impl Fn(usize) -> Self;
    fn apply<const WEIGHTS: u8>(&self, value: Kept<V>, high: V, low: V) -> V;
}

/// A value of its own for one class of each row.
pub(crate) struct AtLabel<V> {
    pub(crate) rows: LaneMask,
    pub(crate) classes: [usize; MOST_LANES],
    pub(crate) values: V,
}

/// Rows that are swept one by one.
pub(crate) struct RowGroup<'g, V: Vector> {
    token: V::Token,
    z: &'g [Source<'g, V::Scalar>],
    /// Empty where there is no output.
    out: &'g mut [Sink<'g, V::Scalar>],
    /// Rows of exponentials, padded to whole quads: of each the values, then what was lost.
    exps: &'g mut [V::Scalar],
    exps_len: usize,
    /// A row shifted by its maximum.
    shifted: &'g mut [V::Scalar],
    flow: Flow,
    alone: Alone,
}

/// How rows pass through the caches.
#[derive(Clone, Copy)]
pub(crate) struct Flow {
    /// Are whole lines of the output written past them?
    pub(crate) streams: bool,
    /// How many bytes further on the logits of the next group lie; 0 where nobody knows.
    pub(crate) ahead: usize,
    /// Do a group's logits, exponentials and outputs fit the nearest cache?
    pub(crate) is_near: bool,
}

impl<'g, V: Vector> RowGroup<'g, V> {
    #[inline(always)]
    pub(crate) fn new(
        token: V::Token,
        z: &'g [Source<'g, V::Scalar>],
        out: &'g mut [Sink<'g, V::Scalar>],
        exps: &'g mut [V::Scalar],
        exps_len: usize,
        shifted: &'g mut [V::Scalar],
        flow: Flow,
    ) -> Self {
        assert!(z.len() <= V::LANES && (out.is_empty() || out.len() == z.len()));
        let alone = Alone::default();
        Self { token, z, out, exps, exps_len, shifted, flow, alone }
    }
}

impl<V: Vector> RowGroup<'_, V> {
    #[inline(always)]
    fn reduced<const STORE: bool>(
        &mut self,
        counted: &LaneMask,
        weights: &RowWeights<'_, V::Scalar>,
        temperature: &Temperature<V::Scalar>,
    ) -> Stats<V> {
        let token = self.token;
        let (zero, zero_wide) = (V::Scalar::default(), <V::Scalar as Float>::Wide::new(0.0));
        let (mut max, mut swept_max) = ([zero; MOST_LANES], [zero; MOST_LANES]);
        let mut sum = [zero_wide; MOST_LANES];
        let mut in_range = [false; MOST_LANES];
        for (lane, z) in self.z.iter().enumerate().filter(|(lane, _)| counted[*lane]) {
            First { max: max[lane], sum: sum[lane] } = first::<V>(token, *z, weights.of_row(lane));
            in_range[lane] = temperature.is_in_range(max[lane]);
            if in_range[lane] {
                swept_max[lane] = max[lane];
            }
        }
        let exp = Exp::<V>::new(token, V::from_slice(token, &swept_max), temperature);
        let is_tempered = !temperature.is_one();
        let row_exp = exp.each_row();
        let mut class = [RowClass::Finite; MOST_LANES];
        let mut others = [zero_wide; MOST_LANES];
        let mut dot = [zero_wide; MOST_LANES];
        let (mut ties, mut unit) = ([1.0; MOST_LANES], [1.0; MOST_LANES]);
        let mut inverse_unit = unit;
        for (lane, &z) in self.z.iter().enumerate().filter(|(lane, _)| counted[*lane]) {
            let weights = weights.of_row(lane);
            let exps = if STORE {
                &mut self.exps[lane * self.exps_len..][..self.exps_len]
            } else {
                &mut []
            };
            let Flow { streams, ahead, is_near } = self.flow;
            let out = self.out.get(lane).filter(|_| STORE && !streams);
            let out = out.map_or(0, |out| out.distance_from(&z));
            let fetch = Fetch { ahead, out, is_near };
            let first = First { max: swept_max[lane], sum: sum[lane] };
            let row = Row { exp: row_exp(lane), is_tempered, z, first, fetch };
            let mut sums = None;
            if in_range[lane] {
                let swept = row.sums::<STORE>(weights, exps);
                sums = Some(swept).filter(Sums::are_finite);
            }
            let sums = match sums {
                Some(sums) => sums,
                None => {
                    let (max, shifted) = (max[lane], &mut *self.shifted);
                    let (odd_class, sums) =
                        odd::sums::<V, STORE>(row, max, in_range[lane], weights, exps, shifted);
                    class[lane] = odd_class;
                    (unit[lane], inverse_unit[lane]) = (odd::UNIT, 1.0 / odd::UNIT);
                    sums
                }
            };
            (others[lane], dot[lane], ties[lane]) = (sums.others, sums.dot, sums.ties);
        }
        let peaks = if is_tempered { exp.peaks::<TEMPERED>() } else { exp.peaks::<PLAIN>() };
        Stats {
            class,
            max: V::from_slice(token, &max),
            ties: V::Doubles::from_scalars(token, &ties),
            peak: peaks.summed,
            exact_peak: peaks.exact,
            others: V::Wide::from_scalars(token, &others),
            dot: V::Wide::from_scalars(token, &dot),
            unit: V::Doubles::from_scalars(token, &unit),
            inverse_unit: V::Doubles::from_scalars(token, &inverse_unit),
        }
    }
}

impl<V: Vector> Group<V> for RowGroup<'_, V> {
    #[inline(always)]
    fn token(&self) -> V::Token {
        self.token
    }
    #[inline(always)]
    fn rows(&self) -> usize {
        self.z.len()
    }
    #[inline(always)]
    fn classes(&self) -> usize {
        self.z[0].len()
    }

    #[inline(always)]
    fn reduce<const STORE: bool>(
        &mut self,
        counted: &LaneMask,
        weights: &RowWeights<'_, V::Scalar>,
        temperature: &Temperature<V::Scalar>,
    ) -> Stats<V> {
        V::outlined(
            self.token,
            #[inline(always)]
            || self.reduced::<STORE>(counted, weights, temperature),
        )
    }

    #[inline(always)]
    fn logits_at(&self, counted: &LaneMask, classes: &[usize; MOST_LANES]) -> V {
        counted_lanes(self.token, counted, |lane| self.z[lane].get(classes[lane]))
    }

    #[inline(always)]
    fn exps_at(&self, counted: &LaneMask, classes: &[usize; MOST_LANES]) -> Kept<V> {
        let at = |part: usize, lane: usize| {
            self.exps[lane * self.exps_len + part * (self.exps_len / 2) + classes[lane]]
        };
        Kept {
            value: counted_lanes(self.token, counted, |lane| at(0, lane)),
            lost: counted_lanes(self.token, counted, |lane| at(1, lane)),
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
        let row_epilogue = epilogue.each_row();
        let mut at_label = [V::Scalar::default(); MOST_LANES];
        if let Some(label) = label {
            label.values.to_slice(&mut at_label);
        }
        for (lane, out) in self.out.iter_mut().enumerate().filter(|(lane, _)| written[*lane]) {
            let values = if E::OF_EXPS {
                kept_of(&self.exps[lane * self.exps_len..][..self.exps_len])
            } else {
                Kept { value: self.z[lane], lost: self.z[lane] }
            };
            let weights = if E::IS_WEIGHTED { weights.of_row(lane) } else { Weights::Absent };
            let label = match label {
                Some(label) if label.rows[lane] => Some((label.classes[lane], at_label[lane])),
                _ => None,
            };
            let (token, flow) = (self.token, self.flow);
            write_row::<V, E>(token, flow, row_epilogue(lane), values, weights, label, out);
        }
    }

    #[inline(always)]
    fn fill(&mut self, lane: usize, value: V::Scalar) {
        if let Some(out) = self.out.get_mut(lane) {
            out.fill(value);
        }
    }

    fn crew(&mut self) -> &mut dyn Crew {
        &mut self.alone
    }
}

/// Exponentials as a sweep keeps them.
#[inline(always)]
pub(super) fn kept_of<F: Float>(exps: &[F]) -> Kept<Source<'_, F>> {
    let (value, lost) = exps.split_at(exps.len() / 2);
    Kept { value: Source::from_slice(value), lost: Source::from_slice(lost) }
}

/// Writes a row, or a part of one.
#[inline(always)]
pub(super) fn write_row<V: Vector, E: Epilogue<V>>(
    token: V::Token,
    flow: Flow,
    epilogue: E,
    values: Kept<Source<'_, V::Scalar>>,
    weights: Weights<'_, V::Scalar>,
    label: Option<(usize, V::Scalar)>,
    out: &mut Sink<'_, V::Scalar>,
) {
    if flow.streams && out.has_lines() {
        written::<V, E, true>(token, epilogue, values, weights, label, out);
    } else {
        written::<V, E, false>(token, epilogue, values, weights, label, out);
    }
}

/// Compiled once for each epilogue.
#[inline(always)]
fn written<V: Vector, E: Epilogue<V>, const STREAM: bool>(
    token: V::Token,
    epilogue: E,
    values: Kept<Source<'_, V::Scalar>>,
    weights: Weights<'_, V::Scalar>,
    label: Option<(usize, V::Scalar)>,
    out: &mut Sink<'_, V::Scalar>,
) {
    let zero = V::Scalar::default();
    let at = {
        #[inline(always)]
        move |place| Kept {
            value: values.value.at::<V>(token, place, zero),
            lost: values.lost.at::<V>(token, place, zero),
        }
    };
    match weights {
        Weights::Absent => fill_with::<V, STREAM>(
            token,
            label,
            out,
            #[inline(always)]
            move |place| {
                let value = at(place);
                epilogue.apply::<ABSENT>(value, value.value, value.value)
            },
        ),
        Weights::Ones => fill_with::<V, STREAM>(
            token,
            label,
            out,
            #[inline(always)]
            move |place| {
                let value = at(place);
                epilogue.apply::<ONES>(value, value.value, value.value)
            },
        ),
        Weights::Row { high, low: None } => fill_with::<V, STREAM>(
            token,
            label,
            out,
            #[inline(always)]
            move |place| {
                let high = high.at(token, place, zero);
                epilogue.apply::<ROW>(at(place), high, high)
            },
        ),
        Weights::Row { high, low: Some(low) } => fill_with::<V, STREAM>(
            token,
            label,
            out,
            #[inline(always)]
            move |place| {
                let (high, low) = (high.at(token, place, zero), low.at(token, place, zero));
                epilogue.apply::<TWO_PARTS>(at(place), high, low)
            },
        ),
    }
}

#[inline(always)]
fn fill_with<V: Vector, const STREAM: bool>(
    token: V::Token,
    label: Option<(usize, V::Scalar)>,
    out: &mut Sink<'_, V::Scalar>,
    vector: impl Fn(crate::simd::row::Place) -> V,
) {
    // Everything by value: behind a reference, it is loaded again after each store.
    let mut out = out.reborrow();
    V::outlined(
        token,
        #[inline(always)]
        move || out.fill_with::<V, STREAM>(label, vector),
    );
}
