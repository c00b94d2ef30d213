//! Allocation that can fail: out of memory is an error of the call, never an abort.

#[cfg(any(test, feature = "python"))]
pub(crate) mod reserve;

use crate::error::Error;
use crate::executor::Executor;
use crate::simd::Float;

/// Bytes of new memory that are first touched at a time: some milliseconds.
const BYTES_PER_PART: usize = 1 << 22;

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

/// `len` times `value`, to be given up on the way: the first touch is what new memory costs.
pub(crate) fn filled<T: Clone>(
    len: usize,
    value: &T,
    executor: &mut dyn Executor,
) -> Result<Vec<T>, Error> {
    let mut vector = with_capacity(len)?;
    let part = BYTES_PER_PART / size_of::<T>().max(1);
    for start in (0..len).step_by(part) {
        let end = len.min(start + part);
        if !executor.may_go_on((end - start) * size_of::<T>()) {
            break;
        }
        vector.resize(end, value.clone());
    }
    executor.outcome()?;
    Ok(vector)
}
