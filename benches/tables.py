"""Results as markdown tables."""

from __future__ import annotations

import math
from collections.abc import Iterable

from benches.engines import ALL, OURS
from benches.problem import Shape
from benches.rounds import Contest, Rival, ratio
from benches.targets import TARGETS, TITLES, Target, Variant

LIMIT = "limit"
OUT = " out="


def duration(seconds: float, ms: str = "") -> str:
    """Return a time in milliseconds, followed by `ms`, or in microseconds with their unit."""
    value, unit = (1e6 * seconds, " µs") if seconds < 1e-3 else (1e3 * seconds, ms)
    return (f"{value:.3g}" if value < 100 else f"{value:.0f}") + unit


def shape_name(shape: Shape) -> str:
    """Return a shape as text."""
    return f"{shape[0]}×{shape[1]}"


def line(cells: Iterable[str]) -> str:
    """Return a line of a table."""
    return f"| {' | '.join(cells)} |"


def header(titles: list[str]) -> list[str]:
    """Return the first two lines of a table."""
    return [line(titles), "|" + "---|" * len(titles)]


def ours(contest: Contest) -> Rival | None:
    """Return our call, with out= if there is one: it reuses memory, like those of the peers."""
    return contest.rival(OURS + OUT) or contest.rival(OURS)


def best_peer(contest: Contest, mine: Rival | None) -> tuple[float | None, str]:
    """Return the smallest ratio of a peer's time to ours, and the peer."""
    found = [
        (over, rival.label)
        for rival in contest.rivals
        if rival.label != LIMIT and not rival.label.startswith(OURS)
        if (over := ratio(rival, mine)) is not None
    ]
    return min(found, default=(None, ""))


def parts(contest: Contest, target: Target) -> list[tuple[str, float | None, bool]]:
    """Return for each part of a target its name, the measured value, and whether it meets the target."""
    mine, allocating = ours(contest), contest.rival(OURS)
    result: list[tuple[str, float | None, bool]] = []
    for name, least, rival in (
        ("×", target.over_peers, mine),
        ("× allocating", target.allocating, allocating),
    ):
        if least is not None:
            best, _ = best_peer(contest, rival)
            result.append((name, best, best is not None and best >= least))
    if target.over_limit is not None:
        over = ratio(mine, contest.rival(LIMIT))
        result.append(("× limit", over, over is not None and over <= target.over_limit))
    return result


def verdict(contest: Contest) -> str:
    """Return whether the target is met, and the parts that are missed."""
    target = TARGETS[contest.operation].get(contest.shape)
    if target is None:
        return "–"
    found = parts(contest, target)
    missed = [f"{value:.3g}{name}" for name, value, good in found if value is not None and not good]
    if missed:
        return f"**no**: {', '.join(missed)}"
    return "yes" if all(good for _, _, good in found) else "not measured"


def labels(contests: list[Contest]) -> list[str]:
    """Return the columns of a table: engines in their order, including those that were left out."""
    names = {rival.label for contest in contests for rival in contest.rivals}
    names |= {name for contest in contests for name in contest.failures}
    return [label for name in ALL for label in (name, name + OUT) if label in names]


def operation_table(operation: str, contests: list[Contest]) -> str:
    """Return a row for each shape, a column for each engine."""
    columns = labels(contests)
    titles = ["shape", *columns, LIMIT, "ns/logit", "best peer / ours", "ours / limit"]
    lines = [f"### {TITLES[operation]}", "", *header([*titles, "target", "met"])]
    for contest in contests:
        mine, limit = ours(contest), contest.rival(LIMIT)
        best, peer = best_peer(contest, mine)
        over_limit = ratio(mine, limit)
        target = TARGETS[operation].get(contest.shape)
        cells = [cell(contest, label) for label in columns]
        cells += [duration(limit.median) if limit else "–"]
        cells += [f"{1e9 * mine.median / math.prod(contest.shape):.3g}" if mine else "–"]
        cells += [f"{best:.2f} ({peer})" if best else "–"]
        cells += [f"{over_limit:.2f}" if over_limit else "–"]
        lines.append(
            line([shape_name(contest.shape), *cells, str(target or "–"), verdict(contest)])
        )
    return "\n".join(lines) + "\n"


def cell(contest: Contest, label: str) -> str:
    """Return the median time of a column."""
    rival = contest.rival(label)
    if rival is not None:
        return duration(rival.median)
    return "failed" if label in contest.failures else "–"


def accuracy_table(contests: list[Contest]) -> str:
    """Return the worst error of each engine's answers, from the comparison before the timing."""
    columns = [each for each in labels(contests) if not (OURS in each and each.endswith(OUT))]
    columns.sort(key=lambda label: label.endswith(OUT))
    lines = ["### Errors of the answers that were compared, ulp of float32", ""]
    lines += header(["operation", "shape", *columns])
    for contest in contests:
        cells = []
        for label in columns:
            rival = contest.rival(label)
            cells.append("–" if rival is None or rival.ulp is None else f"{rival.ulp:.2g}")
        lines.append(line([contest.operation, shape_name(contest.shape), *cells]))
    return "\n".join(lines) + "\n"


def failures(missing: dict[str, str], contests: list[Contest]) -> str:
    """Return what could not be measured, and why."""
    lines = [f"- {name}: {reason}" for name, reason in missing.items()]
    for contest in contests:
        for label, reason in contest.failures.items():
            if missing.get(label) != reason:
                where = f"{contest.operation} {shape_name(contest.shape)}"
                lines.append(f"- {label}, {where}: {reason}")
    return "\n".join(["### Left out", "", *lines, ""]) if lines else ""


def memory_table(contests: list[Contest]) -> str:
    """Return how long the sweeps over memory take, the best round and the median."""
    lines = ["### Limits of memory, ms: best, median", ""]
    lines += header(["shape", "MB", "read", "copy", "scale in place"])
    for contest in contests:
        cells = [shape_name(contest.shape), f"{4e-6 * math.prod(contest.shape):.0f}"]
        for rival in contest.rivals:
            cells.append(f"{1e3 * min(rival.seconds):.3g}, {1e3 * rival.median:.3g}")
        lines.append(line(cells))
    return "\n".join(lines) + "\n"


def variant_table(rows: list[tuple[Variant, Contest]]) -> str:
    """Return a row for each comparison of two variants of ours."""
    titles = ["shape", "this", "time", "beside", "time", "ratio", "target", "met"]
    lines = ["### Other dtypes, layouts, priors, threads", "", *header(titles)]
    for variant, contest in rows:
        one, other = contest.rival(variant.name), contest.rival(variant.base)
        times = ratio(one, other)
        if one is None or other is None or times is None:
            lines.append(line([shape_name(variant.shape), variant.name, *"–––––", "failed"]))
            continue
        cells = [variant.name, duration(one.median), variant.base, duration(other.median)]
        cells += [f"{times:.3f}", variant.target, "yes" if variant.met(times) else "**no**"]
        lines.append(line([shape_name(variant.shape), *cells]))
    return "\n".join(lines) + "\n"
