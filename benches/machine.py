"""The facts of a record about the machine."""

from __future__ import annotations

import datetime
import os
import platform
import re
import subprocess
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


def cpu() -> str:
    """Return the model of the processor, with family and model number if they are known."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    fields = dict(re.findall(r"^([^\t:]+)\s*: (.*)$", text.partition("\n\n")[0], re.MULTILINE))
    name = fields.get("model name", platform.machine())
    if "cpu family" in fields:
        name += f" (family {fields['cpu family']} model {fields['model']})"
    return name


def slug(name: str) -> str:
    """Return a processor's name as part of a file name."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def commit() -> str:
    """Return the commit that is checked out, and whether there are uncommitted changes."""
    try:
        command = ["git", "-C", str(ROOT)]
        head = subprocess.check_output([*command, "rev-parse", "--short=12", "HEAD"], text=True)
        changes = subprocess.check_output([*command, "status", "--porcelain", "-uno"], text=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head.strip() + (" with changes" if changes.strip() else "")


def load() -> str:
    """Return the load average of the last minute; 0 would be best."""
    return f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"


def busy() -> float | None:
    """Return the seconds for which the processors have worked since the machine started."""
    try:
        line = Path("/proc/stat").read_text(encoding="utf-8").partition("\n")[0]
    except OSError:
        return None
    user, nice, system, _, _, interrupts, soft = map(int, line.split()[1:8])
    return (user + nice + system + interrupts + soft) / os.sysconf("SC_CLK_TCK")


class Others:
    """The processor time of other processes; to be read when all of ours have ended."""

    def __init__(self) -> None:
        """Start to measure."""
        self.start, self.busy = time.monotonic(), busy()
        self.own = own_seconds()

    def share(self) -> str:
        """Return their share of the time of all processors since the beginning."""
        now = busy()
        if now is None or self.busy is None:
            return "unknown"
        all_of_it = (time.monotonic() - self.start) * (os.cpu_count() or 1)
        others = now - self.busy - (own_seconds() - self.own)
        return f"{max(0.0, others / all_of_it):.0%}"


def own_seconds() -> float:
    """Return the processor time of this process and its children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def facts(threads: int, config: dict[str, Any]) -> dict[str, str]:
    """Return the facts that are known before the run."""
    return {
        "date": datetime.date.today().isoformat(),
        "cpu": cpu(),
        "processors": str(os.cpu_count()),
        "threads": str(threads),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "level": config["simd"]["level"],
        "load at the start": load(),
        "commit": commit(),
        "smoothxent": config["version"],
    }
