"""Every instruction set gives the same bits: one digest of all results, in a process for each
level.

SMOOTHXENT_MAX_ISA names the highest instruction set to use; a processor without it uses the best
below.
"""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

X86 = platform.machine().lower() in ("x86_64", "amd64")
LEVELS = ("portable", "avx2", "avx512") if X86 else ("portable",)


def run(level):
    """The digest and the configuration of a process with that highest level; None: as it comes."""
    environment = {key: value for key, value in os.environ.items() if key != "SMOOTHXENT_MAX_ISA"}
    if level is not None:
        environment["SMOOTHXENT_MAX_ISA"] = level
    process = subprocess.run(
        [sys.executable, "digest.py"],
        cwd=Path(__file__).parent,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)


@pytest.fixture(scope="module")
def runs():
    return {level: run(level) for level in (None, *LEVELS)}


def test_same_bits_at_every_level(runs):
    digests = {level: result["digest"] for level, result in runs.items()}
    assert len(set(digests.values())) == 1, digests


def test_level_is_reported(runs):
    """show_config names the level in use: at most the one asked for, by default the best."""
    used = {level: result["config"]["simd"]["level"] for level, result in runs.items()}
    assert used["portable"] == "portable"
    for level in LEVELS:
        assert LEVELS.index(used[level]) <= LEVELS.index(level)
    if X86:
        assert used[None] == used["avx512"]
