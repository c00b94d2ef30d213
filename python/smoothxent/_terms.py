"""The terms of the smoothed loss, section 7 of arXiv 1512.00567, one value of each for every row.

    loss    = (1 - eps) H(q, p) + eps H(u, p)
    H(u, p) = KL(u || p) + H(u)

Linear in eps: one pass over the logits serves every value of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, NamedTuple, overload

from smoothxent import _smoothxent as _native
from smoothxent._types import Number

if TYPE_CHECKING:
    from typing import SupportsFloat, SupportsIndex

    from numpy.typing import ArrayLike, NDArray

    from smoothxent._types import Row


class CrossEntropyTerms(NamedTuple, Generic[Number]):
    """What the loss of each row is made of: arrays of one value for each row, in nats.

    For every label smoothing eps, with a prior that sums to 1::

        loss = (1 - eps) * nll + eps * prior_cross_entropy
        prior_cross_entropy = prior_kl + prior_entropy

    It is what `cross_entropy_terms` returns.

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
    """H(q, p): the loss without smoothing."""
    prior_cross_entropy: NDArray[Number]
    """H(u, p): what smoothing adds."""
    prior_kl: NDArray[Number]
    """KL(u || p): the part of it that the logits can change; 0 where the prediction is u."""
    prior_entropy: NDArray[Number]
    """H(u): the constant part."""
    logsumexp: NDArray[Number]
    """The normaliser of the softmax."""


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
    r"""Return the terms that the smoothed loss of each row is made of.

    Use it to see what smoothing does in a training run, or the loss for many values of eps from one
    pass. `cross_entropy` puts the terms together.

    For one row, in the terms of `cross_entropy`,

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
        As for `cross_entropy`: the prior of a row is divided by its sum over the classes that are left.
    temperature : float, default 1.0
        As for `cross_entropy`; all terms are those of z / T.
    axis : int, default -1
        The axis of the classes.

    Returns
    -------
    CrossEntropyTerms
        A named tuple of new arrays of shape S, in nats and in the type of the losses of `cross_entropy`: ``nll`` is H(q, p),
        ``prior_cross_entropy`` H(u, p), ``prior_kl`` the divergence of p from u, ``prior_entropy``
        H(u), and ``logsumexp`` the normaliser of the softmax.

    Raises
    ------
    LabelError
        If a label is neither in [0, K) nor `ignore_index`.
    TypeError
        If an argument is of a type that cannot be used: also integers where probabilities are
        expected, and the reverse.
    ValueError
        If an argument has a shape or value that is not as described.

    See Also
    --------
    cross_entropy : The loss that the terms make up.
    score : Means of the terms, of data larger than memory.
    class_prior : A prior counted from labels.

    Notes
    -----
    Special values: all terms of an ignored row are exactly 0, and so are those of a row in which
    `where` leaves no class, except that the logsumexp is -inf there. A logit of -inf makes those terms
    +inf whose distribution has mass there. A row with a NaN or +inf, or with nothing but -inf, has
    nan for the terms that depend on p, and the logsumexp of `logsumexp`.

    Large inputs are shared among up to `get_num_threads` threads. The bits of a row depend only on
    its values, K and the types: not on other rows, memory layout, threads or instruction set.

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
