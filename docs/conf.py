"""The site: `make docs` builds it from docs/ into target/docs."""

import re
import sys
from importlib.util import find_spec
from pathlib import Path

from docutils import nodes

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE)]

import smoothxent  # noqa: E402 - from the tree: `make docs` sets PYTHONPATH

project = "smoothxent"
author = "The smoothxent authors"
version = release = smoothxent.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",  # for its role `autolink`
    "sphinx_mathml",
]
exclude_patterns = ["_build"]
nitpicky = True

# Pages are plain Markdown, which GitHub shows too; math is written between dollars.
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

# A docstring's single backticks name a parameter, or a function that becomes a link.
default_role = "autolink"
smartquotes = False  # "mean" is a string of Python, q' has a prime
highlight_language = "none"  # of blocks that do not say what they are: formulas
autodoc_preserve_defaults = True
autodoc_typehints = "none"  # the types are in the docstrings; the overloads are for type checkers
autodoc_mock_imports = ["dask", "lightgbm", "torch", "xgboost"]
numpydoc_show_class_members = False
numpydoc_validation_checks = {
    "GL08",  # no docstring
    "PR01",  # parameters that are not described
    "PR02",  # descriptions of parameters that are not there
    "RT01",  # no Returns
    "SA01",  # no See Also
    "EX01",  # no example
}
numpydoc_validation_exclude = {
    r"\.Score$",
    r"\.Score\.",
    r"Error$",
    r"\.TopK$",
    r"Terms$",
    r"\.LinearCrossEntropy$",
}
nitpick_ignore = [("py:obj", "contextvars"), ("py:obj", "numpy.memmap")]

html_theme = "furo"
html_title = f"smoothxent {version}"
# The font for formulas, STIX Two Math, is all that is used of ziamath.
html_static_path = ["theme", str(Path(find_spec("ziamath").origin).parent / "fonts")]
html_css_files = ["site.css"]
html_show_copyright = False
html_theme_options = {
    "source_repository": "https://github.com/smoothxent/smoothxent/",
    "source_branch": "main",
    "source_directory": "docs/",
}

REPOSITORY = "https://github.com/smoothxent/smoothxent/blob/main/"


def with_links_to_the_repository(text: str, folder: Path) -> str:
    """Return a page whose links to files outside of docs/ lead to the repository."""

    def link(match: re.Match[str]) -> str:
        target, _, place = match["target"].partition("#")
        file = (folder / target).resolve()
        if file.is_relative_to(HERE) or not file.is_file():
            return match[0]
        place = f"#{place}" if place else ""
        return f"]({REPOSITORY}{file.relative_to(HERE.parent).as_posix()}{place})"

    return re.sub(r"\]\((?P<target>[^):\s]+)\)", link, text)


def with_minus_signs(doctree: nodes.document) -> None:
    """Write the -inf of docstrings with a minus sign: a line may be broken after a hyphen."""
    for text in list(doctree.findall(nodes.Text)):
        if "-inf" in text and not isinstance(text.parent, (nodes.literal, nodes.FixedTextElement)):
            text.parent.replace(text, nodes.Text(re.sub(r"-inf\b", "\N{MINUS SIGN}inf", text)))


def setup(app) -> None:
    """Have links to other files of the repository work on pages and in what pages include."""

    def source_read(app, name: str, content: list[str]) -> None:
        content[0] = with_links_to_the_repository(content[0], (HERE / name).parent)

    def include_read(app, path: Path, parent: str, content: list[str]) -> None:
        content[0] = with_links_to_the_repository(content[0], (HERE / path).resolve().parent)

    app.connect("source-read", source_read)
    app.connect("include-read", include_read)
    app.connect("doctree-read", lambda app, doctree: with_minus_signs(doctree))
