"""What the tokens demo prints: the text, the test figures with their intervals, the share of the loss.

Intervals are those of intervals.py, over seeds: initial weights, batches and draws of label dropout.
They do not cover the choice of the modules, which is the same for all seeds.
"""

from __future__ import annotations

import platform
import textwrap
from collections.abc import Sequence

import numpy as np

import smoothxent as sx
from calibration import ECE_BINS
from intervals import Interval, table
from token_corpus import CLASSES, CONTEXT, TEST, TRAINING, Corpus
from token_network import EMBEDDING, HIDDEN
from token_training import (
    BATCH,
    DROPOUT,
    EPS,
    HARD,
    UNIFORM,
    UNIGRAM,
    Evaluation,
    Method,
    Plan,
    Results,
    Run,
)

TOP_1, TOP_5, PERPLEXITY = "top-1 error %", "top-5 error %", "perplexity"
ECE, ENTROPY = "ECE %", "entropy"
DECIMALS = {TOP_1: 2, TOP_5: 2, PERPLEXITY: 2, ECE: 2, ENTROPY: 3}
WIDTH = 18


def figures(test: Evaluation) -> dict[str, float]:
    return {
        TOP_1: 100 * (1 - test.score.accuracy),
        TOP_5: 100 * (1 - test.score.top_5_accuracy),
        PERPLEXITY: test.score.perplexity,
        ECE: 100 * test.score.calibration_error,
        ENTROPY: test.entropy,
    }


def values(runs: Sequence[Run], metric: str) -> np.ndarray:
    return np.array([figures(run.test)[metric] for run in runs])


def difference(results: Results, method: Method, reference: Method, metric: str) -> Interval:
    """Interval of the paired difference method - reference."""
    return Interval.of(values(results[method], metric) - values(results[reference], metric))


def results_tables(results: Results) -> str:
    def paired(method: Method, reference: Method) -> tuple[str, dict[str, Interval]]:
        found = {metric: difference(results, method, reference, metric) for metric in DECIMALS}
        return str(method), found

    own = [
        (str(method), {metric: Interval.of(values(runs, metric)) for metric in DECIMALS})
        for method, runs in results.items()
    ]
    to_hard = [paired(method, HARD) for method in (UNIFORM, UNIGRAM, DROPOUT)]
    to_uniform = [paired(method, UNIFORM) for method in (UNIGRAM, DROPOUT)]
    return "\n".join(
        [
            table("mean ± 95 % interval", own, DECIMALS, False, WIDTH),
            table("paired difference to eps = 0", to_hard, DECIMALS, True, WIDTH),
            table("... to uniform prior", to_uniform, DECIMALS, True, WIDTH),
        ]
    )


def introduction(corpus: Corpus, plan: Plan, seeds: Sequence[int]) -> str:
    """What is trained on what, and how to read the numbers."""
    lines = [f"smoothxent {sx.__version__}, Python {platform.python_version()}; {len(seeds)} seeds"]
    for side, text in corpus.texts.items():
        lines.append(
            f"{side}: {len(text):,} tokens, {text.files} files, {len(text.modules)} modules"
        )
    lines.append(f"{len(corpus.unreadable)} files could not be read")
    lines += [f"  {reason}" for reason in corpus.unreadable]
    labels = corpus.texts[TEST].labels
    frequent = int(np.argmax(sx.class_prior(corpus.texts[TRAINING].labels, CLASSES)))
    epochs = plan.steps * BATCH / len(corpus.texts[TRAINING])
    lines += [
        f"K = {CLASSES}: the {CLASSES - 1} most frequent tokens of the training text and "
        f"{corpus.vocabulary[-1]}, {np.mean(labels == CLASSES - 1):.1%} of the test tokens",
        f"tested on {min(plan.test_rows or len(labels), len(labels)):,} test tokens, at equal distances",
        f"always {corpus.vocabulary[frequent]}: error {np.mean(labels != frequent):.1%}",
        f"network: {CONTEXT} tokens x {EMBEDDING} -> {HIDDEN} -> {CLASSES}; "
        f"{plan.steps:,} steps of {BATCH} examples, {epochs:.2f} epochs; "
        f"learning rate {plan.rate:g}",
    ]
    notes = f"""

        Entropy: mean entropy of the predicted distributions, in nats. ECE: expected calibration
        error, {ECE_BINS} equal-width bins of top probability.
        Intervals: 95 %, Student t over seeds. They cover initial weights, batches and draws of
        label dropout, not another choice of modules. * marks a paired difference whose interval
        excludes 0. Of the {5 * len(DECIMALS)}, about 1 would be marked if nothing had any effect."""
    return "\n".join(lines) + textwrap.dedent(notes)


def beside_the_paper(results: Results) -> str:
    """The numbers next to those of the paper, whatever they are."""
    here = " and ".join(
        f"the {metric.removesuffix(' %')} by {found.mean:+.2f} ± {found.half_width:.2f} points"
        for metric in (TOP_1, TOP_5)
        for found in [difference(results, UNIFORM, HARD, metric)]
    )
    return textwrap.fill(
        f"The paper (section 7) reports about 0.2 points less top-1 and top-5 error on ImageNet, with "
        f"K = 1000, eps = {EPS} and the uniform prior. Here the same changes {here}, 95 % intervals.",
        100,
    )


def share_of_the_loss(results: Results, steps: int) -> str:
    lines = ["of a training step, on one thread, smoothxent takes"]
    for method, runs in results.items():
        step = sum(run.trained.seconds for run in runs) / len(runs) / steps
        loss = sum(run.trained.loss_seconds for run in runs) / len(runs) / steps
        lines.append(
            f"  {method!s:<26}{loss / step:>6.1%}   ({1e3 * loss:.3f} of {1e3 * step:.3f} ms)"
        )
    lines.append("beside torch's loss in the same step: python examples/token_step.py, with torch")
    return "\n".join(lines)
