"""The steps of `smoothxent.dask` on one chunk, in the process of a worker: NumPy arrays in and out, without dask.

Classes are along the last axis. A row whose classes are in several chunks takes these steps; their results
are float64 arrays with a few numbers for each row or segment:

    edge        each chunk    the classes that are reduced with another chunk (see `_dask_shares`)
    maxima      each chunk    M of its segments of SEGMENT classes, which begin anew in each chunk
    join_maxima each row      M of the row, and the first segment that has it
    reduce      each chunk    sum of exp(z - M) and of u (M - z) over each segment
    finish      each row      logsumexp, the loss, or the constants from which outputs are computed
    write       each chunk    p or log p

One machine takes the same steps. Sums are relative to the M of the row, so the sum of a chunk is never rescaled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from smoothxent import _checks
from smoothxent import _smoothxent as _native
from smoothxent._arrays import as_logits
from smoothxent._dask_shares import SEGMENT, lengths_of_parts, segments
from smoothxent._exact import ExactSum, exact_sum
from smoothxent._losses import sum_arguments
from smoothxent._types import NDArray

Doubles = NDArray[np.float64]
Labels = NDArray[np.int64]
Operation = Literal["softmax", "log_softmax", "logsumexp", "loss"]

SEGMENT_SUMS = 6  # numbers that a segment is reduced to
IGNORED = -1  # the label of rows that do not count, once labels are checked


class Smoothing(NamedTuple):
    """How the labels of rows are smoothed."""

    label_smoothing: float
    prior_sum: float | None
    """None for the uniform prior."""
    classes: int


def edge(logits: NDArray[Any], lent: NDArray[np.int64]) -> NDArray[Any]:
    """Return a copy of the classes that a chunk lends."""
    return logits[..., : lent[0]].copy()


def maxima(
    logits: NDArray[Any],
    starts: NDArray[np.int64] | None = None,
    *,
    has_prior: bool,
    dtype: np.dtype[Any],
) -> Doubles:
    """Return the largest logit of each segment, ignoring NaN; with a prior, also whether a logit is -inf.

    Segments begin at `starts`, by default those of a chunk that neither lends nor borrows.
    """
    # It refuses masked values: NumPy would lose the mask where the classes of two chunks are joined.
    logits = as_logits(logits, "logits")
    if logits.dtype != dtype:  # the sums of float32 and float64 rows have other units
        raise TypeError(
            f"logits has a chunk of dtype {logits.dtype}, but dask takes its chunks for {dtype}; "
            f'pass logits.map_blocks(numpy.asarray, dtype="{logits.dtype}")'
        )
    if starts is None:
        starts = np.arange(0, logits.shape[-1], SEGMENT)
    found = _of_segments(np.fmax, logits, starts)
    result = np.fmax(found, -np.inf)  # if all are NaN
    if has_prior:
        has_infinity = np.isneginf(_of_segments(np.fmin, logits, starts)).astype(np.float64)
        pairs = np.stack([result, has_infinity], axis=-1)
        result = pairs.reshape(*result.shape[:-1], 2 * result.shape[-1])
    return result


@np.errstate(invalid="ignore")  # NumPy warns of a NaN in bfloat16
def _of_segments(function: np.ufunc, logits: NDArray[Any], starts: NDArray[np.int64]) -> Doubles:
    return function.reduceat(logits, starts, axis=-1).astype(np.float64)


def join_maxima(
    found: Doubles,
    labels: Labels | None = None,
    *,
    has_prior: bool,
    begins: NDArray[np.int64],
) -> Doubles:
    """Return M of each row, the first segment that has it, and whether a logit of the row is -inf.

    M is NaN for ignored rows. `begins` has the index of the first maximum of each segment.
    """
    of_parts = found[..., ::2] if has_prior else found
    of_segments = np.maximum.reduceat(of_parts, begins, axis=-1)
    first = of_segments.argmax(axis=-1)
    largest = of_segments.max(axis=-1)
    if labels is not None:
        if labels.shape != largest.shape:  # if dask did not know the sizes of the chunks
            raise ValueError(
                f"targets must have shape {largest.shape} for these rows of logits, got {labels.shape}"
            )
        largest = np.where(labels == IGNORED, np.nan, largest)
    has_infinity = found[..., 1::2].any(axis=-1) if has_prior else np.zeros(first.shape)
    return np.stack([largest, first, has_infinity], axis=-1)


def reduce(
    logits: NDArray[Any],
    rows: Doubles,
    first_class: NDArray[np.int64],
    first_segment: NDArray[np.int64],
    labels: Labels | None = None,
    prior: Doubles | None = None,
    *,
    operation: Operation,
    is_smoothed: bool = False,
) -> Doubles:
    """Return the sums of each segment of a chunk, which begins with this class and segment of the rows."""
    own = np.full((*logits.shape[:-1], 4), -1.0)
    own[..., 0], own[..., 2] = rows[..., 0], rows[..., 2]
    own[..., 1] = rows[..., 1] - first_segment[0]  # negative or too large: in another chunk
    if labels is not None:
        own[..., 3] = labels - first_class[0]
    weights = prior if prior is not None else is_smoothed or None
    return _native._reduce_chunk(operation, logits, -1, own, weights)


def reduce_parts(
    logits: NDArray[Any],
    lent: NDArray[np.int64],
    borrowed: NDArray[Any],
    rows: Doubles,
    first_class: NDArray[np.int64],
    first_segment: NDArray[np.int64],
    labels: Labels | None = None,
    prior: Doubles | None = None,
    **options: Any,
) -> Doubles:
    """Return the result of `reduce` for the classes that a chunk does not lend, and those that it borrows."""
    own = logits[..., lent[0] :]
    borrows = borrowed.shape[-1]
    whole, shared = lengths_of_parts(own.shape[-1] + borrows, borrows)
    parts = [own[..., :whole]]
    if shared:
        parts.append(np.concatenate([own[..., whole:], borrowed], axis=-1))
    priors = [None, None] if prior is None else [prior[:whole], prior[whole:]]
    firsts = [(first_class, first_segment), (first_class + whole, first_segment + segments(whole))]
    sums = [
        reduce(part, rows, *first, labels, own_prior, **options)
        for part, first, own_prior in zip(parts, firsts, priors)
    ]
    return np.concatenate(sums, axis=-1)


def finish(
    sums: Doubles,
    rows: Doubles,
    *,
    operation: Operation,
    dtype: np.dtype[Any],
    smoothing: Smoothing,
) -> NDArray[Any]:
    """Return for each row the loss, the logsumexp in `dtype`, or what `write` needs."""
    largest = rows[..., :1]
    is_double = dtype == np.float64
    constants = _native._finish_chunks(operation, sums, largest, is_double, smoothing)
    if operation == "loss":
        return constants[..., 0]
    if operation == "logsumexp":
        return rounded(constants[..., 0], dtype=dtype)
    return np.concatenate([largest, constants], axis=-1)


def rounded(values: Doubles, *, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return numbers of rows in `dtype`, rounded first to the type in which the rows are computed."""
    with np.errstate(all="ignore"):  # no warnings, as in the native code
        return values.astype(np.promote_types(np.float32, dtype)).astype(dtype)


def write(logits: NDArray[Any], rows: Doubles, *, operation: Operation) -> NDArray[Any]:
    """Return the probabilities of a chunk, or their logarithms."""
    return _native._write_chunk(operation, logits, -1, rows)


def row_losses(
    logits: NDArray[Any], labels: Labels, *, label_smoothing: float, prior: Doubles | None
) -> Doubles:
    """Return the losses of rows whose classes are all in this chunk, in float64 for a sum."""
    arguments = sum_arguments(logits, labels, label_smoothing, prior, ignore_index=IGNORED)
    return _native._row_losses(*arguments)


def check_labels(
    targets: NDArray[Any],
    *,
    classes: int,
    ignore_index: int | None,
    block_info: Mapping[int, Mapping[str, Any]],
) -> Labels:
    """Return labels that are classes or `IGNORED`; an error has the index within the whole targets."""
    targets = _checks.labels(targets)
    location = block_info[0]["array-location"]
    starts: Sequence[float] = [start for start, _ in location]
    in_chunk = ""
    if any(np.isnan(starts)):
        starts = [0] * targets.ndim
        in_chunk = f" of chunk {tuple(block_info[0]['chunk-location'])}"
    _checks.classes_or_ignored(targets, classes, ignore_index, tuple(map(int, starts)), in_chunk)
    labels = targets.astype(np.int64)
    if ignore_index is not None:
        labels[np.equal(targets, ignore_index)] = IGNORED
    return labels


def loss_sums(losses: Doubles, labels: Labels) -> NDArray[np.object_]:
    """Return the exact sum of the losses of a chunk, and how many of its rows count."""
    sums = np.empty((*(1,) * losses.ndim, 2), np.object_)
    sums[..., 0] = exact_sum(losses)
    sums[..., 1] = int(np.count_nonzero(labels != IGNORED))
    return sums


def reduced_loss(sums: NDArray[np.object_], *, reduction: str) -> NDArray[np.float64]:
    """Return the reduced loss from the sum of the losses and the number of rows."""
    total: ExactSum = sums[0]
    count: int = sums[1]
    value = total.value()
    if reduction != "sum":
        nothing = 0.0 if reduction == "sum_by_nonzero_weights" else np.nan
        value = value / count if count else nothing
    return np.array(value)
