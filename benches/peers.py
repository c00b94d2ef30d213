"""Loss with gradient, loss alone and softmax beside SciPy and NumPy, in one run.

    python benches/peers.py [--rounds N]

For each shape: the answers are compared first, in ulp; then the rivals take turns, round after
round, and the ratio is the median over the rounds of rival / smoothxent within a round. Times are
medians. NumPy's threads do not matter here: none of its functions used has any.
"""

import argparse
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable

# An old OpenBLAS needs these; NumPy must be timed without.
if any(os.environ.pop(name, None) for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")):
    os.execv(sys.executable, [sys.executable, *sys.argv])

import numpy as np
import scipy.special

import smoothxent as sx

SHAPES = ((1, 10), (1, 1000), (256, 1000), (8192, 1000), (65536, 1000), (256, 128256))
EPSILON = 0.1
BUDGET = 3.0  # seconds of each rival for one shape, at most

Call = Callable[[], object]


def scipy_value_and_grad(logits: np.ndarray, labels: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the loss and gradient as a careful user of SciPy writes them."""
    rows, classes = logits.shape
    log_p = scipy.special.log_softmax(logits, axis=1)
    at_label = np.arange(rows), labels
    loss = -(1 - EPSILON) * log_p[at_label].mean() - EPSILON * log_p.mean()
    grad = np.exp(log_p, out=log_p)
    grad -= EPSILON / classes
    grad[at_label] -= 1 - EPSILON
    grad /= rows
    return float(loss), grad


def scipy_loss(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the loss alone, from logsumexp."""
    lse = scipy.special.logsumexp(logits, axis=1)
    picked = logits[np.arange(len(logits)), labels]
    return float((lse - (1 - EPSILON) * picked - EPSILON * logits.mean(axis=1)).mean())


def operations(logits: np.ndarray, labels: np.ndarray) -> dict[str, dict[str, Call]]:
    """Return the rivals of each operation; the first is ours."""
    out = np.empty_like(logits)
    return {
        "loss + gradient": {
            "smoothxent": lambda: sx.cross_entropy_value_and_grad(
                logits, labels, label_smoothing=EPSILON
            )[1],
            "smoothxent grad_out=": lambda: sx.cross_entropy_value_and_grad(
                logits, labels, label_smoothing=EPSILON, grad_out=out
            )[1],
            "SciPy": lambda: scipy_value_and_grad(logits, labels)[1],
        },
        "loss": {
            "smoothxent": lambda: sx.cross_entropy(logits, labels, label_smoothing=EPSILON),
            "SciPy": lambda: scipy_loss(logits, labels),
        },
        "softmax": {
            "smoothxent": lambda: sx.softmax(logits),
            "smoothxent out=": lambda: sx.softmax(logits, out=out),
            "SciPy": lambda: scipy.special.softmax(logits, axis=1),
        },
    }


def check(rivals: dict[str, Call]) -> None:
    """Stop unless all rivals agree as well as float32 lets SciPy."""
    answers = [np.asarray(call()).copy() for call in rivals.values()]
    for name, answer in zip(rivals, answers, strict=True):
        scale = np.abs(answers[0]).max()
        worst = np.abs(answer.astype(float) - answers[0]).max() / scale
        if not worst < 3e-5:
            sys.exit(f"{name} differs by {worst:.1e} of the largest value; nothing is timed")


def times(rivals: dict[str, Call], rounds: int) -> dict[str, list[float]]:
    """Return seconds per call: one number a round and rival, the rivals in turns."""
    repeats, estimate = {}, 0.0
    for name, call in rivals.items():
        start = time.perf_counter()
        call()
        once = max(time.perf_counter() - start, 1e-7)
        repeats[name] = max(1, int(1e-3 / once))
        estimate = max(estimate, once * repeats[name])
    result: dict[str, list[float]] = {name: [] for name in rivals}
    for _ in range(max(5, min(rounds, int(BUDGET / estimate)))):
        for name, call in rivals.items():
            start = time.perf_counter()
            for _ in range(repeats[name]):
                call()
            result[name].append((time.perf_counter() - start) / repeats[name])
    return result


def main() -> None:
    """Print a table for each operation."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=200)
    rounds = parser.parse_args().rounds
    config = sx.show_config(mode="dicts")
    level, threads = config["simd"]["level"], config["threads"]["count"]
    print(f"{platform.machine()}, {level}, {threads} threads, load {os.getloadavg()[0]:.1f}")
    print(f"NumPy {np.__version__}, SciPy {scipy.__version__}, float32, eps {EPSILON}\n")
    rng = np.random.default_rng(0)
    for shape in SHAPES:
        logits = (3 * rng.standard_normal(shape)).astype(np.float32)
        labels = rng.integers(0, shape[1], shape[0])
        for operation, rivals in operations(logits, labels).items():
            check(rivals)
            seconds = times(rivals, rounds)
            ours = next(iter(seconds.values()))
            for name, each in seconds.items():
                ratio = statistics.median(a / b for a, b in zip(each, ours, strict=True))
                micro = 1e6 * statistics.median(each)
                print(f"{shape!s:>15} {operation:<16} {name:<21} {micro:12.1f} us {ratio:8.2f}")
    print("\nratio: time / smoothxent's time in the same round")


if __name__ == "__main__":
    main()
