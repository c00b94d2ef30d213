"""Softmax and its logarithm, along one axis or several.

With M = max_k z_k, S = sum_k exp(z_k - M) and L = log S:

    softmax      p(k)     = exp(z_k - M) / S
    log_softmax  log p(k) = (z_k - M) - L
"""

from __future__ import annotations

from typing import Any, SupportsFloat, overload

import numpy as np

from smoothxent import _axes
from smoothxent import _smoothxent as _native
from smoothxent._builtin import as_builtin
from smoothxent._types import ArrayLike, Axis, DTypeLike, Float, NDArray, Out, Output


@overload
def softmax(
    logits: ArrayLike,
    *,
    axis: Axis = -1,
    temperature: SupportsFloat = 1.0,
    where: ArrayLike | None = None,
    dtype: DTypeLike | None = None,
    out: Out,
) -> Out: ...
@overload
def softmax(
    logits: ArrayLike,
    *,
    axis: Axis = -1,
    temperature: SupportsFloat = 1.0,
    where: ArrayLike | None = None,
    dtype: type[Float] | np.dtype[Float],
    out: None = None,
) -> NDArray[Float]: ...
@overload
def softmax(
    logits: NDArray[Float],
    *,
    axis: Axis = -1,
    temperature: SupportsFloat = 1.0,
    where: ArrayLike | None = None,
    dtype: None = None,
    out: None = None,
) -> NDArray[Float]: ...
@overload
def softmax(
    logits: ArrayLike,
    *,
    axis: Axis = -1,
    temperature: SupportsFloat = 1.0,
    where: ArrayLike | None = None,
    dtype: DTypeLike | None = None,
    out: None = None,
) -> NDArray[np.floating[Any]]: ...
@as_builtin
def softmax(
    logits: ArrayLike,
    *,
    axis: Axis = -1,
    temperature: SupportsFloat = 1.0,
    where: ArrayLike | None = None,
    dtype: DTypeLike | None = None,
    out: Output | None = None,
) -> Output:
    r"""Return the softmax of the logits along an axis.

    Use it for probabilities. For their logarithms use `log_softmax`, which is accurate even where a
    probability underflows or rounds to 1. The loss `cross_entropy` takes logits, not probabilities.

    For K logits z along `axis`,

    .. math:: p(k) = \frac{e^{z_k}}{\sum_{i=1}^K e^{z_i}}.

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
    dtype : dtype, optional
        The type of the result: one of the four types above, by default that of `logits`. The result
        is computed in the wider of the two types, at least in float32, and rounded once.
    out : ndarray, optional
        Where to write the result: an array of the shape of `logits` and of one of the four types
        above, in native byte order. It may be `logits` itself, or overlap it.

    Returns
    -------
    ndarray
        Probabilities, of the shape of `logits`. If `out` is given, it is returned; otherwise a new
        array of type `dtype`, or a NumPy scalar if `logits` is a single number (with `axis` None).

    Raises
    ------
    TypeError
        If an argument has an unsupported type.
    ValueError
        If `logits` has rows but no classes, or if the shape or value of an argument, or the memory
        of `out`, is not as described. `out` is then unchanged.

    See Also
    --------
    log_softmax : The logarithms of these probabilities.
    top_k_log_softmax : Only the most likely classes.
    cross_entropy : The loss, which takes logits.

    Notes
    -----
    Special values: a class with logit -inf has probability 0. If a row has a NaN or +inf, or
    nothing but -inf, all its probabilities are NaN; other rows are not affected. Finite logits
    never overflow. A class that `where` removes has probability exactly 0, even if it removes all
    classes.

    Accuracy: the error is at most 3.5 ulp on ordinary rows of 1,000 classes or more, and at most 5
    ulp on any row, where the exact value is a normal number. Equal logits have equal probabilities.

    float16 and bfloat16 are storage types only: results are computed in float32 and rounded once
    when they are stored. They are not rounded if `out` is float32 or float64 and `dtype` is not
    given.

    With several axes, the logits are not copied if the strides let these axes be treated as one, as
    for all axes, or neighbouring axes, of a C-contiguous array. Otherwise they are copied.

    Large inputs are processed by up to `get_num_threads` threads. The bits of a row depend only on
    its values, K, the types and the options, not on other rows, the memory layout, the number of
    threads or the instruction set.

    References
    ----------
    .. [1] J. S. Bridle, "Probabilistic Interpretation of Feedforward Classification Network
       Outputs, with Relationships to Statistical Pattern Recognition", in Neurocomputing, 1990.

    Examples
    --------
    >>> import numpy as np
    >>> import smoothxent as sx
    >>> sx.softmax([[0.0, 0.0, 0.0, 0.0], [1.0, 2.0, 3.0, -np.inf]])
    array([[0.25      , 0.25      , 0.25      , 0.25      ],
           [0.09003057, 0.24472847, 0.66524096, 0.        ]])

    With a class removed, and a temperature that makes the rest flatter:

    >>> sx.softmax([1.0, 2.0, 3.0], where=[True, False, True], temperature=2.0)
    array([0.26894142, 0.        , 0.73105858])

    In place, over the first axis:

    >>> z = np.array([[1000.0, 0.0], [1000.0, 0.0]])
    >>> sx.softmax(z, axis=0, out=z) is z
    True
    >>> z
    array([[0.5, 0.5],
           [0.5, 0.5]])

    Over all axes, as SciPy does by default:

    >>> sx.softmax(z, axis=None)
    array([[0.25, 0.25],
           [0.25, 0.25]])
    """
    result = _native.softmax(logits, axis, temperature, where, dtype, out)
    if result is NotImplemented:
        return _axes.softmax(_native.softmax, logits, axis, temperature, where, dtype, out)
    return result


@overload
def log_softmax(
    logits: ArrayLike,
    *,
    axis: Axis = -1,
    temperature: SupportsFloat = 1.0,
    where: ArrayLike | None = None,
    dtype: DTypeLike | None = None,
    out: Out,
) -> Out: ...
@overload
def log_softmax(
    logits: ArrayLike,
    *,
    axis: Axis = -1,
    temperature: SupportsFloat = 1.0,
    where: ArrayLike | None = None,
    dtype: type[Float] | np.dtype[Float],
    out: None = None,
) -> NDArray[Float]: ...
@overload
def log_softmax(
    logits: NDArray[Float],
    *,
    axis: Axis = -1,
    temperature: SupportsFloat = 1.0,
    where: ArrayLike | None = None,
    dtype: None = None,
    out: None = None,
) -> NDArray[Float]: ...
@overload
def log_softmax(
    logits: ArrayLike,
    *,
    axis: Axis = -1,
    temperature: SupportsFloat = 1.0,
    where: ArrayLike | None = None,
    dtype: DTypeLike | None = None,
    out: None = None,
) -> NDArray[np.floating[Any]]: ...
@as_builtin
def log_softmax(
    logits: ArrayLike,
    *,
    axis: Axis = -1,
    temperature: SupportsFloat = 1.0,
    where: ArrayLike | None = None,
    dtype: DTypeLike | None = None,
    out: Output | None = None,
) -> Output:
    r"""Return the logarithm of the softmax of the logits along an axis.

    Use it for log-probabilities. Unlike the logarithm of `softmax`, it neither underflows nor loses
    digits near 0. For the loss of known targets use `cross_entropy`, which does not allocate an
    array of log-probabilities.

    For K logits z along `axis`,

    .. math:: \log p(k) = z_k - \log \sum_{i=1}^K e^{z_i}.

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
    dtype : dtype, optional
        The type of the result: one of the four types above, by default that of `logits`. The result
        is computed in the wider of the two types, at least in float32, and rounded once.
    out : ndarray, optional
        Where to write the result: an array of the shape of `logits` and of one of the four types
        above, in native byte order. It may be `logits` itself, or overlap it.

    Returns
    -------
    ndarray
        Log-probabilities in nats, at most 0, of the shape of `logits`. If `out` is given, it is
        returned; otherwise a new array of type `dtype`, or a NumPy scalar if `logits` is a single
        number (with `axis` None).

    Raises
    ------
    TypeError
        If an argument has an unsupported type.
    ValueError
        If `logits` has rows but no classes, or if the shape or value of an argument, or the memory
        of `out`, is not as described. `out` is then unchanged.

    See Also
    --------
    softmax : The probabilities.
    log_softmax_at : Only the log-probabilities of given classes.
    top_k_log_softmax : Only the most likely classes.
    cross_entropy : The loss of known targets.

    Notes
    -----
    Special values: a class with logit -inf has log-probability -inf. If a row has a NaN or +inf, or
    nothing but -inf, all its log-probabilities are NaN; other rows are not affected. For finite
    logits, a log-probability is -inf only if the type of the result has no number as small: in
    float16, that of the logit -40000 beside 40000. A class that `where` removes has log-probability
    -inf, even if it removes all classes.

    Accuracy: the error is at most 2 ulp on ordinary rows of 1,000 classes or more, and at most 3
    ulp on any row, where the probability is a normal number. This holds for the most likely class
    of a confident row too, where the value is close to 0.

    float16 and bfloat16 are storage types only: results are computed in float32 and rounded once
    when they are stored. They are not rounded if `out` is float32 or float64 and `dtype` is not
    given.

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
    >>> import smoothxent as sx
    >>> sx.log_softmax([1.0, 2.0, 3.0])
    array([-2.40760596, -1.40760596, -0.40760596])

    The log-probability of a confident prediction keeps its digits:

    >>> sx.log_softmax([40.0, 0.0])
    array([-4.24835426e-18, -4.00000000e+01])
    """
    result = _native.log_softmax(logits, axis, temperature, where, dtype, out)
    if result is NotImplemented:
        return _axes.softmax(_native.log_softmax, logits, axis, temperature, where, dtype, out)
    return result
