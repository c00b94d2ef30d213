"""smoothxent beside its peers and beside what memory allows, in one run.

    python -m benches.peers [--quick] [--engines torch,numba] [--shapes 256x1000,1x10]

    for each shape, for each operation:
        every engine's answer is compared with the formulas in float64; one that is wrong is left out
        the engines take turns, round after round
    print a table for each operation, each ratio a median over the rounds

An engine that cannot be imported, or fails, is named and left out. See benches/README.md.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

# An old OpenBLAS may need these; NumPy is timed without. They have effect only before the import of NumPy.
if any(os.environ.pop(name, None) for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")):
    os.execv(sys.executable, [sys.executable, "-m", "benches.peers", *sys.argv[1:]])

import smoothxent as sx
from benches import engines, machine, picture, records, tables, targets
from benches.driver import Driver, in_memory
from benches.problem import Shape
from benches.rounds import Contest
from benches.targets import Variant

RECORD = machine.ROOT / "benches" / "record"
# The folder for partial runs.
SCRATCH = machine.ROOT / "target" / "bench"


def shapes(text: str) -> list[Shape]:
    """Return the shapes of an argument like 256x1000,1x10."""
    return [(int(rows), int(classes)) for rows, classes in (s.split("x") for s in text.split(","))]


def names(allowed: tuple[str, ...]) -> Callable[[str], list[str]]:
    """Return a parser of an argument like torch,numba."""

    def read(text: str) -> list[str]:
        chosen = text.split(",")
        if unknown := set(chosen) - set(allowed):
            raise argparse.ArgumentTypeError(f"{unknown.pop()} is none of {', '.join(allowed)}")
        return chosen

    return read


def default_engines() -> list[str]:
    """Return the peers, and this package at AVX2 if its level is higher."""
    has_avx512 = sx.show_config("dicts")["simd"]["level"] == "avx512"
    return [*([engines.AVX2] if has_avx512 else []), *engines.PEERS]


def arguments() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small shapes, few rounds")
    parser.add_argument("--engines", type=names(engines.ALL), default=default_engines())
    parser.add_argument("--shapes", type=shapes)
    parser.add_argument("--operations", type=names(engines.OPERATIONS))
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument(
        "--budget", type=float, help="seconds for each table cell's row (6, quick 1)"
    )
    parser.add_argument("--no-variants", action="store_true", help="only the peers")
    parser.add_argument("--record", type=Path, help="a folder for table, CSV and picture")
    return parser.parse_args()


def is_whole(options: argparse.Namespace) -> bool:
    """Return whether a run has all that a record has; others must not replace one."""
    missing = set(default_engines()) - set(options.engines)
    chosen = options.quick or options.shapes or options.operations or options.no_variants
    return not (missing or chosen)


def set_environment(threads: int) -> None:
    """Set the number of threads of all later processes, and hide graphics cards."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(threads)
    os.environ |= {
        "CUDA_VISIBLE_DEVICES": "-1",
        "JAX_PLATFORMS": "cpu",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }


def chosen_operations(options: argparse.Namespace, shape: Shape) -> list[str]:
    """Return the operations of a shape: the requested ones, by default those that have a target."""
    if options.operations or options.shapes:
        return options.operations or list(engines.OPERATIONS)
    return [name for name in engines.OPERATIONS if shape in targets.TARGETS[name]]


def all_tables(
    contests: list[Contest],
    memory: list[Contest],
    variants: list[tuple[Variant, Contest]],
    missing: dict[str, str],
) -> str:
    """Return all tables."""
    parts = []
    for operation in engines.OPERATIONS:
        of_this = [contest for contest in contests if contest.operation == operation]
        if of_this:
            parts.append(tables.operation_table(operation, of_this))
    if memory:
        parts.append(tables.memory_table(memory))
    if variants:
        parts.append(tables.variant_table(variants))
    parts.append(tables.accuracy_table(contests))
    everything = [*contests, *memory, *dict.fromkeys(each for _, each in variants)]
    parts.append(tables.failures(missing, everything))
    return "\n".join(parts)


def run(options: argparse.Namespace) -> None:
    """Measure, print, and write the record."""
    start, others = time.monotonic(), machine.Others()
    set_environment(options.threads)
    facts = machine.facts(options.threads, sx.show_config(mode="dicts"))
    print("".join(f"{name}: {value}\n" for name, value in facts.items()))
    chosen = options.shapes or list(targets.QUICK if options.quick else targets.SHAPES)
    budget = options.budget or (1 if options.quick else 6)
    peers = [name for name in options.engines if name != engines.OURS]
    driver = Driver([engines.OURS, *peers], options.threads, budget)
    print("".join(f"{name}: {value}\n" for name, value in driver.versions.items()))
    variants: list[tuple[Variant, Contest]] = []
    try:
        contests = []
        for shape in chosen:
            contests += driver.shape(shape, chosen_operations(options, shape))
        memory = driver.memory([shape for shape in chosen if in_memory(shape)])
        if not options.no_variants:
            wanted = [v for v in targets.variants() if not options.quick or v.shape in chosen]
            variants = driver.variants(wanted, options.threads)
    finally:
        driver.stop()
    facts |= driver.versions | {
        "seconds": f"{time.monotonic() - start:.0f}",
        "other processes": f"{others.share()} of the processors",
    }
    text = all_tables(contests, memory, variants, driver.missing)
    print(f"\nother processes took {facts['other processes']}\n\n{text}")
    folder = options.record or (RECORD if is_whole(options) else SCRATCH)
    stem = folder / f"{facts['date']}-{machine.slug(facts['cpu'])}"
    records.write(stem, facts, contests + memory, variants, text)
    picture.draw(stem.with_suffix(".png"), facts, contests)
    print(f"written: {stem}.csv, .md, .png, after {facts['seconds']} s")


if __name__ == "__main__":
    run(arguments())
