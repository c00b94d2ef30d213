"""Files outside of the package describe it correctly."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
MANIFEST = tomllib.loads((ROOT / "Cargo.toml").read_text("utf-8"))
CRATE = MANIFEST["package"] | MANIFEST["workspace"]["package"]
CITATION = (ROOT / "CITATION.cff").read_text("utf-8")


def test_notices_are_those_of_the_lock():
    command = [sys.executable, ROOT / "tools" / "notices.py", "--check"]
    assert subprocess.run(command, stderr=subprocess.PIPE, text=True).stderr == ""


def test_every_linked_crate_of_the_lock_is_noticed():
    """By name and version, read independently of tools/notices.py."""
    command = ["cargo", "tree", "--locked", "--edges=normal,no-proc-macro"]
    output = subprocess.run(
        [*command, "--prefix=none", "--format={p}"],
        cwd=ROOT / "python",
        stdout=subprocess.PIPE,
        check=True,
    ).stdout.decode()
    own = {(name, CRATE["version"]) for name in ("smoothxent", "smoothxent-python")}
    linked = set(re.findall(r"^(\S+) v(\S+)", output, re.MULTILINE)) - own
    notices = (ROOT / "THIRD_PARTY_NOTICES.txt").read_text("utf-8")
    noticed = set(re.findall(r"^(\S+) (\d\S+)\n    https://", notices, re.MULTILINE))
    assert len(linked) > 5
    assert linked <= noticed
    locked = tomllib.loads((ROOT / "Cargo.lock").read_text("utf-8"))["package"]
    assert noticed <= {(package["name"], package["version"]) for package in locked}


def test_citation():
    def of(key):
        return re.search(rf"^{key}: (.*)$", CITATION, re.MULTILINE)[1]

    assert of("version") == CRATE["version"]
    assert of("title") == CRATE["name"]
    assert of("repository-code") == CRATE["repository"] == PROJECT["urls"]["Repository"]
    licences = re.search(r"^license:\n((?:  - .*\n)+)", CITATION, re.MULTILINE)[1]
    assert set(re.findall(r"- (.*)", licences)) == set(PROJECT["license"].split(" OR "))
    assert "arXiv:1512.00567" in CITATION
