"""Every instruction set gives the same bits: a digest of all results, in a process for each level.

The edge cases are tried at each level in full.

SMOOTHXENT_MAX_ISA names the widest instruction set to use; if the processor does not have it, the
next narrower one is used.
"""

import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import smoothxent as sx

EDGE_CASES = ("test_special_values.py", "test_refused_values.py", "test_chosen.py")
LEVELS = ("portable", "neon", "avx2", "avx512")  # from narrow to wide; each machine has some


def python(level, *arguments):
    """A Python process in this directory, at that level; None: the default level."""
    environment = {key: value for key, value in os.environ.items() if key != "SMOOTHXENT_MAX_ISA"}
    if level is not None:
        environment["SMOOTHXENT_MAX_ISA"] = level
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=Path(__file__).parent,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


@functools.cache
def simd(level):
    """The level that a process with this setting reports, and its messages."""
    script = "import json, smoothxent as sx; print(json.dumps(sx.show_config('dicts')['simd']))"
    process = python(level, "-c", script)
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout), process.stderr


@functools.cache
def digest(level):
    """The digest of a process at this level, which the processor has."""
    process = python(level, "digest.py")
    assert process.returncode == 0, process.stderr
    result = json.loads(process.stdout)
    assert result["config"]["simd"]["level"] == level
    return result["digest"]


SIMD = sx.show_config(mode="dicts")["simd"]


def test_same_bits_at_every_level():
    digests = {level: digest(level) for level in SIMD["available"]}
    assert len(set(digests.values())) == 1, digests


@pytest.mark.parametrize("level", [None, "", *LEVELS])
def test_level_is_reported(level):
    """show_config names the level in use: the widest available one up to the requested one."""
    reported, messages = simd(level)
    available = reported["available"]
    assert available[0] == "portable"
    assert available == sorted(available, key=LEVELS.index)
    allowed = LEVELS[: LEVELS.index(level) + 1] if level else LEVELS
    assert reported["level"] == [name for name in available if name in allowed][-1]
    assert "ignored" not in reported
    assert messages == ""


def test_unknown_level_is_ignored_with_a_warning():
    message = (
        'SMOOTHXENT_MAX_ISA is "sse9", expected one of portable, neon, avx2, avx512; it is ignored'
    )
    process = python("sse9", "digest.py")
    assert process.returncode == 0, process.stderr
    result = json.loads(process.stdout)
    level = simd(None)[0]["level"]
    assert result["digest"] == digest(level)
    assert result["config"]["simd"]["level"] == level
    assert result["config"]["simd"]["ignored"] == message
    assert f"RuntimeWarning: {message}" in process.stderr


def test_a_level_that_is_no_text_is_ignored_with_a_warning():
    reported, messages = simd(os.fsdecode(b"\xff"))
    assert reported["level"] == simd(None)[0]["level"]
    assert reported["ignored"].startswith("SMOOTHXENT_MAX_ISA is ")
    assert "RuntimeWarning: SMOOTHXENT_MAX_ISA is " in messages


@pytest.mark.parametrize("level", [name for name in SIMD["available"] if name != SIMD["level"]])
def test_edge_cases_at_every_level(level):
    """The test files of the table of edge cases; at the level in use they are run anyway."""
    process = python(level, "-m", "pytest", "-q", "-p", "no:cacheprovider", *EDGE_CASES)
    assert process.returncode == 0, process.stdout + process.stderr
