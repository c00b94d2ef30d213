"""What label smoothing does to two small classifiers of real handwritten digits.

Shows smoothxent.cross_entropy_value_and_grad (training, the gradient in place of the logits),
cross_entropy, softmax, class_prior and label_dropout.

The data are the 1,797 scanned digits of 8 x 8 pixels that scikit-learn includes, so nothing is
downloaded. A softmax regression and a network with one hidden ReLU layer are trained, in NumPy, with

    loss = (1 - eps) H(label, p) + eps H(u, p),    eps in {0, 0.05, 0.1, 0.2}

on two training splits, balanced and with five of the ten classes cut to an eighth:

    uniform prior   u = 1/10 (both splits)
    class prior     u = class frequencies of the training labels (unbalanced split)
    label dropout   no smoothing; instead each label is, with probability eps, redrawn from u = 1/10
                    at every step (balanced split): the same loss and gradient in expectation

All arms share their seeds (rows, batches, initial weights), so differences are paired. The test
rows are the same for both splits and keep the data's nearly equal class frequencies.

Reference: Szegedy, Vanhoucke, Ioffe, Shlens, Wojna, "Rethinking the Inception Architecture for
Computer Vision", 2015, arXiv 1512.00567, section 7.

    python examples/train_digits.py [--quick] [--seeds N] [--processes N] [--out DIR]
"""

from __future__ import annotations

import argparse
import textwrap
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np

import digits_dropout
import smoothxent as sx
from calibration import ECE_BINS
from digits_report import DECIMALS, Metrics, effects, evaluate, results_tables
from digits_training import (
    CLASS_PRIOR,
    CLASSES,
    DROPOUT,
    HARD,
    UNIFORM,
    Arm,
    Network,
    Split,
    split_digits,
    train,
)
from side_by_side import side_by_side

EPS = (0.05, 0.1, 0.2)
REGRESSION, NETWORK = "softmax regression", "network"
WIDTHS = {REGRESSION: (64, 10), NETWORK: (64, 64, 10)}
BALANCED, UNBALANCED = "balanced", "unbalanced"
TRAIN_PER_CLASS = {BALANCED: [80] * 10, UNBALANCED: [80] * 5 + [10] * 5}

ARMS = [
    Arm(BALANCED, HARD, 0.0),
    *(Arm(BALANCED, method, eps) for method in (UNIFORM, DROPOUT) for eps in EPS),
    Arm(UNBALANCED, HARD, 0.0),
    *(Arm(UNBALANCED, method, eps) for method in (UNIFORM, CLASS_PRIOR) for eps in EPS),
]

Splits: TypeAlias = Mapping[str, Split]
Networks: TypeAlias = Mapping[str, Mapping[Arm, Network]]  # by model, then arm
Results: TypeAlias = Mapping[str, Mapping[Arm, Metrics]]


def train_arm(
    model: str,
    arm: Arm,
    split: Split,
    seeds: Sequence[int],
    epochs: int,
    report: Callable[[str], None],
) -> Network:
    def on_epoch(loss: float) -> None:
        report(f"{model}, {arm.split}, {arm.method}, eps = {arm.eps:g}: loss {loss:.3f}")

    return train(arm, WIDTHS[model], split, seeds, epochs, on_epoch)


def train_all(splits: Splits, seeds: Sequence[int], epochs: int, processes: int) -> Networks:
    runs = [(model, arm, splits[arm.split], seeds, epochs) for model in WIDTHS for arm in ARMS]
    trained = iter(side_by_side(train_arm, runs, epochs, processes))
    return {model: {arm: next(trained) for arm in ARMS} for model in WIDTHS}


def evaluate_all(networks: Networks, splits: Splits) -> Results:
    def metrics(arm: Arm, network: Network) -> Metrics:
        split = splits[arm.split]
        return evaluate(network.logits(split.test_images), split.test_labels)

    return {
        model: {arm: metrics(arm, network) for arm, network in by_arm.items()}
        for model, by_arm in networks.items()
    }


def introduction(splits: Splits, seeds: Sequence[int]) -> str:
    """What was trained on what, and how to read the numbers."""
    lines = [f"smoothxent {sx.__version__}; {len(seeds)} seeds"]
    for model, widths in WIDTHS.items():
        lines.append(f"{model}: layers {'-'.join(map(str, widths))}")
    for name, split in splits.items():
        counts = np.bincount(split.train_labels[0], minlength=CLASSES)
        lines.append(
            f"{name} split: {counts.sum()} training digits, {counts.tolist()} by class; "
            f"{split.test_labels.shape[1]} test digits"
        )
    intervals = len(WIDTHS) * len(DECIMALS) * sum(arm.eps > 0 for arm in ARMS)
    notes = f"""

        NLL: mean -log p(label), without smoothing. Logit gap: largest logit minus runner-up.
        ECE: expected calibration error, {ECE_BINS} equal-width bins of top probability.
        Intervals: 95 %, Student t over seeds. They cover the draw of training digits, batches and
        initial weights, not another collection of digits.
        * marks a paired difference whose interval excludes 0. Of the {intervals} to eps = 0,
        about {intervals / 20:.0f} would be marked if nothing had any effect."""
    return "\n".join(lines) + textwrap.dedent(notes)


def dropout_at_fixed_weights(network: Network, splits: Splits, draws: int) -> str:
    """Label dropout beside smoothing on the first seed's training rows."""
    split = splits[BALANCED]
    *_, inputs, logits = network.layer_inputs(split.train_images)
    layer = digits_dropout.OutputLayer(inputs[0], logits[0], split.train_labels[0])
    frequencies = sx.class_prior(splits[UNBALANCED].train_labels, CLASSES)
    cases = [(UNIFORM, eps, None) for eps in EPS] + [(CLASS_PRIOR, eps, frequencies) for eps in EPS]
    return digits_dropout.table(layer, cases, draws)


def conclusions(results: Results) -> str:
    """Sentences that say nothing but which paired intervals exclude 0, and on which side."""

    def found(split: str, method: str, reference: str) -> str:
        arms = [Arm(split, method, eps) for eps in EPS]
        pairs = [
            (arm, arm.baseline if reference == HARD else Arm(split, reference, arm.eps))
            for arm in arms
        ]
        return "; ".join(f"in the {model} it {effects(pairs, results[model])}" for model in results)

    sentences = [
        "On these digits, against eps = 0, label smoothing to the uniform prior did this: "
        f"{found(BALANCED, UNIFORM, HARD)}.",
        "Label dropout, against smoothing at the same eps (equal in expectation at fixed weights, "
        f"but noisier in training): {found(BALANCED, DROPOUT, UNIFORM)}.",
        "On the unbalanced split, tested on nearly equal class frequencies, smoothing to the class "
        "prior, against the uniform prior at the same eps: "
        f"{found(UNBALANCED, CLASS_PRIOR, UNIFORM)}.",
    ]
    return "\n\n".join(textwrap.fill(sentence, 100) for sentence in sentences)


def draw_pictures(networks: Networks, split: Split, folder: Path) -> list[Path]:
    import digits_plots  # matplotlib

    folder.mkdir(parents=True, exist_ok=True)
    arms = [Arm(BALANCED, HARD, 0.0), *(Arm(BALANCED, UNIFORM, eps) for eps in EPS)]
    logits = {
        model: {arm.eps: by_arm[arm].logits(split.test_images) for arm in arms}
        for model, by_arm in networks.items()
    }
    images, labels = split.test_images[0], split.test_labels[0]
    pair = {eps: logits[NETWORK][eps][0] for eps in (0.0, 0.1)}
    return [
        digits_plots.reliability_diagram(logits, split.test_labels, folder / "reliability.png"),
        digits_plots.gap_histogram(logits, folder / "logit_gaps.png"),
        digits_plots.gallery(NETWORK, pair, images, labels, folder / "gallery.png"),
    ]


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seeds", type=int, metavar="N", help="seeds per arm (default: 20)")
    parser.add_argument("--quick", action="store_true", help="3 seeds and 5 epochs: a smoke test")
    parser.add_argument(
        "--processes",
        type=int,
        metavar="N",
        default=sx.get_num_threads(),
        help="arms trained at once (default: one for each processor)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        default=Path("demo_output"),
        help="folder of the pictures",
    )
    options = parser.parse_args(arguments)
    if options.seeds is None:
        options.seeds = 3 if options.quick else 20
    if options.seeds < 2:
        parser.error(f"--seeds must be at least 2 (an interval needs two), got {options.seeds}")
    if options.processes < 1:
        parser.error(f"--processes must be at least 1, got {options.processes}")
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    # It takes seconds to import, as matplotlib does, and each process of a run imports this file.
    from sklearn.datasets import load_digits

    start = time.monotonic()
    seeds = range(options.seeds)
    pixels, labels = load_digits(return_X_y=True)
    images = (pixels / 16).astype(np.float32)  # 0..16 -> 0..1
    splits = {name: split_digits(images, labels, seeds, n) for name, n in TRAIN_PER_CLASS.items()}
    print(introduction(splits, seeds), flush=True)

    epochs = 5 if options.quick else 100
    networks = train_all(splits, seeds, epochs, options.processes)
    results = evaluate_all(networks, splits)
    baseline = networks[NETWORK][Arm(BALANCED, HARD, 0.0)]
    draws = 100 if options.quick else 1000
    print(f"\nlabel dropout at fixed weights ({NETWORK}, eps = 0, first seed), {draws} draws")
    print(dropout_at_fixed_weights(baseline, splits, draws))
    for model, by_arm in results.items():
        for name in splits:
            of_split = {arm: metrics for arm, metrics in by_arm.items() if arm.split == name}
            print(f"\n{model}, {name} split\n{results_tables(of_split)}")
    print(f"\n{conclusions(results)}\n")
    for path in draw_pictures(networks, splits[BALANCED], options.out):
        print(f"wrote {path}")
    print(f"took {time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()
