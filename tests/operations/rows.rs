//! Batches that meet every path: each kind of row, each form of target.
#![allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "small integers")]

use crate::memory;
use smoothxent::{Error, Float, Labels, Rows, Run, read_labels};
use std::fmt;
use std::ops::Range;

/// What a row of logits is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Within ±9.
    Ordinary,
    /// One class far above the others.
    Confident,
    /// Within ±1000: most classes below the cut.
    Wide,
    /// Three different values, so many maxima.
    Ties,
    /// Neighbouring numbers.
    TinyDifferences,
    /// Subnormal numbers and zeros of both signs.
    Subnormal,
    /// A maximum just inside the range of the exponential, ±1e6.
    Edge,
    /// All beyond that range, which shifts the row.
    Far,
    /// All beyond it on the other side.
    FarBelow,
    /// The largest numbers of both signs.
    Largest,
    /// Ordinary but for some largest negative numbers, whose weighted sum overflows.
    Lowest,
    /// Ordinary but for some −inf.
    MinusInfinity,
    /// Nothing but −inf.
    AllMinusInfinity,
    /// Ordinary but for one +inf.
    PlusInfinity,
    /// Ordinary but for one NaN.
    Nan,
    /// NaN and infinities of both signs.
    NanAndInfinities,
}

impl Kind {
    pub const ALL: [Kind; 16] = [
        Kind::Ordinary,
        Kind::Confident,
        Kind::Wide,
        Kind::Ties,
        Kind::TinyDifferences,
        Kind::Subnormal,
        Kind::Edge,
        Kind::Far,
        Kind::FarBelow,
        Kind::Largest,
        Kind::Lowest,
        Kind::MinusInfinity,
        Kind::AllMinusInfinity,
        Kind::PlusInfinity,
        Kind::Nan,
        Kind::NanAndInfinities,
    ];

    /// Kinds whose losses are finite and do not drown the others in a sum.
    pub const SUMMABLE: [Kind; 8] = [
        Kind::Ordinary,
        Kind::Confident,
        Kind::Wide,
        Kind::Ties,
        Kind::TinyDifferences,
        Kind::Subnormal,
        Kind::Edge,
        Kind::Far,
    ];

    fn row<F: Float>(self, classes: usize, random: &mut Random) -> Vec<f64> {
        let (largest, epsilon) = (memory::largest(F::STORAGE), memory::epsilon(F::STORAGE));
        let special = random.below(classes);
        let mut logit = |k: usize| {
            let ordinary = random.within(9.0);
            match self {
                Kind::Confident if k == special => 40.0,
                Kind::Confident => ordinary / 9.0,
                Kind::Wide => random.within(1000.0),
                Kind::Ties => random.below(3) as f64,
                Kind::TinyDifferences => 1.0 + random.below(4) as f64 * epsilon,
                Kind::Subnormal => random.within(1.0).round() * random.within(F::MIN_POSITIVE),
                Kind::Edge => 999_990.0 + ordinary,
                Kind::Far => 3e6 + ordinary,
                Kind::FarBelow => -1e9 + 1000.0 * ordinary,
                Kind::Largest => [largest, -largest, 0.5 * largest][random.below(3)],
                Kind::Lowest => [-largest, ordinary][random.below(2)],
                Kind::MinusInfinity => [f64::NEG_INFINITY, ordinary][random.below(2)],
                Kind::AllMinusInfinity => f64::NEG_INFINITY,
                Kind::PlusInfinity if k == special => f64::INFINITY,
                Kind::Nan if k == special => f64::NAN,
                Kind::Ordinary | Kind::PlusInfinity | Kind::Nan => ordinary,
                Kind::NanAndInfinities => {
                    [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, ordinary][random.below(4)]
                }
            }
        };
        (0..classes).map(|k| F::from_f64(logit(k)).to_f64()).collect()
    }
}

/// The label of rows that are not counted.
pub const IGNORED: i64 = -100;

/// Labels that are checked.
pub fn labels(
    values: &[i64],
    classes: usize,
    ignored: Option<i64>,
    run: &mut Run<'_>,
) -> Result<Labels, Error> {
    let (elements, mut labels) = (Rows::from_slice(values, 1), Labels::default());
    read_labels(&elements, "targets", classes, ignored.map(i128::from), &mut labels, run)?;
    Ok(labels)
}

/// Logits of several rows with every form of target and every option for them.
#[derive(Clone)]
pub struct Problem {
    pub classes: usize,
    pub kinds: Vec<Kind>,
    pub logits: Vec<f64>,
    pub labels: Vec<i64>,
    /// The labels as probabilities.
    pub one_hot: Vec<f64>,
    pub probabilities: Vec<f64>,
    /// One for all rows.
    pub prior: Vec<f64>,
    /// One a row.
    pub priors: Vec<f64>,
    pub class_weight: Vec<f64>,
    pub sample_weight: Vec<f64>,
    /// 1 for a class that is there, else 0; for all rows.
    pub mask: Vec<f64>,
    /// The same for each row. Some rows have no class.
    pub masks: Vec<f64>,
}

/// What the numbers are made from; they are many.
impl fmt::Debug for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { classes, kinds, labels, .. } = self;
        write!(f, "{classes} classes, rows {kinds:?}, labels {labels:?}")?;
        if self.logits.len() > 12 { Ok(()) } else { write!(f, ", logits {:?}", self.logits) }
    }
}

impl Problem {
    /// A row of each of `kinds`, for rows computed in `F`, with random labels; none is ignored.
    pub fn new<F: Float>(kinds: &[Kind], classes: usize, seed: u64) -> Self {
        let mut random = Random(seed);
        let random = &mut random;
        let rows = kinds.len();
        let logits = kinds.iter().flat_map(|kind| kind.row::<F>(classes, random)).collect();
        let mut problem = Self {
            classes,
            kinds: kinds.to_vec(),
            logits,
            labels: vec![0; rows],
            one_hot: vec![0.0; rows * classes],
            probabilities: (0..rows).flat_map(|_| distribution::<F>(classes, random)).collect(),
            prior: distribution::<F>(classes, random),
            priors: (0..rows).flat_map(|_| distribution::<F>(classes, random)).collect(),
            class_weight: (0..classes).map(|_| weight(random)).collect(),
            sample_weight: (0..rows).map(|_| weight(random)).collect(),
            mask: mask(classes, random),
            masks: Vec::new(),
        };
        for row in 0..rows {
            problem.set_label(row, random.below(classes));
            let is_empty = random.below(8) == 0;
            let mask = if is_empty { vec![0.0; classes] } else { mask(classes, random) };
            problem.masks.extend(mask);
        }
        problem
    }

    pub fn rows(&self) -> usize {
        self.kinds.len()
    }

    pub fn set_label(&mut self, row: usize, label: usize) {
        self.labels[row] = i64::try_from(label).unwrap();
        let one_hot = &mut self.one_hot[row * self.classes..][..self.classes];
        one_hot.fill(0.0);
        one_hot[label] = 1.0;
    }

    /// The problem of these rows alone.
    pub fn slice(&self, rows: Range<usize>) -> Self {
        let classes = self.classes;
        let of_rows = |values: &[f64]| values[rows.start * classes..rows.end * classes].to_vec();
        Self {
            classes,
            kinds: self.kinds[rows.clone()].to_vec(),
            logits: of_rows(&self.logits),
            labels: self.labels[rows.clone()].to_vec(),
            one_hot: of_rows(&self.one_hot),
            probabilities: of_rows(&self.probabilities),
            prior: self.prior.clone(),
            priors: of_rows(&self.priors),
            class_weight: self.class_weight.clone(),
            sample_weight: self.sample_weight[rows.clone()].to_vec(),
            mask: self.mask.clone(),
            masks: of_rows(&self.masks),
        }
    }

    /// The problem with class `order[k]` in the place of k; classes that are not in `order` are
    /// left out, and the labels are of classes that are.
    pub fn with_classes(&self, order: &[usize]) -> Self {
        let of_rows = |values: &[f64]| -> Vec<f64> {
            let rows = values.chunks(self.classes);
            rows.flat_map(|row| order.iter().map(|k| row[*k])).collect()
        };
        let place = |label: i64| match order.iter().position(|k| usize::try_from(label) == Ok(*k)) {
            Some(place) => i64::try_from(place).unwrap(),
            None => IGNORED,
        };
        Self {
            classes: order.len(),
            kinds: self.kinds.clone(),
            logits: of_rows(&self.logits),
            labels: self.labels.iter().map(|label| place(*label)).collect(),
            one_hot: of_rows(&self.one_hot),
            probabilities: of_rows(&self.probabilities),
            prior: of_rows(&self.prior),
            priors: of_rows(&self.priors),
            class_weight: of_rows(&self.class_weight),
            sample_weight: self.sample_weight.clone(),
            mask: of_rows(&self.mask),
            masks: of_rows(&self.masks),
        }
    }
}

/// The class that every distribution and every mask has.
fn common(classes: usize) -> usize {
    classes / 2
}

/// A skewed distribution in which about a quarter of the classes have no probability.
fn distribution<F: Float>(classes: usize, random: &mut Random) -> Vec<f64> {
    let mut weights: Vec<f64> = (0..classes).map(|_| weight(random)).collect();
    weights[random.below(classes)] += 1.0;
    weights[common(classes)] += 0.25;
    let sum: f64 = weights.iter().sum();
    weights.iter().map(|weight| F::from_f64(weight / sum).to_f64()).collect()
}

/// 0 in a quarter of all cases.
fn weight(random: &mut Random) -> f64 {
    random.within(1.0).max(-0.5) + 0.5
}

fn mask(classes: usize, random: &mut Random) -> Vec<f64> {
    let mut mask: Vec<f64> =
        (0..classes).map(|_| if random.below(4) == 0 { 0.0 } else { 1.0 }).collect();
    mask[common(classes)] = 1.0;
    mask
}

/// SplitMix64
pub struct Random(pub u64);

impl Random {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let bits = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    pub fn below(&mut self, end: usize) -> usize {
        (self.bits() % end as u64) as usize
    }

    /// Uniform in ±limit.
    fn within(&mut self, limit: f64) -> f64 {
        ((self.bits() >> 11) as f64 * f64::EPSILON - 1.0) * limit
    }
}
