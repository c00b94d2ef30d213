"""docs/features.md: its links lead to files and tests that exist, and it has every case in which answers differ."""

import ast
import re
from pathlib import Path

import pytest

from parity.archive import read
from test_parity_differences import DIFFERENCES

PAGE = Path(__file__).parent.parent / "docs" / "features.md"
TEXT = PAGE.read_text(encoding="utf-8")
FEATURES, DIFFERENT = (
    [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in section.splitlines()
        if line.startswith("| ")
    ]
    for section in (TEXT.partition("\n## ")[0], TEXT.partition("\n## Where answers differ")[2])
)
LINK = re.compile(r"\[(?P<text>[^]]+)\]\((?P<target>[^)]+)\)")
TESTS = re.compile(r"\[`(?P<name>\w+(?:::\w+)?)`\]\((?P<file>\S+\.py)\)")
NOTES = "¹²³⁴⁵⁶⁷⁸⁹⁰"
DISTRIBUTIONS = {
    "PyTorch": ("torch", "torch"),
    "TensorFlow": ("tensorflow", "tensorflow-cpu"),
    "Keras": ("keras", "keras"),
    "JAX": ("jax", "jax"),
    "optax": ("jax", "optax"),
    "scikit-learn": ("sklearn", "sklearn"),
    "SciPy": ("sklearn", "scipy"),
    "Megatron-LM": ("megatron", "megatron-core"),
}


def names_in(file):
    """Names of the tests in a file, those in a class as Class::test."""
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef):
            yield node.name
        elif isinstance(node, ast.ClassDef):
            yield from (
                f"{node.name}::{n.name}" for n in node.body if isinstance(n, ast.FunctionDef)
            )


@pytest.mark.parametrize("link", sorted({match[0] for match in LINK.finditer(TEXT)}))
def test_link(link):
    file = PAGE.parent / LINK.fullmatch(link)["target"]
    assert file.is_file()
    if file.suffix == ".py":
        test = TESTS.fullmatch(link)
        assert test, "no name of a test"
        assert test["name"].rpartition("::")[2].startswith("test_")
        assert test["name"] in names_in(file)


def test_every_feature_has_its_test():
    header, *rows = FEATURES
    for row in rows:
        assert len(row) == len(header), row
        is_group = row[0].startswith("**")
        assert is_group or TESTS.search(row[-1]), row


def test_every_note_is_there():
    marks = {note for row in FEATURES for cell in row for note in re.findall(f"[{NOTES}]+", cell)}
    digits = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789")
    notes = re.findall(r"^(\d+)\. ", TEXT, re.MULTILINE)
    assert sorted(int(mark.translate(digits)) for mark in marks) == list(map(int, notes))
    assert list(map(int, notes)) == list(range(1, len(notes) + 1))


def test_every_difference_is_named():
    names = [name for row in DIFFERENT[1:] for name in re.findall("`([^`]+)`", row[0])]
    assert sorted(names) == sorted(DIFFERENCES)


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_version(name):
    file, distribution = DISTRIBUTIONS[name]
    version = read(file)[0][distribution].partition("+")[0]
    assert re.search(rf"\b{name}\s+{re.escape(version)}\b", TEXT.partition("\n## Versions")[2])
