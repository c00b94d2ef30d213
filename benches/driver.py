"""The driver: starts engines, prepares shapes, compares answers and gives turns."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import Any

from benches import machine
from benches.engines import OURS
from benches.problem import Means, Shape, mean_losses
from benches.rounds import Contest, Engine, EngineError, Limits, Rival
from benches.tables import LIMIT, OUT, shape_name
from benches.targets import Variant

PROGRAM = machine.ROOT / "target/limits/release" / ("limits.exe" if os.name == "nt" else "limits")
# Ulp of the answer's type: more than rounding errors of peers, less than any mistake; the same for ours.
WRONG, OURS_WRONG = 2.0**14, 64.0
# Bytes; smaller arrays stay in the caches and are not limited by memory.
IN_MEMORY = 8_000_000
SWEEPS = ("read", "copy", "scale")
SWEEP = {"loss_grad": "copy", "loss": "read", "softmax": "copy", "log_softmax": "copy"}


def size(shape: Shape) -> int:
    """Return the bytes of the logits."""
    return 4 * math.prod(shape)


def in_memory(shape: Shape) -> bool:
    """Return whether memory limits this shape, rather than the caches."""
    return size(shape) >= IN_MEMORY


class Driver:
    """The engines, and those that are missing."""

    def __init__(self, names: list[str], threads: int, budget: float) -> None:
        """Start the engines, each in its own process."""
        self.budget = budget
        self.missing: dict[str, str] = {}
        self.versions: dict[str, str] = {}
        self.limits = Limits(PROGRAM, threads) if PROGRAM.exists() else None
        if self.limits is None:
            self.missing[LIMIT] = f"{PROGRAM.relative_to(machine.ROOT)} is not built"
        self.engines = {name: Engine(name) for name in names}
        answers, failures = self.ask_all("start", lambda name: (name, threads))
        for versions in answers.values():
            self.versions.update(versions)
        for name, reason in failures.items():
            if name in self.engines:  # else its process has ended, and it has been dropped
                self.drop(name, reason)

    def ask_all(
        self, method: str, arguments: Callable[[str], tuple[Any, ...]]
    ) -> tuple[dict[str, Any], dict[str, str]]:
        """Send all engines the same request at the same time; return answers and failures."""
        answers, failures = {}, {}
        for name, engine in self.engines.items():
            try:
                engine.send(method, *arguments(name))
            except EngineError as failure:
                failures[name] = str(failure)
        for name in [name for name in self.engines if name not in failures]:
            try:
                answers[name] = self.engines[name].receive()
            except EngineError as failure:
                failures[name] = str(failure)
        self.bury(failures)
        return answers, failures

    def bury(self, failures: dict[str, str]) -> None:
        """Drop the engines whose processes have ended."""
        for name, engine in list(self.engines.items()):
            if not engine.process.is_alive():
                self.drop(name, failures.get(name, "its process ended"))

    def drop(self, name: str, reason: str) -> None:
        """Continue without an engine."""
        self.missing[name] = reason
        self.engines.pop(name).stop()

    def shape(self, shape: Shape, operations: list[str]) -> list[Contest]:
        """Run all operations on one shape."""
        print(f"{shape_name(shape)}: ", end="", flush=True)
        means = mean_losses(shape)
        names, failures = self.ask_all("prepare", lambda _: (shape,))
        contests = []
        for operation in operations:
            if not any(operation in forms for forms in names.values()):
                continue
            print(operation, end=" ", flush=True)
            contest = Contest(operation, shape, failures=dict(failures))
            for name, forms in names.items():
                for form, label in ((operation, name), (f"{operation} out", name + OUT)):
                    if form in forms:
                        self.enter(contest, name, form, label, means)
            self.add_limit(contest)
            contest.run(self.budget)
            self.bury(contest.failures)
            contests.append(contest)
        self.ask_all("release", lambda _: ())
        print()
        return contests

    def enter(self, contest: Contest, name: str, form: str, label: str, means: Means) -> None:
        """Compare an engine's answer; it takes part if the answer is right."""
        if name not in self.engines:
            return
        engine = self.engines[name]
        try:
            ulp, once = engine.ask("check", form, means)
        except EngineError as failure:
            contest.failures[label] = str(failure)
            self.bury({name: str(failure)})
            return
        if ulp <= (OURS_WRONG if name in (OURS, "variants") else WRONG):
            contest.rivals.append(Rival(label, engine, form, once, ulp))
        else:
            contest.failures[label] = f"its answer is wrong by {ulp:.3g} ulp"

    def add_limit(self, contest: Contest) -> None:
        """Add the limit of memory to the contest."""
        if self.limits is not None and in_memory(contest.shape):
            self.add_sweep(contest, LIMIT, f"{SWEEP[contest.operation]} {size(contest.shape)}")

    def add_sweep(self, contest: Contest, label: str, name: str) -> None:
        """Add one sweep over memory to the contest."""
        assert self.limits is not None
        try:
            once = self.limits.turn(name, 1)
        except EngineError as failure:
            contest.failures[label] = str(failure)
            return
        contest.rivals.append(Rival(label, self.limits, name, once))

    def memory(self, shapes: list[Shape]) -> list[Contest]:
        """Return the three sweeps over memory, for each size of array."""
        contests = []
        for shape in shapes if self.limits is not None else []:
            contest = Contest("memory", shape)
            for sweep in SWEEPS:
                self.add_sweep(contest, sweep, f"{sweep} {size(shape)}")
            contest.run(self.budget / 4)
            contests.append(contest)
        return contests

    def variants(self, chosen: list[Variant], threads: int) -> list[tuple[Variant, Contest]]:
        """Compare variants of ours; for the driver they are one more engine, which runs alone."""
        for engine in self.engines.values():
            engine.stop()
        self.engines = {"variants": Engine("variants")}
        _, failures = self.ask_all("start", lambda name: (name, threads))
        self.missing |= failures
        rows: list[tuple[Variant, Contest]] = []
        for shape in dict.fromkeys(variant.shape for variant in chosen):
            print(f"{shape_name(shape)}, variants: ", end="", flush=True)
            here = [variant for variant in chosen if variant.shape == shape]
            rows += self.variants_of(shape, here)
            print()
        return rows

    def variants_of(self, shape: Shape, here: list[Variant]) -> list[tuple[Variant, Contest]]:
        """Compare variants of ours on one shape."""
        means = mean_losses(shape)
        _, failures = self.ask_all("prepare", lambda _: (shape,))
        rows = []
        for operation in dict.fromkeys(variant.operation for variant in here):
            print(operation, end=" ", flush=True)
            contest = Contest(operation, shape, failures=dict(failures))
            group = [variant for variant in here if variant.operation == operation]
            for name in dict.fromkeys(name for each in group for name in (each.base, each.name)):
                if name not in SWEEPS:
                    self.enter(contest, "variants", name, name, means)
                elif self.limits is not None:
                    self.add_sweep(contest, name, f"{name} {size(shape)}")
            contest.run(self.budget)
            rows += [(variant, contest) for variant in group]
        return rows

    def stop(self) -> None:
        """End all processes."""
        for engine in self.engines.values():
            engine.stop()
        if self.limits is not None:
            self.limits.stop()
