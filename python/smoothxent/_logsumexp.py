"""The normaliser of the softmax, along one axis or several.

With M = max_k z_k, S = sum_k exp(z_k - M) and L = log S:

    lse = M + L
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, overload

from smoothxent import _axes
from smoothxent import _smoothxent as _native
from smoothxent._builtin import as_builtin

if TYPE_CHECKING:
    from typing import SupportsFloat, SupportsIndex

    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    from smoothxent._types import Axis, Float, Out


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
    out: NDArray[Any] | None = None,
) -> np.floating[Any] | NDArray[np.floating[Any]]:
    r"""Return the logarithm of the sum of exponentials of the logits along an axis.

    Use it for the normaliser of a softmax (the negated free energy). `log_softmax` gives the
    normalised values; do not subtract this from the logits yourself, which loses digits.

    For K logits z along `axis`,

    .. math:: \mathrm{lse}(z) = \log \sum_{i=1}^K e^{z_i}.

    Parameters
    ----------
    logits : array_like
        float16, bfloat16, float32 or float64 with K classes along `axis` and any other axes, in any
        memory layout. Integers, bools and lists are converted to float64.
    axis : int, tuple of int or None, default -1
        The axis of the classes. With several axes, or all of them for None (SciPy's default), the K
        classes are their elements in C order.
    temperature : float, default 1.0
        T, between 1e-30 and 1e30: z / T takes the place of z.
    where : array_like of bool, optional
        The classes that take part, broadcastable to `logits`. False removes a class from the softmax,
        whatever its logit holds. By default all classes take part.
    keepdims : bool, default False
        Keep the axes of the classes in the result, with length 1.
    out : ndarray, optional
        Where to write the result: of its shape and of one of these four types, in native byte
        order. It may overlap `logits`.

    Returns
    -------
    ndarray or scalar
        One value for each row, in nats, of the shape of `logits` without the axes of the classes and of
        its type. It is `out` if that is given, otherwise a new array, or for one row a NumPy scalar.

    Raises
    ------
    TypeError
        If an argument is of a type that cannot be used.
    ValueError
        If an argument has a shape, memory or value that is not as described. `out` is then
        unchanged.

    See Also
    --------
    log_softmax : Logits minus this value, without loss of digits.
    cross_entropy_terms : This value beside the terms of the loss.

    Notes
    -----
    Special values: a row of nothing but -inf gives -inf, a row with +inf gives +inf, and a row with
    a NaN gives NaN; other rows are not affected. Logits of any finite size are safe. A row without
    classes gives -inf, and so does one in which `where` leaves none.

    Accuracy: within 2 ulp, 3 on any row, of max(abs(M), L) for M the largest logit and lse = M + L.

    float16 and bfloat16 are storage only: the float32 result is rounded once. An `out` in float32 or
    float64 takes it unrounded.

    Several axes are read and written as one where their strides are those of one: all of a
    C-contiguous array, or those of its axes that are neighbours. Otherwise the logits are copied.

    Large inputs are shared among up to `get_num_threads` threads. The bits of a row depend only on
    its values, K, the types and the options: not on other rows, memory layout, threads or instruction set.

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
