"""This package at AVX2, beside itself at AVX-512."""

from __future__ import annotations

import smoothxent as sx
from benches.engines import smoothxent as engine

PACKAGES = engine.PACKAGES
calls = engine.calls


def start(threads: int) -> None:
    """Set the number of threads, and check the level."""
    engine.start(threads)
    level = sx.show_config("dicts")["simd"]["level"]
    if level != "avx2":
        raise ImportError(f"the instruction set is {level}")
