"""Softmax and cross-entropy of dask arrays with chunks of rows, of classes, or of both.

Results are lazy. Chunks of whole rows are passed to the NumPy functions one by one. If the classes
of a row are in several chunks, a task for each chunk finds the largest logit; then a task for each
chunk adds up the exponentials; then a task for the rows adds these sums, a few numbers for 16384
logits; and another task for each chunk writes the log-probabilities. The logits are not moved,
except those of blocks of 64 classes that two chunks share.

The results have the bits of one machine for chunks of whole rows, for rows of at most 64 classes,
and for chunks of classes whose lengths, except the last, are multiples of 16384, the unit of
summation. Other chunks of classes change the order of summation: results are within 2 ulp of those
of one machine, and mostly the same. The number of machines, and whether some of them fail, makes no
difference.

On one machine, float32 exponentials are added in pairs, within blocks of 64 classes, before they
are added as doubles. If the lengths of chunks are not multiples of 64, chunks share such blocks. A
block is computed with the chunk in which it begins, to which at most 63 logits of each row are
copied from the chunks that follow. Rows of at most 64 classes are a single block: they are
collected and computed by one task, and the results are returned in the chunks of the logits.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, SupportsFloat, SupportsIndex

import numpy as np

from smoothxent import _checks
from smoothxent import _dask_steps as steps
from smoothxent._activations import log_softmax as _log_softmax
from smoothxent._activations import softmax as _softmax
from smoothxent._arrays import as_labels, as_logits
from smoothxent._logsumexp import logsumexp as _row_logsumexp
from smoothxent._options import not_one_of
from smoothxent._types import ArrayLike, NDArray, Reduction

try:
    import dask.array as da
except ImportError as error:
    raise ImportError("smoothxent.dask needs dask: pip install 'smoothxent[dask]'") from error

from smoothxent._dask_graphs import (
    finished,
    mapped,
    of_whole_rows,
    reduced,
    together_if_few,
    with_classes,
    written,
)

__all__ = ["cross_entropy", "log_softmax", "logsumexp", "softmax"]

_REDUCTIONS = ("none", "sum", "mean", "sum_by_nonzero_weights")


def softmax(logits: da.Array, *, axis: SupportsIndex = -1) -> da.Array:
    """Return the softmax of a dask array along an axis, lazily.

    Use it if the logits are in several processes or larger than memory. For NumPy arrays use
    `smoothxent.softmax`.

    .. math:: p(k) = \\exp(z_k) / \\sum_i \\exp(z_i)

    Parameters
    ----------
    logits : dask.array.Array
        Logits with K classes along `axis`, in NumPy chunks of float16, bfloat16, float32 or
        float64. Integers and bools are converted to float64. The sizes of the chunks may be any,
        but along `axis` they must be known.
    axis : int, default -1
        The axis of the classes.

    Returns
    -------
    dask.array.Array
        Of the shape, chunks and dtype of `logits`.

    Raises
    ------
    TypeError
        If `logits` is not a dask array, or has an unsupported type.
    ValueError
        If `logits` has no axis or no classes, or chunks of unknown sizes along `axis`.

    See Also
    --------
    log_softmax : Logarithms of these probabilities.

    Notes
    -----
    Special values, accuracy and bits are those of `smoothxent.softmax`, except that chunks of
    classes that are not whole segments of 16384 may change the last bits (see the module).

    Each chunk of logits is kept in the memory of its worker until the sums of its rows are known.

    Examples
    --------
    >>> import dask.array as da
    >>> import numpy as np
    >>> import smoothxent.dask as sxd
    >>> logits = da.from_array(np.log([[1.0, 2.0, 5.0], [1.0, 1.0, 2.0]]), chunks=(1, 2))
    >>> sxd.softmax(logits).compute().round(3)
    array([[0.125, 0.25 , 0.625],
           [0.25 , 0.25 , 0.5  ]])
    """
    return _activation("softmax", _softmax, logits, axis)


def log_softmax(logits: da.Array, *, axis: SupportsIndex = -1) -> da.Array:
    """Return the logarithm of the softmax of a dask array along an axis, lazily.

    Use it if the logits are in several processes or larger than memory. For NumPy arrays use
    `smoothxent.log_softmax`.

    .. math:: \\log p(k) = z_k - \\log \\sum_i \\exp(z_i)

    Parameters
    ----------
    logits : dask.array.Array
        As for `softmax`.
    axis : int, default -1
        The axis of the classes.

    Returns
    -------
    dask.array.Array
        Of the shape, chunks and dtype of `logits`.

    Raises
    ------
    TypeError, ValueError
        As `softmax` does.

    See Also
    --------
    softmax : Probabilities.

    Notes
    -----
    Special values, accuracy and bits are those of `smoothxent.log_softmax`, except that chunks of
    classes that are not whole segments of 16384 may change the last bits (see the module).

    Examples
    --------
    >>> import dask.array as da
    >>> import numpy as np
    >>> import smoothxent.dask as sxd
    >>> sxd.log_softmax(da.zeros((1, 4), chunks=2)).compute().round(3)
    array([[-1.386, -1.386, -1.386, -1.386]])
    """
    return _activation("log_softmax", _log_softmax, logits, axis)


def logsumexp(logits: da.Array, *, axis: SupportsIndex = -1, keepdims: bool = False) -> da.Array:
    """Return the logarithm of the sum of exponentials of a dask array along an axis, lazily.

    Use it if the logits are in several processes or larger than memory. For NumPy arrays use
    `smoothxent.logsumexp`.

    .. math:: \\mathrm{lse} = \\log \\sum_i \\exp(z_i)

    Parameters
    ----------
    logits : dask.array.Array
        As for `softmax`.
    axis : int, default -1
        The axis of the classes.
    keepdims : bool, default False
        Whether to keep `axis` in the result, with length 1.

    Returns
    -------
    dask.array.Array
        Of the dtype of `logits` and of its shape and chunks without `axis`.

    Raises
    ------
    TypeError, ValueError
        As `softmax` does.

    See Also
    --------
    log_softmax : Logits minus this value.

    Notes
    -----
    Special values, accuracy and bits are those of `smoothxent.logsumexp`, except that chunks of
    classes that are not whole segments of 16384 may change the last bits (see the module).

    Examples
    --------
    >>> import dask.array as da
    >>> import numpy as np
    >>> import smoothxent.dask as sxd
    >>> sxd.logsumexp(da.zeros((2, 4), chunks=2)).compute().round(3)
    array([1.386, 1.386])
    """
    place, dtype = _checked(logits, axis)
    if not isinstance(keepdims, (bool, np.bool)):
        raise TypeError(f"keepdims must be a bool, got {type(keepdims).__name__}")
    z = da.moveaxis(together_if_few(logits, place), place, -1)
    if z.numblocks[-1] == 1:
        result = of_whole_rows(_row_logsumexp, z, dtype=dtype)
    else:
        result = finished("logsumexp", z, dtype)
    # Not da.expand_dims, which needs the sizes of all chunks.
    return result[(slice(None),) * place + (np.newaxis,)] if keepdims else result


def cross_entropy(
    logits: da.Array,
    targets: da.Array,
    *,
    label_smoothing: SupportsFloat | None = None,
    prior: ArrayLike | None = None,
    ignore_index: SupportsIndex | None = -100,
    axis: SupportsIndex = -1,
    reduction: Reduction = "mean",
) -> da.Array:
    r"""Return the cross-entropy loss of a dask array of logits, with label smoothing, lazily.

    Use it if the logits are in several processes or larger than memory. For NumPy arrays use
    `smoothxent.cross_entropy`, which has more options.

    For one row of K logits z with softmax p, label y, prior u and label smoothing eps,

    .. math::
       \ell = -\sum_{k=1}^K q'(k) \log p(k),

       q'(k) = (1 - \varepsilon)\, \delta_{k,y} + \varepsilon\, u(k).

    Parameters
    ----------
    logits : dask.array.Array
        As for `softmax`; the axes other than `axis`, of shape S, are the rows.
    targets : dask.array.Array
        Integer labels of shape S in the chunks of the rows of `logits`, each in [0, K) or
        `ignore_index`.
    label_smoothing : float, optional
        eps, in [0, 1]; no smoothing by default. It is an error to give a `prior` without it.
    prior : array_like, optional
        u, of shape (K,), not a dask array. Finite and non-negative, summing to 1 within
        ``1e-6 * max(1, sqrt(K))``. Uniform, 1 / K, by default. Each chunk of classes gets its part.
    ignore_index : int or None, default -100
        The label of ignored rows. None means that there is no such label.
    axis : int, default -1
        The axis of the classes.
    reduction : {"mean", "sum", "sum_by_nonzero_weights", "none"}, default "mean"
        As for `smoothxent.cross_entropy`. There are no weights here, so "sum_by_nonzero_weights" is
        the same as "mean", except that it is 0 if no row counts.

    Returns
    -------
    dask.array.Array
        The loss in nats, 0-d and of float64. For "none", the losses of the rows, of shape S, in the
        chunks of the rows, of float64 for float64 logits and of float32 for all others.

    Raises
    ------
    LabelError
        When the result is computed, if a label is neither in [0, K) nor `ignore_index`. The message
        has the index of the label in the whole of `targets`. If several chunks have such labels, it
        is from one of them.
    TypeError
        If an array is not a dask array, or has an unsupported type; also if `targets` has
        probabilities, or if a prior is given without `label_smoothing`.
    ValueError
        If the shape, the chunks or the value of an argument are not as described.

    See Also
    --------
    smoothxent.cross_entropy : The same for NumPy arrays, with more options.

    Notes
    -----
    Special values, accuracy and bits of the losses of rows are those of `smoothxent.cross_entropy`,
    except that chunks of classes that are not whole segments of 16384 may change the last bits (see
    the module).

    Sums of the losses over the rows are exact and rounded once, so they depend neither on the
    chunks nor on the order in which these are added. (On one machine the sums of 640 rows, or of 256
    rows of more than 16 classes, are rounded to float64 before they are added. So with more rows
    the last bit of a sum or mean can differ.)

    References
    ----------
    .. [1] C. Szegedy, V. Vanhoucke, S. Ioffe, J. Shlens and Z. Wojna, "Rethinking the Inception
       Architecture for Computer Vision", section 7, arXiv:1512.00567, 2015.

    Examples
    --------
    >>> import dask.array as da
    >>> import numpy as np
    >>> import smoothxent.dask as sxd
    >>> logits = da.from_array([[2.0, 1.0, 0.0], [0.0, 3.0, 0.0]], chunks=(1, 2))
    >>> labels = da.from_array(np.array([0, 1]), chunks=1)
    >>> loss = sxd.cross_entropy(logits, labels, label_smoothing=0.1)
    >>> loss
    dask.array<reduced_loss, shape=(), dtype=float64, chunksize=(), chunktype=numpy.ndarray>
    >>> round(float(loss.compute()), 6)
    0.401264
    """
    place, dtype = _checked(logits, axis)
    classes = logits.shape[place]
    if reduction not in _REDUCTIONS:
        raise not_one_of(reduction, "reduction", _REDUCTIONS)
    smoothing = _checks.label_smoothing(label_smoothing, prior)
    ignored = _checks.ignored_label(ignore_index)
    u = None
    if prior is not None:
        if isinstance(prior, da.Array):
            raise TypeError("prior is a dask array, expected one in memory; pass prior.compute()")
        u = _checks.class_distribution(prior, classes, read_values=smoothing > 0.0)
    z = da.moveaxis(together_if_few(logits, place), place, -1)
    _check_targets(targets, z)
    labels = mapped(steps.check_labels, targets, np.int64, classes=classes, ignore_index=ignored)
    if z.numblocks[-1] == 1:
        losses_of = partial(steps.row_losses, label_smoothing=smoothing, prior=u)
        losses = of_whole_rows(losses_of, z, labels, dtype=np.dtype(np.float64))
    else:
        losses = finished("loss", z, dtype, labels, smoothing, u)
    if reduction == "none":
        of_rows = np.promote_types(np.float32, dtype)
        return mapped(partial(steps.rounded, dtype=of_rows), losses, of_rows)
    return reduced(losses, labels, reduction)


def _checked(logits: da.Array, axis: SupportsIndex) -> tuple[int, np.dtype[Any]]:
    """Return the axis of the classes, counted from the front, and the dtype of the results."""
    _check_array(logits, "logits")
    place = _checks.axis_from_front(axis, logits.ndim, "logits")
    dtype = as_logits(np.empty(0, logits.dtype), "logits").dtype
    if np.isnan(logits.shape[place]):
        raise ValueError(
            f"logits has chunks of unknown sizes along axis {place}, that of the classes; "
            "logits.compute_chunk_sizes() finds them"
        )
    if not logits.shape[place]:
        raise ValueError(f"logits has 0 classes along axis {place}, expected at least 1")
    return place, dtype


def _check_array(array: object, name: str) -> None:
    if not isinstance(array, da.Array):
        instead = ", or call the function of smoothxent" if name == "logits" else ""
        raise TypeError(
            f"{name} must be a dask.array.Array, got {type(array).__name__}; "
            f"pass dask.array.from_array({name}){instead}"
        )
    if not isinstance(array._meta, np.ndarray):
        kind = type(array._meta).__name__
        raise TypeError(f"{name} has chunks of type {kind}, expected numpy.ndarray")


def _check_targets(targets: da.Array, z: da.Array) -> None:
    _check_array(targets, "targets")
    as_labels(np.empty(0, targets.dtype), "targets")
    same = len(targets.chunks) == z.ndim - 1 and all(
        np.array_equal(own, rows, equal_nan=True) for own, rows in zip(targets.chunks, z.chunks)
    )
    if not same:
        raise ValueError(
            f"targets must have the chunks of the rows of logits, {z.chunks[:-1]}, got "
            f"{targets.chunks}; targets.rechunk gives them"
        )


def _activation(
    operation: steps.Operation,
    of_rows: Callable[..., NDArray[Any]],
    logits: da.Array,
    axis: SupportsIndex,
) -> da.Array:
    place, dtype = _checked(logits, axis)
    together = together_if_few(logits, place)
    if together.numblocks[place] == 1:
        result = mapped(partial(of_rows, axis=place), together, dtype)
        return with_classes(result, place, logits.chunks[place])
    return da.moveaxis(written(operation, da.moveaxis(logits, place, -1), dtype), -1, place)
