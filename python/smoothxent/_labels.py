"""Label dropout, and priors estimated from labels.

With the smoothed targets q' = (1 - eps) q + eps u of section 7 of arXiv 1512.00567:

    label_dropout   draws labels from q': with probability eps a label is replaced by a draw from u
    class_prior     estimates u

They are plain NumPy, for data preparation and for tests.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, SupportsFloat, SupportsIndex, TypeVar, overload

import numpy as np

from smoothxent import _checks, _options
from smoothxent._exact import ExactSum, exact_sum
from smoothxent._pieces import FAR, allocated, pieces
from smoothxent._types import ArrayLike, NDArray, Rng

_Label = TypeVar("_Label", bound=np.integer[Any])

_BITS = 28  # of an integer part of a weight


@overload
def label_dropout(
    targets: NDArray[_Label],
    num_classes: SupportsIndex,
    *,
    rate: SupportsFloat,
    prior: ArrayLike | None = None,
    ignore_index: SupportsIndex | None = -100,
    rng: Rng = None,
) -> NDArray[_Label]: ...
@overload
def label_dropout(
    targets: ArrayLike,
    num_classes: SupportsIndex,
    *,
    rate: SupportsFloat,
    prior: ArrayLike | None = None,
    ignore_index: SupportsIndex | None = -100,
    rng: Rng = None,
) -> NDArray[np.integer[Any]]: ...
@np.errstate(all="ignore")  # floating-point warnings would only repeat what errors and results say
def label_dropout(
    targets: ArrayLike,
    num_classes: SupportsIndex,
    *,
    rate: SupportsFloat,
    prior: ArrayLike | None = None,
    ignore_index: SupportsIndex | None = -100,
    rng: Rng = None,
) -> NDArray[Any]:
    r"""Return the labels, each replaced with probability `rate` by a draw from the prior.

    This is label smoothing by sampling. If the labels are drawn anew for every training step, the
    expectation of their cross-entropy is `cross_entropy` with ``label_smoothing=rate``; the
    sampling adds noise. Use it where only plain labels are accepted.

    With u the prior, r the rate and ell(k) the loss of label k, the label y is replaced by y' with

    .. math::
       P(y' = k) = (1 - r)\, \delta_{k,y} + r\, u(k),

       E\,[\ell(y')] = (1 - r)\, \ell(y) + r \sum_k u(k)\, \ell(k).

    A draw from u may give the same label again.

    Parameters
    ----------
    targets : array_like
        Integer labels of any shape, each in [0, `num_classes`) or `ignore_index`.
    num_classes : int
        The number of classes K, at least 1.
    rate : float
        The probability r of a replacement, in [0, 1].
    prior : array_like, optional
        u, of shape (K,), finite and non-negative, summing to 1 within
        ``1e-6 * max(1, sqrt(K))``. Uniform by default. A class of probability 0 is never drawn.
    ignore_index : int or None, default -100
        The label of ignored entries, which are never replaced. None means that there is no such
        label. If it is one of the classes, such as the number of a padding token, a draw from u may
        be this label, and the entry is then ignored: give this class the prior 0 to prevent that.
    rng : numpy.random.Generator or int, optional
        The random generator, or a seed for a new one: anything but a bool that
        ``numpy.random.default_rng`` accepts. By default a new generator with an unpredictable seed
        is used.

    Returns
    -------
    ndarray
        A new array of the shape of `targets` and of their dtype, in native byte order.

    Raises
    ------
    LabelError
        If a label is neither in [0, K) nor `ignore_index`.
    TypeError
        If an argument has an unsupported type.
    ValueError
        If `rate`, `prior` or `num_classes` is not as described, or the dtype of `targets` cannot
        hold the label K - 1.

    See Also
    --------
    smooth_labels : The distributions of the returned labels.
    cross_entropy : With `label_smoothing`, the expected loss of such labels.
    class_prior : A prior counted from labels.

    Notes
    -----
    Two random numbers are drawn for each entry: first, for all entries, the one that decides
    whether the label is replaced; then, for all entries, the replacement. So the random numbers of
    an entry, and the state of the generator afterwards, do not depend on the labels, on which of
    them are ignored, or on `rate`.

    The computation is done by NumPy, in the rounding mode of the caller.

    References
    ----------
    .. [1] C. Szegedy, V. Vanhoucke, S. Ioffe, J. Shlens and Z. Wojna, "Rethinking the Inception
       Architecture for Computer Vision", section 7, arXiv:1512.00567, 2015.

    Examples
    --------
    >>> import numpy as np
    >>> import smoothxent as sx
    >>> labels = np.array([0, 1, 2, -100])
    >>> sx.label_dropout(labels, 3, rate=0.0)
    array([   0,    1,    2, -100])
    >>> sx.label_dropout(labels, 3, rate=1.0, prior=[0.0, 1.0, 0.0])
    array([   1,    1,    1, -100])
    >>> sx.label_dropout(np.zeros(100_000, int), 10, rate=0.1, rng=0).mean().round(1)
    np.float64(0.5)
    """
    probability = _checks.unit_interval(rate, "rate")
    labels = _checks.labels(targets)
    classes = _checks.class_count(num_classes)
    if np.iinfo(labels.dtype).max < classes - 1:
        raise ValueError(
            f"targets has dtype {labels.dtype}, which cannot hold the label {classes - 1}"
        )
    ignored = _checks.ignored_label(ignore_index)
    _checks.classes_or_ignored(labels, classes, ignored)
    u = None if prior is None else _checks.class_distribution(prior, classes)

    generator = _checks.generator(rng)
    dropped = np.empty(labels.shape, np.bool_)
    for at in pieces(labels.shape):
        variates = generator.random(dropped[at].shape)
        dropped[at] = _checks.is_kept(labels[at], ignored) & (variates < probability)
    cumulative = None if u is None else _cumulative(u)
    result = np.empty(labels.shape, labels.dtype)
    for at in pieces(labels.shape, FAR):
        shape = result[at].shape
        if cumulative is None:
            drawn = generator.integers(classes, size=shape)
        else:
            # Inverse CDF: the first class whose cumulative mass exceeds the variate, so never one of
            # mass 0; a variate that rounds up to the total belongs to the class that reaches it.
            total = cumulative[-1]
            drawn = np.searchsorted(cumulative, generator.random(shape) * total, side="right")
            drawn = np.minimum(drawn, np.searchsorted(cumulative, total))
        result[at] = np.where(dropped[at], drawn.astype(labels.dtype), labels[at])
    return result


def _cumulative(u: NDArray[Any]) -> NDArray[np.float64]:
    """Return the cumulative sums of `u`, each including its class."""
    sums = np.empty(u.shape)
    before = 0.0
    for at in pieces(u.shape):
        part = u[at].astype(np.float64)
        part[0] += before
        np.cumsum(part, out=sums[at])
        before = sums[at][-1]
    return sums


def class_prior(
    targets: ArrayLike,
    num_classes: SupportsIndex,
    *,
    sample_weight: ArrayLike | None = None,
    pseudocount: SupportsFloat = 0.0,
    ignore_index: SupportsIndex | None = -100,
) -> NDArray[np.float64]:
    r"""Return the relative frequency of each class in the labels, as a prior for label smoothing.

    Use it when the classes are unbalanced: with the uniform prior, smoothing pulls predictions
    towards rare classes. Pass the result as `prior` to the other functions.

    With n(k) the number (or total weight) of labels that are k, and a the pseudocount,

    .. math:: u(k) = \frac{n(k) + a}{\sum_j (n(j) + a)}.

    Parameters
    ----------
    targets : array_like
        Integer labels of any shape, each in [0, `num_classes`) or `ignore_index`.
    num_classes : int
        The number of classes K, at least 1.
    sample_weight : array_like, optional
        Weights of the labels, broadcastable to `targets`, finite and non-negative. Ones by default.
        The weights of ignored labels are not read.
    pseudocount : float, default 0.0
        a, finite and non-negative. A positive value gives some mass to classes without labels.
    ignore_index : int or None, default -100
        The label of entries that are not counted. None means that there is no such label.

    Returns
    -------
    ndarray
        u, a new float64 array of shape (K,) that sums to 1.

    Raises
    ------
    LabelError
        If a label is neither in [0, K) nor `ignore_index`.
    TypeError
        If an argument has an unsupported type.
    ValueError
        If `sample_weight`, `pseudocount` or `num_classes` is not as described, or if the
        denominator is 0, because there is nothing to count, or too large for float64.

    See Also
    --------
    cross_entropy : The loss, with an argument `prior`.
    smooth_labels : Smoothed targets with a prior.
    label_dropout : Labels replaced by draws from a prior.

    Notes
    -----
    The error of the result, and of the sum of its elements, is at most a few ulp. The result does
    not depend on the order of the labels.

    The computation is done by NumPy, in the rounding mode of the caller.

    References
    ----------
    .. [1] C. Szegedy, V. Vanhoucke, S. Ioffe, J. Shlens and Z. Wojna, "Rethinking the Inception
       Architecture for Computer Vision", section 7, arXiv:1512.00567, 2015.

    Examples
    --------
    >>> import smoothxent as sx
    >>> sx.class_prior([0, 0, 2, -100], 3)
    array([0.66666667, 0.        , 0.33333333])
    >>> sx.class_prior([0, 0, 2, -100], 3, pseudocount=1.0)
    array([0.5       , 0.16666667, 0.33333333])
    """
    labels = _checks.labels(targets)
    classes = _checks.class_count(num_classes)
    pseudo = _options.number(pseudocount, "pseudocount")
    if not 0.0 <= pseudo < math.inf:
        raise ValueError(f"pseudocount must be finite and non-negative, got {pseudo!r}")
    ignored = _checks.ignored_label(ignore_index)
    _checks.classes_or_ignored(labels, classes, ignored)
    weights = None
    if sample_weight is not None:
        weights = _checks.weights(sample_weight, labels, ignored)
    with np.errstate(all="ignore"):
        mass = _class_weights(labels, classes, ignored, weights)
        for at in pieces(mass.shape):
            mass[at] += pseudo
        sums = (exact_sum(mass[at]) for at in pieces(mass.shape))
        total = sum(sums, ExactSum()).value()
        if total == 0.0:
            raise ValueError(
                "targets has nothing to count: the total weight of its labels is 0, and so is "
                "pseudocount"
            )
        if total == math.inf:
            raise ValueError("sample_weight and pseudocount sum to more than a float64 can hold")
        for at in pieces(mass.shape):
            mass[at] /= total
    return mass


def _class_weights(
    labels: NDArray[np.integer[Any]],
    classes: int,
    ignored: int | None,
    weights: NDArray[Any] | None,
) -> NDArray[np.float64]:
    """Return the total weight of the labels of each class, or their number if there are no weights.

    Additions of float64 numbers would round. Relative to a power of two above the largest weight of
    its class, a weight is split into integers of `_BITS` bits, whose sums in int64 are exact for up
    to 2**35 labels, in any order. What is left of a weight after three integers is less than 2**-84
    of the largest one, and is not added.
    """

    def counted() -> Iterator[tuple[NDArray[np.intp], NDArray[np.float64]]]:
        for at in pieces(labels.shape, FAR):
            is_kept = _checks.is_kept(labels[at], ignored)
            added = np.ones(is_kept.shape) if weights is None else weights[at]
            yield labels[at][is_kept].astype(np.intp), added[is_kept].astype(np.float64)

    total: NDArray[np.float64] = allocated(np.zeros, classes)
    if weights is None:
        for of, ones in counted():
            np.add.at(total, of, ones)
        return total
    for of, added in counted():
        np.maximum.at(total, of, added)  # at first the largest weight
    exponents: NDArray[np.int32] = allocated(np.empty, classes, np.int32)
    for at in pieces(total.shape):
        exponents[at] = np.frexp(total[at])[1] - _BITS
    parts: NDArray[np.int64] = allocated(np.zeros, (3, classes), np.int64)
    for of, rest in counted():
        rest = np.ldexp(rest, -exponents[of])
        for part in parts:
            whole = np.floor(rest)
            np.add.at(part, of, whole.astype(np.int64))
            rest = np.ldexp(rest - whole, _BITS)
    for at in pieces(total.shape):
        high, middle, low = (part[at].astype(np.float64) for part in parts)
        middle += np.ldexp(low, -_BITS)
        total[at] = np.ldexp(high + np.ldexp(middle, -_BITS), exponents[at])
    return total
