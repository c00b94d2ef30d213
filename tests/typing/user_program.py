"""A user's program, for mypy and pyright to check; test_typing.py runs it and compares types with values.

float32 stays float32. What is refused at run time is refused by both type checkers, and each of them fails
if a comment ignores an error that it does not report.
"""

from typing import TYPE_CHECKING, Any, Literal, assert_type

import numpy as np
from numpy.typing import NDArray

import smoothxent as sx

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Floating = NDArray[np.floating[Any]]

z32: Float32 = np.zeros((4, 3), np.float32)
z64: Float64 = np.zeros((4, 3))
z16: NDArray[np.float16] = np.zeros((4, 3), np.float16)
rows = [[0.0, 1.0, 2.0]] * 4
labels: NDArray[np.int64] = np.array([0, 1, 2, 0])


def activations() -> None:
    """Softmax, its logarithm and its normaliser."""
    assert_type(sx.softmax(z32), Float32)
    assert_type(sx.softmax(z64, axis=None), Float64)
    assert_type(sx.softmax(z16, axis=(0, 1)), NDArray[np.float16])
    assert_type(sx.softmax(rows), Floating)
    assert_type(sx.softmax(rows, dtype=np.float32), Float32)
    assert_type(sx.softmax(z64, out=np.zeros_like(z32)), Float32)
    assert_type(sx.log_softmax(z32, axis=np.int64(0), temperature=np.float32(2)), Float32)
    assert_type(sx.log_softmax(z32, dtype=np.float64, where=[True, True, False]), Float64)
    assert_type(sx.log_softmax(z32, out=np.zeros_like(z64)), Float64)
    assert_type(sx.logsumexp(z32), Float32)
    assert_type(sx.logsumexp(z32, keepdims=True), Float32)
    assert_type(sx.logsumexp(z32, axis=None), np.float32)
    assert_type(sx.logsumexp(z64, axis=None, keepdims=True), Float64)
    assert_type(sx.logsumexp(z32, out=np.zeros(4)).dtype, np.dtype[np.float64])
    assert_type(sx.logsumexp(rows), Floating)


def some_classes() -> None:
    """Log-probabilities of some classes."""
    best = sx.top_k_log_softmax(z32, 2)
    assert_type(best, sx.TopK[np.float32])
    assert_type(best.indices, NDArray[np.int64])
    assert_type(best.log_probs, Float32)
    indices, log_probs = sx.top_k_log_softmax(logits=z64, k=np.int8(2))
    assert_type(indices, NDArray[np.int64])
    assert_type(log_probs, Float64)
    assert_type(sx.log_softmax_at(z32, labels[:, np.newaxis]), Float32)
    assert_type(sx.log_softmax_at(rows, indices=[[0]] * 4), Floating)


def losses() -> None:
    """The loss, its gradient and its terms."""
    assert_type(sx.cross_entropy(z32, labels), float)
    assert_type(
        sx.cross_entropy(z32, labels, reduction="sum", label_smoothing=np.float32(0.1)), float
    )
    assert_type(sx.cross_entropy(z32, labels, reduction="none"), Float32)
    assert_type(sx.cross_entropy(z64, labels, reduction="none"), Float64)
    assert_type(sx.cross_entropy(z16, labels, reduction="none"), Floating)
    assert_type(
        sx.cross_entropy(z32, labels, reduction="none", out=np.zeros(4)).dtype, np.dtype[np.float64]
    )
    loss, grad = sx.cross_entropy_value_and_grad(z32, targets=labels, prior=None, ignore_index=None)
    assert_type(loss, float)
    assert_type(grad, Float32)
    assert_type(sx.cross_entropy_value_and_grad(z16, labels)[1], NDArray[np.float16])
    assert_type(
        sx.cross_entropy_value_and_grad(z64, labels, grad_out=z64.copy())[1].dtype,
        np.dtype[np.float64],
    )
    assert_type(
        sx.cross_entropy_value_and_grad(z32, labels, reduction="none"), tuple[Float32, Float32]
    )
    terms = sx.cross_entropy_terms(z32, labels, prior=sx.class_prior(labels, 3))
    assert_type(terms, sx.CrossEntropyTerms[np.float32])
    assert_type(terms.prior_kl, Float32)
    assert_type(sx.cross_entropy_terms(z64, labels).nll, Float64)


def linear_layer() -> None:
    """The loss of a linear layer."""
    weight = np.ones((3, z32.shape[1]), np.float32)
    assert_type(sx.linear_cross_entropy(z32, weight, labels), float)
    assert_type(sx.linear_cross_entropy(z32, weight, labels, reduction="none"), Float32)
    result = sx.linear_cross_entropy_value_and_grad(z32, weight, labels, label_smoothing=0.1)
    assert_type(result, sx.LinearCrossEntropy[np.float32])
    assert_type(result.weight_grad, Float32)


def reduced(reduction: Literal["mean", "none"]) -> float | Float32:
    """A reduction that is known only at run time."""
    return sx.cross_entropy(z32, labels, reduction=reduction)


def without_a_type(logits: NDArray[Any]) -> sx.TopK:
    """Arrays of Any match any annotation of the result."""
    probabilities: Float32 = sx.softmax(logits)
    terms: sx.CrossEntropyTerms = sx.cross_entropy_terms(logits, labels)
    assert terms.nll.shape == probabilities.shape[:1]
    best: sx.TopK = sx.top_k_log_softmax(logits, 2)
    return best


def targets() -> None:
    """Smoothed and dropped labels, priors, a score."""
    assert_type(sx.smooth_labels(labels, 3, label_smoothing=0.1), Float32)
    assert_type(
        sx.smooth_labels(labels, num_classes=np.int16(3), label_smoothing=0.1, dtype=np.float64),
        Float64,
    )
    assert_type(
        sx.smooth_labels(z64, label_smoothing=0.1, out=z64.copy()).dtype, np.dtype[np.float64]
    )
    assert_type(sx.label_dropout(labels, 3, rate=0.1), NDArray[np.int64])
    assert_type(sx.class_prior(targets=labels, num_classes=3), Float64)
    assert_type(sx.score(z32, labels, label_smoothing=0.1, chunk_rows=np.int64(2)).loss, float)
    assert_type(sx.tf_losses.sparse_softmax_cross_entropy(labels, z32), float)
    assert_type(sx.tf_losses.sparse_softmax_cross_entropy(labels, z32, reduction="none"), Float32)
    assert_type(sx.tf_losses.softmax_cross_entropy(z64, z64, reduction="none"), Float64)


def errors() -> None:
    """The attributes of a LabelError."""
    try:
        sx.cross_entropy(z32, labels + 3)
    except sx.LabelError as error:
        assert_type(error.index, tuple[int, ...])
        assert_type(error.value, int | None)


def configuration() -> None:
    """Threads and what is in use."""
    assert_type(sx.get_num_threads(), int)
    sx.set_num_threads(np.int64(sx.get_num_threads()))
    with sx.num_threads(np.int8(1)):
        assert_type(sx.get_num_threads(), int)
    assert_type(sx.show_config(mode="dicts"), dict[str, Any])


if TYPE_CHECKING:
    from smoothxent._types import Tensor

    def outputs_that_are_tensors(tensor: Tensor) -> None:
        """PyTorch need not be installed: tensors are recognised by their methods."""
        assert_type(sx.softmax(z32, out=tensor), Tensor)
        assert_type(sx.logsumexp(z32, out=tensor), Tensor)
        assert_type(sx.cross_entropy(z32, labels, reduction="none", out=tensor), Tensor)
        assert_type(sx.cross_entropy(z32, labels, out=tensor), float)
        pair = sx.cross_entropy_value_and_grad(z32, labels, grad_out=tensor)
        assert_type(pair, tuple[float, Tensor])
        sx.linear_cross_entropy_value_and_grad(z32, z32, labels, weight_grad_out=tensor)
        sx.score(z32, labels, grad_out=tensor)


def refused_axis_as_a_list() -> None:
    sx.softmax(z32, axis=[0, 1])  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]


def refused_axis_by_position() -> None:
    sx.softmax(z32, 1)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]


def refused_unknown_reduction() -> None:
    sx.cross_entropy(z32, labels, reduction="avg")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]


def refused_unknown_keyword() -> None:
    sx.cross_entropy(z32, labels, weight=[1.0] * 3)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
