//! Weights and masks against the logits they belong to.

use super::arguments::Logits;
use super::arrays::{Array, broadcasts};
use super::call::run;
use super::errors::{Place, Shape, value_error};
use pyo3::prelude::*;
use smoothxent::{WeightValues, read_weights};

impl<'py> Logits<'py> {
    /// c, one weight for each class.
    pub(super) fn class_weight(&self, obj: &Bound<'_, PyAny>) -> PyResult<WeightValues> {
        let array = Array::real_of_shape(obj, "class_weight", &[self.classes()])?;
        let elements = array.elements(array.shape());
        run(obj.py(), array.bytes(), None, |run| read_weights(&elements, "class_weight", run))
    }

    /// s, one weight for each row.
    pub(super) fn sample_weight(&self, obj: &Bound<'_, PyAny>) -> PyResult<WeightValues> {
        let array = Array::real(obj, "sample_weight")?;
        let (given, shape) = (array.shape(), self.row_shape());
        if !broadcasts(given, &shape) {
            return Err(value_error!(
                obj.py(),
                "sample_weight must be broadcastable to the rows, of shape {}, got {}",
                Shape(&shape),
                Shape(given)
            ));
        }
        let elements = array.elements(&shape);
        let place = Place { shape: self.shape(), axis: self.axis, own: given };
        let bytes = elements.rows() * size_of::<f64>();
        run(obj.py(), bytes, Some(&place), |run| read_weights(&elements, "sample_weight", run))
    }

    /// The array of a mask, which broadcasts to the logits.
    pub(super) fn mask_array(&self, obj: &Bound<'py, PyAny>) -> PyResult<Array<'py>> {
        let array = Array::mask(obj)?;
        if broadcasts(array.shape(), self.shape()) {
            return Ok(array);
        }
        Err(value_error!(
            obj.py(),
            "where must be broadcastable to logits of shape {}, got {}",
            Shape(self.shape()),
            Shape(array.shape())
        ))
    }
}
