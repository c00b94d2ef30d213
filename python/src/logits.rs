//! Logits, and the arrays that are checked against their shape: targets, prior, weights and mask.

use super::arguments::{self, integer};
use super::arrays::{Array, broadcasts};
use super::call::run;
use super::errors::{Place, Result, axis_error, value_error, wrong_shape};
use super::known::Known;
use super::objects::{self, call, numbers};
use pyo3::prelude::*;
use smoothxent::{
    Batch, Error, Prior, Run, Storage, Targets, WeightValues, read_labels, read_prior,
    read_probabilities, read_weights,
};

/// Logits, and how their rows are computed.
pub(super) struct Logits<'py> {
    pub(super) array: Array<'py>,
    /// The axis of the classes.
    pub(super) axis: usize,
    pub(super) compute: Storage,
    /// Bytes of the indices of classes, if there are some.
    pub(super) index_bytes: usize,
    pub(super) temperature: f64,
    pub(super) mask: Option<Array<'py>>,
}

impl<'py> Logits<'py> {
    /// Logits with classes along a single axis, whose length may be 0.
    pub(super) fn new(logits: &Bound<'py, PyAny>, axis: &Bound<'_, PyAny>) -> Result<Self> {
        let given = integer(axis, "axis")?;
        let array = Array::find(logits, "logits", Array::LOGITS)?.view();
        let ndim = array.shape().len();
        let from_front = if given < 0 { given + ndim as i128 } else { given };
        let place = usize::try_from(from_front).ok().filter(|place| *place < ndim);
        let Some(axis) = place else { return Err(axis_error(axis, ndim)) };
        let compute = array.storage().compute_with(Storage::F32);
        Ok(Self { array, axis, compute, index_bytes: 0, temperature: 1.0, mask: None })
    }

    /// Reads the options that all functions of logits have, after refusing logits without classes.
    #[inline(always)]
    pub(super) fn read_options(
        &mut self,
        temperature: &Bound<'py, PyAny>,
        mask: &Bound<'py, PyAny>,
    ) -> Result<()> {
        if self.lack_classes() {
            let (py, axis) = (mask.py(), self.axis);
            return Err(value_error!(
                py,
                "logits has 0 classes along axis {axis}, expected at least 1"
            ));
        }
        self.temperature = arguments::temperature(temperature)?;
        if mask.is_none() {
            return Ok(());
        }
        let (array, shape) =
            (self.mask.insert(Array::read(mask, "where", Array::MASK)?), self.array.shape());
        if broadcasts(array.shape(), shape) {
            return Ok(());
        }
        let must_have = format_args!("where must be broadcastable to logits of shape");
        Err(wrong_shape(mask.py(), must_have, shape, array.shape()))
    }

    /// Are there rows, but none of them has classes?
    pub(super) fn lack_classes(&self) -> bool {
        // There are rows if no other length is 0.
        let shape = self.shape();
        self.classes() == 0 && shape.iter().filter(|len| **len == 0).count() == 1
    }

    pub(super) fn shape(&self) -> &[usize] {
        self.array.shape()
    }

    pub(super) fn classes(&self) -> usize {
        self.shape()[self.axis]
    }

    /// The shape of an array with one number for each row.
    pub(super) fn row_shape(&self) -> Vec<usize> {
        let mut shape = self.shape().to_vec();
        shape.remove(self.axis);
        shape
    }

    /// Runs `body` on these logits. The index of an error in a row is that in the logits without their class axis.
    pub(super) fn run<R: Send>(
        &self,
        py: Python<'_>,
        mut body: impl FnMut(&Batch<'_>, &mut Run<'_>) -> Result<R, Error> + Send,
    ) -> Result<R> {
        let (logits, temperature) = (self.array.rows(self.axis), self.temperature);
        let mask = self.mask.as_ref().map(|mask| mask.rows_broadcast(self.axis, self.shape()));
        let batch = Batch { logits, mask, temperature, compute: self.compute };
        let place = Place { shape: self.shape(), axis: self.axis, own: &[] };
        let bytes = self.array.bytes().max(self.index_bytes);
        run(py, bytes, Some(&place), |run| body(&batch, run))
    }

    /// Checks labels or probabilities against the logits. They are made in `place`, so that they are not copied.
    pub(super) fn targets<'p, 'a>(
        &self,
        py: Python<'_>,
        array: &'a Array<'_>,
        ignore_index: Option<&i128>,
        class_weight: Option<&WeightValues>,
        place: &'p mut Targets<'a>,
    ) -> Result<&'p Targets<'a>> {
        let (shape, given, axis) = (self.shape(), array.shape(), self.axis);
        let is_label = !array.storage().is_float();
        let left_out = if is_label { axis } else { shape.len() };
        // One by one: vector loads of lengths would wait for the stores of these lengths.
        let expected = (0..shape.len()).filter(|at| *at != left_out).map(|at| &shape[at]);
        if given.iter().ne(expected) {
            let (shape, given) = (numbers(py, shape)?, numbers(py, given)?);
            let kind = objects::dtype_name(Known::get().dtype_of(array.storage()).bind(py))?;
            let axis = objects::integer(py, axis as i128)?;
            let error = call(Known::get().shape_error.bind(py), [&given, &kind.0, &shape, &axis])?;
            return Err(PyErr::from_value(error).into());
        }
        let validate = |run: &mut Run<'_>| {
            if let (Targets::Labels(labels), true) = (&mut *place, is_label) {
                let elements = array.elements();
                let ignored = ignore_index.copied();
                return read_labels(&elements, "targets", self.classes(), ignored, labels, run);
            }
            *place = read_probabilities(array.rows(axis), self.compute, class_weight, run)?;
            Ok(())
        };
        run(py, array.bytes(), Some(&Place { shape, axis, own: given }), validate)?;
        Ok(place)
    }

    /// The array of a prior, whose shape is checked against the logits.
    pub(super) fn prior_array<'p>(&self, prior: &Bound<'p, PyAny>) -> Result<Array<'p>> {
        let py = prior.py();
        let array = Array::read(prior, "prior", Array::REAL)?;
        let (shape, given) = (self.shape(), array.shape());
        let classes = self.classes();
        let axis = (self.axis + given.len()).checked_sub(shape.len());
        let has_classes = axis.is_some_and(|axis| given[axis] == classes);
        if given == [classes] || has_classes && broadcasts(given, shape) {
            return Ok(array);
        }
        let must_have = format_args!(
            "prior must have shape ({classes},) or be broadcastable to logits of shape"
        );
        Err(wrong_shape(py, must_have, shape, given))
    }

    /// The checked prior.
    pub(super) fn prior<'a>(&self, py: Python<'_>, array: &'a Array<'_>) -> Result<Prior<'a>> {
        let given = array.shape();
        // A prior with one axis is that of all rows, whichever axis their classes are along.
        let (shape, axis) = if given.len() == 1 { (given, 0) } else { (self.shape(), self.axis) };
        let rows = array.rows_broadcast(axis, shape);
        if rows.rows() == 0 || rows.classes() == 0 {
            return Ok(Prior::Uniform);
        }
        let place = Place { shape, axis, own: given };
        run(py, array.bytes(), Some(&place), |run| read_prior(rows.clone(), run))
    }

    /// c, one weight for each class.
    pub(super) fn class_weight(&self, obj: &Bound<'_, PyAny>) -> Result<WeightValues> {
        let array = Array::real_of_shape(obj, "class_weight", &[self.classes()])?;
        let elements = array.elements();
        run(obj.py(), array.bytes(), None, |run| read_weights(&elements, "class_weight", run))
    }

    /// s, one weight for each row.
    pub(super) fn sample_weight(&self, obj: &Bound<'_, PyAny>) -> Result<WeightValues> {
        let array = Array::read(obj, "sample_weight", Array::REAL)?;
        let (given, shape) = (array.shape(), self.row_shape());
        if !broadcasts(given, &shape) {
            let must_have =
                format_args!("sample_weight must be broadcastable to the rows, of shape");
            return Err(wrong_shape(obj.py(), must_have, &shape, given));
        }
        let elements = array.rows_broadcast(shape.len(), &shape);
        let place = Place { shape: self.shape(), axis: self.axis, own: given };
        let bytes = elements.rows() * size_of::<f64>();
        run(obj.py(), bytes, Some(&place), |run| read_weights(&elements, "sample_weight", run))
    }
}
