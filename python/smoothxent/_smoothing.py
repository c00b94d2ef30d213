"""Smoothed targets as an array: q' = (1 - eps) q + eps u, section 7 of arXiv 1512.00567.

Plain NumPy, for use with other libraries and in tests; the losses never store q'.
"""

from __future__ import annotations

from typing import Any, SupportsFloat, SupportsIndex, overload

import numpy as np

from smoothxent import _checks
from smoothxent._arrays import as_numpy_targets
from smoothxent._outputs import is_same_memory
from smoothxent._pieces import FAR, copied, pieces
from smoothxent._types import ArrayLike, DTypeLike, Float, NDArray, Out, Output


@overload
def smooth_labels(
    targets: ArrayLike,
    num_classes: SupportsIndex | None = None,
    *,
    label_smoothing: SupportsFloat,
    prior: ArrayLike | None = None,
    where: ArrayLike | None = None,
    axis: SupportsIndex = -1,
    dtype: DTypeLike = np.float32,
    out: Out,
) -> Out: ...
@overload
def smooth_labels(
    targets: ArrayLike,
    num_classes: SupportsIndex | None = None,
    *,
    label_smoothing: SupportsFloat,
    prior: ArrayLike | None = None,
    where: ArrayLike | None = None,
    axis: SupportsIndex = -1,
    out: None = None,
) -> NDArray[np.float32]: ...
@overload
def smooth_labels(
    targets: ArrayLike,
    num_classes: SupportsIndex | None = None,
    *,
    label_smoothing: SupportsFloat,
    prior: ArrayLike | None = None,
    where: ArrayLike | None = None,
    axis: SupportsIndex = -1,
    dtype: type[Float] | np.dtype[Float],
    out: None = None,
) -> NDArray[Float]: ...
@overload
def smooth_labels(
    targets: ArrayLike,
    num_classes: SupportsIndex | None = None,
    *,
    label_smoothing: SupportsFloat,
    prior: ArrayLike | None = None,
    where: ArrayLike | None = None,
    axis: SupportsIndex = -1,
    dtype: DTypeLike,
    out: None = None,
) -> NDArray[np.floating[Any]]: ...
@np.errstate(all="ignore")  # floating-point warnings would only repeat what errors and results say
def smooth_labels(
    targets: ArrayLike,
    num_classes: SupportsIndex | None = None,
    *,
    label_smoothing: SupportsFloat,
    prior: ArrayLike | None = None,
    where: ArrayLike | None = None,
    axis: SupportsIndex = -1,
    dtype: DTypeLike = np.float32,
    out: Output | None = None,
) -> Output:
    r"""Return the smoothed target distributions.

    Use it to pass smoothed targets to another library, or to inspect them. For the loss itself pass
    the labels and `label_smoothing` to `cross_entropy`, which computes it without this array.

    With q the one-hot or given distributions, u the prior and eps the label smoothing,

    .. math:: q'(k) = (1 - \varepsilon)\, q(k) + \varepsilon\, u(k).

    Parameters
    ----------
    targets : array_like
        Integer labels in [0, `num_classes`) of any shape S (there is no `ignore_index`: leave out
        ignored rows), or probabilities with the classes along `axis`, finite and non-negative.
        Probabilities that do not sum to 1 are used as given.
    num_classes : int, optional
        The number of classes K, at least 1. It is required for labels. For probabilities, K is
        their length along `axis`, and a different number is an error.
    label_smoothing : float
        eps, in [0, 1]. With 0 the values of `prior` are not read.
    prior : array_like, optional
        u, of shape (K,) whatever `axis` is, or broadcastable to the result with K classes along
        `axis`. Finite and non-negative; each distribution must sum to 1 within ``1e-6 * max(1,
        sqrt(K))``. It is used as given, except that with `where` it is divided by its sum over the
        remaining classes. Uniform, 1 / K, by default.
    where : array_like of bool, optional
        The classes that take part, broadcastable to the result: u is divided by its sum over these
        classes. If no class of a row takes part, the row is 0. By default all classes take part.
    axis : int, default -1
        The axis of the classes in the result.
    dtype : dtype, default float32
        The type of the result if `out` is not given: float16, bfloat16 (from ml_dtypes), float32 or
        float64.
    out : ndarray, optional
        Where to write the result: an array of the shape of the result and of one of these four
        types. It may be, or overlap, `targets` or `prior`.

    Returns
    -------
    ndarray
        The smoothed targets. For labels the shape is S with K inserted at `axis`; for probabilities
        it is the shape of `targets`. If `out` is given, it is returned; otherwise a new array.

    Raises
    ------
    LabelError
        If a label is outside [0, K).
    TypeError
        If an argument has an unsupported type.
    ValueError
        If `label_smoothing`, `prior`, `where`, a probability, `num_classes`, `axis` or the shape of
        `out` is not as described. `out` is then unchanged.

    See Also
    --------
    cross_entropy : The loss with these targets, computed without this array.
    label_dropout : Labels drawn from these targets.
    class_prior : A prior counted from labels.

    Notes
    -----
    The result is computed in float64 by NumPy, in the rounding mode of the caller, and rounded once
    to its type. Label smoothing 0 gives the targets themselves, 1 gives the prior.

    TensorFlow and PyTorch use the same eps. Libraries that spread eps over the K - 1 other classes
    (fairseq, Megatron-LM) need ``eps * K / (K - 1)`` here.

    References
    ----------
    .. [1] C. Szegedy, V. Vanhoucke, S. Ioffe, J. Shlens and Z. Wojna, "Rethinking the Inception
       Architecture for Computer Vision", section 7, arXiv:1512.00567, 2015.

    Examples
    --------
    >>> import smoothxent as sx
    >>> sx.smooth_labels([0, 3], 4, label_smoothing=0.1)
    array([[0.925, 0.025, 0.025, 0.025],
           [0.025, 0.025, 0.025, 0.925]], dtype=float32)

    With a prior that is not uniform:

    >>> sx.smooth_labels([2, 0], 3, label_smoothing=0.5, prior=[0.5, 0.25, 0.25])
    array([[0.25 , 0.125, 0.625],
           [0.75 , 0.125, 0.125]], dtype=float32)

    Probabilities, smoothed in place:

    >>> import numpy as np
    >>> q = np.array([[1.0, 0.0], [0.5, 0.5]])
    >>> sx.smooth_labels(q, label_smoothing=0.25, out=q) is q
    True
    >>> q
    array([[0.875, 0.125],
           [0.5  , 0.5  ]])
    """
    epsilon = _checks.unit_interval(label_smoothing, "label_smoothing")
    given = as_numpy_targets(targets, "targets")
    is_labels = given.dtype.kind != "f"
    axis = _checks.axis_from_front(axis, given.ndim + is_labels, "smoothed labels")
    if is_labels:
        classes = _checks.class_count(num_classes)
        shape = (*given.shape[:axis], classes, *given.shape[axis:])
        given = copied(given)  # what is checked is what is used
        _checks.all_classes(given, classes)
    else:
        shape = given.shape
        classes = _checks.matching_class_count(num_classes, shape[axis], axis)
        _checks.non_negative(given, axis, "targets", "probabilities")
    u = _checks.aligned_prior(prior, shape, axis, read_values=epsilon != 0.0)
    # q' = (1 - eps) q + weight * u; without a prior u is 1 and eps / K is rounded once.
    weight = epsilon if prior is not None else epsilon / classes
    kept = masses = None
    if where is not None:
        kept = _checks.mask(where, shape)
        masses = np.broadcast_to(_checks.kept_masses(u, kept, axis), shape)
        weight = epsilon
    result = _checks.result(out, shape, dtype)
    u = np.broadcast_to(u, shape)
    if out is not None:
        # The pieces that are written must not change what is read later; only q itself may be
        # overwritten in place.
        given = given if is_same_memory(given, result) else _apart(given, result)
        u, kept = _apart(u, result), None if kept is None else _apart(kept, result)
    # NumPy has no bfloat16, and ml_dtypes rounds float64 twice, first to float32: write the bits.
    is_bfloat16 = result.dtype.name == "bfloat16"
    stored = result.view(f"{result.dtype.byteorder}u2") if is_bfloat16 else result

    def smoothing(at: Any) -> NDArray[np.float64]:
        """Return eps * u at an index of the result, with u renormalised over the classes that are kept."""
        if kept is None or masses is None:
            return np.asarray(np.multiply(u[at], weight, dtype=np.float64))
        return np.asarray(np.where(kept[at], u[at], 0.0) / masses[at] * weight)

    def write(at: Any, smoothed: NDArray[np.float64]) -> None:
        if masses is not None:  # rows whose classes are all masked are 0
            smoothed = np.where(masses[at] > 0.0, smoothed, 0.0)
        stored[at] = _bfloat16_bits(smoothed) if is_bfloat16 else smoothed

    for at in pieces(shape):
        if is_labels:
            write(at, smoothing(at))
        else:
            write(at, np.multiply(given[at], 1.0 - epsilon, dtype=np.float64) + smoothing(at))
    if is_labels:
        parts: Any = pieces(given.shape, FAR)
        for part in parts:
            rows = np.ogrid[part] if given.ndim else ()
            # Axes of length 1 are indexed by 0: NumPy accepts one index array less than axes.
            index = [0 if n == 1 else place for n, place in zip(given.shape, rows)]
            index.insert(axis, given[part].astype(np.intp))
            write(tuple(index), (1.0 - epsilon) + smoothing(tuple(index)))
    return result if out is None else out


def _apart(array: NDArray[Any], result: NDArray[Any]) -> NDArray[Any]:
    """Return `array`, or a copy of it where it may overlap the result."""
    if not np.may_share_memory(array, result):
        return array
    distinct = array[tuple(slice(None if step else 1) for step in array.strides)]
    return np.broadcast_to(copied(distinct), array.shape)


def _bfloat16_bits(values: NDArray[np.float64]) -> NDArray[np.uint16]:
    """Return non-negative numbers rounded once to bfloat16, the upper half of a float32.

    Rounding to odd in between keeps the second rounding correct: an inexact float32 is rounded down
    and its last bit set, so it is never a tie of bfloat16.
    """
    nearest = values.astype(np.float32)
    bits = nearest.view(np.uint32) - (nearest > values)
    bits |= nearest != values
    bits += 0x7FFF + ((bits >> 16) & 1)  # ties to even
    return (bits >> 16).astype(np.uint16)
