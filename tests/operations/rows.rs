//! Batches that meet every path: each kind of row, each form of target.
#![allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "small integers")]

use smoothxent::{Float, Storage};

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

    fn row<S: Float>(self, classes: usize, random: &mut Random) -> Vec<S> {
        let largest = if S::STORAGE == Storage::F32 { f64::from(f32::MAX) } else { f64::MAX };
        let epsilon =
            if S::STORAGE == Storage::F32 { f64::from(f32::EPSILON) } else { f64::EPSILON };
        let special = random.below(classes);
        let logit = |k: usize| {
            let ordinary = random.within(9.0);
            match self {
                Kind::Confident if k == special => 40.0,
                Kind::Confident => ordinary / 9.0,
                Kind::Wide => random.within(1000.0),
                Kind::Ties => random.below(3) as f64,
                Kind::TinyDifferences => 1.0 + random.below(4) as f64 * epsilon,
                Kind::Subnormal => random.within(1.0).round() * random.within(S::MIN_POSITIVE),
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
        (0..classes).map(logit).map(S::from_f64).collect()
    }
}

/// The label of rows that are not counted.
pub const IGNORED: i128 = -100;

/// Logits of several rows with every form of target for them.
pub struct Problem<S> {
    pub classes: usize,
    pub kinds: Vec<Kind>,
    pub logits: Vec<S>,
    pub labels: Vec<i128>,
    /// The labels as probabilities.
    pub one_hot: Vec<S>,
    pub probabilities: Vec<S>,
    /// One for all rows.
    pub prior: Vec<S>,
    /// One a row.
    pub priors: Vec<S>,
}

impl<S: Float> Problem<S> {
    /// A row of each of `kinds`, with random labels; none is ignored.
    pub fn new(kinds: Vec<Kind>, classes: usize) -> Self {
        let mut random = Random(classes as u64);
        let mut problem = Self {
            classes,
            logits: kinds.iter().flat_map(|kind| kind.row(classes, &mut random)).collect(),
            labels: vec![0; kinds.len()],
            one_hot: vec![S::default(); kinds.len() * classes],
            probabilities: kinds.iter().flat_map(|_| distribution(classes, &mut random)).collect(),
            prior: distribution(classes, &mut random),
            priors: kinds.iter().flat_map(|_| distribution(classes, &mut random)).collect(),
            kinds,
        };
        for row in 0..problem.kinds.len() {
            problem.set_label(row, random.below(classes));
        }
        problem
    }

    pub fn set_label(&mut self, row: usize, label: usize) {
        self.labels[row] = label as i128;
        let one_hot = &mut self.one_hot[row * self.classes..][..self.classes];
        one_hot.fill(S::default());
        one_hot[label] = S::from_f64(1.0);
    }
}

/// A skewed distribution in which about a quarter of the classes have no probability.
fn distribution<S: Float>(classes: usize, random: &mut Random) -> Vec<S> {
    let mut weights: Vec<f64> = (0..classes).map(|_| random.within(1.0).max(-0.5) + 0.5).collect();
    weights[random.below(classes)] += 1.0;
    let sum: f64 = weights.iter().sum();
    weights.iter().map(|weight| S::from_f64(weight / sum)).collect()
}

/// SplitMix64
struct Random(u64);

impl Random {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let bits = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.bits() % end as u64) as usize
    }

    /// Uniform in ±limit.
    fn within(&mut self, limit: f64) -> f64 {
        ((self.bits() >> 11) as f64 * f64::EPSILON - 1.0) * limit
    }
}
