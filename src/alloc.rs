//! Allocation that can fail: running out of memory is an error of the call, and never aborts the process.

pub(crate) mod reserve;

use crate::error::Error;
use crate::simd::Float;

/// An empty vector with room for `len` elements.
pub(crate) fn with_capacity<T>(len: usize) -> Result<Vec<T>, Error> {
    let mut vector = Vec::new();
    match vector.try_reserve_exact(len) {
        Ok(()) => Ok(vector),
        Err(_) => Err(Error::OutOfMemory { bytes: len.saturating_mul(size_of::<T>()) }),
    }
}

/// `len` zeros.
pub(crate) fn zeros<F: Float>(len: usize) -> Result<Vec<F>, Error> {
    let mut vector = with_capacity(len)?;
    vector.resize(len, F::default());
    Ok(vector)
}
