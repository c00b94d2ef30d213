"""The logarithm of the sum of exponentials, along one axis or several.

With M = max_k z_k, S = sum_k exp(z_k - M) and L = log S:

    lse = M + L
"""

from __future__ import annotations

from typing import Any, Literal, SupportsFloat, SupportsIndex, overload

import numpy as np

from smoothxent import _axes
from smoothxent import _smoothxent as _native
from smoothxent._builtin import as_builtin
from smoothxent._types import ArrayLike, Axis, Float, NDArray, Out, Output


@overload
def logsumexp(
    logits: ArrayLike,
    *,
    axis: Axis = -1,
    temperature: SupportsFloat = 1.0,
    where: ArrayLike | None = None,
    keepdims: bool = False,
    out: Out,
) -> Out: ...
@overload
def logsumexp(
    logits: NDArray[Float],
    *,
    axis: None,
    temperature: SupportsFloat = 1.0,
    where: ArrayLike | None = None,
    keepdims: Literal[False] = False,
    out: None = None,
) -> Float: ...
@overload
def logsumexp(
    logits: NDArray[Float],
    *,
    axis: None,
    temperature: SupportsFloat = 1.0,
    where: ArrayLike | None = None,
    keepdims: Literal[True],
    out: None = None,
) -> NDArray[Float]: ...
@overload
def logsumexp(
    logits: NDArray[Float],
    *,
    axis: SupportsIndex | tuple[SupportsIndex, ...] = -1,
    temperature: SupportsFloat = 1.0,
    where: ArrayLike | None = None,
    keepdims: bool = False,
    out: None = None,
) -> NDArray[Float]: ...
@overload
def logsumexp(
    logits: ArrayLike,
    *,
    axis: None,
    temperature: SupportsFloat = 1.0,
    where: ArrayLike | None = None,
    keepdims: bool = False,
    out: None = None,
) -> np.floating[Any] | NDArray[np.floating[Any]]: ...
@overload
def logsumexp(
    logits: ArrayLike,
    *,
    axis: SupportsIndex | tuple[SupportsIndex, ...] = -1,
    temperature: SupportsFloat = 1.0,
    where: ArrayLike | None = None,
    keepdims: bool = False,
    out: None = None,
) -> NDArray[np.floating[Any]]: ...
@as_builtin
def logsumexp(
    logits: ArrayLike,
    *,
    axis: Axis = -1,
    temperature: SupportsFloat = 1.0,
    where: ArrayLike | None = None,
    keepdims: bool = False,
    out: Output | None = None,
) -> np.floating[Any] | Output:
    r"""Return the logarithm of the sum of exponentials of the logits along an axis.

    Use it for the logarithm of the normalizer of a softmax. For log-probabilities use
    `log_softmax`: subtracting this result from the logits loses digits.

    For K logits z along `axis`,

    .. math:: \mathrm{lse}(z) = \log \sum_{i=1}^K e^{z_i}.

    Parameters
    ----------
    logits : array_like
        float16, bfloat16, float32 or float64 with K classes along `axis` and any other axes, in any
        memory layout. Integers, bools and lists of Python numbers are converted to float64.
    axis : int, tuple of int or None, default -1
        The axis of the classes. A tuple of axes, or None for all axes (SciPy's default), means that
        the K classes are all elements along these axes, in C order.
    temperature : float, default 1.0
        T, between 1e-30 and 1e30: the logits are divided by T.
    where : array_like of bool, optional
        The classes that take part, broadcastable to `logits`. False removes a class from the
        softmax, whatever its logit is. By default all classes take part.
    keepdims : bool, default False
        Whether to keep the axes of the classes in the result, with length 1.
    out : ndarray, optional
        Where to write the result: an array of the shape of the result and of one of the four types
        above, in native byte order. It may overlap `logits`.

    Returns
    -------
    ndarray or scalar
        One value for each row, in nats, of the type of `logits`. The shape is that of `logits`
        without the axes of the classes. If `out` is given, it is returned; otherwise a new array,
        or a NumPy scalar if the result has no axes.

    Raises
    ------
    TypeError
        If an argument has an unsupported type.
    ValueError
        If the shape or value of an argument, or the memory of `out`, is not as described. `out` is
        then unchanged.

    See Also
    --------
    log_softmax : Logits minus this value, without loss of digits.
    cross_entropy_terms : This value together with the terms of the loss.

    Notes
    -----
    Special values: a row of nothing but -inf gives -inf, a row with +inf gives +inf, and a row with
    a NaN gives NaN; other rows are not affected. For finite logits, the result is infinite only if
    it is beyond the range of its type, as with a small temperature. A row without classes gives
    -inf, and so does a row of which `where` removes all classes.

    Accuracy: let M be the largest logit and lse = M + L. The error is at most 2 ulp of max(abs(M),
    L) on ordinary rows of 1,000 classes or more, and at most 3.5 ulp of it on any row.

    float16 and bfloat16 are storage types only: results are computed in float32 and rounded once
    when they are stored. They are not rounded if `out` is float32 or float64.

    With several axes, the logits are not copied if the strides let these axes be treated as one, as
    for all axes, or neighbouring axes, of a C-contiguous array. Otherwise they are copied.

    Large inputs are processed by up to `get_num_threads` threads. The bits of a row depend only on
    its values, K, the types and the options, not on other rows, the memory layout, the number of
    threads or the instruction set.

    References
    ----------
    .. [1] P. Blanchard, D. J. Higham and N. J. Higham, "Accurately computing the log-sum-exp and
       softmax functions", IMA Journal of Numerical Analysis 41, 2021.

    Examples
    --------
    >>> import numpy as np
    >>> import smoothxent as sx
    >>> sx.logsumexp([[0.0, 0.0], [1000.0, 1000.0], [-np.inf, 3.0]])
    array([6.93147181e-01, 1.00069315e+03, 3.00000000e+00])
    >>> sx.logsumexp(np.zeros((2, 3), np.float32), axis=0, keepdims=True).shape
    (1, 3)
    >>> sx.logsumexp([[0.0, 1.0], [2.0, 3.0]], axis=None)
    np.float64(3.4401896985611953)
    """
    result = _native.logsumexp(logits, axis, temperature, where, keepdims, out)
    if result is NotImplemented:
        return _axes.logsumexp(logits, axis, temperature, where, keepdims, out)
    return result
