"""The cross-entropy of a linear layer, computed without holding all of its logits in memory.

z = h W^T + b        loss = cross_entropy(z)        g = p - q'
dh = g W             dW = g^T h                     db = the sum of the rows of g
"""

from __future__ import annotations

from collections.abc import Callable
from typing import (
    Any,
    Generic,
    Literal,
    NamedTuple,
    SupportsFloat,
    SupportsIndex,
    Unpack,
    overload,
)

import numpy as np

from smoothxent._linear_chunks import Job, Settings
from smoothxent._loss_options import LossOptions
from smoothxent._types import ArrayLike, NDArray, Number, Output, Reduction, Row, Scalar


class LinearCrossEntropy(NamedTuple, Generic[Number]):
    """A loss and its gradients, as `linear_cross_entropy_value_and_grad` returns them.

    Attributes
    ----------
    loss : float or ndarray
        The loss, as `linear_cross_entropy` returns it.
    hidden_grad, weight_grad : ndarray
        The gradients with respect to `hidden` and `weight`, of their shapes.
    bias_grad : ndarray or None
        The gradient with respect to `bias`; None if there is no bias.

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
    hidden_grad: NDArray[Number]
    weight_grad: NDArray[Number]
    bias_grad: NDArray[Number] | None


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
    r"""Return the cross-entropy loss of a linear layer without storing all of its logits.

    Use it to evaluate a model whose last layer has many classes, such as a language model, if the
    logits would take far more memory than everything else. For the gradients use
    `linear_cross_entropy_value_and_grad`. If the logits are in memory already, use `cross_entropy`.

    For inputs h of shape (N, D), weights W of shape (K, D) and a bias b of shape (K,), it returns
    the loss that `cross_entropy` returns for the logits

    .. math:: z = h W^\mathsf{T} + b

    of shape (N, K). These are computed chunk by chunk, by NumPy's BLAS.

    Parameters
    ----------
    hidden : array_like
        h, the input of the linear layer, of float32 or float64 and of shape (..., D): any axes of
        rows, then D features. Integers and lists of Python numbers are converted to float64.
    weight : array_like
        W, of shape (K, D), with a row for each class as in ``torch.nn.Linear``. Its type is that of
        `hidden`, or float16 or bfloat16, which are converted to that type some classes at a time.
    targets : array_like
        As for `cross_entropy`: integer labels of shape (...), or probabilities of shape (..., K).
    bias : array_like, optional
        b, of shape (K,) and of a type that `weight` may have. None by default.
    chunk_rows : int, optional
        The largest number of rows whose logits are in memory at once. By default 384, or the number
        of rows whose logits and hidden features take 16 MB, if that is larger.
    progress : callable, optional
        ``progress(done, total)`` is called after every chunk, with the number of rows that are done
        and the number of all rows that count. If it raises an exception, the call ends with it.
    reduction : {"mean", "sum", "sum_by_nonzero_weights", "none"}, default "mean"
        As for `cross_entropy`, over the rows of all chunks.
    normalizer : float, optional
        As for `cross_entropy`.
    **loss_options
        `label_smoothing`, `prior`, `class_weight`, `sample_weight`, `ignore_index`, `where`,
        `temperature` and `z_loss`, as for `cross_entropy` with logits of shape (..., K).

    Returns
    -------
    float or ndarray
        The loss in nats: a Python float. For "none", a new array of shape (...), of the type of
        `hidden`.

    Raises
    ------
    LabelError, TypeError, ValueError
        As for `cross_entropy`; also if the types or shapes of `hidden`, `weight` and `bias` do not
        match, or if the divisor of "mean" is too large for float64. All arguments are checked
        before the first matrix product.

    See Also
    --------
    cross_entropy : The loss of logits that are in memory.
    linear_cross_entropy_value_and_grad : The loss and its gradients.

    Notes
    -----
    Memory: a call needs the memory for the logits of one chunk, and 10 MB. Priors of each row,
    probabilities and masks are read in place if `hidden` has two axes and all rows count. Otherwise
    they are copied chunk by chunk.

    Rows that do not count (ignored rows, rows of weight 0, and rows of which `where` removes all
    classes) are not read, and no matrix product is computed for them. Other special values are
    those of `cross_entropy` for the logits.

    Accuracy: the loss of given logits is as accurate as that of `cross_entropy`. The logits
    themselves have the rounding errors of NumPy's BLAS. Therefore neither they nor the loss have
    the same bits on every machine, or for every number of BLAS threads and every `chunk_rows`. The
    losses of the chunks are added without rounding.

    Threads: the matrix products use the threads of the BLAS, the loss up to `get_num_threads`
    threads, one after the other. Ctrl-C is answered between products of some classes, each of which
    takes some 10 ms at most at 100 GFLOP/s.

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
    function = "linear_cross_entropy"
    settings = Settings(function, chunk_rows, progress, reduction, normalizer, loss_options)
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
    hidden_grad_out: Output | None = None,
    weight_grad_out: Output | None = None,
    bias_grad_out: Output | None = None,
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
    hidden_grad_out: Output | None = None,
    weight_grad_out: Output | None = None,
    bias_grad_out: Output | None = None,
    **loss_options: Unpack[LossOptions],
) -> LinearCrossEntropy | Any:
    r"""Return the loss of a linear layer and its gradients without storing all of its logits.

    Use it for training. The gradient with respect to the logits is also computed chunk by chunk and
    is never stored as a whole. For the loss alone use `linear_cross_entropy`.

    With the notation of `linear_cross_entropy`, and with g the gradient of shape (N, K) that
    `cross_entropy_value_and_grad` returns for the logits,

    .. math::
       \frac{\partial \ell}{\partial h} = g\, W,

       \frac{\partial \ell}{\partial W} = g^\mathsf{T} h,

       \frac{\partial \ell}{\partial b_k} = \sum_{i=1}^N g_{ik}.

    Parameters
    ----------
    hidden, weight, targets, bias : array_like
        As for `linear_cross_entropy`.
    chunk_rows, progress, reduction, normalizer : optional
        As for `linear_cross_entropy`. The gradients are those of the returned loss; for "none",
        those of the sum.
    hidden_grad_out, weight_grad_out, bias_grad_out : ndarray, optional
        Where to write the gradients: NumPy arrays or PyTorch tensors on the CPU, of the shapes of
        `hidden`, `weight` and `bias`, of the type of `hidden` and in any memory layout. Their
        contents are overwritten, not added to. `hidden_grad_out` may be `hidden` itself. Apart from
        that, outputs must not share memory with the arguments.
    **loss_options
        As for `linear_cross_entropy`.

    Returns
    -------
    LinearCrossEntropy
        A named tuple of ``loss``, ``hidden_grad``, ``weight_grad`` and ``bias_grad``, the latter
        None without a bias. Gradients have the type of `hidden`, even if the weights have 16 bits.
        They are the given outputs, or new arrays.

    Raises
    ------
    LabelError, TypeError, ValueError
        As for `linear_cross_entropy`; no output has been written then. An exception from
        `progress`, Ctrl-C or running out of memory during the computation may leave outputs partly
        written.

    See Also
    --------
    cross_entropy_value_and_grad : The loss of logits and its gradient.
    linear_cross_entropy : The loss alone.

    Notes
    -----
    Special values are those of `linear_cross_entropy`. Rows that do not count have gradient exactly
    0. If a row that counts contains a nan, the gradient of the weights is nan. If the weights of a
    class contain a nan or an infinity, the gradient of `hidden` is nan, even if `where` removes the
    class, because 0 times nan is nan in the matrix product.

    Memory: besides the gradients, a call needs the memory for the logits of one chunk, and some 10
    MB.

    Time: a third of the matrix products compute the logits. Computing the gradient with respect to
    the logits takes a few percent of the time of the products, and so does adding up the gradient
    of the weights over the chunks. The latter takes less time with larger chunks, and more with
    chunks of fewer than 384 rows.

    Accuracy: the BLAS rounds sums over classes and over the rows of a chunk, in the type of
    `hidden`. The sums over blocks of classes and over chunks are also rounded in that type, except
    that the gradient of the bias is summed over chunks in float64.

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

    A training step, in place:

    >>> weight -= 0.1 * result.weight_grad
    >>> sx.linear_cross_entropy(hidden, weight, labels, bias=bias) < result.loss
    True
    """
    function = "linear_cross_entropy_value_and_grad"
    settings = Settings(function, chunk_rows, progress, reduction, normalizer, loss_options)
    outs = {
        "hidden_grad_out": hidden_grad_out,
        "weight_grad_out": weight_grad_out,
        "bias_grad_out": bias_grad_out,
    }
    job = Job(hidden, weight, targets, bias, settings)
    return LinearCrossEntropy(*job.loss_and_gradients(outs))
