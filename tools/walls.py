"""The rules on modules in CONTRIBUTING.md, checked: which files may use what, and how `unsafe` is documented.

    for each Rust file: blank out comments and literals
        each walled word left in the code is a violation, unless the file is one of its homes
        each `crate::module` left in the code must not be of a higher layer
        each `unsafe` left in the code needs its contract right above it
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
# `unsafe fn(...)` is a type and needs no contract; `unsafe fn name` and `unsafe trait` set one.
SETS_CONTRACT = re.compile(r"unsafe\s+(extern\s+)?fn\s+[\w$]|unsafe\s+trait\b")
IS_TYPE = re.compile(r"unsafe\s+(extern\s+)?fn\s*\(")


def split(source: str) -> tuple[list[str], list[str]]:
    """Lines of code and lines of comments; in each, all other text is blank."""
    code, comments = "", ""
    position = 0
    while match := COMMENT_OR_LITERAL.search(source, position):
        start, end = match.span()
        if match[0] == "/*":
            end = end_of_block_comment(source, start)
        before, text = source[position:start], source[start:end]
        code += before + blank(text)
        comments += blank(before) + (text if text.startswith("/") else blank(text))
        position = end
    rest = source[position:]
    return (code + rest).split("\n"), (comments + blank(rest)).split("\n")


def blank(text: str) -> str:
    return re.sub(r"[^\n]", " ", text)


def end_of_block_comment(source: str, start: int) -> int:
    depth = 0
    for match in re.compile(r"/\*|\*/").finditer(source, start):
        depth += 1 if match[0] == "/*" else -1
        if depth == 0:
            return match.end()
    return len(source)


def comment_above(code: list[str], comments: list[str], line: int) -> str:
    """The comments on this line and above it, up to the end of the previous statement."""
    found = [comments[line]]
    for above in reversed(range(line)):
        text = code[above].strip()
        if text.endswith((";", "{", "}", ",")) or not (text or comments[above].strip()):
            break
        found.append(comments[above])
    return "\n".join(found)


def in_trait_impl(code: list[str], line: int) -> bool:
    """Whether the block around this line is `impl Trait for Type`, whose contracts the trait sets."""
    indent = len(code[line]) - len(code[line].lstrip())
    header = ""
    for text in reversed(code[:line]):
        if not header and (not text.strip() or len(text) - len(text.lstrip()) >= indent):
            continue
        if header and (not text.strip() or text.rstrip().endswith((";", "{", "}"))):
            break
        header = f"{text} {header}"
    return re.search(r"\bimpl\b.*\bfor\b", header) is not None


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


def contract_violations(code: list[str], comments: list[str]) -> Iterator[tuple[int, str]]:
    for line, text in enumerate(code):
        for match in re.finditer(r"\bunsafe\b", text):
            rest = "\n".join([text[match.start() :], *code[line + 1 : line + 3]])
            sets_contract = SETS_CONTRACT.match(rest)
            if IS_TYPE.match(rest) or (sets_contract and in_trait_impl(code, line)):
                continue
            contract = "# Safety" if sets_contract else "SAFETY:"
            if contract not in comment_above(code, comments, line):
                yield line, f"unsafe without `{contract}` above it"


def violations(path: str, source: str) -> Iterator[tuple[int, str]]:
    if path.endswith(".rs"):
        code, comments = split(source)
        yield from wall_violations(path, code)
        yield from arrow_violations(path, code)
        yield from contract_violations(code, comments)
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
