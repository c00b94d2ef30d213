"""tools/links.py finds the broken links of a built site, and nothing else."""

import subprocess
import sys
from pathlib import Path

TOOL = Path(__file__).parent.parent / "tools" / "links.py"


def check(site):
    run = subprocess.run([sys.executable, TOOL, site], stdout=subprocess.PIPE, text=True)
    return run.returncode, run.stdout.splitlines()


def test_links(tmp_path):
    (tmp_path / "api").mkdir()
    (tmp_path / "api" / "index.html").write_text('<h1 id="top"></h1><a href="../a%20b.html">')
    (tmp_path / "a b.html").write_text(
        '<a href="api/#top"><a href="api/index.html"><a href="https://example.org/none">'
        '<a href="#here" id="here"><a href="mailto:nobody@example.org">'
    )
    assert check(tmp_path) == (0, [])
    (tmp_path / "bad.html").write_text(
        '<a href="none.html"><img src="none.svg"><a href="api/index.html#none"><a href="#none">'
        '<a href="../outside.html">'
    )
    (tmp_path.parent / "outside.html").write_text("")
    assert check(tmp_path) == (
        1,
        [
            "bad.html: none.html: no such file",
            "bad.html: none.svg: no such file",
            "bad.html: api/index.html#none: no such place",
            "bad.html: #none: no such place",
            "bad.html: ../outside.html: no such file",
        ],
    )


def test_a_site_without_pages(tmp_path):
    assert check(tmp_path) == (1, [f"{tmp_path} has no pages"])
