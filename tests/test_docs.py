"""The examples of the pages and of every public function and class run, and print what they say."""

import doctest
import re
from pathlib import Path

import pytest

import smoothxent as sx

ROOT = Path(__file__).parent.parent


def needs_example(name: str) -> bool:
    """Exceptions are shown by the functions that raise them; constants need no example."""
    value = getattr(sx, name)
    return callable(value) and not (isinstance(value, type) and issubclass(value, Exception))


def run(examples: doctest.DocTest) -> None:
    report: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    results = runner.run(examples, out=report.append, clear_globs=False)
    assert results.failed == 0, "".join(report)


@pytest.mark.parametrize("name", [n for n in sx.__all__ if needs_example(n)])
def test_docstring_examples(name: str) -> None:
    found = doctest.DocTestFinder(recurse=False).find(getattr(sx, name), name, globs={})
    assert any(docstring.examples for docstring in found), f"{name} has no example"
    for docstring in found:
        run(docstring)


@pytest.mark.parametrize("page", ["README.md", "docs/score.md"])
def test_examples_of_pages(page: str) -> None:
    """Each python block is a dialogue (>>>); they share one namespace, in the order of the page."""
    path = ROOT / page
    text = path.read_text(encoding="utf-8")
    blocks = list(re.finditer(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE))
    assert blocks, f"{page} has no python block"
    names: dict[str, object] = {}
    for block in blocks:
        line = text.count("\n", 0, block.start(1))
        found = doctest.DocTestParser().get_doctest(block[1], {}, path.name, page, line)
        assert found.examples, f"{page}:{line + 1}: no >>> in a python block"
        found.globs = names
        run(found)
