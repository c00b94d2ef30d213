"""Progress of a demo, on standard error."""

from __future__ import annotations

import sys
import time


class Progress:
    """Progress on stderr: one updating line on a terminal, elsewhere a line every few seconds."""

    PLAIN_SECONDS = 5.0

    def __init__(self, total: int) -> None:
        self.total = total
        self.done = 0
        self.start = self.last_plain = time.monotonic()
        self.terminal = sys.stderr.isatty()

    def step(self, what: str) -> None:
        self.done += 1
        now = time.monotonic()
        line = f"{100 * self.done // self.total:3d} %  {now - self.start:3.0f} s  {what}"
        if self.terminal:
            print(f"\r\x1b[K{line[:79]}", end="", file=sys.stderr, flush=True)
        elif now - self.last_plain >= self.PLAIN_SECONDS:
            self.last_plain = now
            print(line, file=sys.stderr, flush=True)

    def close(self) -> None:
        if self.terminal:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
