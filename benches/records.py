"""The record of a run: a CSV for programs, the tables for people."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

from benches.rounds import Contest, Rival, ratio
from benches.tables import LIMIT, ours
from benches.targets import Variant

COLUMNS = (
    "operation",
    "rows",
    "classes",
    "call",
    "median_seconds",
    "best_seconds",
    "rounds",
    "calls_per_round",
    "time_over_ours",
    "time_over_limit",
    "worst_error_ulp",
    "note",
)


def row(contest: Contest, rival: Rival) -> list[object]:
    """Return the line of one call."""
    over_ours, over_limit = ratio(rival, ours(contest)), ratio(rival, contest.rival(LIMIT))
    return [
        contest.operation,
        *contest.shape,
        rival.label,
        *(f"{value:.4g}" for value in (rival.median, min(rival.seconds))),
        len(rival.seconds),
        rival.repeats,
        *("" if value is None else f"{value:.4g}" for value in (over_ours, over_limit)),
        "" if rival.ulp is None else f"{rival.ulp:.3g}",
        "",
    ]


def rows(contests: Iterable[Contest]) -> list[list[object]]:
    """Return the lines of these contests; failures have a line, too."""
    result = []
    for contest in contests:
        result += [row(contest, rival) for rival in contest.rivals]
        for label, reason in contest.failures.items():
            blank = [""] * (len(COLUMNS) - 5)
            result.append([contest.operation, *contest.shape, label, *blank, reason])
    return result


def write(
    stem: Path,
    facts: dict[str, str],
    contests: list[Contest],
    variants: list[tuple[Variant, Contest]],
    text: str,
) -> None:
    """Write the CSV, which begins with lines "# fact: value", and the tables."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"{name}: {value}" for name, value in facts.items()]
    own = dict.fromkeys(contest for _, contest in variants)
    with stem.with_suffix(".csv").open("w", encoding="utf-8", newline="") as file:
        file.writelines(f"# {each}\n" for each in lines)
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(rows([*contests, *own]))
    heading = f"# {facts['date']}, {facts['cpu']}, {facts['threads']} threads: beside the peers\n"
    listing = "\n".join(["```text", *lines, "```"])
    stem.with_suffix(".md").write_text(f"{heading}\n{listing}\n\n{text}", encoding="utf-8")
