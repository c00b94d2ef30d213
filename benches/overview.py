"""Pictures and tables of a record for the README and the site: some shapes, one bar for each library.

    python -m benches.overview benches/record/2026-11-28-intel-r-xeon-r-processor-family-6-model-207.csv

reads the output of `make bench` and writes docs/pictures/<operation>.svg; the tables are printed. If a
library was timed in several forms, the fastest one is shown for each shape.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from typing import Any

from benches.engines import OURS
from benches.machine import ROOT
from benches.tables import LIMIT, OUT, duration, header, line, shape_name
from benches.targets import TITLES

PICTURES = ROOT / "docs" / "pictures"
LIBRARIES = {
    OURS: "smoothxent",
    "tensorflow": "TensorFlow",
    "jax": "JAX",
    "onnxruntime": "ONNX Runtime",
    "torch": "PyTorch",
    "numpy": "NumPy",
}
OPERATIONS = ("loss_grad", "loss", "softmax")
IN_PICTURE = [(65536, 1000), (1024, 32000), (1000000, 10)]
SHAPES = [*IN_PICTURE, (256, 1000)]  # the last takes microseconds and is only in the tables
COLORS = {"ours": "#0b6e4f", "peer": "#9aa1ab", "limit": "#1c1c1c"}

Row = dict[str, str]


def read(path: Path) -> tuple[dict[str, str], list[Row]]:
    """Return the facts of a record, and its lines."""
    lines = path.read_text(encoding="utf-8").splitlines()
    facts = dict(each[2:].split(": ", 1) for each in lines if each.startswith("# "))
    return facts, list(csv.DictReader(each for each in lines if not each.startswith("# ")))


def of(rows: list[Row], operation: str, shape: tuple[int, int]) -> tuple[list[Row], Row | None]:
    """Return the fastest call of each library, ours first and in the form of the comparison; and the limit."""
    best: dict[str, Row] = {}
    limit = None
    wanted = (operation, *map(str, shape))
    for row in rows:
        if (row["operation"], row["rows"], row["classes"]) != wanted or not row["median_seconds"]:
            continue
        if row["call"] == LIMIT:
            limit = row
        engine = row["call"].split()[0]
        library = engine.split("_")[0]
        if library not in LIBRARIES or engine.startswith(f"{OURS}_"):
            continue
        known = best.get(library)
        # Ours with reused memory, like the peers that can do so.
        better = (
            row["call"] == OURS + OUT if library == OURS else seconds(row) < seconds(known or row)
        )
        if known is None or better:
            best[library] = row
    peers = sorted((row for name, row in best.items() if name != OURS), key=seconds)
    return [best[OURS], *peers], limit


def seconds(row: Row) -> float:
    """Return the time of a call."""
    return float(row["median_seconds"])


def name(row: Row) -> str:
    """Return the usual name of the library."""
    return LIBRARIES[row["call"].split()[0].split("_")[0]]


def time(row: Row) -> str:
    """Return the time with its unit."""
    return duration(seconds(row), " ms")


def panel(axes: Any, rows: list[Row], limit: Row | None, title: str) -> None:
    """Draw the bars of one shape."""
    for position, row in enumerate(rows):
        color = COLORS["ours" if position == 0 else "peer"]
        axes.barh(position, 1e3 * seconds(row), height=0.8, color=color)
        over = "" if position == 0 else f", {float(row['time_over_ours']):.1f} times as long"
        place = {"xy": (1e3 * seconds(row), position), "xytext": (4, 0), "va": "center"}
        axes.annotate(time(row) + over, **place, textcoords="offset points", fontsize=10)
    if limit:
        axes.axvline(1e3 * seconds(limit), color=COLORS["limit"], lw=1.5, ls=":")
    axes.set_yticks(range(len(rows)), [name(row) for row in rows], fontsize=10)
    axes.get_yticklabels()[0].set_fontweight("bold")
    axes.invert_yaxis()
    axes.set_xlim(0, 1.6e3 * max(seconds(row) for row in rows))
    axes.tick_params(left=False)
    axes.set_title(title, loc="left", fontsize=11)
    axes.spines[["top", "right", "left"]].set_visible(False)


def draw(operation: str, facts: dict[str, str], rows: list[Row]) -> None:
    """Write the picture of an operation."""
    from matplotlib import rcParams
    from matplotlib.figure import Figure

    rcParams["svg.hashsalt"] = "smoothxent"  # the same record gives the same file
    rcParams["svg.fonttype"] = "none"  # text as text: a fifth of the size
    rcParams["font.family"] = ["DejaVu Sans", "sans-serif"]
    figure = Figure(figsize=(7.2, 6.0))
    all_axes = figure.subplots(len(IN_PICTURE))
    for axes, shape in zip(all_axes, IN_PICTURE):
        chosen, limit = of(rows, operation, shape)
        panel(axes, chosen, limit, f"{shape[0]:,} rows of {shape[1]:,} classes")
    all_axes[-1].set_xlabel("milliseconds; dotted: the time memory alone would take", fontsize=10)
    smoothing = "" if operation == "softmax" else ", eps 0.1"
    figure.suptitle(
        f"{TITLES[operation]}: float32{smoothing}\n"
        f"{facts['threads']} threads of an {facts['cpu']}, {facts['date']}",
        fontsize=11,
    )
    figure.tight_layout()
    PICTURES.mkdir(exist_ok=True)
    figure.savefig(PICTURES / f"{operation}.svg", metadata={"Date": None})


def table(operation: str, rows: list[Row]) -> list[str]:
    """Return a table in Markdown: each library's time, and the ratio to ours."""
    libraries = list(LIBRARIES.values())
    lines = header(["rows × classes", *libraries, "memory alone"])
    for shape in SHAPES:
        chosen, limit = of(rows, operation, shape)
        cells = {name(row): time(row).replace(" ", "\N{NO-BREAK SPACE}") for row in chosen}
        for row in chosen[1:]:
            cells[name(row)] += f" ({float(row['time_over_ours']):.2g}×)"
        memory = time(limit) if limit else "–"
        lines.append(line([shape_name(shape), *(cells.get(n, "–") for n in libraries), memory]))
    return lines


def main() -> None:
    """Draw and print one record."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("record", type=Path)
    facts, rows = read(parser.parse_args().record)
    for operation in OPERATIONS:
        draw(operation, facts, rows)
        print(f"{TITLES[operation]}\n\n" + "\n".join(table(operation, rows)) + "\n")


if __name__ == "__main__":
    main()
