"""Log-probabilities of some classes of each row: of the most likely, or of those that are given.

Each row is read as by `logsumexp`, and nothing of the size of the logits is written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, NamedTuple, overload

from smoothxent import _smoothxent as _native
from smoothxent._types import Number

if TYPE_CHECKING:
    from typing import SupportsFloat, SupportsIndex

    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    from smoothxent._types import Float


class TopK(NamedTuple, Generic[Number]):
    """The most likely classes of each row: what `top_k_log_softmax` returns.

    Examples
    --------
    >>> import smoothxent as sx
    >>> indices, log_probs = sx.top_k_log_softmax([1.0, 3.0, 2.0], 2)
    >>> indices
    array([1, 2])
    """

    indices: NDArray[np.int64]
    """The classes, the most likely first."""
    log_probs: NDArray[Number]
    """Their log-probabilities."""


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
) -> TopK | Any: ...  # mypy erases two overloads that match an array of Any to no TopK at all
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
    classifier. `log_softmax_at` takes the classes instead of finding them.

    For K logits z along `axis`, the classes of the k largest z and their

    .. math:: \log p(j) = z_j - \log \sum_{i=1}^K e^{z_i}.

    Parameters
    ----------
    logits : array_like
        float16, bfloat16, float32 or float64 with K classes along `axis` and any other axes, in any
        memory layout. Integers, bools and lists are converted to float64.
    k : int
        How many classes, from 0 to K. With K the row is sorted.
    axis : int, default -1
        The axis of the classes.
    temperature : float, default 1.0
        T, between 1e-30 and 1e30: z / T takes the place of z. It does not change the order.
    where : array_like of bool, optional
        The classes that take part, broadcastable to `logits`. False removes a class from the softmax,
        whatever its logit holds. By default all classes take part.

    Returns
    -------
    TopK
        ``indices``, int64, and ``log_probs``, in nats and of the type of `logits`: new arrays of the shape of
        `logits` with k in the place of K along `axis`.

    Raises
    ------
    TypeError
        If an argument is of a type that cannot be used.
    ValueError
        If k is negative or larger than K, `logits` has no classes (but has rows), or an argument
        has a shape or value that is not as described.

    See Also
    --------
    log_softmax_at : Log-probabilities of given classes.
    log_softmax : Log-probabilities of all classes.

    Notes
    -----
    Order: by the logits themselves, the largest first, and of equal ones (0 and -0 are equal) the
    lower class first; never by the rounded log-probabilities, which do not increase. A NaN comes
    before every number, as in ``torch.topk``. Classes that `where` removes come last, behind those
    with logit -inf, the lower class first.

    Special values: the log-probabilities are those of `log_softmax`. They are -inf for a class with
    logit -inf. In a row with a NaN or +inf, or with nothing but -inf, they are NaN, and the order is
    that of the logits all the same; other rows are not affected. A class that `where` removes has
    log-probability -inf, also in a row without any class.

    Accuracy: log-probabilities have the same bits as those of `log_softmax`. float16 and bfloat16 are
    storage only: the float32 result is rounded once.

    Large inputs are shared among up to `get_num_threads` threads. The results of a row depend only on
    its values, K, the types and the options: not on k, other rows, memory layout, threads or
    instruction set. Time grows with k only slowly: a few classes of many cost little more than
    `logsumexp`.

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

    The classes that may be chosen at a step, over the first axis:

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

    Use it to score classes that are known: drawn tokens, the candidates of another model, the choices
    of a question. It is ``numpy.take_along_axis(log_softmax(logits), indices, axis)`` without the
    array of all log-probabilities. `top_k_log_softmax` finds the most likely classes.

    For K logits z along `axis` and a class j,

    .. math:: \log p(j) = z_j - \log \sum_{i=1}^K e^{z_i}.

    Parameters
    ----------
    logits : array_like
        float16, bfloat16, float32 or float64 with K classes along `axis` and any other axes, in any
        memory layout. Integers, bools and lists are converted to float64.
    indices : array_like of int
        The classes, of the shape of `logits` except that `axis` may have any length. For one class
        a row: ``labels[..., numpy.newaxis]``. Any integer type, in any memory layout. Each in 0, ..., K - 1:
        negative ones do not count from the end. A class may be given more than once.
    axis : int, default -1
        The axis of the classes.
    temperature : float, default 1.0
        T, between 1e-30 and 1e30: z / T takes the place of z.
    where : array_like of bool, optional
        The classes that take part, broadcastable to `logits`. False removes a class from the softmax,
        whatever its logit holds. By default all classes take part.

    Returns
    -------
    ndarray
        Log-probabilities in nats, at most 0: a new array of the shape of `indices` and the type of `logits`.

    Raises
    ------
    TypeError
        If an argument is of a type that cannot be used.
    LabelError
        If an index is no class: the first such, in C order. It is a ValueError and an IndexError.
    ValueError
        If `logits` has no classes (but has rows), or an argument has a shape or value that is not as
        described.

    See Also
    --------
    top_k_log_softmax : The most likely classes.
    log_softmax : Log-probabilities of all classes.
    cross_entropy : The loss of one class for each row: minus these values, and their mean.

    Notes
    -----
    Special values: the values are those of `log_softmax`. They are -inf for a class with logit -inf,
    and NaN in a row with a NaN or +inf, or with nothing but -inf; other rows are not affected. A class
    that `where` removes has log-probability -inf, also in a row without any class.

    Accuracy: the same bits as `log_softmax`. float16 and bfloat16 are storage only: the float32 result
    is rounded once.

    Large inputs are shared among up to `get_num_threads` threads. The bits of a row depend only on
    its values, K, the types and the options: not on other rows or indices, memory layout, threads or
    instruction set.

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
