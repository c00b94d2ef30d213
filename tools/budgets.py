"""The budgets of the code: how many lines it has, how large the extension is, and what is not inlined.

    lines of Rust without tests, comments and blank lines
    bytes of the built extension, as it is installed
    vector instructions of the built core that are functions: code that calls one is compiled without its
        instruction set, and slow; found by the symbols of Cargo's build, which is not stripped, with nm

Run from anywhere after a build; prints each with its budget and exits 1 if one is exceeded.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MOST_LINES = 11_320
MOST_BYTES = 3_000_000
MOST_CALLED = 0

BLANK_OR_COMMENT = re.compile(r"\s*(//|$)")
TESTS = re.compile(r"#\[cfg\(test\)\]\nmod \w+ \{\n.*?^\}\n", re.DOTALL | re.MULTILINE)
# Their names in the standard library and fearless_simd.
VECTOR_INSTRUCTION = re.compile(r"core_arch\w*_mm\d*_|__fearless_simd_kernel")


def lines() -> int:
    """Return the number of lines of code."""
    files = [file for home in ("src", "python/src") for file in (ROOT / home).rglob("*.rs")]
    sources = (
        TESTS.sub("", file.read_text("utf-8"))
        for file in files
        if "tests" not in file.relative_to(ROOT).as_posix()
    )
    return sum(
        not BLANK_OR_COMMENT.match(line) for source in sources for line in source.splitlines()
    )


def extension() -> int:
    """Return the bytes of the extension, 0 if there is none."""
    files = (ROOT / "python" / "smoothxent").glob("_smoothxent.*")
    return max((file.stat().st_size for file in files if file.suffix in (".so", ".pyd")), default=0)


def called() -> int | None:
    """Return the number of vector instructions that are functions; None if it is unknown."""
    folder = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release" / "deps"
    builds = sorted(folder.glob("libsmoothxent-*.rlib"), key=os.path.getmtime)
    if not builds or not shutil.which("nm"):
        return None
    nm = ["nm", str(builds[-1])]
    symbols = subprocess.run(nm, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return len(VECTOR_INSTRUCTION.findall(symbols.stdout.decode()))


def main() -> int:
    """Print the figures; return 1 if a budget is exceeded."""
    figures = [
        ("lines of Rust", lines(), MOST_LINES),
        ("bytes of the extension", extension(), MOST_BYTES),
    ]
    if (functions := called()) is None:
        print("budgets: no nm, or no build of the core: vector instructions are not looked for")
    else:
        figures.append(("vector instructions that are functions", functions, MOST_CALLED))
    for what, figure, most in figures:
        print(f"budgets: {figure} {what}, at most {most}")
    if not all(figure for _, figure, _ in figures[:2]):
        print("budgets: there is no extension, or an empty one: run `make build`")
        return 1
    return int(any(figure > most for _, figure, most in figures))


if __name__ == "__main__":
    sys.exit(main())
