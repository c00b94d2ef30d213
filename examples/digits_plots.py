"""Pictures of the digits demo: reliability diagram, logit-gap histogram, gallery of test digits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

import smoothxent as sx
from calibration import confidence_bins
from digits_report import logit_gap
from digits_training import CLASSES, Floats, Labels
from pictures import RELIABILITY_NOTE, Look, draw_reliability, panels, save

# Okabe-Ito colours, told apart by colour-blind readers too; the markers say the same again.
COLOURS = {0.0: "#000000", 0.05: "#0072B2", 0.1: "#009E73", 0.2: "#D55E00"}
MARKERS = {0.0: "o", 0.05: "s", 0.1: "^", 0.2: "D"}

Logits: TypeAlias = Mapping[float, Floats]  # eps -> test logits (seeds, rows, classes)


def look(eps: float) -> Look:
    return Look(f"eps = {eps:g}", COLOURS[eps], MARKERS[eps])


def reliability_diagram(models: Mapping[str, Logits], labels: Labels, path: Path) -> Path:
    """Accuracy against confidence, and how many predictions each bin holds."""
    figure = Figure(figsize=(12, 8), layout="constrained")
    axes = panels(figure, 2, len(models), sharex=True, sharey="row", height_ratios=(3, 1))
    for (curve, shares), (name, by_eps) in zip(axes.T, models.items()):
        bins = {eps: confidence_bins(logits, labels) for eps, logits in by_eps.items()}
        draw_reliability(curve, shares, [(look(eps), of_eps) for eps, of_eps in bins.items()])
        curve.set_title(name.capitalize())
    axes[0, 0].set_ylabel("accuracy: share predicted correctly")
    axes[1, 0].set_ylabel("share of digits")
    axes[0, 0].legend(loc="lower right")
    figure.suptitle(
        "Reliability on test digits, all seeds pooled, smoothing to the uniform prior\n"
        f"({RELIABILITY_NOTE})"
    )
    return save(figure, path)


def gap_histogram(models: Mapping[str, Logits], path: Path) -> Path:
    """How far the winning logit stands above the runner-up: what smoothing is meant to limit."""
    figure = Figure(figsize=(12, 5), layout="constrained")
    axes = panels(figure, 1, len(models))
    for panel, (name, by_eps) in zip(axes[0], models.items()):
        gaps = {eps: logit_gap(logits).ravel() for eps, logits in by_eps.items()}
        edges = np.linspace(0, max(np.quantile(gap, 0.999) for gap in gaps.values()), 80)
        for eps, gap in gaps.items():
            density, _ = np.histogram(gap, edges, density=True)
            panel.stairs(density, edges, color=COLOURS[eps], fill=True, alpha=0.12, zorder=1)
            line = panel.stairs(density, edges, color=COLOURS[eps], linewidth=1.8, zorder=2)
            line.set_label(f"eps = {eps:g}")
        panel.set(title=name.capitalize(), xlabel="logit gap: largest logit minus runner-up")
        panel.set(xlim=(0, edges[-1]), ylim=(0, None))
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.legend(loc="upper right")
    axes[0, 0].set_ylabel("density of test digits")
    figure.suptitle("Logit gaps on test digits, all seeds pooled, smoothing to the uniform prior")
    return save(figure, path)


def hardest_and_typical(loss: Floats) -> Sequence[int]:
    """The three rows of highest loss and the three around the median."""
    ranked = np.argsort(loss)
    middle = len(ranked) // 2
    return [*ranked[:-4:-1], *ranked[middle - 1 : middle + 2]]


def gallery(name: str, by_eps: Logits, images: Floats, labels: Labels, path: Path) -> Path:
    """Six digits and what two networks of one seed make of them: logits (rows, classes) by eps."""
    chosen = hardest_and_typical(sx.cross_entropy(by_eps[0.0], labels, reduction="none"))
    figure = Figure(figsize=(14, 6.2), layout="constrained")
    axes = panels(figure, 2, len(chosen), height_ratios=(1, 1.1), sharey="row")
    for (picture, bars), row in zip(axes.T, chosen):
        picture.imshow(images[row].reshape(8, 8), cmap="gray_r")
        picture.set_title(f"label {labels[row]}")
        picture.axis("off")
        for offset, (eps, logits) in zip((-0.2, 0.2), by_eps.items()):
            probabilities = sx.softmax(logits[row])
            centres = np.arange(CLASSES) + offset
            bars.bar(centres, probabilities, 0.4, color=COLOURS[eps], label=f"eps = {eps:g}")
        bars.set(ylim=(0, 1.02), xticks=range(CLASSES), xlabel="class")
        bars.grid(visible=False, axis="x")
    axes[1, 0].set_ylabel("predicted probability")
    handles, names = axes[1, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(names))
    figure.suptitle(
        f"{name.capitalize()}, test digits of the first seed: "
        "the three of highest loss at eps = 0, then three of median loss"
    )
    return save(figure, path)
