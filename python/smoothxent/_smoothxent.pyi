# The native module, kept by hand. All parameters are positional-only and required. The wrappers have
# the defaults, the documentation and the precise types.
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, SupportsFloat, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from smoothxent._types import Axis, Output

__all__ = [
    "_SEGMENT",
    "__version__",
    "_after_fork_in_child",
    "_builtin",
    "_finish_chunks",
    "_grad_and_hess",
    "_reduce_chunk",
    "_refuse_overlap",
    "_row_losses",
    "_variable_of_blocks",
    "_write_chunk",
    "cross_entropy",
    "cross_entropy_terms",
    "cross_entropy_value_and_grad",
    "get_num_threads",
    "log_softmax",
    "log_softmax_at",
    "logsumexp",
    "set_num_threads",
    "show_config",
    "softmax",
    "top_k_log_softmax",
]

__version__: str
_SEGMENT: int

def _after_fork_in_child() -> None: ...
def _builtin(
    place: int,
    python: Callable[..., object],
    names: tuple[str, ...],
    defaults: tuple[object, ...],
    text: str,
    /,
) -> Callable[..., object]: ...
def _variable_of_blocks(variable: ContextVar[int | None], /) -> ContextVar[int | None]: ...
def _reduce_chunk(
    operation: str,
    logits: ArrayLike,
    axis: SupportsIndex,
    rows: NDArray[np.float64],
    prior: NDArray[np.float64] | bool | None,
    /,
) -> NDArray[np.float64]: ...
def _finish_chunks(
    operation: str,
    sums: NDArray[np.float64],
    maxima: NDArray[np.float64],
    is_double: bool,
    smoothing: tuple[float, float | None, int],
    /,
) -> NDArray[np.float64]: ...
def _write_chunk(
    operation: str, logits: ArrayLike, axis: SupportsIndex, rows: NDArray[np.float64], /
) -> NDArray[np.floating[Any]]: ...
def _row_losses(
    logits: ArrayLike,
    targets: ArrayLike,
    label_smoothing: SupportsFloat | None,
    prior: ArrayLike | None,
    class_weight: ArrayLike | None,
    sample_weight: ArrayLike | None,
    ignore_index: SupportsIndex | None,
    where: ArrayLike | None,
    temperature: SupportsFloat,
    z_loss: SupportsFloat,
    axis: SupportsIndex,
    reduction: str,
    normalizer: SupportsFloat | None,
    out: None,
    /,
) -> NDArray[np.float64]: ...
def _grad_and_hess(
    logits: ArrayLike,
    targets: ArrayLike,
    label_smoothing: SupportsFloat | None,
    prior: ArrayLike | None,
    class_weight: ArrayLike | None,
    sample_weight: ArrayLike | None,
    ignore_index: SupportsIndex | None,
    where: ArrayLike | None,
    temperature: SupportsFloat,
    z_loss: SupportsFloat,
    axis: SupportsIndex,
    reduction: str,
    normalizer: SupportsFloat | None,
    out: None,
    factor: SupportsFloat,
    /,
) -> tuple[NDArray[np.floating[Any]], NDArray[np.floating[Any]]]: ...
def _refuse_overlap(out: NDArray[Any], name: str, /) -> None: ...
def softmax(
    logits: ArrayLike,
    axis: Axis,
    temperature: SupportsFloat,
    where: ArrayLike | None,
    dtype: DTypeLike | None,
    out: Output | None,
    /,
) -> NDArray[np.floating[Any]]: ...
def log_softmax(
    logits: ArrayLike,
    axis: Axis,
    temperature: SupportsFloat,
    where: ArrayLike | None,
    dtype: DTypeLike | None,
    out: Output | None,
    /,
) -> NDArray[np.floating[Any]]: ...
def logsumexp(
    logits: ArrayLike,
    axis: Axis,
    temperature: SupportsFloat,
    where: ArrayLike | None,
    keepdims: bool,
    out: Output | None,
    /,
) -> NDArray[np.floating[Any]]: ...
def top_k_log_softmax(
    logits: ArrayLike,
    k: SupportsIndex,
    axis: SupportsIndex,
    temperature: SupportsFloat,
    where: ArrayLike | None,
    /,
) -> tuple[NDArray[np.int64], NDArray[np.floating[Any]]]: ...
def log_softmax_at(
    logits: ArrayLike,
    indices: ArrayLike,
    axis: SupportsIndex,
    temperature: SupportsFloat,
    where: ArrayLike | None,
    /,
) -> NDArray[np.floating[Any]]: ...
def cross_entropy(
    logits: ArrayLike,
    targets: ArrayLike,
    label_smoothing: SupportsFloat | None,
    prior: ArrayLike | None,
    class_weight: ArrayLike | None,
    sample_weight: ArrayLike | None,
    ignore_index: SupportsIndex | None,
    where: ArrayLike | None,
    temperature: SupportsFloat,
    z_loss: SupportsFloat,
    axis: SupportsIndex,
    reduction: str,
    normalizer: SupportsFloat | None,
    out: Output | None,
    /,
) -> float | NDArray[np.floating[Any]]: ...
def cross_entropy_value_and_grad(
    logits: ArrayLike,
    targets: ArrayLike,
    label_smoothing: SupportsFloat | None,
    prior: ArrayLike | None,
    class_weight: ArrayLike | None,
    sample_weight: ArrayLike | None,
    ignore_index: SupportsIndex | None,
    where: ArrayLike | None,
    temperature: SupportsFloat,
    z_loss: SupportsFloat,
    axis: SupportsIndex,
    reduction: str,
    normalizer: SupportsFloat | None,
    out: Output | None,
    grad_out: Output | None,
    /,
) -> tuple[float | NDArray[np.floating[Any]], NDArray[np.floating[Any]]]: ...
def cross_entropy_terms(
    logits: ArrayLike,
    targets: ArrayLike,
    prior: ArrayLike | None,
    ignore_index: SupportsIndex | None,
    where: ArrayLike | None,
    temperature: SupportsFloat,
    axis: SupportsIndex,
    /,
) -> tuple[
    NDArray[np.floating[Any]],
    NDArray[np.floating[Any]],
    NDArray[np.floating[Any]],
    NDArray[np.floating[Any]],
    NDArray[np.floating[Any]],
]: ...
def set_num_threads(n: int, /) -> None: ...
def get_num_threads() -> int: ...
def show_config() -> tuple[str, str, tuple[str, ...], str, int, str, int, str, tuple[str, ...]]: ...
