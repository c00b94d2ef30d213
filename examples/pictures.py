"""What the pictures of the demos share: their look, panels, and the reliability diagram."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from calibration import ECE_BINS, Bins

MIN_ROWS = 50  # a bin with fewer predictions, over all seeds, says little
RELIABILITY_NOTE = (
    f"{ECE_BINS} equal-width bins; points of fewer than {MIN_ROWS} predictions are left out"
)

matplotlib.rcParams.update(
    {
        "font.size": 12,
        "axes.titlesize": 13,
        "axes.axisbelow": True,
        "axes.grid": True,
        "grid.alpha": 0.3,
    }
)


@dataclass(frozen=True)
class Look:
    """How a line is named and drawn."""

    label: str
    colour: str
    marker: str


def panels(figure: Figure, rows: int, columns: int, **options: Any) -> NDArray[Any]:
    """A (rows, columns) array of axes."""
    axes: NDArray[Any] = figure.subplots(rows, columns, squeeze=False, **options)
    return axes


def save(figure: Figure, path: Path) -> Path:
    figure.savefig(path, dpi=110)
    return path


def draw_reliability(curve: Axes, shares: Axes, lines: Sequence[tuple[Look, Bins]]) -> None:
    """Accuracy against confidence, and below it how many predictions each bin holds."""
    curve.plot([0, 1], [0, 1], color="grey", linestyle="--", label="perfect calibration")
    edges = np.linspace(0, 1, ECE_BINS + 1)
    for look, (rows, confidences, hits) in lines:
        shown = rows >= MIN_ROWS
        curve.plot(
            confidences[shown] / rows[shown],
            hits[shown] / rows[shown],
            color=look.colour,
            marker=look.marker,
            label=look.label,
        )
        shares.stairs(rows / rows.sum(), edges, color=look.colour, linewidth=1.8)
    curve.set(xlim=(0, 1.02), ylim=(0, 1.04))
    curve.text(0.04, 0.97, "under-confident", color="dimgrey", va="top")
    curve.text(0.98, 0.45, "over-confident", color="dimgrey", ha="right")
    shares.set_xlabel("confidence: top predicted probability")
