"""Tokens of Python's standard library: real text that every Python ships, for next-token prediction.

    for each module, a file or a package directly in the library's folder:
        its set, training, validation or test, follows from a hash of its name
        read the tokens of each of its files, without comments and blank lines
    vocabulary = the 999 most frequent tokens of the training set, and <other>

So all files of a package are in the same set, and a module is in the same set in every version of
Python. Names, operators and numbers are tokens as they are written; of strings, indentation and ends
of lines only the kind is kept. <other> is a class like any other, like the unknown word in language
models: every token is an example, and K is exactly 1000.

Tests of the library are left out, since some distributions of Python do not include them.
"""

from __future__ import annotations

import hashlib
import sysconfig
import tokenize
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

CLASSES = 1000
CONTEXT = 8  # tokens that the network sees

OTHER = "<other>"
END_OF_LINE = "<newline>"
# Tokens of which only the kind is kept; FSTRING_* and TSTRING_* are of Python 3.12 and 3.14.
KINDS = {
    "NEWLINE": END_OF_LINE,
    "INDENT": "<indent>",
    "DEDENT": "<dedent>",
    "STRING": "<string>",
    "FSTRING_MIDDLE": "<string>",
    "TSTRING_MIDDLE": "<string>",
}
LEFT_OUT = {"COMMENT", "NL", "ENCODING", "ENDMARKER"}

FOLDERS_LEFT_OUT = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__"}

TRAINING, VALIDATION, TEST = "training", "validation", "test"
# Of the hashes of names, which are uniform in [0, 1): the first 15 % and the next 10 %.
BELOW = {TEST: 0.15, VALIDATION: 0.25, TRAINING: 1.0}

Contexts: TypeAlias = NDArray[np.int16]  # (rows, CONTEXT)
Labels: TypeAlias = NDArray[np.int16]  # (rows,)


@dataclass(frozen=True)
class Text:
    """The files of one side, one after the other, each behind CONTEXT ends of lines."""

    modules: tuple[str, ...]
    files: int
    stream: NDArray[np.int16]
    positions: NDArray[np.int64]  # in the stream, of the tokens to be predicted

    def __len__(self) -> int:
        return len(self.positions)

    def examples(self, rows: slice | NDArray[np.int64]) -> tuple[Contexts, Labels]:
        """The tokens to be predicted, and before each the CONTEXT tokens of its file."""
        at = self.positions[rows]
        return self.stream[at[:, None] + np.arange(-CONTEXT, 0)], self.stream[at]

    @property
    def labels(self) -> Labels:
        return self.stream[self.positions]


@dataclass(frozen=True)
class Corpus:
    vocabulary: tuple[str, ...]  # by frequency, then OTHER
    texts: Mapping[str, Text]  # by side
    unreadable: tuple[str, ...]  # files that `tokenize` refuses, each with the reason


def library_files() -> list[Path]:
    """The sources of the standard library of this Python, relative to its folder, in order."""
    folder = library_folder()
    files = (path.relative_to(folder) for path in folder.rglob("*.py"))
    kept = sorted(path for path in files if FOLDERS_LEFT_OUT.isdisjoint(path.parts))
    if not kept:
        raise RuntimeError(f"there are no sources of the standard library in {folder}")
    return kept


def library_folder() -> Path:
    return Path(sysconfig.get_path("stdlib"))


def module_of(file: Path) -> str:
    """The module that is imported by one name: a file's, or that of the package it belongs to."""
    return file.parts[0].removesuffix(".py")


def side_of(module: str) -> str:
    fraction = int(hashlib.sha256(module.encode()).hexdigest()[:8], 16) / 2**32
    return next(side for side, below in BELOW.items() if fraction < below)


def tokens_of(path: Path) -> list[str]:
    with path.open("rb") as file:
        named = [(tokenize.tok_name[t.type], t.string) for t in tokenize.tokenize(file.readline)]
    return [KINDS.get(kind, string) for kind, string in named if kind not in LEFT_OUT]


def most_frequent(files: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """The vocabulary: CLASSES - 1 tokens by frequency, equally frequent ones by name, and OTHER."""
    counts = Counter(token for tokens in files for token in tokens)
    if len(counts) < CLASSES - 1:
        raise ValueError(f"{CLASSES - 1} different tokens are needed, the text has {len(counts)}")
    ranked = sorted(counts, key=lambda token: (-counts[token], token))
    return (*ranked[: CLASSES - 1], OTHER)


def text_of(files: Mapping[Path, Sequence[str]], vocabulary: Sequence[str]) -> Text:
    number = {token: k for k, token in enumerate(vocabulary)}
    padding = [number[END_OF_LINE]] * CONTEXT
    stream: list[int] = []
    positions: list[int] = []
    for tokens in files.values():
        stream += padding
        positions += range(len(stream), len(stream) + len(tokens))
        stream += [number.get(token, number[OTHER]) for token in tokens]
    return Text(
        tuple(sorted({module_of(file) for file in files})),
        len(files),
        np.array(stream, np.int16),
        np.array(positions, np.int64),
    )


def read(files: Sequence[Path], on_file: Callable[[str], None]) -> Corpus:
    """The corpus of some files of the library; `on_file` is told which one is read next."""
    sides: dict[str, dict[Path, list[str]]] = {TRAINING: {}, VALIDATION: {}, TEST: {}}
    unreadable = []
    for file in files:
        on_file(f"reading {file}")
        try:
            sides[side_of(module_of(file))][file] = tokens_of(library_folder() / file)
        except (SyntaxError, UnicodeDecodeError, tokenize.TokenError) as error:
            unreadable.append(f"{file}: {error}")
    vocabulary = most_frequent(list(sides[TRAINING].values()))
    texts = {side: text_of(files, vocabulary) for side, files in sides.items()}
    return Corpus(vocabulary, texts, tuple(unreadable))
