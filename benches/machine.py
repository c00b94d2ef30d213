"""What a record says about where it was made."""

from __future__ import annotations

import datetime
import os
import platform
import re
import subprocess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


def cpu() -> str:
    """Return the model of the processor, with its numbers where the name alone says little."""
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
    """Return the commit that is checked out, and whether something was changed since."""
    try:
        command = ["git", "-C", str(ROOT)]
        head = subprocess.check_output([*command, "rev-parse", "--short=12", "HEAD"], text=True)
        changes = subprocess.check_output([*command, "status", "--porcelain", "-uno"], text=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head.strip() + (" with changes" if changes.strip() else "")


def load() -> str:
    """Return how many processes wanted to run in the last minute; 0 would be best."""
    return f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"


def facts(threads: int, config: dict[str, Any]) -> dict[str, str]:
    """Return what is known before the run."""
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
