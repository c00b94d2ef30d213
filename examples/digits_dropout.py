"""Label dropout beside label smoothing at fixed weights: equal in expectation, shown by sampling.

    y' = y, or with probability eps a draw from u
    E[-log p(y')] = (1 - eps) H(y, p) + eps H(u, p),    and the gradients alike

A leading axis holds the draws; the logits are broadcast along it, not copied. Training with the two
need not end at the same weights, since the weights depend nonlinearly on the noise of the draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

import smoothxent as sx
from digits_training import CLASSES, Floats, Labels
from intervals import Interval, t_half_width


@dataclass(frozen=True)
class OutputLayer:
    """At fixed weights: inputs (rows, units), logits (rows, classes), labels (rows,)."""

    inputs: Floats
    logits: Floats
    labels: Labels


@dataclass(frozen=True)
class Agreement:
    """Smoothing beside the mean of label dropout; the gradient is that of the output weights."""

    smoothed_loss: float
    dropout_loss: Interval
    inside: int  # gradient components whose 95 % interval over the draws holds the smoothed one
    components: int
    distances: list[float]  # |mean gradient of n draws - smoothed| / |smoothed|, by averaging

    @property
    def loss_inside(self) -> bool:
        return not self.dropout_loss.excludes(self.smoothed_loss)


def compare(
    layer: OutputLayer,
    eps: float,
    prior: Floats | None,
    averaging: Sequence[int],
    rng: np.random.Generator,
) -> Agreement:
    smoothed_loss, gradient = sx.cross_entropy_value_and_grad(
        layer.logits, layer.labels, label_smoothing=eps, prior=prior
    )
    smoothed = layer.inputs.T @ gradient

    draws = max(averaging)
    logits = np.broadcast_to(layer.logits, (draws, *layer.logits.shape))
    labels = np.broadcast_to(layer.labels, (draws, *layer.labels.shape))
    labels = sx.label_dropout(labels, CLASSES, rate=eps, prior=prior, rng=rng)
    losses, gradients = sx.cross_entropy_value_and_grad(logits, labels, reduction="none")
    sampled = layer.inputs.T @ gradients / len(layer.labels)  # (draws, units, classes)

    inside = np.abs(sampled.mean(axis=0) - smoothed) <= t_half_width(sampled)
    distances = [np.linalg.norm(sampled[:n].mean(axis=0) - smoothed) for n in averaging]
    return Agreement(
        smoothed_loss,
        Interval.of(losses.mean(axis=1, dtype=np.float64)),
        int(inside.sum()),
        inside.size,
        [float(distance / np.linalg.norm(smoothed)) for distance in distances],
    )


def table_line(name: str, eps: float, found: Agreement) -> str:
    loss = found.dropout_loss
    verdict = "holds it" if found.loss_inside else "misses it"
    sampled = f"{loss.mean:.4f} ± {loss.half_width:.4f} {verdict}"
    distances = "".join(f"{distance:>8.1%}" for distance in found.distances)
    return (
        f"  eps = {eps:<4g} {name:<15}{found.smoothed_loss:<11.4f}{sampled:<26}{distances}"
        f"   {found.inside} of {found.components}"
    )


def table(layer: OutputLayer, cases: Sequence[tuple[str, float, Floats | None]], draws: int) -> str:
    """One line per case, which is the prior's name, eps and the prior."""
    rng = np.random.default_rng(0)
    averaging = (draws // 100, draws // 10, draws)
    found = [compare(layer, eps, prior, averaging, rng) for _, eps, prior in cases]
    counts = "".join(f"{n:>8}" for n in averaging)
    losses = sum(agreement.loss_inside for agreement in found)
    share = sum(a.inside for a in found) / sum(a.components for a in found)
    return "\n".join(
        [
            f"  {'':<26}{'loss':<37}gradient: distance of the mean of n draws",
            f"  {'':<26}{'smoothing':<11}{'label dropout':<26}{counts}   in its interval",
            *(table_line(name, eps, a) for (name, eps, _), a in zip(cases, found)),
            f"  {losses} of {len(cases)} 95 % intervals hold smoothing's loss, {share:.1%} of all "
            "its gradient; 1 in 20 misses by chance",
            "  (the components of one line are correlated, so single counts scatter).",
        ]
    )
