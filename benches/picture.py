"""A picture of a run: for each operation and shape our time, those of the best peers, and the limit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benches.engines import OPERATIONS, OURS
from benches.rounds import Contest, Rival, ratio
from benches.tables import LIMIT, duration, ours, shape_name
from benches.targets import TITLES

# Peers in a group of bars; the others are in the tables.
BEST = 3
COLORS = {"ours": "#0b6e4f", "peer": "#b8bcc2", "limit": "#1c1c1c"}


def shown(contest: Contest) -> list[Rival]:
    """Return the bars of a group: ours, then the best peers, each engine once."""
    mine = ours(contest)
    peers: dict[str, Rival] = {}
    for rival in sorted(contest.rivals, key=lambda rival: rival.median):
        engine = rival.label.split()[0].split("_")[0]
        if engine not in (OURS, LIMIT):
            peers.setdefault(engine, rival)
    return [*([mine] if mine else []), *list(peers.values())[:BEST]]


def note(contest: Contest, rival: Rival) -> str:
    """Return the label of a bar."""
    text = f"{rival.label}  {duration(rival.median, ' ms')}"
    if rival.label.startswith(OURS):
        over = ratio(rival, contest.rival(LIMIT))
        return text + (f"  ({over:.2f}× limit)" if over else "")
    over = ratio(rival, ours(contest))
    return text + (f"  ({over:.1f}×)" if over else "")


def panel(axes: Any, contests: list[Contest]) -> None:
    """Draw one operation."""
    position, ticks, names = 0.0, [], []
    for contest in contests:
        bars = shown(contest)
        limit = contest.rival(LIMIT)
        top = position - 0.5
        for rival in bars:
            kind = "ours" if rival.label.startswith(OURS) else "peer"
            axes.barh(position, 1e3 * rival.median, height=0.86, color=COLORS[kind])
            place = max(rival.median, limit.median if limit else 0)
            axes.text(1.06e3 * place, position, note(contest, rival), va="center", fontsize=7.5)
            position += 1
        if limit:
            axes.vlines(1e3 * limit.median, top, position - 0.5, color=COLORS["limit"], lw=2)
        ticks.append((top + position - 0.5) / 2)
        names.append(shape_name(contest.shape))
        position += 0.8
    times = [rival.median for contest in contests for rival in shown(contest)]
    times += [limit.median for contest in contests if (limit := contest.rival(LIMIT))]
    axes.set_xscale("log")
    # Bars take two thirds of the axis, labels the rest.
    span = max(times) / min(times)
    axes.set_xlim(0.5e3 * min(times), 1e3 * max(times) * max(4, (2 * span) ** 0.5))
    axes.set_yticks(ticks, names)
    axes.invert_yaxis()
    axes.set_xlabel("milliseconds, median")
    axes.set_title(TITLES[contests[0].operation], loc="left")
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def draw(path: Path, facts: dict[str, str], contests: list[Contest]) -> None:
    """Write the picture, or say that Matplotlib is missing."""
    try:
        from matplotlib.figure import Figure
    except ImportError as failure:
        print(f"no picture: {failure}")
        return
    groups = [[c for c in contests if c.operation == name and c.rivals] for name in OPERATIONS]
    groups = [group for group in groups if group]
    if not groups:
        return
    heights = [sum(len(shown(contest)) + 1 for contest in group) for group in groups]
    columns = 2 if len(groups) > 1 else 1
    lines = -(-len(groups) // columns)
    figure = Figure(figsize=(9 * columns, 1.2 + 0.24 * lines * max(heights)))
    all_axes = figure.subplots(lines, columns, squeeze=False)
    for axes, group in zip(all_axes.flat, groups):
        panel(axes, group)
    for axes in list(all_axes.flat)[len(groups) :]:
        axes.remove()
    figure.suptitle(
        f"smoothxent beside its best peers: {facts['cpu']}, {facts['level']}, "
        f"{facts['threads']} threads, {facts['date']}\n"
        "float32, eps 0.1; (n×): time over ours; black line: what memory allows",
        fontsize=11,
    )
    figure.tight_layout(rect=(0, 0, 1, 0.98))
    figure.savefig(path, dpi=110)
