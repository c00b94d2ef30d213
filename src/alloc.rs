//! Allocation that can fail: out of memory is an error of the call, never an abort.

use crate::element::Float;
use crate::error::Error;

/// An empty vector with room for `len` elements.
pub(crate) fn with_capacity<T>(len: usize) -> Result<Vec<T>, Error> {
    let mut vector = Vec::new();
    vector
        .try_reserve_exact(len)
        .map_err(|_| Error::OutOfMemory { bytes: len.saturating_mul(size_of::<T>()) })?;
    Ok(vector)
}

/// `len` zeros.
pub(crate) fn zeros<F: Float>(len: usize) -> Result<Vec<F>, Error> {
    let mut vector = with_capacity(len)?;
    vector.resize(len, F::default());
    Ok(vector)
}
