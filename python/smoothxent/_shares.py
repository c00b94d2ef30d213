"""Which classes of a row each chunk of `smoothxent.dask` reduces, so that sums have the order of one machine.

One machine adds the exponentials of 64 classes, a block, to each other before they are added, as doubles, to
those of others. A block that chunks share is therefore put together, with the chunk that it begins in:

    blocks     |       |       |       |       |       |
    chunks     |---------- 1 ---------|-------- 2 -----|
    edge                              |^|                   the first classes of 2, lent to 1
    parts      |------ 1 -----|-- 1 --|------- 2 ------|    views of the chunks, but for the shared block

Each part is divided into segments. Maxima need no block: those of an edge are found where it is, and joined
with those of its block.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from smoothxent import _smoothxent as _native

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Integers = NDArray[np.int64]

SEGMENT = _native._SEGMENT
BLOCK = 64  # at most so many classes are added in the type of the rows


class Shares(NamedTuple):
    """How many classes the chunks of a row lend, borrow and reduce, a number for each chunk."""

    lent: Integers  # the first of a chunk, of a block that begins before it
    borrowed: Integers  # after the chunk, of a block that begins in it
    reduced: Integers

    @classmethod
    def of(cls, lengths: Sequence[int]) -> Shares:
        """Return those of chunks of these lengths."""
        ends = np.cumsum(lengths)
        starts = ends - lengths
        first, last = (np.minimum(-(-place // BLOCK) * BLOCK, ends[-1]) for place in (starts, ends))
        return cls(np.minimum(first, ends) - starts, last - np.maximum(first, ends), last - first)

    def segments(self) -> list[int]:
        """Return how many segments each chunk reduces."""
        numbers = zip(self.reduced.tolist(), self.borrowed.tolist())
        return [sum(map(segments, lengths_of_parts(*both))) for both in numbers]

    def starts(self) -> list[list[int]]:
        """Return where in each chunk there is a new segment. That of an edge begins earlier, and has a 0."""
        result = []
        for lent, borrowed, reduced in zip(*map(np.ndarray.tolist, self)):
            whole, shared = lengths_of_parts(reduced, borrowed)
            end = lent + whole
            result.append([0] * (lent > 0) + [*range(lent, end, SEGMENT)] + [end] * (shared > 0))
        return result

    def begins(self) -> Integers:
        """Return which of all `starts` begin a segment; those of edges do not."""
        is_edge = [
            place == 0 and lent > 0
            for own, lent in zip(self.starts(), self.lent.tolist())
            for place in range(len(own))
        ]
        return np.flatnonzero(~np.array(is_edge))


def segments(classes: int) -> int:
    """Return how many segments so many classes have."""
    return -(-classes // SEGMENT)


def lengths_of_parts(reduced: int, borrowed: int) -> tuple[int, int]:
    """Return the lengths of the parts that a chunk reduces: its whole blocks, and one that it shares."""
    shared = (reduced - borrowed) % BLOCK + borrowed if borrowed else 0
    return reduced - shared, shared
