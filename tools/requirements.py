"""Print the requirements of the package and of some of its extras, one in each line: `requirements.py demo,test`."""

import sys
import tomllib
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"

project = tomllib.loads(PROJECT.read_text("utf-8"))["project"]
print(*project["dependencies"], sep="\n")
for extra in sys.argv[1].split(","):
    print(*project["optional-dependencies"][extra], sep="\n")
