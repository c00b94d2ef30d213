"""Independent runs side by side: a process for each processor, one thread in each.

Two runs on a thread each take less time than one after the other on two threads, and their figures
do not depend on the number of threads of NumPy's matrix products.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, wait
from multiprocessing.queues import SimpleQueue
from typing import Any

from threadpoolctl import threadpool_limits

import smoothxent as sx
from progress import Progress

_reports: SimpleQueue[str]  # of a process: where its runs say how far they are


def _begin(reports: SimpleQueue[str]) -> None:
    global _reports
    _reports = reports
    threadpool_limits(1)
    sx.set_num_threads(1)


def _call(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    return function(*arguments, _reports.put)


def side_by_side(
    function: Callable[..., Any],
    arguments: Sequence[tuple[Any, ...]],
    reports_each: int,
    processes: int,
) -> list[Any]:
    """The results of ``function(*a, report)`` for each a, in order; a report is a step of progress."""
    progress = Progress(len(arguments) * reports_each)
    context = multiprocessing.get_context("spawn")
    reports: SimpleQueue[str] = context.SimpleQueue()
    pool = ProcessPoolExecutor(processes, context, _begin, (reports,))
    try:
        runs = [pool.submit(_call, function, a) for a in arguments]
        unfinished = set(runs)
        while unfinished:
            finished, unfinished = wait(unfinished, timeout=0.2)
            while not reports.empty():
                progress.step(reports.get())
            for run in finished:
                run.result()  # an exception cancels what has not begun
        return [run.result() for run in runs]
    finally:
        pool.shutdown(cancel_futures=True)
        progress.close()
