"""The command line: `smoothxent score LOGITS TARGETS`."""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import signal
import stat
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import FrameType
from typing import Any

from smoothxent._cli_files import BadFile, MissingPackage, open_array, open_rows, optional
from smoothxent._cli_job import Job, part_of, stamps
from smoothxent._score import Score
from smoothxent._smoothxent import __version__

DONE, BAD_DATA, USAGE, NO_FILE, BUG, INTERRUPTED, TERMINATED = 0, 1, 2, 3, 70, 130, 143

EPILOG = """\
LOGITS has N rows of K logits; TARGETS has N integer labels, or N rows of probabilities. Files are .npy
arrays (mapped into memory, not copied), or Parquet and Arrow files with fixed-size lists (needs
pyarrow; with several columns, those called "logits" and "targets"). The other arrays are .npy files.

Outputs are written to FILE.part and renamed when everything is done. The progress is saved in the current
directory every 5 seconds, and when Ctrl-C or SIGTERM ends the run. The same command with --resume, in the
same directory, continues from there; the results are the same bits. If the progress cannot be written, a
warning says so and the run goes on.

exit codes:
    0   done
    1   bad data: the contents of a file are not as expected; the message names the file and the wrong row
    2   wrong arguments or options
    3   a file cannot be opened, read or written; memory or an optional package is missing
    70  a bug of smoothxent
    130 interrupted by Ctrl-C, 143 by SIGTERM: --resume continues the run
"""
NUMBERS = {
    "label_smoothing": (float, "EPS", "label smoothing, in [0, 1]"),
    "temperature": (float, "T", "divides the logits; 1 by default"),
    "z_loss": (float, "LAMBDA", "weight of logsumexp^2 in the loss"),
}
ARRAYS = {
    "prior": "prior over the classes, (K,) or one for each row; uniform by default",
    "class_weight": "weights of the classes, (K,)",
    "sample_weight": "weights of the rows, (N,)",
    "where": "booleans, the classes that take part: (K,) or (N, K)",
}
OUTPUTS = {
    "log_probs_out": "write log-probabilities, (N, K), to this .npy file",
    "grad_out": "write the gradient of each row's loss, (N, K), to this .npy file",
}


class Terminated(KeyboardInterrupt):
    """SIGTERM."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with these arguments, by default those of the process; return its exit code."""
    if sys.stderr is None:  # closed: print would use stdout, and an opened file descriptor 2
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - for the whole run
    parser, of_score = _parsers()
    try:
        try:
            given = parser.parse_args(arguments)
        except SystemExit:
            _print()  # the texts of --help and --version
            raise
        return _score(given, of_score)
    except (BadFile, MissingPackage, OSError, MemoryError) as error:
        text = str(error) or "not enough memory"
        print(f"smoothxent score: error: {text}", file=sys.stderr)
        return BAD_DATA if isinstance(error, BadFile) else NO_FILE
    except KeyboardInterrupt:
        return INTERRUPTED  # before there was any progress
    except Exception:
        traceback.print_exc()
        return BUG


def _parsers() -> tuple[argparse.ArgumentParser, argparse.ArgumentParser]:
    parser = argparse.ArgumentParser(
        "smoothxent", description="Softmax cross-entropy with label smoothing."
    )
    parser.add_argument("--version", action="version", version=__version__)
    score = parser.add_subparsers(required=True, metavar="COMMAND").add_parser(
        "score",
        help="loss, accuracy and calibration of a file of logits",
        description="Print loss, perplexity, accuracy and calibration error of the logits of a file.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    score.add_argument("logits", metavar="LOGITS", type=Path)
    score.add_argument("targets", metavar="TARGETS", type=Path)
    for name, (kind, metavar, text) in NUMBERS.items():
        score.add_argument(_flag(name), type=kind, metavar=metavar, help=text)
    score.add_argument(
        "--ignore-index", type=_integer_or_none, metavar="LABEL", default=-100,
        help='label of rows that do not count, -100 by default; "none": there is none',
    )  # fmt: skip
    for name, text in (ARRAYS | OUTPUTS).items():
        score.add_argument(_flag(name), type=Path, metavar="FILE", help=text)
    for name in ("logits", "targets"):
        text = f'"{name}" by default, or the only column'
        score.add_argument(f"--{name}-column", metavar="NAME", help=text)
    score.add_argument("--top-k", type=int, metavar="NUMBER", help="top-k accuracy for this k, too")
    score.add_argument(
        "--chunk-rows",
        type=_positive,
        metavar="ROWS",
        help="rows read at once; by default some 16 MB",
    )
    score.add_argument("--json", action="store_true", help="print the figures as JSON")
    score.add_argument("--resume", action="store_true", help="continue an interrupted run")
    return parser, score


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _integer_or_none(text: str) -> int | None:
    try:
        return None if text == "none" else int(text)
    except ValueError:
        expected = f'must be an integer or "none", got {text!r}'
        raise argparse.ArgumentTypeError(expected) from None


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"must be a positive integer, got {text!r}")
    return int(text)


def _score(given: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    inputs = {"logits": given.logits, "targets": given.targets} | _given(given, ARRAYS)
    outputs = {name: _target(path) for name, path in _given(given, OUTPUTS).items()}
    _check_inputs(inputs)
    _check_outputs(outputs, inputs, parser)
    before = stamps(inputs.values())
    numbers = _given(given, NUMBERS) | {"ignore_index": given.ignore_index}
    job = Job(
        logits=open_rows(given.logits, given.logits_column, "logits"),
        targets=open_rows(given.targets, given.targets_column, "targets"),
        options=numbers | {name: open_array(path) for name, path in _given(given, ARRAYS).items()},
        chunk_rows=given.chunk_rows,
        top_k=given.top_k,
        inputs=before,
        outputs=outputs,
        identity={
            "files": {name: os.path.realpath(path) for name, path in (inputs | outputs).items()},
            "columns": [given.logits_column, given.targets_column],
            "options": numbers | {"top_k": given.top_k},
        },
    )
    if given.resume and not job.resume():
        for part in filter(Path.exists, map(part_of, outputs.values())):
            raise OSError(
                f"{part} is there, but not its progress: --resume needs the same command in the same "
                "directory; without --resume the job starts anew"
            )
        print("smoothxent score: nothing to resume, starting at row 0", file=sys.stderr)
    signal.signal(signal.SIGTERM, _terminate)
    try:
        rows = sum(job.logits.shape[:1])  # 0 for an array without axes, which `score` refuses
        with _bar(rows, job.reached[1]) as show:
            result = job.run(show)
        try:
            _print(f"{json.dumps(_json(result)) if given.json else result}\n")
        except OSError:
            job.save()  # --resume only prints
            raise
        job.finish()
    except KeyboardInterrupt as error:
        what_next = "; --resume continues from there" if job.save() else ""
        print(f"smoothxent score: interrupted at row {job.reached[1]}{what_next}", file=sys.stderr)
        return TERMINATED if isinstance(error, Terminated) else INTERRUPTED
    except BadFile:
        raise
    except (TypeError, ValueError) as error:
        named = re.match(r"(?:the )?(\w+)", str(error))
        name = named[1] if named else ""
        if name in inputs:
            raise BadFile(f"{inputs[name]}: {error}") from None
        if name in (*NUMBERS, "ignore_index", "top_k", "chunk_rows"):
            parser.error(str(error))
        raise
    return DONE


def _print(text: str = "") -> None:
    """Write a text, and what is still buffered, to standard output: errors are raised here, not when Python exits."""
    if sys.stdout is None:
        if text:
            raise OSError("standard output cannot be written: it is closed")
        return
    try:
        print(text, end="", flush=True)
    except OSError as error:
        with open(os.devnull, "wb") as null:  # for the text that is left when Python exits
            os.dup2(null.fileno(), sys.stdout.fileno())
        raise OSError(f"standard output cannot be written: {error}") from None


def _check_inputs(inputs: dict[str, Path]) -> None:
    """Refuse inputs that are no regular files; those that do not exist are left to `open`."""
    for name, path in inputs.items():
        if path.exists() and not path.is_file():
            raise OSError(
                f"{path}: {name} must be in a regular file, not in a pipe, a device or a directory"
            )


def _check_outputs(
    outputs: dict[str, Path], inputs: dict[str, Path], parser: argparse.ArgumentParser
) -> None:
    """Refuse outputs whose FILE or FILE.part would replace a file of this job or is not a regular file."""
    others = [*inputs.values()]
    for name, path in outputs.items():
        for file in (path, part_of(path)):
            if os.path.lexists(file) and not stat.S_ISREG(file.lstat().st_mode):
                raise OSError(f"{_flag(name)}: {file} is not a regular file")
            if any(_is_same(file, other) for other in others):
                parser.error(f"{_flag(name)}: {file} is another file of this job")
            others.append(file)


def _target(path: Path) -> Path:
    """Return the target of a symbolic link, since a rename would replace the link; the path itself for a loop.

    The target of /dev/stdout may be a pipe, whose path does not exist.
    """
    is_file = path.is_file() or not path.exists()
    return Path(os.path.realpath(path)) if path.is_symlink() and is_file else path


def _is_same(file: Path, other: Path) -> bool:
    """Return whether two paths lead to one file, which may have several names."""
    if os.path.realpath(file) == os.path.realpath(other):
        return True
    return file.exists() and other.exists() and file.samefile(other)


def _given(namespace: argparse.Namespace, names: Any) -> dict[str, Any]:
    values = {name: getattr(namespace, name) for name in names}
    return {name: value for name, value in values.items() if value is not None}


def _terminate(signum: int, frame: FrameType | None) -> None:
    raise Terminated


def _json(score: Score) -> dict[str, Any]:
    """Return the figures; infinities and nan, which JSON does not have, as strings."""
    return {
        name: str(value) if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in score.as_dict().items()
    }


@contextmanager
def _bar(rows: int, row: int) -> Iterator[Callable[[Score, int], None]]:
    """Yield a function that shows the progress of a job: in a bar on a terminal, elsewhere not at all."""
    bar: Any = None
    if sys.stderr.isatty():
        try:
            tqdm = optional("tqdm", "a progress bar").tqdm
        except MissingPackage as error:
            print(f"smoothxent score: {error}", file=sys.stderr)
        else:
            bar = tqdm(total=rows, initial=row, unit=" rows", unit_scale=True, file=sys.stderr)

    def show(score: Score, row: int) -> None:
        if bar is not None:
            bar.set_postfix_str(f"loss {score.loss:.4g}", refresh=False)
            bar.update(row - bar.n)

    with nullcontext() if bar is None else bar:
        yield show
