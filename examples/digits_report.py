"""Test metrics of the digits demo, their intervals, and the sentence that follows from them.

    interval of n paired differences d:  mean(d) ± t(0.975, n - 1) * std(d) / sqrt(n)

A difference counts as detected when its interval excludes 0. The intervals cover what changes with
the seed (which digits are trained on, batches, initial weights), not the choice of these 1,797
images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np

import smoothxent as sx
from calibration import expected_calibration_error
from digits_training import UNIFORM, Arm, Floats, Labels
from intervals import Interval, table

ERROR, NLL, ECE, GAP = "test error %", "NLL", "ECE %", "logit gap"
DECIMALS = {ERROR: 2, NLL: 4, ECE: 2, GAP: 2}

# What a lower and a higher value mean. A logit gap is neither good nor bad in itself.
BETTER_WORSE = ("improved", "worsened")
VERBS = {ERROR: BETTER_WORSE, NLL: BETTER_WORSE, ECE: BETTER_WORSE, GAP: ("narrowed", "widened")}
UNDETECTED = "made no detectable difference to"
VERB_ORDER = ("improved", "worsened", "narrowed", "widened", UNDETECTED)

Metrics: TypeAlias = Mapping[str, Floats]  # metric name -> one value per seed


def logit_gap(logits: Floats) -> Floats:
    """The largest logit minus the runner-up."""
    top_two = np.partition(logits, -2, axis=-1)[..., -2:]
    gap: Floats = top_two[..., 1] - top_two[..., 0]
    return gap


def evaluate(logits: Floats, labels: Labels) -> dict[str, Floats]:
    """Each metric per seed, from logits (seeds, rows, classes) and labels (seeds, rows)."""
    seeds = range(len(labels))
    return {
        ERROR: 100 * (logits.argmax(axis=-1) != labels).mean(axis=-1),
        NLL: sx.cross_entropy(logits, labels, reduction="none").mean(axis=-1, dtype=np.float64),
        ECE: np.array([100 * expected_calibration_error(logits[s], labels[s]) for s in seeds]),
        GAP: logit_gap(logits).mean(axis=-1, dtype=np.float64),
    }


def difference(results: Mapping[Arm, Metrics], arm: Arm, reference: Arm, metric: str) -> Interval:
    """Interval of the paired difference arm - reference."""
    return Interval.of(results[arm][metric] - results[reference][metric])


def results_tables(results: Mapping[Arm, Metrics]) -> str:
    """Values of one split, paired differences to eps = 0, and paired differences of methods."""

    def paired(arm: Arm, reference: Arm) -> dict[str, Interval]:
        return {metric: difference(results, arm, reference, metric) for metric in DECIMALS}

    smoothed = [arm for arm in results if arm.eps > 0]
    rivals = [(arm, Arm(arm.split, UNIFORM, arm.eps)) for arm in smoothed if arm.method != UNIFORM]
    values = [
        (str(arm), {metric: Interval.of(samples) for metric, samples in metrics.items()})
        for arm, metrics in results.items()
    ]
    to_baseline = [(str(arm), paired(arm, arm.baseline)) for arm in smoothed]
    to_uniform = [(str(arm), paired(arm, reference)) for arm, reference in rivals]
    return "\n".join(
        [
            table("mean ± 95 % interval", values, DECIMALS, star=False),
            table("paired difference to eps = 0", to_baseline, DECIMALS, star=True),
            table("... to uniform prior, same eps", to_uniform, DECIMALS, star=True),
        ]
    )


def listed(items: Sequence[str]) -> str:
    """["a", "b", "c"] -> "a, b and c"."""
    return " and ".join([", ".join(items[:-1]), items[-1]] if len(items) > 1 else items)


def effects(pairs: Sequence[tuple[Arm, Arm]], results: Mapping[Arm, Metrics]) -> str:
    """What the first arm of each pair changed against the second, metric by metric, in words."""
    found: dict[str, list[str]] = {}
    for metric, (lower, higher) in VERBS.items():
        changes: dict[str, list[str]] = {}
        for arm, reference in pairs:
            interval = difference(results, arm, reference, metric)
            direction = lower if interval.mean < 0 else higher
            verb = direction if interval.excludes(0) else UNDETECTED
            changes.setdefault(verb, []).append(f"{arm.eps:g}")
        for verb, where in changes.items():
            at = "" if len(where) == len(pairs) else f" (eps {listed(where)})"
            found.setdefault(verb, []).append(f"the {metric.removesuffix(' %')}{at}")
    verbs = [verb for verb in VERB_ORDER if verb in found]
    return listed([f"{verb} {listed(found[verb])}" for verb in verbs])
