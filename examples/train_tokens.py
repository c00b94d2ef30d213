"""Label smoothing with K = 1000 classes and eps = 0.1, as in the paper: predicts tokens of Python code.

Shows smoothxent.cross_entropy_value_and_grad (training, the gradient in place of the logits), score,
class_prior, label_dropout, softmax and cross_entropy (the entropy of predictions).

The data are the source files of the standard library, so nothing is downloaded. A network with one
hidden layer predicts each token from the eight before it. It is trained with

    hard labels     eps = 0
    uniform prior   eps = 0.1, u = 1/1000, as in the paper
    unigram prior   eps = 0.1, u = class frequencies of the training text
    label dropout   each label is, with probability 0.1, redrawn from u = 1/1000 at every step: the
                    loss and gradient of the uniform prior in expectation

and tested on modules that it has not seen. Runs of one seed share initial weights and batches, so
differences are paired. The learning rate was chosen with hard labels, by the loss on modules
that are neither trained nor tested on; --rates does it again.

Reference: Szegedy, Vanhoucke, Ioffe, Shlens, Wojna, "Rethinking the Inception Architecture for
Computer Vision", 2015, arXiv 1512.00567, section 7.

    python examples/train_tokens.py [--quick] [--seeds N] [--processes N] [--rates] [--out DIR]
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path

import smoothxent as sx
from progress import Progress
from side_by_side import side_by_side
from token_corpus import Corpus, library_files, read
from token_training import HARD, METHODS, Plan, Results, run, validation_loss

PLAN = Plan(steps=8000, looks=10, validation_rows=8192, test_rows=150_000)
QUICK = Plan(steps=80, looks=4, validation_rows=512, test_rows=2048)
QUICK_FILES = 12  # one in so many

RATES = (0.05, 0.1, 0.2, 0.4, 0.8)
RATES_SEED = 1000  # not one of the experiment's


def read_corpus(quick: bool) -> Corpus:
    files = library_files()[:: QUICK_FILES if quick else 1]
    progress = Progress(len(files))
    corpus = read(files, progress.step)
    progress.close()
    return corpus


def train_all(corpus: Corpus, plan: Plan, seeds: Sequence[int], processes: int) -> Results:
    arguments = [(corpus, plan, method, seed) for seed in seeds for method in METHODS]
    runs = side_by_side(run, arguments, plan.looks, processes)
    return {method: [found for found in runs if found.method == method] for method in METHODS}


def validation_losses(corpus: Corpus, plan: Plan, processes: int) -> str:
    """What the learning rate was chosen by."""
    plans = [dataclasses.replace(plan, rate=rate) for rate in RATES]
    arguments = [(corpus, plan, HARD, RATES_SEED) for plan in plans]
    losses = side_by_side(validation_loss, arguments, plan.looks, processes)
    lines = [f"  {rate:<15g}{loss:.4f}" for rate, loss in zip(RATES, losses)]
    return "\n".join(["  learning rate  validation NLL at eps = 0", *lines])


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seeds", type=int, metavar="N", help="seeds per method (default: 5)")
    parser.add_argument(
        "--quick", action="store_true", help="2 seeds, a part of the text, few steps: a smoke test"
    )
    parser.add_argument(
        "--processes",
        type=int,
        metavar="N",
        default=sx.get_num_threads(),
        help="runs at once (default: one for each processor)",
    )
    parser.add_argument(
        "--rates", action="store_true", help="compare learning rates on the validation text instead"
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
        options.seeds = 2 if options.quick else 5
    if options.seeds < 2:
        parser.error(f"--seeds must be at least 2 (an interval needs two), got {options.seeds}")
    if options.processes < 1:
        parser.error(f"--processes must be at least 1, got {options.processes}")
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    # SciPy and matplotlib, which take seconds to import, and each process of a run imports this file.
    import token_plots
    import token_report

    start = time.monotonic()
    plan = QUICK if options.quick else PLAN
    seeds = range(options.seeds)
    corpus = read_corpus(options.quick)
    print(token_report.introduction(corpus, plan, seeds), flush=True)
    if options.rates:
        print(f"\n{validation_losses(corpus, plan, options.processes)}")
    else:
        results = train_all(corpus, plan, seeds, options.processes)
        print(f"\n{token_report.results_tables(results)}")
        print(f"\n{token_report.beside_the_paper(results)}")
        print(f"\n{token_report.share_of_the_loss(results, plan.steps)}\n")
        options.out.mkdir(parents=True, exist_ok=True)
        for draw, name in (
            (token_plots.learning_curves, "token_learning_curves.png"),
            (token_plots.reliability_diagram, "token_reliability.png"),
        ):
            print(f"wrote {draw(results, options.out / name)}")
    print(f"took {time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()
