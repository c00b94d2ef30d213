"""Cost per logit from 10^3 to 10^9 logits and from one thread to 192: measured, and by a model.

    python -m benches.scaling [--full]

    for each number of rows, of 1000 classes: compare the answer; each number of threads takes turns
    fit the model (scaling_model.py); draw both, with the limit of memory

The loss with its gradient is timed, float32, smoothed, with grad_out=, on up to as many threads as this
machine has; the times of more threads are the model's. --full measures up to 10^9 logits: 9 GB, some minutes.
See benches/README.md.
"""

from __future__ import annotations

import argparse
import csv
import os
import re
import textwrap
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import smoothxent as sx
from benches import instructions, machine
from benches.driver import OURS_WRONG, PROGRAM
from benches.engines import smoothxent as engine
from benches.problem import error, make_problem, mean_losses
from benches.rounds import Contest, Limits, Rival
from benches.scaling_model import CLASSES, TRAFFIC, Model, Point, fit
from benches.worker import elapsed

RECORD = machine.ROOT / "benches" / "record"
CALL = "loss_grad out"
KERNEL = f"loss_and_grad f32 {CLASSES}"
ROWS = [1, 3, 10, 30, 100, 300, 1000, 3000, 10_000, 30_000, 100_000]
FULL = [300_000, 1_000_000]
THREADS = (1, 2, 4, 8)
PREDICTED = (64, 192)
COLORS = ("#1c1c1c", "#0b6e4f", "#2a9d8f", "#3a7ca5", "#c77d0a", "#a4243b")
# Bytes of the copy that measures bandwidth: more than any cache has.
COPY = 400_000_000
# Seconds of untimed calls before a turn, which wake the helpers and fill the caches.
WARM = 5e-3


class Ours:
    """Takes turns with a number of threads, in this process: there is one copy of the arrays."""

    def __init__(self, call: Any, threads: int) -> None:
        """Store both."""
        self.call, self.threads = call, threads

    def turn(self, name: str, repeats: int) -> float:
        """Return the seconds of one call."""
        sx.set_num_threads(self.threads)
        end = time.perf_counter() + WARM
        while time.perf_counter() < end:
            self.call()
        return elapsed(self.call, repeats) / repeats


def measure(rows: int, counts: Iterable[int], budget: float) -> list[Point]:
    """Return the times of one size, after the answer is checked.

    They are the best of the rounds: the question is what the machine can do, not what else it did.
    """
    shape = (rows, CLASSES)
    problem = make_problem(shape)
    call = engine.calls(problem)[CALL]
    ulp = error(CALL, call(), problem, mean_losses(shape))
    if ulp > OURS_WRONG:
        raise SystemExit(f"{rows} rows: the answer is off by {ulp:.0f} ulp")
    contest = Contest(CALL, shape)
    for threads in counts:
        player = Ours(call, threads)
        once = min(player.turn(CALL, 1) for _ in range(2))
        contest.rivals.append(Rival(f"{threads}", player, CALL, once))
    contest.run(budget)
    return [Point(int(rival.label), rows, min(rival.seconds)) for rival in contest.rivals]


def bandwidth(threads: int) -> float:
    """Return the bytes per second, read and written, of a copy by this number of threads."""
    limits = Limits(PROGRAM, threads)
    try:
        return 2 * COPY / min(limits.turn(f"copy {COPY}", 1) for _ in range(9))
    finally:
        limits.stop()


def cache() -> int:
    """Return the bytes of the third-level cache; 32 MiB if they are unknown."""
    try:
        text = Path("/sys/devices/system/cpu/cpu0/cache/index3/size").read_text(encoding="utf-8")
    except OSError:
        return 32 << 20
    return int(re.sub(r"\D", "", text)) << 10


def write(path: Path, facts: dict[str, str], model: Model, points: list[Point]) -> None:
    """Write the CSV: measured beside the model, then the model where nothing was measured."""
    measured = {(point.threads, point.rows): point.seconds for point in points}
    with path.open("w", encoding="utf-8", newline="") as file:
        file.writelines(f"# {name}: {value}\n" for name, value in facts.items())
        file.writelines(f"# model: {each}\n" for each in model.assumptions)
        writer = csv.writer(file, lineterminator="\n")
        columns = [
            "threads",
            "logits",
            "measured_seconds",
            "model_seconds",
            "measured_ns_per_logit",
        ]
        writer.writerow([*columns, "model_ns_per_logit", "model_over_measured"])
        for threads in sorted({*THREADS, *PREDICTED}):
            for rows in ROWS + FULL:
                logits, guess = rows * CLASSES, model.seconds(rows, threads)
                real = measured.get((threads, rows))
                cells = [real, guess, real and 1e9 * real / logits, 1e9 * guess / logits]
                cells.append(real and guess / real)
                texts = ["" if cell is None else f"{cell:.4g}" for cell in cells]
                writer.writerow([threads, logits, *texts])


def table(model: Model, points: list[Point]) -> str:
    """Return the measurements beside the model."""
    lines = ["threads     logits  ns/logit     model  model / measured"]
    for p in sorted(points, key=lambda point: (point.threads, point.rows)):
        guess = model.seconds(p.rows, p.threads)
        costs = [1e9 * seconds / p.logits for seconds in (p.seconds, guess)]
        lines.append(
            f"{p.threads:7} {p.logits:10} {costs[0]:9.4f} {costs[1]:9.4f} {guess / p.seconds:17.2f}"
        )
    return "\n".join(lines)


def draw(path: Path, facts: dict[str, str], model: Model, points: list[Point]) -> None:
    """Write the picture."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    figure = Figure(figsize=(11, 8.4))
    axes = figure.subplots()
    sizes = sorted({round(10 ** (step / 16)) for step in range(6 * 16 + 1)})
    ends = {}
    for threads, color in zip(sorted({*THREADS, *PREDICTED}), COLORS):
        costs = [1e9 * model.seconds(rows, threads) / rows / CLASSES for rows in sizes]
        mine = [point for point in points if point.threads == threads]
        style = "-" if mine else (0, (5, 2))
        axes.plot([rows * CLASSES for rows in sizes], costs, color=color, lw=1.7, ls=style)
        measured = [1e9 * point.seconds / point.logits for point in mine]
        # One thread has larger marks, so that those of two threads do not hide them.
        size = 9 if threads == 1 else 6
        axes.plot([point.logits for point in mine], measured, "o", color=color, ms=size)
        limit = 1e9 * TRAFFIC / model.bandwidth(threads)
        axes.hlines(limit, 1e8, 1e9, color=color, lw=1.2, ls=":")
        name = f"{threads} thread{'s' if threads > 1 else ''}"
        ends[f"{name}: {costs[-1]:.2g}\n   memory {limit:.2g}"] = (costs[-1], color)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(8e2, 1.3e9)
    lowest = 0.0
    for text, (cost, color) in sorted(ends.items(), key=lambda each: each[1][0]):
        # Two lines of text have the height of a sixth of a decade.
        lowest = max(cost, lowest * 10 ** (1 / 6))
        axes.text(1.5e9, lowest, text, color=color, va="center", fontsize=9)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_xlabel(f"logits, in rows of {CLASSES}")
    axes.set_ylabel("nanoseconds per logit")
    axes.grid(alpha=0.25, which="major")
    axes.spines[["top", "right"]].set_visible(False)
    gray = "0.35"
    handles = [
        Line2D([], [], color=gray, marker="o", ls="", label="measured, best of the rounds"),
        Line2D([], [], color=gray, label="model, of threads that were measured"),
        Line2D([], [], color=gray, ls=(0, (5, 2)), label="model alone: a prediction"),
        Line2D([], [], color=gray, ls=":", label="memory: a copy by so many threads"),
    ]
    axes.legend(handles=handles, loc="upper right", frameon=False, fontsize=9)
    title = "smoothxent, loss with gradient, float32, eps 0.1, grad_out=: cost per logit"
    where = f"{facts['cpu']}, {facts['level']}, {facts['date']}"
    axes.set_title(f"{title}\n{where}", loc="left", fontsize=11)
    notes = ["\n   ".join(textwrap.wrap(each, 160)) for each in model.assumptions]
    text = "What the model assumes\n" + "\n".join(f"– {each}" for each in notes)
    figure.text(0.06, 0.012, text, fontsize=7.5, color="0.25", va="bottom")
    figure.subplots_adjust(left=0.07, right=0.86, top=0.92, bottom=0.235)
    figure.savefig(path, dpi=120)


def main() -> None:
    """Measure, fit, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="to 10^9 logits: 9 GB")
    parser.add_argument("--budget", type=float, default=2.0, help="seconds for each size")
    parser.add_argument("--record", type=Path, default=RECORD, help="a folder for CSV and picture")
    options = parser.parse_args()
    if not PROGRAM.exists():
        raise SystemExit(f"{PROGRAM.relative_to(machine.ROOT)} is not built: make scaling")
    others = machine.Others()
    counts = [threads for threads in THREADS if threads <= (os.cpu_count() or 1)]
    facts = machine.facts(counts[-1], sx.show_config(mode="dicts"))
    bandwidths = {threads: bandwidth(threads) for threads in counts}
    points = []
    for rows in ROWS + (FULL if options.full else []):
        points += measure(rows, counts, options.budget)
        print(f"{rows * CLASSES} logits", flush=True)
    _, recorded = instructions.read()
    model = fit(points, recorded[KERNEL], cache(), bandwidths)
    facts["other processes"] = f"{others.share()} of the processors"
    print("\n".join([*(f"{k}: {v}" for k, v in facts.items()), "", table(model, points), ""]))
    print("\n".join(f"- {each}" for each in model.assumptions))
    options.record.mkdir(parents=True, exist_ok=True)
    stem = options.record / f"{facts['date']}-{machine.slug(facts['cpu'])}-scaling"
    write(stem.with_suffix(".csv"), facts, model, points)
    draw(stem.with_suffix(".png"), facts, model, points)
    print(f"written: {stem}.csv, .png")


if __name__ == "__main__":
    main()
