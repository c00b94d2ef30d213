//! Log-probabilities of some classes of each row: of the most likely classes, or of given ones.
//!
//! log p = (z − M)/T − L needs M and L of the row, and the logit of the class. So the rows are reduced first, and then
//! only the logits of the chosen classes are read again.

use super::Batch;
use crate::batch::{Job, Run, Top};
use crate::error::Error;
use crate::kernel::{Operation, Temperature, log_probability, shifted_log_probability};
use crate::simd::{Float, MOST_LANES, RowsMut, Storage, Vector, VectorJob};
use crate::target::Labels;

/// Log-probabilities in one part of the work.
const PART: usize = 1 << 12;

impl Batch<'_> {
    /// The classes of the k largest logits of every row, in order, and their log-probabilities. NaN comes first,
    /// masked classes last, and of equal logits the lower class.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], or the error of `run.checkpoint`.
    ///
    /// # Panics
    /// When `classes` and `out` do not have k elements for each row of the logits, or k is too large.
    pub fn top_k(
        &self,
        classes: &mut RowsMut<'_>,
        out: &mut RowsMut<'_>,
        run: &mut Run<'_>,
    ) -> Result<(), Error> {
        let (classes, out) = (&*classes, &*out);
        assert!(classes.classes() <= self.logits.classes() && classes.classes() == out.classes());
        assert!(classes.rows() == self.logits.rows());
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a class")]
        let given = |row, place| classes.get(row, place) as usize;
        computed_in!(self.compute, F => self.chosen::<F>(Some(classes), &given, out, run))
    }

    /// The log-probabilities of given classes of every row. The indices are in the C order of an array whose class
    /// axis is followed by axes of `inner` elements.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], or the error of `run.checkpoint`.
    ///
    /// # Panics
    /// When `out` does not have an element for each index.
    pub fn log_softmax_at(
        &self,
        (indices, inner): (&Labels, usize),
        out: &mut RowsMut<'_>,
        run: &mut Run<'_>,
    ) -> Result<(), Error> {
        let many = out.classes();
        let given = |row, place| indices.class((row / inner * many + place) * inner + row % inner);
        computed_in!(self.compute, F => self.chosen::<F>(None, &given, &*out, run))
    }

    fn chosen<F: Float>(
        &self,
        classes: Option<&RowsMut<'_>>,
        given: &(dyn Fn(usize, usize) -> usize + Sync),
        out: &RowsMut<'_>,
        run: &mut Run<'_>,
    ) -> Result<(), Error> {
        self.assert_same_shape(None);
        let rows = self.logits.rows();
        assert!(out.rows() == rows, "a row of {} for each", out.classes());
        let count = rows * out.classes();
        if count == 0 {
            return Ok(());
        }
        let (mut maxima, mut excesses) = (run.defaults(rows)?, run.defaults(rows)?);
        let (max, excess) =
            (RowsMut::from_slice(&mut maxima, 1), RowsMut::from_slice(&mut excesses, 1));
        let sorted = classes.map(|classes| (classes, out));
        let top = Top { len: classes.map_or(1, RowsMut::classes), max: &max, sorted };
        let job = self.job::<F>(Operation::LogSoftmax, None);
        let job = Job { top: Some(&top), scalars: Some(&excess), ..job };
        job.run(run)?;
        let is_sorted = classes.is_some();
        let (temperature, maxima, excesses) = (job.temperature, &maxima[..], &excesses[..]);
        let all = At { temperature, batch: self, is_sorted, maxima, excesses, given, out, part: 0 };
        let level = run.level;
        run.each(run.threads, count.div_ceil(PART), PART * size_of::<f64>(), &|part| {
            level.run(At { part, ..all });
        })
    }
}

/// A part of the log-probabilities, from reduced rows.
#[derive(Clone, Copy)]
struct At<'a, F> {
    temperature: Temperature<F>,
    batch: &'a Batch<'a>,
    /// Does `out` hold the logits, which the log-probabilities overwrite?
    is_sorted: bool,
    /// M, as it is in memory, and L.
    maxima: &'a [f64],
    excesses: &'a [f64],
    given: &'a (dyn Fn(usize, usize) -> usize + Sync),
    out: &'a RowsMut<'a>,
    part: usize,
}

impl<F: Float> VectorJob<F> for At<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Scalar = F>>(self, token: V::Token) {
        let Self { temperature, given, out, .. } = self;
        let Batch { logits, mask, .. } = self.batch;
        let (mut next, many, prescale) = (self.part * PART, out.classes(), temperature.prescale);
        let inverse = V::splat(token, F::from_f64(temperature.inverse));
        let logit = |row, place| {
            // −0 is 0, as in M.
            0.0 + if self.is_sorted {
                out.get(row, place)
            } else {
                logits.get(row, given(row, place))
            }
        };
        let end = (next + PART).min(out.rows() * many);
        while next < end {
            // Of several rows, if their outputs follow one another.
            let (row, place) = (next / many, next % many);
            let left = if out.are_one() { V::LANES } else { many - place };
            let len = V::LANES.min(left).min(end - next);
            let places = || (next..next + len).map(|index| (index / many, index % many));
            let [mut z, mut max, mut excess, mut log_p] = [[F::default(); MOST_LANES]; 4];
            for (lane, (row, place)) in places().enumerate() {
                z[lane] = F::from_f64(logit(row, place) * prescale);
                max[lane] = F::from_f64(self.maxima[row] * prescale);
                excess[lane] = F::from_f64(self.excesses[row]);
            }
            let [z, max, excess] = [z, max, excess].map(|lanes| V::from_slice(token, &lanes));
            log_probability(z, max, inverse, excess).to_slice(&mut log_p);
            for (log_p, (row, place)) in log_p[..len].iter_mut().zip(places()) {
                let (max, excess) = (self.maxima[row], self.excesses[row]);
                if mask.as_ref().is_some_and(|mask| mask.get(row, given(row, place)) == 0.0) {
                    *log_p = F::NEG_INFINITY;
                } else if excess.is_nan() || !max.is_finite() {
                    *log_p = F::NAN;
                } else if !temperature.is_in_range(F::from_f64(max * prescale)) {
                    let z = F::from_f64(logit(row, place));
                    *log_p = shifted_log_probability(z, max, temperature.of_memory(), excess);
                }
            }
            out.scatter_from(row, place, &log_p[..len]);
            next += len;
        }
    }
}
