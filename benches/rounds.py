"""The driver's side: engines behind one interface, and their turns.

    for each round: for each rival, in an order that begins with another one each time: a turn
    ratio of two rivals = median over the rounds of time / time in the same round

If the machine is busy for a while, a whole round is slower: this adds noise to the ratios, but no bias.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from benches import machine
from benches.engines import ENVIRONMENTS
from benches.problem import Shape
from benches.worker import serve

# The output of the engines, which is a lot.
LOG = machine.ROOT / "target" / "bench" / "engines.log"
# Seconds of the calls of a turn, about; there is at least one call.
TURN = 2e-3
# Other seconds of a turn: the warm-up before, and the wait for idle threads afterwards.
AROUND = 75e-3
FEWEST, MOST = 5, 101
# Seconds that a request may take: compilers are slow.
PATIENCE = 300.0


class EngineError(Exception):
    """An engine cannot answer a request; the text says why."""


class Player(Protocol):
    """An engine or program that takes turns."""

    def turn(self, name: str, repeats: int) -> float:
        """Return the seconds of one call."""


class Engine:
    """An engine in its own process."""

    def __init__(self, name: str) -> None:
        """Start the process."""
        self.name = name
        LOG.parent.mkdir(parents=True, exist_ok=True)
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, LOG), daemon=True)
        own = ENVIRONMENTS.get(name, {})
        os.environ |= own
        self.process.start()
        for variable in own:
            del os.environ[variable]
        theirs.close()

    def send(self, method: str, *arguments: Any) -> None:
        """Send a request."""
        try:
            self.connection.send((method, arguments))
        except OSError as failure:
            raise EngineError(self.obituary()) from failure

    def receive(self) -> Any:
        """Return the answer to the request."""
        try:
            if not self.connection.poll(PATIENCE):
                self.process.kill()
                raise EngineError(f"no answer in {PATIENCE:.0f} s")
            good, result = self.connection.recv()
        except (EOFError, OSError) as failure:
            raise EngineError(self.obituary()) from failure
        if not good:
            raise EngineError(result)
        return result

    def obituary(self) -> str:
        """Say how the process ended."""
        self.process.join(5)
        return f"its process ended with code {self.process.exitcode}, see {LOG.name}"

    def ask(self, method: str, *arguments: Any) -> Any:
        """Send a request and return the answer."""
        self.send(method, *arguments)
        return self.receive()

    def turn(self, name: str, repeats: int) -> float:
        """Return the seconds of one call."""
        seconds: float = self.ask("turn", name, repeats)
        return seconds

    def stop(self) -> None:
        """End the process."""
        try:
            self.connection.send(None)
            self.process.join(5)
        except OSError:
            pass
        self.process.kill()
        self.process.join()


class Limits:
    """The program that measures the limits of memory; a name is a sweep and a number of bytes."""

    def __init__(self, program: Path, threads: int) -> None:
        """Start the program."""
        self.process = subprocess.Popen(
            [program, str(threads)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def turn(self, name: str, repeats: int) -> float:
        """Return the seconds of one sweep."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(f"{name} {repeats}\n")
            self.process.stdin.flush()
            return float(self.process.stdout.readline())
        except (OSError, ValueError) as failure:
            raise EngineError(f"no answer to {name}: {failure}") from failure

    def stop(self) -> None:
        """End the program."""
        self.process.kill()
        self.process.communicate()


@dataclass
class Rival:
    """One call of one engine."""

    label: str
    player: Player
    name: str
    once: float
    ulp: float | None = None
    seconds: list[float] = field(default_factory=list)

    @property
    def repeats(self) -> int:
        """Calls of a turn."""
        return max(1, int(TURN / max(self.once, 1e-7)))

    @property
    def estimate(self) -> float:
        """Seconds of a turn."""
        return AROUND + self.once * (self.repeats + 1)

    @property
    def median(self) -> float:
        """Seconds of a call."""
        return statistics.median(self.seconds)


@dataclass(eq=False)
class Contest:
    """The rivals of one operation on one shape, and the failures that are left out."""

    operation: str
    shape: Shape
    rivals: list[Rival] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)

    def run(self, budget: float) -> None:
        """Give turns to all rivals, for about `budget` seconds."""
        estimate = sum(rival.estimate for rival in self.rivals)
        rounds = min(max(FEWEST, int(budget / max(estimate, 1e-9))), MOST)
        for number in range(rounds):
            first = number % max(1, len(self.rivals))
            for rival in [*self.rivals[first:], *self.rivals[:first]]:
                self.turn(rival)

    def turn(self, rival: Rival) -> None:
        """Give a turn to one rival, which is removed if it fails."""
        try:
            rival.seconds.append(rival.player.turn(rival.name, rival.repeats))
        except EngineError as failure:
            self.failures[rival.label] = str(failure)
            self.rivals = [other for other in self.rivals if other is not rival]

    def rival(self, label: str) -> Rival | None:
        """Return the rival of this name."""
        return next((each for each in self.rivals if each.label == label), None)


def ratio(above: Rival | None, below: Rival | None) -> float | None:
    """Return the median over the rounds of the ratio of times."""
    if above is None or below is None:
        return None
    pairs = zip(above.seconds, below.seconds)
    return statistics.median(one / other for one, other in pairs)
