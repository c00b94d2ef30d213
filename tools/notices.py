"""THIRD_PARTY_NOTICES.txt: the licences of the Rust code that is linked into the extension.

    crates = closure of the normal dependencies of python/Cargo.toml, on any supported platform,
             without procedural macros: these run in the compiler and are not linked
    text   = for each crate its LICENSE-MIT, equal texts once; a crate that is not under MIT is refused

Run from anywhere, with cargo; writes the file, or with --check exits 1 if the file is out of date.
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
NOTICES = ROOT / "THIRD_PARTY_NOTICES.txt"
PLATFORMS = [  # the same as in deny.toml
    "aarch64-apple-darwin",
    "aarch64-pc-windows-msvc",
    "aarch64-unknown-linux-gnu",
    "aarch64-unknown-linux-musl",
    "x86_64-apple-darwin",
    "x86_64-pc-windows-msvc",
    "x86_64-unknown-linux-gnu",
    "x86_64-unknown-linux-musl",
]

HEAD = """\
The extension module of smoothxent has the Rust crates below linked into it, each used under the MIT licence, and
the Rust standard library. Made by `make notices` from Cargo.lock.
"""
STANDARD_LIBRARY = """\
The Rust standard library
    https://github.com/rust-lang/rust

Copyright the Rust Project Developers (https://thanks.rust-lang.org). Licensed as Apache-2.0 OR MIT, and used under
Apache-2.0, the text of which is in LICENSE-APACHE beside this file. It has tables made of Unicode data, under the
licence below. COPYRIGHT-library.html, a part of every Rust toolchain, lists the crates that it is made with.
"""
RULE = "\n" + "-" * 80 + "\n\n"


def metadata() -> dict[str, Any]:
    """Return the metadata of the locked dependencies, from cargo."""
    platforms = [f"--filter-platform={platform}" for platform in PLATFORMS]
    command = ["cargo", "metadata", "--locked", "--format-version=1"]
    output = subprocess.run(
        [*command, *platforms], cwd=ROOT / "python", stdout=subprocess.PIPE, check=True
    )
    known: dict[str, Any] = json.loads(output.stdout)
    return known


def linked(known: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the packages that are linked into the extension, except our own."""
    packages = {package["id"]: package for package in known["packages"]}
    nodes = {node["id"]: node for node in known["resolve"]["nodes"]}
    root = known["resolve"]["root"]
    seen, todo = {root}, [root]
    while todo:
        for dependency in nodes[todo.pop()]["deps"]:
            package = packages[dependency["pkg"]]
            is_macro = any("proc-macro" in target["kind"] for target in package["targets"])
            is_normal = any(kind["kind"] is None for kind in dependency["dep_kinds"])
            if is_normal and not is_macro and package["id"] not in seen:
                seen.add(package["id"])
                todo.append(package["id"])
                if package["source"] is not None:
                    yield package


def licence(package: dict[str, Any], name: str) -> str:
    """Return the text of a licence file of a package."""
    file = Path(package["manifest_path"]).parent / name
    if not file.is_file():
        sys.exit(f"notices: {package['name']} {package['version']} has no {name}")
    return file.read_text("utf-8").strip() + "\n"


def notices() -> str:
    """Return the whole text."""
    known = metadata()
    users: dict[str, list[str]] = {}
    for package in sorted(linked(known), key=lambda package: str(package["name"])):
        name = f"{package['name']} {package['version']}"
        if "MIT" not in re.split(r" OR |/", package["license"]):
            sys.exit(f"notices: {name} is not under the MIT licence, but {package['license']}")
        names = users.setdefault(licence(package, "LICENSE-MIT"), [])
        names.append(f"{name}\n    {package['repository']}\n")
    # Not linked, but locked as a dependency of macros; it has the text of the licence.
    unicode = next(package for package in known["packages"] if package["name"] == "unicode-ident")
    sections = ["".join(names) + "\n" + text for text, names in users.items()]
    data = licence(unicode, "LICENSE-UNICODE")
    return RULE.join([HEAD, *sections, STANDARD_LIBRARY + "\n" + data])


def main() -> int:
    """Write the file, or check it."""
    text = notices()
    if sys.argv[1:] != ["--check"]:
        NOTICES.write_text(text, "utf-8", newline="\n")
        return 0
    if NOTICES.read_text("utf-8") == text:
        return 0
    print(f"{NOTICES.name} is not that of Cargo.lock: make notices", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
