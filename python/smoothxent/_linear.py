"""The cross-entropy of a linear layer, of which the logits are never all in memory.

z = h W^T + b        loss = cross_entropy(z)        g = p - q'
dh = g W             dW = g^T h                     db = the sum of the rows of g
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Literal, NamedTuple, overload

from smoothxent._linear_chunks import Job, Settings
from smoothxent._types import Number

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import SupportsFloat, SupportsIndex, Unpack

    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    from smoothxent._scored_rows import LossOptions
    from smoothxent._types import Reduction, Row, Scalar


class LinearCrossEntropy(NamedTuple, Generic[Number]):
    """A loss and its gradients: what `linear_cross_entropy_value_and_grad` returns.

    Examples
    --------
    >>> import smoothxent as sx
    >>> hidden, weight = [[1.0, 2.0]], [[1.0, 0.0], [0.0, 1.0]]
    >>> result = sx.linear_cross_entropy_value_and_grad(hidden, weight, [1])
    >>> result.weight_grad.round(3)
    array([[ 0.269,  0.538],
           [-0.269, -0.538]])
    >>> result.bias_grad is None
    True
    """

    loss: float | NDArray[Number]
    """What `linear_cross_entropy` returns."""
    hidden_grad: NDArray[Number]
    """The gradient with respect to `hidden`."""
    weight_grad: NDArray[Number]
    """The gradient with respect to `weight`."""
    bias_grad: NDArray[Number] | None
    """The gradient with respect to `bias`, None if there is no bias."""


@overload
def linear_cross_entropy(
    hidden: ArrayLike,
    weight: ArrayLike,
    targets: ArrayLike,
    *,
    bias: ArrayLike | None = None,
    chunk_rows: SupportsIndex | None = None,
    progress: Callable[[int, int], object] | None = None,
    reduction: Scalar = "mean",
    normalizer: SupportsFloat | None = None,
    **loss_options: Unpack[LossOptions],
) -> float: ...
@overload
def linear_cross_entropy(
    hidden: NDArray[Row],
    weight: ArrayLike,
    targets: ArrayLike,
    *,
    bias: ArrayLike | None = None,
    chunk_rows: SupportsIndex | None = None,
    progress: Callable[[int, int], object] | None = None,
    reduction: Literal["none"],
    normalizer: SupportsFloat | None = None,
    **loss_options: Unpack[LossOptions],
) -> NDArray[Row]: ...
@overload
def linear_cross_entropy(
    hidden: ArrayLike,
    weight: ArrayLike,
    targets: ArrayLike,
    *,
    bias: ArrayLike | None = None,
    chunk_rows: SupportsIndex | None = None,
    progress: Callable[[int, int], object] | None = None,
    reduction: Literal["none"],
    normalizer: SupportsFloat | None = None,
    **loss_options: Unpack[LossOptions],
) -> NDArray[np.floating[Any]]: ...
def linear_cross_entropy(
    hidden: ArrayLike,
    weight: ArrayLike,
    targets: ArrayLike,
    *,
    bias: ArrayLike | None = None,
    chunk_rows: SupportsIndex | None = None,
    progress: Callable[[int, int], object] | None = None,
    reduction: Reduction = "mean",
    normalizer: SupportsFloat | None = None,
    **loss_options: Unpack[LossOptions],
) -> float | NDArray[np.floating[Any]]:
    r"""Return the cross-entropy loss of a linear layer, without its logits in memory.

    Use it to evaluate a model whose last layer has many classes, a language model for example, of which
    the logits would be far larger than all else. `linear_cross_entropy_value_and_grad` also gives the
    gradients. Of logits that are in memory, `cross_entropy` gives the loss.

    For hidden rows h of shape (N, D), weights W of shape (K, D) and a bias b of shape (K,), it is the loss
    that `cross_entropy` returns for the logits

    .. math:: z = h W^\mathsf{T} + b

    of shape (N, K), which are computed by NumPy's BLAS and used chunk by chunk.

    Parameters
    ----------
    hidden : array_like
        h, float32 or float64, of shape (..., D): any axes of rows, then D features. Integers and lists are
        converted to float64.
    weight : array_like
        W, of shape (K, D), a row for each class as in ``torch.nn.Linear``: of the type of `hidden`, or
        float16 or bfloat16, which are widened some classes at a time.
    targets : array_like
        As for `cross_entropy`: integer labels of shape (...), or probabilities of shape (..., K).
    bias : array_like, optional
        b, of shape (K,) and a type that `weight` may have. None by default.
    chunk_rows : int, optional
        The most rows whose logits are in memory at once. By default 384, or as many as have 16 MB of logits
        and hidden features if these are more.
    progress : callable, optional
        ``progress(done, total)`` is called after every chunk with the number of rows that are done, and of
        all rows that count. An exception from it ends the call.
    reduction : {"mean", "sum", "sum_by_nonzero_weights", "none"}, default "mean"
        As for `cross_entropy`, over the rows of all chunks.
    normalizer : float, optional
        As for `cross_entropy`.
    **loss_options
        `label_smoothing`, `prior`, `class_weight`, `sample_weight`, `ignore_index`, `where`, `temperature`
        and `z_loss` of `cross_entropy`; arrays broadcast to logits of shape (..., K), or to their rows.

    Returns
    -------
    float or ndarray
        A Python float. For "none", new losses of shape (...), of the type of `hidden`.

    Raises
    ------
    LabelError, TypeError, ValueError
        As `cross_entropy`, and if the types or shapes of `hidden`, `weight` and `bias` do not fit. All is
        checked before the first product.

    See Also
    --------
    cross_entropy : The loss of logits.
    linear_cross_entropy_value_and_grad : The loss with its gradients.

    Notes
    -----
    Memory: the logits of one chunk and 10 MB. Per-row priors, probabilities and masks are read in place if
    `hidden` has two axes and all rows count, and are otherwise copied chunk by chunk.

    Rows that do not count (ignored, of weight 0, without a class) are not read, and no product is
    computed for them. Beyond that the special values are those of `cross_entropy` for the logits.

    Accuracy: the loss of the logits is that of `cross_entropy`. The logits themselves are rounded as
    NumPy's BLAS does it, so that neither they nor the loss have the same bits on every machine, with any
    number of BLAS threads or in chunks of any size. The losses of chunks are added without rounding.

    Threads: the products use those of the BLAS, the loss up to `get_num_threads`, in turn. Ctrl-C is answered
    between products of some classes, which take 10 ms each at 100 GFLOP/s.

    References
    ----------
    .. [1] C. Szegedy, V. Vanhoucke, S. Ioffe, J. Shlens and Z. Wojna, "Rethinking the Inception
       Architecture for Computer Vision", section 7, arXiv:1512.00567, 2015.
    .. [2] E. Wijmans, B. Huval, A. Hertzberg, V. Koltun and P. Krähenbühl, "Cut Your Losses in
       Large-Vocabulary Language Models", arXiv:2411.09009, 2024.

    Examples
    --------
    >>> import numpy as np
    >>> import smoothxent as sx
    >>> rng = np.random.default_rng(0)
    >>> hidden = rng.standard_normal((6, 4))
    >>> weight = rng.standard_normal((1000, 4))
    >>> labels = np.array([3, 1, 4, 1, 5, -100])
    >>> loss = sx.linear_cross_entropy(hidden, weight, labels, label_smoothing=0.1)
    >>> dense = sx.cross_entropy(hidden @ weight.T, labels, label_smoothing=0.1)
    >>> round(loss, 6), round(dense, 6)
    (7.979374, 7.979374)
    """
    settings = Settings(
        "linear_cross_entropy", chunk_rows, progress, reduction, normalizer, loss_options
    )
    return Job(hidden, weight, targets, bias, settings).loss()


@overload
def linear_cross_entropy_value_and_grad(
    hidden: NDArray[Row],
    weight: ArrayLike,
    targets: ArrayLike,
    *,
    bias: ArrayLike | None = None,
    chunk_rows: SupportsIndex | None = None,
    progress: Callable[[int, int], object] | None = None,
    reduction: Reduction = "mean",
    normalizer: SupportsFloat | None = None,
    hidden_grad_out: NDArray[Any] | None = None,
    weight_grad_out: NDArray[Any] | None = None,
    bias_grad_out: NDArray[Any] | None = None,
    **loss_options: Unpack[LossOptions],
) -> LinearCrossEntropy[Row]: ...
@overload
def linear_cross_entropy_value_and_grad(
    hidden: ArrayLike,
    weight: ArrayLike,
    targets: ArrayLike,
    *,
    bias: ArrayLike | None = None,
    chunk_rows: SupportsIndex | None = None,
    progress: Callable[[int, int], object] | None = None,
    reduction: Reduction = "mean",
    normalizer: SupportsFloat | None = None,
    hidden_grad_out: NDArray[Any] | None = None,
    weight_grad_out: NDArray[Any] | None = None,
    bias_grad_out: NDArray[Any] | None = None,
    **loss_options: Unpack[LossOptions],
) -> LinearCrossEntropy | Any: ...  # as for top_k_log_softmax
def linear_cross_entropy_value_and_grad(
    hidden: ArrayLike,
    weight: ArrayLike,
    targets: ArrayLike,
    *,
    bias: ArrayLike | None = None,
    chunk_rows: SupportsIndex | None = None,
    progress: Callable[[int, int], object] | None = None,
    reduction: Reduction = "mean",
    normalizer: SupportsFloat | None = None,
    hidden_grad_out: NDArray[Any] | None = None,
    weight_grad_out: NDArray[Any] | None = None,
    bias_grad_out: NDArray[Any] | None = None,
    **loss_options: Unpack[LossOptions],
) -> LinearCrossEntropy | Any:
    r"""Return the cross-entropy loss of a linear layer and its gradients, without the logits in memory.

    Use it for training: the gradient with respect to the logits of a chunk takes their place, and is used up
    before the next chunk. `linear_cross_entropy` gives the loss alone.

    In the terms of `linear_cross_entropy`, and with g the gradient that `cross_entropy_value_and_grad`
    returns for the logits, of shape (N, K),

    .. math::
       \frac{\partial \ell}{\partial h} = g\, W,

       \frac{\partial \ell}{\partial W} = g^\mathsf{T} h,

       \frac{\partial \ell}{\partial b_k} = \sum_{i=1}^N g_{ik}.

    Parameters
    ----------
    hidden, weight, targets, bias : array_like
        As for `linear_cross_entropy`.
    chunk_rows, progress, reduction, normalizer : optional
        As for `linear_cross_entropy`. The gradients are of what is returned, and for "none" of the sum.
    hidden_grad_out, weight_grad_out, bias_grad_out : ndarray, optional
        Where to write the gradients, NumPy arrays or tensors of torch on the CPU: of the shapes of `hidden`,
        `weight` and `bias`, in any memory layout, and of the type of `hidden`. What they hold is overwritten.
        `hidden_grad_out` may be `hidden` itself; they must not share memory with arguments otherwise.
    **loss_options
        As for `linear_cross_entropy`.

    Returns
    -------
    LinearCrossEntropy
        ``loss``, ``hidden_grad``, ``weight_grad`` and ``bias_grad``, the latter None without a bias. Gradients
        have the type of `hidden`, also of weights of 16 bits, and are new arrays unless given.

    Raises
    ------
    LabelError, TypeError, ValueError
        As `linear_cross_entropy`; nothing has been written then. An exception from `progress`, Ctrl-C and
        a want of memory on the way may leave gradients that are given half written.

    See Also
    --------
    cross_entropy_value_and_grad : The loss of logits and its gradient.
    linear_cross_entropy : The loss alone.

    Notes
    -----
    Special values are those of `linear_cross_entropy`. Rows that do not count have gradient exactly 0. A row that
    counts and holds a nan makes the gradient of the weights nan. A class whose weights hold a nan or an infinity makes
    that of the hidden rows nan, also where `where` removes the class: the product has 0 times nan in it.

    Memory: beside the gradients, the logits of one chunk and some 10 MB. Time: a third of the products are
    for the logits. Their gradient takes some parts in 100 of the time of the products, and so does adding that
    of the weights from chunk to chunk: less in larger chunks, and more the fewer rows a chunk has below 384.

    Accuracy: sums over classes and over the rows of a chunk are rounded as the BLAS does it, in the type of
    `hidden`, and so are their sums over blocks of classes and over chunks; those of the bias over chunks in float64.

    References
    ----------
    .. [1] C. Szegedy, V. Vanhoucke, S. Ioffe, J. Shlens and Z. Wojna, "Rethinking the Inception
       Architecture for Computer Vision", section 7, arXiv:1512.00567, 2015.

    Examples
    --------
    >>> import numpy as np
    >>> import smoothxent as sx
    >>> rng = np.random.default_rng(0)
    >>> hidden = rng.standard_normal((6, 4))
    >>> weight, bias = rng.standard_normal((1000, 4)), np.zeros(1000)
    >>> labels = np.array([3, 1, 4, 1, 5, -100])
    >>> result = sx.linear_cross_entropy_value_and_grad(hidden, weight, labels, bias=bias)
    >>> [gradient.shape for gradient in result[1:]]
    [(6, 4), (1000, 4), (1000,)]

    A step of training, in place:

    >>> weight -= 0.1 * result.weight_grad
    >>> sx.linear_cross_entropy(hidden, weight, labels, bias=bias) < result.loss
    True
    """
    settings = Settings(
        "linear_cross_entropy_value_and_grad",
        chunk_rows,
        progress,
        reduction,
        normalizer,
        loss_options,
    )
    outs = {
        "hidden_grad_out": hidden_grad_out,
        "weight_grad_out": weight_grad_out,
        "bias_grad_out": bias_grad_out,
    }
    job = Job(hidden, weight, targets, bias, settings)
    return LinearCrossEntropy(*job.loss_and_gradients(outs))
