"""Which classes of a row each chunk of `smoothxent.dask` reduces, so that sums have the order of one machine.

One machine adds float32 exponentials in pairs, within blocks of 64 classes, before it adds them as doubles. A block
that chunks share is therefore reduced with the chunk in which it begins:

    blocks     |       |       |       |       |       |
    chunks     |---------- 1 ---------|-------- 2 -----|
    edge                              |^|                   the first classes of 2, lent to 1
    parts      |------ 1 -----|-- 1 --|------- 2 ------|    views of the chunks, except the shared block

Each part is divided into segments. Maxima need no whole blocks: that of an edge is found in its own chunk,
and joined with that of the rest of the block.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from smoothxent import _smoothxent as _native
from smoothxent._types import NDArray

Integers = NDArray[np.int64]

SEGMENT = _native._SEGMENT
BLOCK = 64  # classes: both of a pair that is added in float32 are in one block


class Shares(NamedTuple):
    """How many classes the chunks of a row lend, borrow and reduce, a number for each chunk."""

    lent: Integers  # the first of the chunk, of a block that begins in an earlier one
    borrowed: Integers  # classes after the chunk, of a block that begins in it
    reduced: Integers

    @classmethod
    def of(cls, lengths: Sequence[int]) -> Shares:
        """Return the shares of chunks of these lengths."""
        ends = np.cumsum(lengths)
        starts = ends - lengths
        first, last = (np.minimum(-(-place // BLOCK) * BLOCK, ends[-1]) for place in (starts, ends))
        return cls(np.minimum(first, ends) - starts, last - np.maximum(first, ends), last - first)

    def segments(self) -> list[int]:
        """Return how many segments each chunk reduces."""
        numbers = zip(self.reduced.tolist(), self.borrowed.tolist())
        return [sum(map(segments, lengths_of_parts(*both))) for both in numbers]

    def starts(self) -> list[list[int]]:
        """Return where segments start in each chunk. That of an edge starts in an earlier chunk, and has a 0 here."""
        result = []
        for lent, borrowed, reduced in np.transpose(self).tolist():
            whole, shared = lengths_of_parts(reduced, borrowed)
            end = lent + whole
            result.append([0] * (lent > 0) + [*range(lent, end, SEGMENT)] + [end] * (shared > 0))
        return result

    def begins(self) -> Integers:
        """Return the indices of those of all `starts` that begin a segment; those of edges do not."""
        lengths = np.array([len(own) for own in self.starts()])
        edges = (np.cumsum(lengths) - lengths)[self.lent > 0]
        return np.delete(np.arange(lengths.sum()), edges)


def segments(classes: int) -> int:
    """Return the number of segments of `classes` classes."""
    return -(-classes // SEGMENT)


def lengths_of_parts(reduced: int, borrowed: int) -> tuple[int, int]:
    """Return the lengths of the parts that a chunk reduces: its whole blocks, and a shared block."""
    shared = (reduced - borrowed) % BLOCK + borrowed if borrowed else 0
    return reduced - shared, shared
