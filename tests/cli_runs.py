"""Runs the command line in this process, in a folder with the files of a job."""

import json
import signal
from pathlib import Path

import numpy as np
import pytest

from problems import problem, random_probabilities
from smoothxent import _cli

ROWS, CLASSES = 500, 20
Z, Y, U = problem(CLASSES, np.float32, rows=ROWS)
Q = random_probabilities(np.random.default_rng(3), ROWS, CLASSES, np.float32)
OUTPUTS = ("--log-probs-out", "p.npy", "--grad-out", "g.npy")


@pytest.fixture(autouse=True)
def in_folder(tmp_path, monkeypatch):
    """The current directory, with the files of a job."""
    monkeypatch.chdir(tmp_path)
    before = signal.getsignal(signal.SIGTERM)
    np.save("z.npy", Z)
    np.save("y.npy", Y)
    yield tmp_path
    signal.signal(signal.SIGTERM, before)


def names():
    return sorted(path.name for path in Path().iterdir())


def main(*arguments):
    """The exit code."""
    try:
        return _cli.main(["score", *map(str, arguments)])
    except SystemExit as error:  # raised by argparse
        return error.code


def scored(capsys, *arguments):
    """The JSON that the command prints."""
    code = main(*arguments, "--json")
    printed = capsys.readouterr()
    assert code == 0, printed.err
    return json.loads(printed.out, parse_constant=pytest.fail)  # JSON has no infinities and no nan


def failed(capsys, code, *arguments):
    """The error message of the command."""
    assert main(*arguments) == code
    printed = capsys.readouterr()
    assert not printed.out
    return printed.err.splitlines()[-1]
