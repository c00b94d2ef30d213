"""Confidence intervals over seeds, and tables of them.

interval of n values x:  mean(x) ± t(0.975, n - 1) * std(x) / sqrt(n)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

Floats: TypeAlias = NDArray[np.floating[Any]]


def t_half_width(samples: Floats) -> Floats:
    """Half width of the 95 % t-interval of the mean over the first axis."""
    n = len(samples)
    half_width: Floats = stdtrit(n - 1, 0.975) * samples.std(axis=0, ddof=1) / np.sqrt(n)
    return half_width


@dataclass(frozen=True)
class Interval:
    mean: float
    half_width: float

    @classmethod
    def of(cls, samples: Floats) -> Interval:
        """The 95 % t-interval of the mean."""
        return cls(float(samples.mean()), float(t_half_width(samples)))

    def excludes(self, value: float) -> bool:
        return abs(value - self.mean) > self.half_width  # nan excludes nothing


def table(
    title: str,
    rows: Iterable[tuple[str, Mapping[str, Interval]]],
    decimals: Mapping[str, int],
    star: bool,
    width: int = 20,
) -> str:
    """One line per row, one column per name in `decimals`, with as many decimals.

    With `star` the values are differences: signed, and marked where the interval excludes 0.
    """
    lines = [f"  {title:<34}" + "".join(f"{metric:>{width}}" for metric in decimals)]
    for name, intervals in rows:
        cells = []
        for metric, digits in decimals.items():
            interval = intervals[metric]
            mark = "*" if star and interval.excludes(0) else " "
            sign = "+" if star else ""
            value = f"{interval.mean:{sign}.{digits}f} ± {interval.half_width:.{digits}f}{mark}"
            cells.append(f"{value:>{width}}")
        lines.append(f"  {name:<34}" + "".join(cells))
    return "\n".join(lines)
