"""The terms of the smoothed loss, section 7 of arXiv 1512.00567, one value of each for every row.

    loss    = (1 - eps) H(q, p) + eps H(u, p)
    H(u, p) = KL(u || p) + H(u)

The loss is linear in eps, so one pass over the logits is enough for every value of eps.
"""

from __future__ import annotations

from typing import Any, Generic, NamedTuple, SupportsFloat, SupportsIndex, overload

from smoothxent import _smoothxent as _native
from smoothxent._types import ArrayLike, NDArray, Number, Row


class CrossEntropyTerms(NamedTuple, Generic[Number]):
    """The terms of the loss of each row, as `cross_entropy_terms` returns them, in nats.

    Each field is an array with one value for each row. For every label smoothing eps, and a prior
    that sums to 1::

        loss = (1 - eps) * nll + eps * prior_cross_entropy
        prior_cross_entropy = prior_kl + prior_entropy

    Attributes
    ----------
    nll : ndarray
        H(q, p): the loss without smoothing.
    prior_cross_entropy : ndarray
        H(u, p): the cross-entropy with the prior, which smoothing adds to the loss.
    prior_kl : ndarray
        KL(u || p): the part of H(u, p) that depends on the logits; never below 0.
    prior_entropy : ndarray
        H(u): the part of H(u, p) that does not depend on the logits.
    logsumexp : ndarray
        The logarithm of the sum of exponentials of the logits.

    Examples
    --------
    >>> import smoothxent as sx
    >>> terms = sx.cross_entropy_terms([[0.0, 0.0], [0.0, 1.0]], [0, 1])
    >>> terms._fields
    ('nll', 'prior_cross_entropy', 'prior_kl', 'prior_entropy', 'logsumexp')
    >>> terms.prior_entropy
    array([0.69314718, 0.69314718])
    """

    nll: NDArray[Number]
    prior_cross_entropy: NDArray[Number]
    prior_kl: NDArray[Number]
    prior_entropy: NDArray[Number]
    logsumexp: NDArray[Number]


@overload
def cross_entropy_terms(
    logits: NDArray[Row],
    targets: ArrayLike,
    *,
    prior: ArrayLike | None = None,
    ignore_index: SupportsIndex | None = -100,
    where: ArrayLike | None = None,
    temperature: SupportsFloat = 1.0,
    axis: SupportsIndex = -1,
) -> CrossEntropyTerms[Row]: ...
@overload
def cross_entropy_terms(
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    prior: ArrayLike | None = None,
    ignore_index: SupportsIndex | None = -100,
    where: ArrayLike | None = None,
    temperature: SupportsFloat = 1.0,
    axis: SupportsIndex = -1,
) -> CrossEntropyTerms | Any: ...  # as for `top_k_log_softmax`
def cross_entropy_terms(
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    prior: ArrayLike | None = None,
    ignore_index: SupportsIndex | None = -100,
    where: ArrayLike | None = None,
    temperature: SupportsFloat = 1.0,
    axis: SupportsIndex = -1,
) -> CrossEntropyTerms[Any]:
    r"""Return the terms of the smoothed loss of each row.

    Use it to see the effect of smoothing in a training run, or to compute the loss for many values
    of eps from one pass. `cross_entropy` returns the loss itself.

    For one row, with the notation of `cross_entropy`,

    .. math::
       \ell = (1 - \varepsilon)\, H(q, p) + \varepsilon\, H(u, p),

       H(u, p) = D_{\mathrm{KL}}(u \,\|\, p) + H(u).

    Parameters
    ----------
    logits, targets : array_like
        As for `cross_entropy`, with rows of shape S.
    prior : array_like, optional
        u, as for `cross_entropy`.
    ignore_index : int or None, default -100
        As for `cross_entropy`.
    where : array_like of bool, optional
        As for `cross_entropy`: the prior of a row is divided by its sum over the remaining classes.
    temperature : float, default 1.0
        As for `cross_entropy`; all terms are those of z / T.
    axis : int, default -1
        The axis of the classes.

    Returns
    -------
    CrossEntropyTerms
        A named tuple of new arrays of shape S, in nats, of float64 for float64 logits and of
        float32 for all others: ``nll`` is H(q, p), ``prior_cross_entropy`` is H(u, p), ``prior_kl``
        is KL(u || p), ``prior_entropy`` is H(u), and ``logsumexp`` is the logarithm of the sum of
        exponentials.

    Raises
    ------
    LabelError
        If a label is neither in [0, K) nor `ignore_index`.
    TypeError
        If an argument has an unsupported type, also if `targets` are integers with another number
        of axes than labels have, or floating-point numbers with another number than probabilities.
    ValueError
        If the shape or value of an argument is not as described.

    See Also
    --------
    cross_entropy : The loss itself.
    score : Means of the terms, of data that may be larger than memory.
    class_prior : A prior counted from labels.

    Notes
    -----
    Special values: all terms of an ignored row are exactly 0. So are those of a row of which
    `where` removes all classes, except that its logsumexp is -inf. ``nll`` is +inf if the target
    has mass on a class with logit -inf or on one that `where` removes. ``prior_cross_entropy`` and
    ``prior_kl`` are +inf if the prior has mass on a class with logit -inf. In a row with a NaN or
    +inf, or with nothing but -inf, the terms that depend on p are nan, and ``logsumexp`` is as for
    `logsumexp`.

    Accuracy: ``prior_kl`` is computed as the difference of ``prior_cross_entropy`` and
    ``prior_entropy``, or as 0 if that is negative. Its absolute error is a few ulp of
    ``prior_cross_entropy``.

    Large inputs are processed by up to `get_num_threads` threads. The bits of a row depend only on
    its values, K, the types and the options, not on other rows, the memory layout, the number of
    threads or the instruction set.

    References
    ----------
    .. [1] C. Szegedy, V. Vanhoucke, S. Ioffe, J. Shlens and Z. Wojna, "Rethinking the Inception
       Architecture for Computer Vision", section 7, arXiv:1512.00567, 2015.

    Examples
    --------
    >>> import numpy as np
    >>> import smoothxent as sx
    >>> logits = np.array([[2.0, 1.0, 0.0], [0.0, 3.0, 0.0]])
    >>> terms = sx.cross_entropy_terms(logits, [0, 1])
    >>> terms.nll
    array([0.40760596, 0.09492296])
    >>> 0.9 * terms.nll + 0.1 * terms.prior_cross_entropy
    array([0.50760596, 0.29492296])
    >>> bool(np.allclose(terms.prior_kl + terms.prior_entropy, terms.prior_cross_entropy))
    True
    """
    return CrossEntropyTerms._make(
        _native.cross_entropy_terms(logits, targets, prior, ignore_index, where, temperature, axis)
    )
