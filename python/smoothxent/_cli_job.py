"""A job of `smoothxent score`: its outputs, and its progress, which is saved for --resume.

    outputs     X.part, mapped into memory and written chunk by chunk; renamed to X when all are done
    progress    smoothxent-score-DIGEST.json in the current directory: the score of the rows so far
                and the next row; rewritten every few seconds and on an interrupt, removed when the
                score has been printed

DIGEST is a hash of the files and options of the job. Outputs are flushed to the disk before the
progress that counts them is written. If the progress cannot be written, the run goes on after one
warning: the result is worth more than the possibility to resume.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from smoothxent._cli_files import BadFile, open_array
from smoothxent._score import Score, from_state, to_state
from smoothxent._scoring import score_chunks
from smoothxent._smoothxent import __version__
from smoothxent._types import NDArray, Rows

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

SAVE_EVERY = 5.0
"""Seconds."""

Stamp = list[int]  # the size of a file and the time of its last change


@dataclass
class Job:
    """What to compute, and how far it is."""

    logits: Rows
    targets: Rows
    options: Any
    """Loss options; arrays are mapped into memory."""
    chunk_rows: int | None
    top_k: int | None
    inputs: dict[str, Stamp]
    """The inputs, as they were before they were opened."""
    outputs: dict[str, Path]
    """log_probs_out, grad_out."""
    identity: dict[str, Any]
    """What distinguishes the job from others, in the types of JSON."""
    reached: tuple[Score | None, int] = field(default=(None, 0), init=False)
    """The score of the rows so far, if there are any, and the next row: one object, updated at once."""
    _open: dict[str, Any] = field(default_factory=dict, init=False)
    _written: dict[str, str] = field(default_factory=dict, init=False)
    """The digests of the outputs when the progress was saved."""
    _warned: bool = field(default=False, init=False)

    @property
    def progress(self) -> Path:
        """The file of the progress."""
        text = json.dumps(self.identity, sort_keys=True)
        return Path(f"smoothxent-score-{hashlib.sha256(text.encode()).hexdigest()[:12]}.json")

    def run(self, on_chunk: Callable[[Score, int], object]) -> Score:
        """Return the score; `on_chunk` is called with the score of all rows so far."""
        with contextlib.ExitStack() as locks:
            for part in map(part_of, self.outputs.values()):
                if self.reached[0] is None or part.exists():
                    locks.enter_context(_locked(part))
            return self._run(on_chunk)

    def _run(self, on_chunk: Callable[[Score, int], object]) -> Score:
        (before, start), last = self.reached, time.monotonic()

        def whole(score: Score) -> Score:
            return score if before is None else before + score

        def keep(score: Score, row: int) -> None:
            nonlocal last
            self.reached = (total := whole(score), row)
            on_chunk(total, row)
            if time.monotonic() - last >= SAVE_EVERY:
                self.save()
                last = time.monotonic()

        if before is None:
            self._forget()  # the progress of an earlier run, whose outputs are overwritten
        try:
            self._open_outputs()
        except BaseException:  # also if it is interrupted while room is reserved
            if before is None:
                self._discard()
            raise
        try:
            rest = score_chunks(
                self.logits,
                self.targets,
                self.options,
                chunk_rows=self.chunk_rows,
                start=start,
                top_k=self.top_k,
                on_chunk=keep,
                log_probs_out=self._open.get("log_probs_out"),
                grad_out=self._open.get("grad_out"),
            )
        except BaseException as error:
            # Bad data, which resuming would meet again; or there is nothing to resume yet.
            if isinstance(error, (TypeError, ValueError)) or self.reached[0] is None:
                _forget_arrays(error)
                self._discard()
            raise
        score = whole(rest)
        self.reached = (score, self.logits.shape[0])
        if self._open:
            self.save()  # from here on --resume only renames files
        for name in list(self._open):
            del self._open[name]
            os.replace(part_of(self.outputs[name]), self.outputs[name])
        return score

    def finish(self) -> None:
        """Remove the progress."""
        with contextlib.suppress(OSError):
            self._forget()

    def save(self) -> bool:
        """Save the progress, if there is any; return whether --resume can go on from it."""
        score, row = self.reached
        if score is None:
            return False
        for name, array in self._open.items():  # renamed outputs no longer change
            array.flush()
            self._written[name] = _digest(array, row)
        try:
            state = {
                "version": __version__,
                "job": self.identity,
                "inputs": self.inputs,
                "outputs": self._written,
                "next_row": row,
                "score": to_state(score),
            }
            part = part_of(self.progress)
            with part.open("w", encoding="utf-8") as file:
                json.dump(state, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, self.progress)
        except OSError as error:
            if not self._warned:
                text = "the progress cannot be written, so --resume cannot go on from here"
                print(f"smoothxent score: warning: {text}: {error}", file=sys.stderr)
            self._warned = True
            return False
        return True

    def resume(self) -> bool:
        """Read the progress of an interrupted job; return False if there is none."""
        try:
            state = json.loads(self.progress.read_text(encoding="utf-8"))
            version, inputs = state["version"], dict(state["inputs"])
            self._written = dict(state["outputs"])
            self.reached = (from_state(state["score"]), int(state["next_row"]))
            if not 0 <= self.reached[1] <= sum(self.logits.shape[:1]):
                raise ValueError
        except FileNotFoundError:
            return False
        except (KeyError, TypeError, ValueError, OverflowError, RecursionError):
            raise BadFile(f"{self.progress} holds no progress") from None
        if version != __version__:
            raise BadFile(f"{self.progress} is of version {version}, this is {__version__}")
        changed = [path for path, stamp in self.inputs.items() if stamp != inputs.get(path)]
        if changed:
            raise BadFile(f"{changed[0]} has changed since the run that left {self.progress} began")
        return True

    def _discard(self) -> None:
        self._open.clear()
        for path in self.outputs.values():
            part_of(path).unlink(missing_ok=True)
        self._forget()

    def _forget(self) -> None:
        for file in (self.progress, part_of(self.progress)):
            if file.exists():  # read-only file systems refuse to remove even a missing file
                file.unlink()

    def _open_outputs(self) -> None:
        dtype = self.logits.dtype
        dtype = np.dtype(np.float64) if dtype.kind in "biu" else dtype.newbyteorder("=")
        score, row = self.reached
        for name, path in self.outputs.items():
            part = part_of(path)
            if score is None:
                self._open[name] = None  # from here on there is a part to discard
                self._open[name] = _created(part, dtype, self.logits.shape)
                continue
            # It may have been renamed already.
            is_renamed = row == self.logits.shape[0] and path.exists() and not part.exists()
            file = path if is_renamed else part
            # It is checked before it is opened for writing, which would extend a file that is too short.
            if _digest(open_array(file), row) != self._written.get(name):
                raise BadFile(f"{file} is not the output that {self.progress} goes on from")
            if not is_renamed:
                self._open[name] = np.lib.format.open_memmap(part, "r+")


def _forget_arrays(error: BaseException) -> None:
    """Clear the variables of the frames that an error has left: Windows removes no file that they map."""
    cause: BaseException | None = error
    while cause is not None:
        traceback.clear_frames(cause.__traceback__)
        cause = cause.__context__


def stamps(files: Collection[Path]) -> dict[str, Stamp]:
    """Return what distinguishes the contents of files from those of other times."""
    stats = [path.stat() for path in files]
    paths = map(os.path.realpath, files)
    return {path: [stat.st_size, stat.st_mtime_ns] for path, stat in zip(paths, stats, strict=True)}


def part_of(path: Path) -> Path:
    """Return the path at which a file is written until it is complete."""
    return Path(f"{path}.part")


def _digest(output: NDArray[Any], row: int) -> str:
    """Return a hash of the type, the shape and the last row before `row`; earlier rows are not read."""
    text = f"{output.dtype} {output.shape}"
    return hashlib.sha256(text.encode() + output[:row][-1:].tobytes()).hexdigest()


@contextlib.contextmanager
def _locked(part: Path) -> Iterator[None]:
    """Lock an output against other runs, which would write to the same file."""
    if fcntl is None:  # Windows neither truncates nor renames a file that another process maps
        yield
        return
    with part.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_ours = os.path.samestat(os.fstat(file.fileno()), part.stat())
        except (BlockingIOError, FileNotFoundError):  # it is locked, or has been renamed meanwhile
            is_ours = False
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.EINVAL, errno.EOPNOTSUPP):  # unsupported
                raise
            is_ours = True
        if not is_ours:
            raise OSError(errno.EBUSY, "another run is writing it", str(part))
        try:
            yield
        finally:
            if part.exists() and part.stat().st_size == 0:  # made here, for nothing
                part.unlink()


def _created(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    try:
        array = np.lib.format.open_memmap(path, "w+", dtype, shape)
        _reserve(path)
    except OSError as error:  # not all of them name the file
        raise OSError(error.errno, error.strerror, str(path)) from None
    return array


def _reserve(path: Path) -> None:
    """Allocate the space of a sparse file: a full disk is an error now, and would be a signal later."""
    if not hasattr(os, "posix_fallocate"):
        return
    with path.open("r+b") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):  # unsupported
                raise
