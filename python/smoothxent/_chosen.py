"""Log-probabilities of some classes of each row: of the most likely classes, or of given ones.

Each row is reduced as by `logsumexp`, and no array of the size of the logits is written.
"""

from __future__ import annotations

from typing import Any, Generic, NamedTuple, SupportsFloat, SupportsIndex, overload

import numpy as np

from smoothxent import _smoothxent as _native
from smoothxent._types import ArrayLike, Float, NDArray, Number


class TopK(NamedTuple, Generic[Number]):
    """The most likely classes of each row, as `top_k_log_softmax` returns them.

    Attributes
    ----------
    indices : ndarray of int64
        The indices of the classes, the most likely class first.
    log_probs : ndarray
        The log-probabilities of these classes, in nats and of the type of the logits.

    Examples
    --------
    >>> import smoothxent as sx
    >>> indices, log_probs = sx.top_k_log_softmax([1.0, 3.0, 2.0], 2)
    >>> indices
    array([1, 2])
    """

    indices: NDArray[np.int64]
    log_probs: NDArray[Number]


@overload
def top_k_log_softmax(
    logits: NDArray[Float],
    k: SupportsIndex,
    *,
    axis: SupportsIndex = -1,
    temperature: SupportsFloat = 1.0,
    where: ArrayLike | None = None,
) -> TopK[Float]: ...
@overload
def top_k_log_softmax(
    logits: ArrayLike,
    k: SupportsIndex,
    *,
    axis: SupportsIndex = -1,
    temperature: SupportsFloat = 1.0,
    where: ArrayLike | None = None,
) -> TopK | Any: ...  # else mypy infers no TopK at all for arrays of Any
def top_k_log_softmax(
    logits: ArrayLike,
    k: SupportsIndex,
    *,
    axis: SupportsIndex = -1,
    temperature: SupportsFloat = 1.0,
    where: ArrayLike | None = None,
) -> TopK[Any]:
    r"""Return the k most likely classes of each row, and their log-probabilities.

    Use it for the candidates of a beam search or of sampling, and for the top-k predictions of a
    classifier. If the classes are known, use `log_softmax_at`.

    For K logits z along `axis`, it finds the k classes j with the largest logits and computes

    .. math:: \log p(j) = z_j - \log \sum_{i=1}^K e^{z_i}.

    Parameters
    ----------
    logits : array_like
        float16, bfloat16, float32 or float64 with K classes along `axis` and any other axes, in any
        memory layout. Integers, bools and lists of Python numbers are converted to float64.
    k : int
        The number of classes to return, from 0 to K. With K, all classes are sorted.
    axis : int, default -1
        The axis of the classes.
    temperature : float, default 1.0
        T, between 1e-30 and 1e30: the logits are divided by T. It does not change the order.
    where : array_like of bool, optional
        The classes that take part, broadcastable to `logits`. False removes a class from the
        softmax, whatever its logit is. By default all classes take part.

    Returns
    -------
    TopK
        A named tuple of two new arrays: ``indices``, of int64, and ``log_probs``, in nats and of
        the type of `logits`. Their shape is that of `logits`, with length k along `axis`.

    Raises
    ------
    TypeError
        If an argument has an unsupported type.
    ValueError
        If k is negative or larger than K, if `logits` has rows but no classes, or if the shape or
        value of an argument is not as described.

    See Also
    --------
    log_softmax_at : Log-probabilities of given classes.
    log_softmax : Log-probabilities of all classes.

    Notes
    -----
    Order: the classes are sorted by their logits, the largest first. Of classes with equal logits
    (0 and -0 are equal), the one with the lower index comes first, even though different logits may
    have the same rounded log-probability. A NaN comes before every number, as in ``torch.topk``.
    Classes that `where` removes come last, after those with logit -inf, in the order of their
    indices.

    Special values: the log-probabilities are those of `log_softmax`. They are -inf for a class with
    logit -inf. In a row with a NaN or +inf, or with nothing but -inf, they are NaN, but the classes
    are still sorted by their logits; other rows are not affected. A class that `where` removes has
    log-probability -inf, even if it removes all classes.

    Accuracy: the log-probabilities have the same bits as those of `log_softmax`. float16 and
    bfloat16 are storage types only: results are computed in float32 and rounded once.

    Large inputs are processed by up to `get_num_threads` threads. The results of a row depend only
    on its values, K, the types and the options, not on k, other rows, the memory layout, the number
    of threads or the instruction set. Time increases only slowly with k: for a few of many classes
    it is little more than that of `logsumexp`.

    References
    ----------
    .. [1] P. Blanchard, D. J. Higham and N. J. Higham, "Accurately computing the log-sum-exp and
       softmax functions", IMA Journal of Numerical Analysis 41, 2021.

    Examples
    --------
    >>> import numpy as np
    >>> import smoothxent as sx
    >>> sx.top_k_log_softmax([[1.0, 3.0, 2.0], [0.0, 0.0, 0.0]], 2)
    TopK(indices=array([[1, 2],
           [0, 1]]), log_probs=array([[-0.40760596, -1.40760596],
           [-1.09861229, -1.09861229]]))

    With a mask, and the classes along the first axis:

    >>> z = np.array([[5.0, 1.0], [2.0, 2.0], [0.0, 7.0]])
    >>> best = sx.top_k_log_softmax(z, 1, axis=0, where=[[False], [True], [True]])
    >>> best.indices
    array([[1, 2]])
    """
    return TopK._make(_native.top_k_log_softmax(logits, k, axis, temperature, where))


@overload
def log_softmax_at(
    logits: NDArray[Float],
    indices: ArrayLike,
    *,
    axis: SupportsIndex = -1,
    temperature: SupportsFloat = 1.0,
    where: ArrayLike | None = None,
) -> NDArray[Float]: ...
@overload
def log_softmax_at(
    logits: ArrayLike,
    indices: ArrayLike,
    *,
    axis: SupportsIndex = -1,
    temperature: SupportsFloat = 1.0,
    where: ArrayLike | None = None,
) -> NDArray[np.floating[Any]]: ...
def log_softmax_at(
    logits: ArrayLike,
    indices: ArrayLike,
    *,
    axis: SupportsIndex = -1,
    temperature: SupportsFloat = 1.0,
    where: ArrayLike | None = None,
) -> NDArray[np.floating[Any]]:
    r"""Return the log-probabilities of given classes of each row.

    Use it if the classes are known: sampled tokens, the candidates of another model, the choices of
    a question. It gives ``numpy.take_along_axis(log_softmax(logits, axis=axis), indices, axis)``
    without the array of all log-probabilities. `top_k_log_softmax` finds the most likely classes.

    For K logits z along `axis` and a class j,

    .. math:: \log p(j) = z_j - \log \sum_{i=1}^K e^{z_i}.

    Parameters
    ----------
    logits : array_like
        float16, bfloat16, float32 or float64 with K classes along `axis` and any other axes, in any
        memory layout. Integers, bools and lists of Python numbers are converted to float64.
    indices : array_like of int
        The classes, each in [0, K) and below 2**32 - 1, of any integer type and memory layout. The
        shape is that of `logits`, except that the length along `axis` may be any. For one class in
        each row, pass ``labels[..., numpy.newaxis]``. Negative indices do not count from the end;
        they are errors. A class may be given more than once.
    axis : int, default -1
        The axis of the classes.
    temperature : float, default 1.0
        T, between 1e-30 and 1e30: the logits are divided by T.
    where : array_like of bool, optional
        The classes that take part, broadcastable to `logits`. False removes a class from the
        softmax, whatever its logit is. By default all classes take part.

    Returns
    -------
    ndarray
        Log-probabilities in nats, at most 0: a new array of the shape of `indices` and the type of
        `logits`.

    Raises
    ------
    TypeError
        If an argument has an unsupported type.
    LabelError
        If an index is not in [0, K); the message names the first such index in C order. LabelError
        is a subclass of ValueError and of IndexError.
    ValueError
        If `logits` has rows but no classes, or if the shape or value of an argument is not as
        described.

    See Also
    --------
    top_k_log_softmax : The most likely classes.
    log_softmax : Log-probabilities of all classes.
    cross_entropy : The mean of the negated log-probabilities of one class for each row.

    Notes
    -----
    Special values: the values are those of `log_softmax`. They are -inf for a class with logit
    -inf, and NaN in a row with a NaN or +inf, or with nothing but -inf; other rows are not
    affected. A class that `where` removes has log-probability -inf, even if it removes all classes.

    Accuracy: the same bits as `log_softmax`. float16 and bfloat16 are storage types only: results
    are computed in float32 and rounded once.

    Large inputs are processed by up to `get_num_threads` threads. The bits of a row depend only on
    its values, K, the types and the options, not on other rows or indices, the memory layout, the
    number of threads or the instruction set.

    References
    ----------
    .. [1] P. Blanchard, D. J. Higham and N. J. Higham, "Accurately computing the log-sum-exp and
       softmax functions", IMA Journal of Numerical Analysis 41, 2021.

    Examples
    --------
    >>> import smoothxent as sx
    >>> sx.log_softmax_at([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]], [[2, 0], [1, 1]])
    array([[-0.40760596, -2.40760596],
           [-1.09861229, -1.09861229]])
    """
    return _native.log_softmax_at(logits, indices, axis, temperature, where)
