"""A job of the command line that is interrupted: killed, by a signal, between any two steps; and resumed."""

import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

import smoothxent as sx
from cli_runs import CLASSES, OUTPUTS, ROWS, Y, Z, failed, in_folder, main, names, scored
from smoothxent import _cli, _cli_job

folder = in_folder
JOB = ("z.npy", "y.npy", "--label-smoothing", "0.1", *OUTPUTS)
SAVE_ALWAYS = "from smoothxent import _cli, _cli_job; _cli_job.SAVE_EVERY = 0; "


def started(*arguments, program=SAVE_ALWAYS):
    """A job with chunks of a row."""
    program += (
        f"raise SystemExit(_cli.main(['score', *{(*JOB, '--chunk-rows', '1', *arguments)!r}]))"
    )
    return subprocess.Popen(
        [sys.executable, "-c", program], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def progress():
    (name,) = Path().glob("smoothxent-score-*.json")
    return json.loads(name.read_text())


def wait_for_row(process, row):
    for _ in range(6000):
        with contextlib.suppress(ValueError):  # there is no file yet
            if progress()["next_row"] >= row:
                return
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)
    raise AssertionError("no progress")


class TestResume:
    def expected(self, capsys):
        figures = scored(capsys, *JOB)
        return figures, [Path(name).read_bytes() for name in ("p.npy", "g.npy")]

    def resumed(self, capsys, monkeypatch):
        rows = []
        score_chunks = _cli_job.score_chunks

        def seen(*arguments, **options):
            rows.append(options["start"])
            return score_chunks(*arguments, **options)

        monkeypatch.setattr(_cli_job, "score_chunks", seen)
        figures = scored(capsys, *JOB, "--resume")
        assert names() == ["g.npy", "p.npy", "y.npy", "z.npy"]
        return rows[0], (figures, [Path(name).read_bytes() for name in ("p.npy", "g.npy")])

    def test_killed(self, capsys, monkeypatch):
        """Figures and outputs have the same bits as in one run."""
        expected = self.expected(capsys)
        Path("p.npy").unlink()
        process = started()
        wait_for_row(process, ROWS // 4)
        process.kill()
        process.communicate()
        assert "p.npy" not in names()
        row, result = self.resumed(capsys, monkeypatch)
        assert ROWS // 4 <= row < ROWS
        assert result == expected

    @pytest.mark.skipif(os.name != "posix", reason="the system sends no such signals")
    @pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
    def test_interrupted(self, capsys, monkeypatch, number, code):
        expected = self.expected(capsys)
        process = started()
        wait_for_row(process, 10)
        process.send_signal(number)
        _, said = process.communicate()
        assert process.returncode == code
        row = progress()["next_row"]
        assert 10 <= row < ROWS
        assert (
            said == f"smoothxent score: interrupted at row {row}; --resume continues from there\n"
        )
        assert self.resumed(capsys, monkeypatch) == (row, expected)

    def test_interrupted_before_there_is_progress(self, capsys, monkeypatch):
        def stop(*arguments, **options):
            raise KeyboardInterrupt

        monkeypatch.setattr(_cli_job, "score_chunks", stop)
        assert failed(capsys, 130, *JOB) == "smoothxent score: interrupted at row 0"

    def test_interrupted_while_files_are_opened(self, capsys, monkeypatch):
        def stop(*arguments):
            raise KeyboardInterrupt

        monkeypatch.setattr(_cli, "open_rows", stop)
        assert main(*JOB) == 130
        assert capsys.readouterr() == ("", "")

    def test_interrupted_again_and_again(self, capsys, monkeypatch):
        """Within a chunk and between two; progress is saved at the interrupt, not after each chunk."""
        expected = self.expected(capsys)
        score_chunks = _cli_job.score_chunks
        for end in (30, 40, 222, 499):

            def interrupted(*arguments, on_chunk, end=end, **options):
                def until(score, row):
                    on_chunk(score, row)
                    if row >= end:
                        raise KeyboardInterrupt

                return score_chunks(*arguments, on_chunk=until, **options)

            monkeypatch.setattr(_cli_job, "score_chunks", interrupted)
            assert main(*JOB, "--chunk-rows", 10, "--resume") == 130
        monkeypatch.setattr(_cli_job, "score_chunks", score_chunks)
        capsys.readouterr()
        assert self.resumed(capsys, monkeypatch) == (ROWS, expected)

    @pytest.mark.parametrize("error, code", [(KeyboardInterrupt, 130), (OSError, 3)])
    def test_interrupted_between_renames(self, capsys, monkeypatch, error, code):
        expected = self.expected(capsys)
        Path("g.npy").unlink()
        replace = os.replace

        def interrupted(source, target):
            if Path(target).name == "g.npy":
                raise error
            replace(source, target)

        monkeypatch.setattr(os, "replace", interrupted)
        assert main(*JOB) == code
        monkeypatch.setattr(os, "replace", replace)
        assert {"g.npy.part", "p.npy"} <= set(names())
        capsys.readouterr()
        assert self.resumed(capsys, monkeypatch) == (ROWS, expected)

    @pytest.mark.parametrize(
        "text", ["", "{}", "[]", '{"version": 1, "inputs": 2, "score": 3}', "[" * 100000]
    )
    def test_damaged_progress(self, capsys, monkeypatch, text):
        self.interrupt(monkeypatch, *JOB)
        (name,) = Path().glob("smoothxent-score-*.json")
        name.write_text(text)
        assert failed(capsys, 1, *JOB, "--resume").endswith(f"{name} holds no progress")

    @pytest.mark.parametrize(
        "change", [{"inputs": 1}, {"outputs": 1}, {"next_row": -1}, {"next_row": ROWS + 1}]
    )
    def test_progress_that_cannot_be(self, capsys, monkeypatch, change):
        self.interrupt(monkeypatch, *JOB)
        (name,) = Path().glob("smoothxent-score-*.json")
        name.write_text(json.dumps(progress() | change))
        assert failed(capsys, 1, *JOB, "--resume").endswith(f"{name} holds no progress")
        assert "g.npy.part" in names()

    def test_progress_of_another_version(self, capsys, monkeypatch):
        self.interrupt(monkeypatch, *JOB)
        monkeypatch.setattr(_cli_job, "__version__", "9.9")
        assert f"is of version {sx.__version__}, this is 9.9" in failed(capsys, 1, *JOB, "--resume")

    def test_bad_data_leave_no_progress(self, capsys, monkeypatch):
        """Resuming would not help."""
        monkeypatch.setattr(_cli_job, "SAVE_EVERY", 0)
        np.save("y.npy", np.where(np.arange(ROWS) == 300, 99, Y))
        assert "targets[300] is 99" in failed(capsys, 1, *JOB, "--chunk-rows", 100)
        assert names() == ["y.npy", "z.npy"]

    def test_nothing_to_resume(self, capsys):
        assert main("z.npy", "y.npy", "--resume") == 0
        assert capsys.readouterr().err == "smoothxent score: nothing to resume, starting at row 0\n"

    def interrupt(self, monkeypatch, *arguments):
        with monkeypatch.context() as patch:

            def stop(*arguments, on_chunk, **options):
                on_chunk(sx.score(Z[:9], Y[:9], label_smoothing=0.1), 9)
                raise KeyboardInterrupt

            patch.setattr(_cli_job, "score_chunks", stop)
            assert main(*arguments) == 130

    @pytest.mark.parametrize("change", ["time", "size"])
    def test_changed_input(self, capsys, monkeypatch, change):
        self.interrupt(monkeypatch, *JOB)
        before = os.stat("y.npy")
        np.save("y.npy", Y[::-1] if change == "time" else np.int32(Y))
        later = 1000 if change == "time" else 0  # some file systems have units of 100 nanoseconds
        os.utime("y.npy", ns=(before.st_atime_ns, before.st_mtime_ns + later))
        assert "y.npy has changed since the run that left smoothxent-score-" in failed(
            capsys, 1, *JOB, "--resume"
        )

    def test_input_that_was_replaced_during_the_run(self, capsys, monkeypatch):
        """The rows so far are of the file that was opened."""
        score_chunks = _cli_job.score_chunks

        def replaced(*arguments, on_chunk, **options):
            np.save("other.npy", Z[::-1])
            Path("other.npy").replace("z.npy")
            on_chunk(sx.score(Z[:9], Y[:9], label_smoothing=0.1), 9)
            raise KeyboardInterrupt

        monkeypatch.setattr(_cli_job, "score_chunks", replaced)
        assert main(*JOB) == 130
        monkeypatch.setattr(_cli_job, "score_chunks", score_chunks)
        assert "z.npy has changed since the run that left smoothxent-score-" in failed(
            capsys, 1, *JOB, "--resume"
        )

    def test_lost_output(self, capsys, monkeypatch):
        self.interrupt(monkeypatch, *JOB)
        Path("g.npy.part").unlink()
        np.save("g.npy", Z)  # of an earlier job: not the lost one, already renamed
        assert "g.npy.part" in failed(capsys, 3, *JOB, "--resume")
        assert progress()["next_row"] == 9
        assert "p.npy.part" in names()

    def test_output_of_another_job(self, capsys, monkeypatch):
        """That job has the same names, and was interrupted, too."""
        for epsilon in ("0.1", "0.2"):
            process = started("--label-smoothing", epsilon)
            wait_for_row(process, ROWS // (2 if epsilon == "0.1" else 4))
            process.kill()
            process.communicate()
            if epsilon == "0.1":
                (kept,) = Path().glob("smoothxent-score-*.json")
                kept.rename("kept")
        Path("kept").rename(kept)
        assert "p.npy.part is not the output that " in failed(capsys, 1, *JOB, "--resume")
        assert "g.npy.part" in names()

    @pytest.mark.parametrize(
        "other",
        [np.zeros((3, 3), np.float32), Z.astype(np.float64), "cut short", "no array"],
        ids=["shape", "dtype", "cut short", "no array"],
    )
    def test_changed_output(self, capsys, monkeypatch, other):
        self.interrupt(monkeypatch, *JOB)
        part = Path("g.npy.part")
        if isinstance(other, np.ndarray):
            np.save("other.npy", other)
            Path("other.npy").rename(part)
        else:
            part.write_bytes(part.read_bytes()[:1000] if other == "cut short" else b"no array")
        assert "g.npy.part " in failed(capsys, 1, *JOB, "--resume")
        assert "g.npy.part" in names()

    @pytest.mark.parametrize(
        "other",
        [("--label-smoothing", 0.2), ("--top-k", 2), ("--logits-column", "b"), ("--grad-out", "h")],
    )
    def test_another_job_is_not_resumed(self, capsys, monkeypatch, other):
        columns = {
            name: pa.array(list(Z), pa.list_(pa.float32(), CLASSES)) for name in ("logits", "b")
        }
        pa.parquet.write_table(pa.table(columns), "file")
        job = ("file", *JOB[1:])
        self.interrupt(monkeypatch, *job)
        parts = {name: Path(name).read_bytes() for name in ("p.npy.part", "g.npy.part")}
        capsys.readouterr()
        said = failed(capsys, 3, *job, *other, "--resume")
        assert "p.npy.part is there, but not its progress" in said
        assert parts == {name: Path(name).read_bytes() for name in parts}
        assert main(*job, *other) == 0

    def test_there_is_nothing_to_resume(self, capsys):
        assert main(*JOB, "--resume") == 0
        assert "starting at row 0" in capsys.readouterr().err

    def test_files_under_other_names_are_those_of_the_job(self, capsys, monkeypatch):
        expected = self.expected(capsys)
        self.interrupt(monkeypatch, *JOB)
        Path("link.npy").symlink_to("y.npy")
        capsys.readouterr()
        assert main(Path("z.npy").resolve(), "link.npy", *JOB[2:], "--json", "--resume") == 0
        printed = capsys.readouterr()
        assert (json.loads(printed.out), printed.err) == (expected[0], "")

    def test_an_earlier_progress_is_gone_when_its_outputs_are(self, capsys, monkeypatch):
        """Otherwise a new run that is killed at once would be resumed at a row that it never reached."""
        self.interrupt(monkeypatch, *JOB)
        monkeypatch.setattr(_cli_job, "score_chunks", lambda *args, **options: 1 / 0)
        assert main(*JOB) == 70
        assert not list(Path().glob("*.json"))

    def test_without_resume_it_starts_anew(self, capsys, monkeypatch):
        expected = self.expected(capsys)
        self.interrupt(monkeypatch, *JOB)
        assert self.expected(capsys) == expected
        assert names() == ["g.npy", "p.npy", "y.npy", "z.npy"]


class TestFiguresThatCannotBePrinted:
    """Standard output is a file that is open for reading alone, a pipe without a reader, or closed."""

    said = "smoothxent score: error: standard output "

    def run(self, stdout, *arguments):
        """The exit code and the error message of a process whose output is buffered, as it is by default."""
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
        command = [sys.executable, "-m", "smoothxent", *arguments]
        run = subprocess.run(
            command, stdout=stdout, stderr=subprocess.PIPE, text=True, env=environment
        )
        return run.returncode, run.stderr

    @pytest.mark.parametrize("outputs", [(), OUTPUTS], ids=["no outputs", "outputs"])
    @pytest.mark.parametrize("form", [(), ("--json",)], ids=["table", "JSON"])
    def test_resumed(self, capsys, outputs, form):
        """The progress of all rows is kept, so that --resume only prints the figures."""
        with open("z.npy", "rb") as unwritable:
            code, said = self.run(unwritable, "score", "z.npy", "y.npy", *outputs, *form)
        assert (code, said) == (3, f"{self.said}cannot be written: [Errno 9] Bad file descriptor\n")
        assert progress()["next_row"] == ROWS
        assert scored(capsys, "z.npy", "y.npy", *outputs, "--resume") == sx.score(Z, Y).as_dict()
        assert names() == [*(["g.npy", "p.npy"] if outputs else []), "y.npy", "z.npy"]

    @pytest.mark.skipif(os.name != "posix", reason="another number of the error")
    def test_pipe(self):
        reader, writer = os.pipe()
        os.close(reader)
        code, said = self.run(writer, "score", "z.npy", "y.npy")
        os.close(writer)
        assert (code, said) == (3, f"{self.said}cannot be written: [Errno 32] Broken pipe\n")

    def test_closed(self, capsys, monkeypatch):
        monkeypatch.setattr(sys, "stdout", None)
        assert main("z.npy", "y.npy") == 3
        assert capsys.readouterr().err == f"{self.said}cannot be written: it is closed\n"
        assert progress()["next_row"] == ROWS

    @pytest.mark.parametrize("arguments", [("--version",), ("--help",), ("score", "--help")])
    def test_texts(self, arguments):
        with open("z.npy", "rb") as unwritable:
            code, said = self.run(unwritable, *arguments)
        assert (code, said) == (3, f"{self.said}cannot be written: [Errno 9] Bad file descriptor\n")


class TestProgressThatCannotBeWritten:
    """There is a warning; otherwise the run and an interrupt end as usual."""

    def refused(self, *arguments, **options):
        raise OSError(errno.EROFS, "Read-only file system")

    @pytest.fixture(autouse=True)
    def read_only(self, monkeypatch):
        monkeypatch.setattr(os, "fsync", self.refused)
        monkeypatch.setattr(_cli_job, "SAVE_EVERY", 0)

    @pytest.mark.parametrize("outputs", [(), OUTPUTS], ids=["no outputs", "outputs"])
    def test_done(self, capsys, outputs):
        assert main("z.npy", "y.npy", *outputs, "--chunk-rows", 100) == 0
        printed = capsys.readouterr()
        assert printed.out == f"{sx.score(Z, Y)!r}\n"
        (warning,) = printed.err.splitlines()
        assert warning.startswith("smoothxent score: warning: the progress cannot be written")
        assert warning.endswith("Read-only file system")
        assert not list(Path().glob("smoothxent-score-*"))

    def test_interrupted(self, capsys, monkeypatch):
        def stop(*arguments, on_chunk, **options):
            on_chunk(sx.score(Z[:9], Y[:9]), 9)
            raise KeyboardInterrupt

        monkeypatch.setattr(_cli_job, "score_chunks", stop)
        said = failed(capsys, 130, "z.npy", "y.npy")
        assert said == "smoothxent score: interrupted at row 9"

    def test_nothing_can_be_removed(self, capsys, monkeypatch):
        """Not even missing files, on some systems."""
        monkeypatch.setattr(Path, "unlink", self.refused)
        assert scored(capsys, "z.npy", "y.npy") == sx.score(Z, Y).as_dict()
