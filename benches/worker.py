"""The process of one engine: it makes the data, checks its answers and takes its turns.

Each engine has its own process: thread pools and compilers do not interfere, and a crash ends only one
engine.
"""

from __future__ import annotations

import dataclasses
import gc
import importlib
import importlib.metadata
import os
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benches.problem import Call, Means, Shape, error, make_problem

# Seconds of untimed calls at the start of a turn: they wake threads, fill caches, and let the threads
# spread over the processors. Linux sometimes wakes all on one processor and needs 30 ms to distribute
# them; the first calls of torch.compile took twice as long as later ones, for 75 ms.
WARM = 60e-3
# Calls longer than this are not warmed up again in each turn.
LONG = 50e-3
# After a turn: the seconds in which the process must be idle, and the most to wait for that. The system
# counts the time of running threads in ticks of up to 10 ms.
LOOK = 10e-3
LONGEST_REST = 0.2


class Server:
    """Carries out the driver's requests, one method each."""

    def __init__(self) -> None:
        """Start without an engine."""
        self.engine: Any = None
        self.problem: Any = None
        self.calls: dict[str, Call] = {}
        self.seconds: dict[str, float] = {}

    def start(self, name: str, threads: int) -> dict[str, str]:
        """Import the engine; return the versions of its packages."""
        self.engine = importlib.import_module(f"benches.engines.{name}")
        self.engine.start(threads)
        return {name: found for name in self.engine.PACKAGES if (found := version(name))}

    def prepare(self, shape: Shape) -> list[str]:
        """Make the data; return the names of the calls."""
        problem = make_problem(shape)
        epsilon = getattr(self.engine, "EPSILON", problem.epsilon)
        self.problem = dataclasses.replace(problem, epsilon=epsilon)
        self.calls = self.engine.calls(self.problem)
        return list(self.calls)

    def check(self, name: str, means: Means) -> tuple[float, float]:
        """Return the worst error of an answer in ulp, and an estimate of the seconds of a call."""
        call = self.calls[name]
        answer = call()
        find = getattr(self.engine, "error", error)
        ulp = find(name, answer, self.problem, means)
        del answer
        self.seconds[name] = min(elapsed(call, 1) for _ in range(3))
        return ulp, self.seconds[name]

    def turn(self, name: str, repeats: int) -> float:
        """Return the seconds of a call: the mean of `repeats` calls."""
        call = self.calls[name]
        if self.seconds[name] < LONG:
            end = time.perf_counter() + WARM
            while time.perf_counter() < end:
                call()
        gc.disable()
        seconds = elapsed(call, repeats) / repeats
        gc.enable()
        rest()
        return seconds

    def release(self) -> None:
        """Free the data."""
        self.problem, self.calls = None, {}
        gc.collect()


def version(name: str) -> str | None:
    """Return the version of a distribution, if it is installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def elapsed(call: Call, repeats: int) -> float:
    """Return the seconds of `repeats` calls."""
    turns = range(repeats)
    start = time.perf_counter()
    for _ in turns:
        call()
    return time.perf_counter() - start


def rest() -> None:
    """Wait until this process is idle: threads of many engines spin for a while after a call."""
    end = time.perf_counter() + LONGEST_REST
    while time.perf_counter() < end:
        before = time.process_time()
        time.sleep(LOOK)
        if time.process_time() - before < LOOK / 4:
            return


def serve(connection: Connection, log: Path) -> None:
    """Answer requests (method, arguments) with (True, result) or (False, reason), until told to stop.

    The output of engines goes to the log.
    """
    with log.open("a", encoding="utf-8") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    server = Server()
    while (request := connection.recv()) is not None:
        method, arguments = request
        try:
            answer = (True, getattr(server, method)(*arguments))
        # An engine may fail in any way; the driver reports the error and continues.
        except Exception as failure:
            lines = str(failure).strip().splitlines() or [""]
            answer = (False, f"{type(failure).__name__}: {lines[0][:200]}")
        connection.send(answer)
