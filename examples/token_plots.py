"""Pictures of the tokens demo: learning curves and reliability diagram."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from pictures import RELIABILITY_NOTE, Look, draw_reliability, panels, save
from token_training import DROPOUT, HARD, UNIFORM, UNIGRAM, Results

# Okabe-Ito colours, told apart by colour-blind readers too; the markers say the same again.
LOOKS = {
    HARD: Look("hard labels, eps = 0", "#000000", "o"),
    UNIFORM: Look("uniform prior, eps = 0.1", "#0072B2", "s"),
    UNIGRAM: Look("unigram prior, eps = 0.1", "#009E73", "^"),
    DROPOUT: Look("label dropout, eps = 0.1", "#D55E00", "D"),
}


def learning_curves(results: Results, path: Path) -> Path:
    """Mean over the seeds, and the range from the best to the worst of them."""
    figure = Figure(figsize=(12, 5.5), layout="constrained")
    error, perplexity = panels(figure, 1, 2)[0]
    for method, runs in results.items():
        look = LOOKS[method]
        steps = [step for step, _ in runs[0].trained.curve]
        scores = [[score for _, score in run.trained.curve] for run in runs]
        for panel, figures in (
            (error, np.array([[100 * (1 - s.accuracy) for s in of_run] for of_run in scores])),
            (perplexity, np.array([[s.perplexity for s in of_run] for of_run in scores])),
        ):
            panel.fill_between(
                steps, figures.min(axis=0), figures.max(axis=0), color=look.colour, alpha=0.15, lw=0
            )
            panel.plot(
                steps, figures.mean(axis=0), color=look.colour, marker=look.marker, label=look.label
            )
    error.set(title="Top-1 error", ylabel="%", xlabel="training steps")
    perplexity.set(title="Perplexity", ylabel="exp(mean NLL)", xlabel="training steps")
    perplexity.legend(loc="upper right")
    figure.suptitle("Learning curves on validation text: mean of the seeds, and their range")
    return save(figure, path)


def reliability_diagram(results: Results, path: Path) -> Path:
    figure = Figure(figsize=(9, 8), layout="constrained")
    ((curve,), (shares,)) = panels(figure, 2, 1, sharex=True, height_ratios=(3, 1))
    pooled = [
        (LOOKS[method], np.sum([run.test.bins for run in runs], axis=0))
        for method, runs in results.items()
    ]
    draw_reliability(curve, shares, pooled)
    curve.set_ylabel("accuracy: share predicted correctly")
    curve.legend(loc="lower right")
    shares.set_ylabel("share of tokens")
    figure.suptitle(f"Reliability on test text, all seeds pooled\n({RELIABILITY_NOTE})")
    return save(figure, path)
