"""Checks the wheel and the source distribution of `make wheel`: contents, platform and size.

    wheel   has the package, its extension, licences and bill of materials; runs on old systems, by its tag and by
            auditwheel
    sdist   has the sources of a wheel, and the tests; no pictures, records or recorded answers of peers

Run with the files, by the Python that has auditwheel; prints a line for each and exits 1 if something is wrong.
With --tag v1.2.3, the version must be that of the tag.
"""

import argparse
import json
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MANIFEST = tomllib.loads((ROOT / "Cargo.toml").read_text("utf-8"))
EXCLUDED = tuple(MANIFEST["package"]["exclude"])
VERSION = MANIFEST["workspace"]["package"]["version"]
MOST_BYTES = {".whl": 1_200_000, ".gz": 1_000_000}

IN_WHEEL = {
    "the extension": r"smoothxent/_smoothxent\.([\w-]+\.so|([\w-]+\.)?pyd)",
    "the licence MIT": r"[\w.-]+\.dist-info/licenses/LICENSE-MIT",
    "the licence Apache-2.0": r"[\w.-]+\.dist-info/licenses/LICENSE-APACHE",
    "the notices": r"[\w.-]+\.dist-info/licenses/THIRD_PARTY_NOTICES\.txt",
    "the bill of materials": r"[\w.-]+\.dist-info/sboms/smoothxent-python\.cyclonedx\.json",
    "the command": r"[\w.-]+\.dist-info/entry_points\.txt",
}
NOT_IN_WHEEL = {"what is not the package": r"(?!smoothxent/|smoothxent-[\w.]+\.dist-info/).*"}
IN_SDIST = {
    name: re.escape(name)
    for name in ("Cargo.toml", "Cargo.lock", "python/Cargo.toml", "pyproject.toml", "PKG-INFO")
}
NOT_IN_SDIST = {
    "pictures, archives, built files": r".*\.(png|svg|npz|so|pyd|pyc)",
    "records": r"benches/record/.*",
}
TAG = re.compile(
    r"(cp311-abi3|cp314-cp314t)"
    r"-(manylinux\d+_\w+\.)?(manylinux_2_17|musllinux_1_2|macosx_\d+_\d+|win)_(amd64|arm64|x86_64|aarch64)"
)


def files(home: str, *suffixes: str, prefix: str = "") -> dict[str, str]:
    """Return the patterns of the files of a folder with these suffixes."""
    found = (file for file in (ROOT / home).rglob("*") if file.suffix in suffixes)
    names = [file.relative_to(ROOT / home).as_posix() for file in found]
    names = [name for name in names if not f"/{home}/{name}".startswith(EXCLUDED)]
    return {prefix + name: re.escape(prefix + name) for name in names}


def missing_and_extra(
    names: Sequence[str], needed: dict[str, str], unwanted: dict[str, str]
) -> Iterator[str]:
    """Yield a problem for each needed file that is missing, and for unwanted files."""
    for what, pattern in needed.items():
        if not any(re.fullmatch(pattern, name) for name in names):
            yield f"has not {what} ({pattern})"
    for what, pattern in unwanted.items():
        if found := [name for name in names if re.fullmatch(pattern, name)]:
            yield f"has {what}: {', '.join(found[:5])}"


def is_empty_extension(one: zipfile.ZipInfo) -> bool:
    """Tell whether a file of a wheel is an extension without contents."""
    return one.filename.endswith((".so", ".pyd")) and one.file_size == 0


def wrong_with_wheel(file: Path) -> Iterator[str]:
    """Yield the problems of a wheel, apart from its size."""
    tag = file.stem.partition("-")[2].partition("-")[2]
    if not TAG.fullmatch(tag):
        yield f"has the tag {tag}, expected {TAG.pattern}"
    with zipfile.ZipFile(file) as wheel:
        needed = IN_WHEEL | files(
            "python/smoothxent", ".py", ".pyi", ".typed", prefix="smoothxent/"
        )
        yield from missing_and_extra(wheel.namelist(), needed, NOT_IN_WHEEL)
        if empty := [one.filename for one in wheel.infolist() if is_empty_extension(one)]:
            yield f"has an empty {empty[0]}"
    if "linux" in tag:
        command = [sys.executable, "-m", "auditwheel", "show", "--json", str(file)]
        process = subprocess.run(command, stdout=subprocess.PIPE, check=False)
        answer = json.loads(process.stdout) if process.returncode == 0 else {}
        found = answer.get("overall_tag", "refused")
        if found not in tag.split("-")[-1].split("."):
            yield f"is {found} by its symbols, and {tag} by its name"
        if "manylinux" in tag and "libgcc_s.so.1" not in answer.get("versioned_symbols", {}):
            yield "has an unwinder of its own, expected that of the system, libgcc_s"


def wrong_with_sdist(file: Path) -> Iterator[str]:
    """Yield the problems of a source distribution, apart from its size."""
    with tarfile.open(file) as sdist:
        names = [name.partition("/")[2] for name in sdist.getnames()]
    needed = IN_SDIST | files("src", ".rs", prefix="src/")
    needed |= files("python/src", ".rs", prefix="python/src/")
    needed |= files("python/smoothxent", ".py", ".pyi", ".typed", prefix="python/smoothxent/")
    needed |= files("tests", ".py", ".rs", ".txt", prefix="tests/")
    yield from missing_and_extra(names, needed, NOT_IN_SDIST)


def main() -> int:
    """Print a line for each file; return 1 if something is wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--tag", help="of the release: v and the version")
    options = parser.parse_args()
    wrong = 0
    if options.tag not in (None, f"v{VERSION}"):
        print(f"distributions: the tag is {options.tag}, the version of Cargo.toml is {VERSION}")
        wrong += 1
    for suffix in MOST_BYTES.keys() - {file.suffix for file in options.files}:
        print(f"distributions: no file *{suffix} is given")
        wrong += 1
    for file in options.files:
        check = {".whl": wrong_with_wheel, ".gz": wrong_with_sdist}[file.suffix]
        most, size = MOST_BYTES[file.suffix], file.stat().st_size
        problems = list(check(file))
        if size > most:
            problems.append("is too large")
        if not file.name.startswith((f"smoothxent-{VERSION}-", f"smoothxent-{VERSION}.tar.gz")):
            problems.append(f"is not of version {VERSION}")
        print(f"distributions: {file.name}: {size} bytes, at most {most}")
        for problem in problems:
            print(f"distributions: {file.name} {problem}")
        wrong += len(problems)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
