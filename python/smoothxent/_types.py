"""Types of arguments and results, for type checkers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol, SupportsIndex, TypeVar

import numpy as np

Axis = SupportsIndex | tuple[SupportsIndex, ...] | None
Scalar = Literal["mean", "sum", "sum_by_nonzero_weights"]
Reduction = Scalar | Literal["none"]

Float = TypeVar("Float", np.float16, np.float32, np.float64)
# Types of logits in which rows are computed, so that losses have the same type.
Row = TypeVar("Row", np.float32, np.float64)


class Tensor(Protocol):
    """A tensor of PyTorch, which need not be installed."""

    @property
    def requires_grad(self) -> bool:
        """Whether operations on it are recorded."""

    def is_inference(self) -> bool:
        """Return whether it was made in inference mode."""


# What results can be written to.
Output = np.ndarray[Any, Any] | Tensor
Out = TypeVar("Out", bound=Output)

# Number: for classes that are generic in the type of their numbers, by default any floating type.
if TYPE_CHECKING:
    import typing_extensions  # its TypeVar has defaults before Python 3.13
    from numpy.typing import ArrayLike as ArrayLike
    from numpy.typing import DTypeLike as DTypeLike
    from numpy.typing import NDArray as NDArray

    Number = typing_extensions.TypeVar("Number", bound=np.floating[Any], default=np.floating[Any])
    # What numpy.random.default_rng accepts.
    Rng = (
        np.random.Generator
        | np.random.BitGenerator
        | np.random.SeedSequence
        | np.random.RandomState
        | int
        | np.integer[Any]
        | Sequence[int]
        | None
    )
else:
    # What typing.get_type_hints finds. The import of numpy.typing would take a millisecond.
    Number = TypeVar("Number")
    NDArray = np.ndarray[Any, np.dtype[Number]]
    ArrayLike = DTypeLike = Rng = Any


class Rows(Protocol):
    """Rows that can be read in chunks: those of an array or a file."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The number of rows, then the shape of a row."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the numbers."""

    def __getitem__(self, rows: slice, /) -> NDArray[Any]:
        """Return an array of these rows."""
