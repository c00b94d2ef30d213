"""The predicted time of a call of loss with gradient, from numbers of bytes and instructions.

    the caller wakes its helpers one after the other
    the first free thread takes the next block of rows:   (src/batch/plan.rs divides rows in the same way)
        the longer of      its instructions / rate
                    and    its bytes / this thread's share of the bandwidth,
        and the part of the shorter that does not overlap
    time = overhead of a call + until the last block is done

`Model.assumptions` has the rest.
"""

from __future__ import annotations

import heapq
import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, replace

CLASSES = 1000
ROW_BYTES = 4 * CLASSES
# As in src/batch/plan.rs.
BYTES_PER_THREAD, BYTES_PER_BLOCK = 1 << 19, 1 << 17
MOST_LANES = 16
# A read of each logit and a write of each element of the gradient, by streaming stores.
TRAFFIC = 8
# Twelve channels of DDR5-4800, of which a copy reaches four fifths; the cores of a socket, which share
# it; the cores that share a third-level cache.
SOCKET_BANDWIDTH = 0.8 * 12 * 38.4e9
SOCKET_CORES = 96
CORES_PER_CACHE = 8


@dataclass(frozen=True)
class Point:
    """A measurement."""

    threads: int
    rows: int
    seconds: float

    @property
    def logits(self) -> int:
        """The number of logits."""
        return self.rows * CLASSES


@dataclass(frozen=True)
class Model:
    """The parameters of one machine, measured or fitted."""

    instructions: float  # per logit
    cache: float  # bytes of arrays that stay in the third-level cache
    bandwidths: Mapping[int, float]  # bytes per second of a copy, by threads
    overhead: float = 0.0  # seconds of a call
    rate: float = 1.0  # instructions per second of a thread
    overlap: float = 1.0  # the part of the shorter of computing and moving that is hidden
    wake: float = 0.0  # seconds from one helper to the next

    def bandwidth(self, threads: int) -> float:
        """Return the bytes per second between memory and this number of threads."""
        if threads in self.bandwidths:
            return self.bandwidths[threads]
        sockets = math.ceil(threads / SOCKET_CORES)
        return min(threads * self.bandwidths[1], sockets * SOCKET_BANDWIDTH)

    def misses(self, rows: int, threads: int) -> float:
        """Return the share of the traffic that goes to memory."""
        cache = self.cache * math.ceil(threads / CORES_PER_CACHE)
        return min(max(rows * CLASSES * TRAFFIC / cache - 1, 0), 1)

    def seconds(self, rows: int, threads: int) -> float:
        """Return the time of a call."""
        team = min(threads, 1 + rows * ROW_BYTES // BYTES_PER_THREAD, rows)
        block = up(BYTES_PER_BLOCK // ROW_BYTES, min(MOST_LANES, rows))
        traffic = TRAFFIC * self.misses(rows, team) / (self.bandwidth(team) / team)
        compute = self.instructions / self.rate
        shorter, longer = sorted((compute, traffic))
        row = CLASSES * (longer + (1 - self.overlap) * shorter)
        return self.overhead + self.blocks(rows, block, row, team)

    def blocks(self, rows: int, block: int, row: float, team: int) -> float:
        """Return the time of all blocks, each of which goes to the first free thread."""
        free = [thread * self.wake for thread in range(team)]
        end = 0.0
        for first in range(0, rows, block):
            done = free[0] + row * min(block, rows - first)
            heapq.heapreplace(free, done)
            end = max(end, done)
        return end

    def error(self, points: list[Point]) -> float:
        """Return the sum of |log(model / measured)|, which is robust to a few bad measurements."""
        ratios = (self.seconds(point.rows, point.threads) / point.seconds for point in points)
        return sum(abs(math.log(ratio)) for ratio in ratios)

    @property
    def assumptions(self) -> list[str]:
        """Return the assumptions of the prediction, a line each."""
        each = [f"{speed / 1e9:.1f} GB/s for {t}" for t, speed in self.bandwidths.items()]
        measured = ", ".join(each)
        return [
            f"a call takes {1e6 * self.overhead:.2f} µs whatever its size, a thread "
            f"{self.instructions:.2f} instructions per logit (AVX2, callgrind) at "
            f"{self.rate / 1e9:.1f}e9 a second; both fitted; all cores are as fast as one alone",
            f"{TRAFFIC} bytes per logit go to or from memory where arrays exceed {self.cache / 2**20:.0f} MiB (fitted; "
            f"from once to twice that: some of them) for each {CORES_PER_CACHE} cores; {self.overlap:.0%} of the "
            "shorter of computing and moving is hidden by the longer (fitted)",
            f"bandwidth as copies have it, measured: {measured}; beyond, as many times that of one thread, up to "
            f"{SOCKET_BANDWIDTH / 1e9:.0f} GB/s for each socket of {SOCKET_CORES} cores (80 % of 12 channels "
            "DDR5-4800), with pages on all sockets alike",
            f"each helper is awake {1e6 * self.wake:.1f} µs after the one before (fitted); then it takes one block "
            f"of {BYTES_PER_BLOCK >> 10} KiB of logits after the other",
        ]


def up(number: int, multiple: int) -> int:
    """Return the number rounded up to a multiple, at least one."""
    return multiple * max(1, math.ceil(number / multiple))


def fit(
    points: list[Point], instructions: float, cache: float, bandwidths: Mapping[int, float]
) -> Model:
    """Return the model that is fitted to these measurements, some of which have one thread.

    Rate: the median over the long calls of one thread that fit in a quarter of the cache.
    Overhead: the rest of the time of the smallest call. Then, each with the smallest `error`: the part
    that stays in the cache and the overlap, from the calls of one thread; waking, from the others.
    """
    alone = [point for point in points if point.threads == 1]
    shared = [point for point in points if point.threads > 1]
    smallest = min(alone, key=lambda point: point.rows)
    steady = [p for p in alone if p.rows >= 30 and p.logits * TRAFFIC <= cache / 4]
    each = statistics.median(
        (p.seconds - smallest.seconds) / (p.logits - smallest.logits) for p in steady
    )
    overhead = max(0.0, smallest.seconds - smallest.logits * each)
    model = Model(instructions, cache, bandwidths, overhead, instructions / each)
    # Eighths of the cache, tenths of the overlap; 0.1 to 100 µs in steps of 5 %.
    some = [
        replace(model, cache=cache * part / 8, overlap=tenth / 10)
        for part in range(1, 9)
        for tenth in range(11)
    ]
    model = min(some, key=lambda guess: guess.error(alone))
    wakes = [replace(model, wake=1e-7 * 1.05**step) for step in range(142)]
    return min(wakes, key=lambda guess: guess.error(shared)) if shared else model
