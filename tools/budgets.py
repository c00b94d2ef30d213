"""The budgets of the code: how many lines it has, and how large the extension is.

    lines of Rust without tests, comments and blank lines
    bytes of the built extension, as it is installed

Run from anywhere after a build; prints both beside their budgets and exits 1 if one is exceeded.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MOST_LINES = 10_565
MOST_BYTES = 3_000_000

BLANK_OR_COMMENT = re.compile(r"\s*(//|$)")
TESTS = re.compile(r"#\[cfg\(test\)\]\nmod \w+ \{\n.*?^\}\n", re.DOTALL | re.MULTILINE)


def lines() -> int:
    """Return the number of lines of code."""
    files = [file for home in ("src", "python/src") for file in (ROOT / home).rglob("*.rs")]
    sources = (
        TESTS.sub("", file.read_text("utf-8")) for file in files if "tests" not in file.as_posix()
    )
    return sum(
        not BLANK_OR_COMMENT.match(line) for source in sources for line in source.splitlines()
    )


def extension() -> int:
    """Return the bytes of the extension, 0 if there is none."""
    files = (ROOT / "python" / "smoothxent").glob("_smoothxent.*")
    return max((file.stat().st_size for file in files if file.suffix in (".so", ".pyd")), default=0)


def main() -> int:
    """Print the figures; 1 if a budget is exceeded."""
    figures = [
        ("lines of Rust", lines(), MOST_LINES),
        ("bytes of the extension", extension(), MOST_BYTES),
    ]
    for what, figure, most in figures:
        print(f"budgets: {figure} {what}, at most {most}")
    return int(any(figure > most for _, figure, most in figures))


if __name__ == "__main__":
    sys.exit(main())
