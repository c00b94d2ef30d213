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
    # Cargo may say on stderr that it waits for another cargo.
    assert subprocess.run(command).returncode == 0


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


def links_of_the_readme():
    """Return the targets of its links; what is between brackets elsewhere would be a link without one."""
    text = (ROOT / "README.md").read_text("utf-8")
    text = re.sub(r"^```.*?^```|`[^`\n]+`", "code", text, flags=re.DOTALL | re.MULTILINE)
    definitions = dict(re.findall(r"^\[([^]]+)\]: (\S+)$", text, re.MULTILINE))
    definitions = {name.lower(): target for name, target in definitions.items()}
    named = re.findall(r"\[([^][]+)\](?![(:])(?:\[([^]]+)\])?", text)
    names = [(name or words).lower() for words, name in named]
    assert set(names) == set(definitions)
    return re.findall(r"\]\(([^)]+)\)", text) + [definitions[name] for name in names]


def headings(text):
    """Return the headings of a page as GitHub writes them in links."""
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_links_of_the_readme_are_absolute():
    """PyPI shows the README, but none of the files beside it."""
    links = links_of_the_readme()
    assert len(links) > 20
    own = {f"#{name}" for name in headings((ROOT / "README.md").read_text("utf-8"))}
    assert [link for link in links if not link.startswith("https://") and link not in own] == []


def test_links_of_the_readme_lead_to_files_of_the_repository():
    repository = PROJECT["urls"]["Repository"]
    raw = repository.replace("//github.com/", "//raw.githubusercontent.com/")
    links = [
        link.removeprefix(home).partition("#")
        for link in links_of_the_readme()
        for home in (f"{repository}/blob/main/", f"{repository}/tree/main/", f"{raw}/main/")
        if link.startswith(home)
    ]
    assert len(links) > 20
    is_whole = (ROOT / "benches" / "record").is_dir()  # not in a source distribution
    for path, _, heading in links:
        if is_whole or not path.startswith(("benches/record/", "docs/pictures/")):
            assert (ROOT / path).exists(), path
        assert not heading or heading in headings((ROOT / path).read_text("utf-8")), heading
