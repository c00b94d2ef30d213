"""The rules on modules in CONTRIBUTING.md, checked: which files may use what, and how long they may be.

    for each Rust file: blank out comments and literals
        each walled word left in the code is a violation, unless the file is one of its homes
        each `crate::module` left in the code must not be of a higher layer
    for each file: count lines

Run from anywhere; prints `path:line: message` for each violation and exits 1 if there is any.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("src", "python", "tests", "benches", "examples", "tools")
SUFFIXES = (".rs", ".py", ".pyi")
MAX_LINES = 400

# A separate crate, not part of the package: it measures memory.
LIMITS = "benches/limits/"

# What is walled in, the words by which it is found, and its homes (a trailing / means all files below).
WALLS = [
    ("rayon", r"\brayon(_core)?\b", ["src/pool.rs"]),
    ("pyo3", r"\bpyo3\b", ["python/src/"]),
    (
        "std::arch",
        r"\b(global_)?asm!|\bis_\w+_feature_detected!",
        ["src/simd.rs", "src/simd/", LIMITS],
    ),
    ("half", r"\bhalf\s*::", ["src/simd/storage.rs", "src/simd/instruction_set.rs"]),
    ("fearless_simd", r"\bfearless_simd\b", ["src/simd.rs", "src/simd/"]),
    (
        "unsafe",
        r"\bunsafe\b",
        [
            "src/simd.rs",
            "src/simd/",
            "src/alloc/reserve.rs",
            "src/alloc/reserve/",
            "src/pool/helper.rs",
            "python/src/arrays.rs",
            "python/src/builtin.rs",
            "python/src/objects.rs",
            "tests/operations/memory.rs",
            LIMITS,
        ],
    ),
]

# Walled modules of other crates, whose paths may be in groups: `use std::{fmt::{self, Write}, arch::x86_64}`.
WALLED_PATHS = {"std::arch": (r"std|core", "arch")}

# A module of src/ may name modules of its own layer and of lower layers. python/ is a crate above.
LAYERS = [
    ["ops"],
    ["batch"],
    ["kernel", "panel"],
    ["target"],
    ["pool"],
    ["alloc"],
    ["simd"],
    ["math"],
    ["error"],
]

# Block comments nest, so only their start is matched here. A lifetime ('a) is not a char ('a').
COMMENT_OR_LITERAL = re.compile(
    r"""//[^\n]* | /\* | [bc]?r(?P<hashes>\#*)".*?"(?P=hashes) | [bc]?"(?:\\.|[^"\\])*"
        | b?'(?:\\(?:x..|u\{[^}]*\}|.)|[^\\'\n])'""",
    re.DOTALL | re.VERBOSE,
)


def code_of(source: str) -> list[str]:
    """The lines of code, in which comments and literals are blank."""
    code, position = "", 0
    while match := COMMENT_OR_LITERAL.search(source, position):
        start, end = match.span()
        if match[0] == "/*":
            end = end_of_block_comment(source, start)
        code += source[position:start] + blank(source[start:end])
        position = end
    return (code + source[position:]).split("\n")


def blank(text: str) -> str:
    return re.sub(r"[^\n]", " ", text)


def end_of_block_comment(source: str, start: int) -> int:
    depth = 0
    for match in re.compile(r"/\*|\*/").finditer(source, start):
        depth += 1 if match[0] == "/*" else -1
        if depth == 0:
            return match.end()
    return len(source)


def named(text: str, start: int, ups: int = 0) -> Iterator[tuple[int, str, int]]:
    """Yield the place and the name of what follows `root::`, of each item if it is a group, and how many `super` precede."""
    start = re.compile(r"\s*").match(text, start).end()  # type: ignore[union-attr]
    if up := re.compile(r"super\s*::|self\s*::").match(text, start):
        yield from named(text, up.end(), ups + up[0].startswith("super"))
    elif text[start : start + 1] == "{":
        depth = 1
        yield from named(text, start + 1, ups)
        for match in re.compile(r"[{},;]").finditer(text, start + 1):
            if depth == 1 and match[0] == ",":
                yield from named(text, match.end(), ups)
            depth += {"{": 1, "}": -1}.get(match[0], 0)
            if depth == 0 or match[0] == ";":
                break
    elif name := re.compile(r"\w+").match(text, start):
        yield start, name[0], ups


def paths(code: list[str], root: str) -> Iterator[tuple[int, str, int]]:
    """Yield the line and the first name of each path that begins with `root`, and how many `super` are in it."""
    text = "\n".join(code)
    for match in re.finditer(rf"(?<!::)(?<!:: )\b({root})\s*::", text):
        for place, name, ups in named(text, match.end(), int(match[1] == "super")):
            yield text.count("\n", 0, place), name, ups


def wall_violations(path: str, code: list[str]) -> Iterator[tuple[int, str]]:
    for name, words, homes in WALLS:
        if any(path == home or (home.endswith("/") and path.startswith(home)) for home in homes):
            continue
        outside = f"{name} outside {' and '.join(homes)}"
        for line, text in enumerate(code):
            if re.search(words, text):
                yield line, outside
        if name in WALLED_PATHS:
            root, walled = WALLED_PATHS[name]
            yield from ((line, outside) for line, found, _ in paths(code, root) if found == walled)


def arrow_violations(path: str, code: list[str]) -> Iterator[tuple[int, str]]:
    if not path.startswith("src/") or path == "src/lib.rs":
        return
    module = Path(path).with_suffix("").parts[1]
    depths = [depth for depth, layer in enumerate(LAYERS) if module in layer]
    if not depths:
        yield 0, f"module {module} has no layer in tools/walls.py"
        return
    above = {name for layer in LAYERS[: depths[0]] for name in layer}
    # `super` as often as there are modules on the path of the file is the crate.
    depth = len(Path(path).with_suffix("").parts) - 1
    for line, name, ups in paths(code, "crate|super"):
        if name in above and (ups == 0 or ups >= depth):
            yield line, f"crate::{name} is in a higher layer"


def violations(path: str, source: str) -> Iterator[tuple[int, str]]:
    if path.endswith(".rs"):
        code = code_of(source)
        yield from wall_violations(path, code)
        yield from arrow_violations(path, code)
    lines = source.count("\n")
    if lines > MAX_LINES:
        yield MAX_LINES, f"{lines} lines, the most is {MAX_LINES}"


def main() -> int:
    files = sorted(
        path for name in FOLDERS for path in (ROOT / name).rglob("*") if path.suffix in SUFFIXES
    )
    count = 0
    for file in files:
        path = file.relative_to(ROOT).as_posix()
        for line, message in sorted(violations(path, file.read_text(encoding="utf-8"))):
            print(f"{path}:{line + 1}: {message}")
            count += 1
    print(f"walls: {len(files)} files, {count} violations")
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main())
