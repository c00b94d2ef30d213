"""The examples of the pages and of every public function and class run, and print the output shown."""

import doctest
import re
from importlib.util import find_spec
from pathlib import Path

import pytest

import smoothxent as sx

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
# Their examples need PyTorch, boosters or Dask: tests/frameworks/test_docs.py runs them.
FRAMEWORKS = {"docs/howto/boosters.md", "docs/howto/dask.md", "docs/howto/pytorch.md"}
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
}


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


@pytest.mark.parametrize(
    "page", [p for p in PAGES if BLOCK.search(PAGES[p]) and p not in FRAMEWORKS]
)
def test_examples_of_pages(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The python blocks of a page share one namespace, in its order, and a folder for the files they write."""
    monkeypatch.chdir(tmp_path)
    text = PAGES[page]
    names: dict[str, object] = {}
    for block in BLOCK.finditer(text):
        if "import pyarrow" in block[1] and not find_spec("pyarrow"):
            continue  # the extra `cli`
        line = text.count("\n", 0, block.start(1))
        found = doctest.DocTestParser().get_doctest(block[1], {}, Path(page).name, page, line)
        assert found.examples, f"{page}:{line + 1}: no >>> in a python block"
        found.globs = names
        run(found)


@pytest.mark.parametrize("page", PAGES)
def test_no_snippet_is_left_out(page: str) -> None:
    """A block is python, which is run, or something else: shell commands, a formula, a directive."""
    kinds = re.findall(r"^```+(\S+)$", PAGES[page], re.MULTILINE)
    assert set(kinds) <= {"python", "sh", "text", "{eval-rst}", "{include}", "{toctree}"}
