"""The performance targets of smoothxent, each a ratio within one run."""

from __future__ import annotations

from dataclasses import dataclass

from benches.problem import Shape


@dataclass(frozen=True)
class Target:
    """One row of a table; `allocating` is for calls that return a new array."""

    over_peers: float | None = None  # the best peer's time / ours, at least
    allocating: float | None = None  # the same, ours without out=
    over_limit: float | None = None  # ours / the limit of memory, at most

    def __str__(self) -> str:
        """Return the target as a cell of a table."""
        parts = []
        if self.over_peers:
            parts.append(f"≥ {self.over_peers:g}×")
        if self.allocating:
            parts.append(f"≥ {self.allocating:g}× allocating")
        if self.over_limit:
            parts.append(f"≤ {self.over_limit:g}× limit")
        return ", ".join(parts)


LOSS_GRAD: dict[Shape, Target] = {
    (1, 10): Target(over_peers=1.3),
    (1, 1000): Target(over_peers=2.5),
    (256, 1000): Target(over_peers=3.3),
    (4096, 100): Target(over_peers=1.5),
    (20000, 10): Target(over_peers=3),
    (8192, 1000): Target(over_peers=3),
    (65536, 1000): Target(over_peers=5, allocating=3.5, over_limit=1.3),
    (1024, 32000): Target(over_peers=5, over_limit=1.2),
    (256, 128256): Target(over_peers=5, over_limit=1.2),
    (1_000_000, 10): Target(over_peers=4.5, over_limit=3),
}
LOSS: dict[Shape, Target] = {
    (256, 1000): Target(over_peers=1.7),
    (4096, 100): Target(over_peers=1),
    (65536, 1000): Target(over_peers=1.9, over_limit=1.4),
    (1024, 32000): Target(over_peers=2.3, over_limit=1.15),
    (1_000_000, 10): Target(over_peers=3.5),
}
SOFT_LOSS: dict[Shape, Target] = {
    (256, 1000): Target(over_peers=1),
    (4096, 100): Target(over_peers=1),
    (20000, 10): Target(over_peers=1),
}
SOFTMAX: dict[Shape, Target] = {
    (1, 10): Target(over_peers=2.3),
    (256, 1000): Target(over_peers=1),
    (4096, 100): Target(over_peers=1),
    (65536, 1000): Target(over_peers=1.4, over_limit=1.2),
    (1024, 32000): Target(over_peers=1.4, over_limit=1.15),
    (1_000_000, 10): Target(over_peers=2.5, over_limit=2),
}
LOG_SOFTMAX = SOFTMAX | {(65536, 1000): Target(over_peers=1.3, over_limit=1.2)}
TARGETS = {
    "loss_grad": LOSS_GRAD,
    "loss": LOSS,
    "soft_loss": SOFT_LOSS,
    "softmax": SOFTMAX,
    "log_softmax": LOG_SOFTMAX,
}
SHAPES: tuple[Shape, ...] = tuple(LOSS_GRAD)
QUICK: tuple[Shape, ...] = SHAPES[:3]
TITLES = {
    "loss_grad": "Loss with gradient, smoothed",
    "loss": "Loss alone, smoothed",
    "soft_loss": "Loss of probability targets, smoothed",
    "softmax": "softmax",
    "log_softmax": "log_softmax",
}


@dataclass(frozen=True)
class Variant:
    """Two calls of ours, or a call and a sweep over memory: time of `name` / time of `base`."""

    operation: str
    shape: Shape
    name: str
    base: str
    at_most: float | None = None
    at_least: float | None = None

    def met(self, ratio: float) -> bool:
        """Return whether a ratio meets the target."""
        return (self.at_most is None or ratio <= self.at_most) and (
            self.at_least is None or ratio >= self.at_least
        )

    @property
    def target(self) -> str:
        """Return the target as a cell of a table."""
        return f"≤ {self.at_most:.3g}" if self.at_most is not None else f"≥ {self.at_least:.3g}"


CACHE, MEMORY = (256, 1000), (65536, 1000)
# Four million logits: the smallest number for which two threads have a target.
SHARED = (4096, 1000)


def variants() -> list[Variant]:
    """Return all comparisons of two variants of ours, and that of softmax in place with its limit."""
    result = [Variant("softmax", MEMORY, "softmax in place", "scale", at_most=1.15)]
    for operation in ("loss_grad", "loss", "softmax"):
        for shape, half in ((CACHE, 1.3), (MEMORY, 1.1)):
            most = {"float64": 2.1, "float16": half, "bfloat16": half}
            most |= {"Fortran order": 1.6, "axis=0": 1.6}
            for name, at_most in most.items():
                one = f"{operation} {name}"
                result.append(Variant(operation, shape, one, operation, at_most=at_most))
            if operation != "softmax":
                for name, at_most in ((operation, 1.05), (f"{operation} prior", 1.15)):
                    base = f"{operation} eps=0"
                    result.append(Variant(operation, shape, name, base, at_most=at_most))
        one = f"{operation} 1 thread"
        result.append(Variant(operation, SHARED, one, operation, at_least=1.85))
    return result
