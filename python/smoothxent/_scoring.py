"""The score of any number of rows in constant memory, chunk by chunk.

    for each chunk of rows, a few MB:
        its sums, by _scored_rows.py    one pass reads from the disk, the others from the caches
        total = total + score
        on_chunk(total, next row)

The sums are exact, so neither the chunks nor an interruption between two chunks change a bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, SupportsIndex, Unpack

import numpy as np

from smoothxent import _scoring_checks as checks
from smoothxent._arrays import as_logits, as_ndarray, as_targets, is_supported_float
from smoothxent._loss_options import LossOptions
from smoothxent._options import between
from smoothxent._outputs import as_output, count_change
from smoothxent._pieces import SEQUENCES
from smoothxent._score import Score
from smoothxent._scored_rows import score_rows
from smoothxent._types import ArrayLike, NDArray, Output, Rows

# A chunk is read from memory once and then from the caches, and so are the results for its rows.
_CHUNK_BYTES = 1 << 24
_MAX_CHUNK_ROWS = 1 << 14


def score(
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    chunk_rows: SupportsIndex | None = None,
    start: SupportsIndex = 0,
    on_chunk: Callable[[Score, int], object] | None = None,
    log_probs_out: Output | None = None,
    grad_out: Output | None = None,
    top_k: SupportsIndex | None = None,
    **loss_options: Unpack[LossOptions],
) -> Score:
    r"""Return loss, accuracy and calibration error of logits, also of files larger than memory.

    Use it to evaluate a model on memory-mapped logits, which are read chunk by chunk. The command
    ``smoothxent score`` does the same for files. For the loss alone use `cross_entropy`.

    Parameters
    ----------
    logits : array_like
        As for `cross_entropy`, of shape (N, ..., K). They are divided into chunks along axis 0, and
        the K classes are along the last axis. For a file larger than memory pass a `numpy.memmap`,
        as ``numpy.load(file, mmap_mode="r")`` returns.
    targets : array_like
        As for `cross_entropy`: integer labels of shape (N, ...), or probabilities of the shape of
        `logits`. For probabilities, the target class of a row is the most probable class, and of
        several equally probable classes the one with the lowest index.
    chunk_rows : int, optional
        The number of rows of a chunk. By default a chunk has 16 MB of logits, but at most 16384
        rows. It does not change any bit of the result.
    start : int, default 0
        The first row to be read; rows before it are neither scored nor written.
    on_chunk : callable, optional
        ``on_chunk(score, row)`` is called after every chunk with the score of the rows from `start`
        to `row` (exclusive); `row` is the next row to be read. If it raises an exception, the run
        ends with it. To continue an interrupted run, save both: ``score + sx.score(logits, targets,
        start=row)`` is the score of an uninterrupted run.
    log_probs_out : ndarray, optional
        Where to write log p: an array of the shape of `logits`, for example a `numpy.memmap`. The
        rules are those for `out` of `log_softmax`, but it must not share memory with an argument.
    grad_out : ndarray, optional
        Where to write the gradient of the loss of every row: an array of the shape of `logits`.
        Divided by ``score.divisor``, it is the gradient of the mean. The rules are those for
        `grad_out` of `cross_entropy_value_and_grad`, but it must not share memory with an argument.
    top_k : int, optional
        From 1 to K. If it is given, ``top_k_accuracy`` is computed too: the share of rows whose
        target class is among the `top_k` most probable classes.
    **loss_options
        `label_smoothing`, `prior`, `class_weight`, `sample_weight`, `ignore_index`, `where`,
        `temperature` and `z_loss`, as for `cross_entropy`. Arrays with an axis of N rows are read
        in chunks. The `prior` is also used for the terms, so here it may be given without
        `label_smoothing`. `sample_weight` applies to every figure, `class_weight` to the loss only.

    Returns
    -------
    Score
        ``loss``, ``nll``, ``prior_cross_entropy``, ``prior_kl``, ``prior_entropy``, ``logsumexp``,
        ``perplexity``, ``accuracy``, ``top_5_accuracy``, ``top_k_accuracy``, ``calibration_error``,
        ``divisor``, and the counts ``rows``, ``ignored_rows`` and ``nonfinite_rows``. Loss, nll,
        cross-entropy, divergence, entropy and logsumexp are in nats. Scores of parts add up with
        ``+``.

    Raises
    ------
    LabelError, TypeError, ValueError
        As for `cross_entropy`, and a ValueError if there are no classes, even without rows. Indices
        in messages are those in the whole arrays. Wrong types and shapes are refused before
        anything is written. A wrong value is refused when its chunk is read; the outputs of earlier
        chunks have been written by then.

    See Also
    --------
    cross_entropy : The loss alone, in one call.
    cross_entropy_terms : The terms of the loss, for each row.

    Notes
    -----
    The figures are means over the rows that count, weighted by `sample_weight`; they are nan if no
    row counts. They are computed from exact sums, so chunks, adding scores and resuming do not
    change any bit, and neither does the processor. The sums are those of the values that
    `cross_entropy` with reduction "none" and `cross_entropy_terms` return for each row. For float32
    logits these are rounded to float32, so the mean may differ from that of `cross_entropy` by some
    parts in 10**8. Losses that weights take beyond the range of float32 are not rounded.

    The calibration error is the expected calibration error (ECE) of Guo et al. [1]_ with 15 bins of
    equal width, (0, 1/15] to (14/15, 1]: the mean over the bins, weighted by their rows, of the
    absolute difference between accuracy and mean confidence. The confidence is the largest
    probability.

    Special values: the k most probable classes are those of `top_k_log_softmax`, so of classes with
    equal logits, the one with the lowest index counts as the most probable. Classes with logit -inf
    come after all others, and are among the k most probable if k is large enough. A class that
    `where` removes never is. In a row with nan, +inf or nothing but -inf no class is predicted, and
    the loss and the calibration error are nan. `nonfinite_rows` counts the rows whose loss is nan
    or +inf.

    Memory: the results for the rows of one chunk, whatever N is. Logits of other types than the
    four types of `cross_entropy` are converted: arrays chunk by chunk, lists as a whole.

    References
    ----------
    .. [1] C. Guo, G. Pleiss, Y. Sun and K. Q. Weinberger, "On Calibration of Modern Neural
       Networks", section 2, arXiv:1706.04599, 2017.

    Examples
    --------
    >>> import numpy as np
    >>> import smoothxent as sx
    >>> logits = np.array([[2.0, 1.0, 0.0], [0.0, 3.0, 0.0],
    ...                    [1.0, 0.0, 2.0], [9.0, 9.0, 9.0]])
    >>> labels = np.array([0, 1, 0, -100])
    >>> score = sx.score(logits, labels, label_smoothing=0.1)
    >>> score
    Score of 3 rows (1 ignored)
      loss                  0.736712
      nll                   0.636712
      prior cross-entropy   1.63671
      prior KL              0.538099
      prior entropy         1.09861
      logsumexp             2.63671
      perplexity            1.89025
      accuracy              0.666667
      top-5 accuracy        1
      calibration error     0.140346  (15 bins)
    >>> score.loss == sx.cross_entropy(logits, labels, label_smoothing=0.1)
    True

    Interrupted after two rows, and resumed:

    >>> half = sx.score(logits[:2], labels[:2], label_smoothing=0.1)
    >>> half + sx.score(logits, labels, label_smoothing=0.1, start=2) == score
    True
    """
    z = as_ndarray(logits, "logits", "-numpy.inf")
    if not (z.dtype.kind in "biu" or is_supported_float(z.dtype)):
        as_logits(logits, "logits")  # an error about the type, not about the shape of a file name
    return score_chunks(
        z,
        as_targets(targets, "targets")
        if isinstance(targets, SEQUENCES)
        else as_ndarray(targets, "targets", "ignore_index"),
        loss_options,
        chunk_rows=chunk_rows,
        start=start,
        on_chunk=on_chunk,
        log_probs_out=log_probs_out,
        grad_out=grad_out,
        top_k=top_k,
    )


def score_chunks(
    logits: Rows,
    targets: Rows,
    options: LossOptions,
    *,
    chunk_rows: SupportsIndex | None = None,
    start: SupportsIndex = 0,
    on_chunk: Callable[[Score, int], object] | None = None,
    log_probs_out: Output | None = None,
    grad_out: Output | None = None,
    top_k: SupportsIndex | None = None,
) -> Score:
    """Return what `score` returns, for any `Rows`."""
    shape = logits.shape
    if len(shape) < 2:
        raise ValueError(
            f"logits must have rows along axis 0 and classes along the last axis, got shape {shape}"
        )
    if shape[-1] == 0:
        raise ValueError(f"logits has 0 classes along axis {len(shape) - 1}, expected at least 1")
    given, by_row = checks.options(options, shape)
    checks.targets(targets, shape)
    row = between(start, "start", 0, shape[0])
    default = default_chunk_rows(shape, logits.dtype)
    step = default if chunk_rows is None else between(chunk_rows, "chunk_rows", 1)
    k = None if top_k is None else between(top_k, "top_k", 1, shape[-1])
    if on_chunk is not None and not callable(on_chunk):
        raise TypeError(f"on_chunk must be callable, got {type(on_chunk).__name__}")
    both = {"log_probs_out": log_probs_out, "grad_out": grad_out}
    outputs = {name: as_output(out, name) for name, out in both.items() if out is not None}
    checks.outputs(outputs, {"logits": logits, "targets": targets, **given}, shape)
    for out in both.values():
        count_change(out)

    # The outputs are an argument, so that an error does not keep them: its traceback keeps the function.
    def score_of(rows: slice, outputs: dict[str, NDArray[Any]]) -> Score:
        of_rows: Any = {
            name: value[rows] if name in by_row else value for name, value in given.items()
        }
        outs = {name: out[rows] for name, out in outputs.items()}
        with checks.places_from(rows.start, {"targets", *by_row}):
            return score_rows(logits[rows], targets[rows], of_rows, top_k=k, **outs)

    total = score_of(slice(row, row), outputs)  # a call with no rows checks the arguments
    while row < shape[0]:
        stop = min(row + step, shape[0], *(_piece(rows, row) for rows in (logits, targets)))
        total += score_of(slice(row, stop), outputs)
        row = stop
        if on_chunk is not None:
            on_chunk(total, row)
    return total


def default_chunk_rows(shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    """Return how many rows of logits of `shape` are read at once."""
    row_bytes = dtype.itemsize * math.prod(shape[1:])
    return min(max(1, _CHUNK_BYTES // max(1, row_bytes)), _MAX_CHUNK_ROWS)


def _piece(rows: Rows, start: int) -> int:
    """Return the end of the piece of memory that contains this row."""
    end_of_piece = getattr(rows, "end_of_piece", None)
    return rows.shape[0] if end_of_piece is None else end_of_piece(start)
