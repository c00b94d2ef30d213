"""The examples of pages and docstrings that need a framework run, and print the output shown."""

import doctest
import re
from pathlib import Path

import pytest

import smoothxent.dask
import smoothxent.torch

ROOT = Path(__file__).parents[2]
PAGES = ["docs/howto/boosters.md", "docs/howto/dask.md", "docs/howto/pytorch.md"]
DOCUMENTED = [
    smoothxent.dask.cross_entropy,
    smoothxent.dask.log_softmax,
    smoothxent.dask.logsumexp,
    smoothxent.dask.softmax,
    smoothxent.torch.cross_entropy,
    smoothxent.torch.CrossEntropyLoss,
]


def run(examples):
    report = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    results = runner.run(examples, out=report.append, clear_globs=False)
    assert results.failed == 0, "".join(report)


@pytest.mark.parametrize("page", PAGES)
def test_examples_of_pages(page):
    """Each python block is a dialogue (>>>); they share one namespace, in the order of the page."""
    text = (ROOT / page).read_text(encoding="utf-8")
    blocks = list(re.finditer(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE))
    assert blocks, f"{page} has no python block"
    names = {}
    for block in blocks:
        line = text.count("\n", 0, block.start(1))
        found = doctest.DocTestParser().get_doctest(block[1], {}, Path(page).name, page, line)
        assert found.examples, f"{page}:{line + 1}: no >>> in a python block"
        found.globs = names
        run(found)


@pytest.mark.parametrize("documented", DOCUMENTED, ids=lambda documented: documented.__name__)
def test_docstring_examples(documented):
    (docstring,) = doctest.DocTestFinder(recurse=False).find(documented, globs={})
    assert docstring.examples
    run(docstring)
