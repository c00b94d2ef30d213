"""Instructions per logit of the main kernels, beside those on record: stable where time is not.

    python -m benches.instructions             # fails if a kernel takes over 3 % more than on record
    python -m benches.instructions --record    # writes the record

    build benches/instructions.rs as releases are built
    run it under callgrind, which collects inside `counted` alone and dumps before each check
    the n-th dump is the n-th kernel's

The AVX2 kernels are counted: valgrind does not support AVX-512. Needs Linux on x86-64, and valgrind;
without them it says that nothing was checked, and with --require it fails if valgrind is missing.
See benches/README.md.
"""

from __future__ import annotations

import argparse
import csv
import json
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from benches.machine import ROOT

LEVEL = "avx2"
RECORD = ROOT / "benches" / "record" / f"instructions-{LEVEL}.csv"
# The allowed difference from the record. Counts of two runs are equal; with another environment or C
# library they differ by parts in a thousand.
SLACK = 0.03
MORE, LESS, NEW = "MORE", "less", "NOT ON RECORD"
MISSING = """\
instructions: NOT CHECKED, valgrind is missing. It counts the instructions of the kernels.
    Debian, Ubuntu: apt-get install valgrind      Fedora: dnf install valgrind"""
ELSEWHERE = "instructions: not checked here, the record is of Linux on x86-64"


class Failure(Exception):
    """Nothing could be counted; the text says why."""


def output(command: list[str]) -> str:
    """Return the output of a command; raise `Failure` if it fails."""
    result = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if result.returncode:
        raise Failure(f"code {result.returncode} from {' '.join(command)}")
    return result.stdout


def build() -> str:
    """Build the program; return its path."""
    command = ["cargo", "build", "--release", "--locked", "--bench", "instructions"]
    for line in output([*command, "--quiet", "--message-format=json"]).splitlines():
        message = json.loads(line)
        if message.get("target", {}).get("name") == "instructions" and message.get("executable"):
            return str(message["executable"])
    raise Failure("cargo names no program")


def count(program: str) -> dict[str, float]:
    """Return the instructions per logit of each kernel."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        command = ["valgrind", "--tool=callgrind", f"--log-file={log}"]
        command += [f"--callgrind-out-file={folder}/dump"]
        command += ["--toggle-collect=instructions::counted*"]
        command += ["--dump-before=instructions::Kernel::check*"]
        try:
            lines = output([*command, program, LEVEL]).splitlines()
        except Failure as failure:
            raise Failure(f"{failure}\n{log.read_text(errors='replace')}") from failure
        dumps = sorted(Path(folder).glob("dump.*"), key=lambda dump: int(dump.suffix[1:]))
        texts = [dump.read_text(encoding="utf-8", errors="replace") for dump in dumps]
    totals = [int(total) for text in texts for total in re.findall(r"^totals: (\d+)$", text, re.M)]
    if len(totals) != len(lines) or 0 in totals:
        raise Failure(f"{len(lines)} kernels, but counts {totals}")
    kernels = [line.rsplit(",", 1) for line in lines]
    return {name: total / int(logits) for (name, logits), total in zip(kernels, totals)}


def compiler() -> str:
    """Return the version of the compiler, on which a count depends."""
    return output(["rustc", "--version"]).strip()


def read() -> tuple[str, dict[str, float]]:
    """Return the compiler and the counts on record."""
    first, *lines = RECORD.read_text(encoding="utf-8").splitlines()
    counts = {row["kernel"]: float(row["instructions_per_logit"]) for row in csv.DictReader(lines)}
    return first.removeprefix("# rustc: "), counts


def write(counts: dict[str, float]) -> None:
    """Write the record."""
    with RECORD.open("w", encoding="utf-8", newline="") as file:
        file.write(f"# rustc: {compiler()}\n")
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["kernel", "instructions_per_logit"])
        writer.writerows([name, f"{value:.3f}"] for name, value in counts.items())


def verdict(value: float, recorded: float | None) -> str:
    """Return the verdict on a count; "" if it agrees with the record."""
    if recorded is None:
        return NEW
    if value > recorded * (1 + SLACK):
        return MORE
    return LESS if value < recorded * (1 - SLACK) else ""


def table(counts: dict[str, float], recorded: dict[str, float]) -> str:
    """Return all counts beside the record."""
    lines = [f"{'kernel':<38} {'per logit':>9} {'recorded':>9} {'change':>8}"]
    for name, value in counts.items():
        old = recorded.get(name)
        beside = f"{'–':>9} {'–':>8}" if old is None else f"{old:9.3f} {value / old - 1:+8.1%}"
        lines.append(f"{name:<38} {value:9.3f} {beside}  {verdict(value, old)}".rstrip())
    return "\n".join(lines)


def complaint(counts: dict[str, float], recorded: dict[str, float]) -> str:
    """Return what is wrong with the counts; "" if nothing is."""
    verdicts = {name: verdict(value, recorded.get(name)) for name, value in counts.items()}
    lists = {
        f"over {SLACK:.0%} more than on record": [n for n in verdicts if verdicts[n] == MORE],
        "not on record": [n for n in verdicts if verdicts[n] == NEW],
        "on record, but not counted": [n for n in recorded if n not in counts],
    }
    return "; ".join(f"{what}: {', '.join(names)}" for what, names in lists.items() if names)


def main() -> int:
    """Count, and compare or write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--record", action="store_true", help="write the record instead")
    parser.add_argument("--require", action="store_true", help="fail where valgrind is missing")
    options = parser.parse_args()
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        print(ELSEWHERE)
        return 1 if options.record else 0
    if shutil.which("valgrind") is None:
        print(MISSING)
        return 1 if options.record or options.require else 0
    then, recorded = read() if RECORD.exists() else ("no compiler", {})
    counts = count(build())
    print(table(counts, recorded))
    if options.record:
        write(counts)
        print(f"written: {RECORD.relative_to(ROOT)}")
        return 0
    if any(verdict(value, recorded.get(name)) == LESS for name, value in counts.items()):
        print("Some take less than on record: make record-instructions, to keep it that way.")
    wrong = complaint(counts, recorded)
    if not wrong:
        return 0
    print(f"instructions: {wrong}")
    if then != (now := compiler()):
        print(f"The record is of {then}; this is {now}.")
    print("If that is meant: make record-instructions, and say why in the commit.")
    return 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failure as failure:
        sys.exit(f"instructions: {failure}")
