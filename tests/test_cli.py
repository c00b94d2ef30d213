"""The command line: files of every kind, options, outputs, exit codes, the progress bar."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

import smoothxent as sx
from cli_runs import CLASSES, OUTPUTS, ROWS, Q, U, Y, Z, failed, in_folder, main, names, scored
from smoothxent import _cli, _cli_files, _cli_job

folder = in_folder
TWO = pa.list_(pa.float32(), 2)


def lists(array):
    return pa.FixedSizeListArray.from_arrays(pa.array(array.ravel()), array.shape[1])


def write_arrow(path, columns, rows, compression=None):
    table = pa.table(columns)
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with (
        pa.OSFile(str(path), "wb") as sink,
        pa.ipc.new_file(sink, table.schema, options=options) as file,
    ):
        file.write_table(table, max_chunksize=rows)


class TestResults:
    def test_table(self, capsys):
        assert main("z.npy", "y.npy", "--label-smoothing", 0.1, "--top-k", 3) == 0
        expected = sx.score(Z, Y, label_smoothing=0.1, top_k=3)
        assert capsys.readouterr().out == f"{expected!r}\n"

    def test_json(self, capsys):
        assert scored(capsys, "z.npy", "y.npy") == sx.score(Z, Y).as_dict()

    def test_infinite_figures_are_strings(self, capsys):
        z = Z.copy()
        z[3, Y[3]] = -np.inf
        z[4, 1] = np.nan
        np.save("z.npy", z)
        figures = scored(capsys, "z.npy", "y.npy")
        assert figures["nonfinite_rows"] == 2
        assert np.isnan(float(figures["loss"]))

    def test_every_option(self, capsys):
        rng = np.random.default_rng(2)
        arrays = {
            "prior": U,
            "class_weight": rng.random(CLASSES),
            "sample_weight": rng.random(ROWS),
            "where": (rng.random((ROWS, CLASSES)) < 0.9) | (np.arange(CLASSES) == Y[:, None]),
        }
        numbers = {"label_smoothing": 0.2, "temperature": 2.0, "z_loss": 0.01, "ignore_index": 4}
        arguments = []
        for name, array in arrays.items():
            np.save(f"{name}.npy", array)
            arguments += [f"--{name.replace('_', '-')}", f"{name}.npy"]
        for name, number in numbers.items():
            arguments += [f"--{name.replace('_', '-')}", number]
        expected = sx.score(Z, Y, **arrays, **numbers)
        assert scored(capsys, "z.npy", "y.npy", *arguments) == expected.as_dict()
        assert (
            scored(capsys, "z.npy", "y.npy", "--ignore-index", "none") == sx.score(Z, Y).as_dict()
        )

    def test_outputs(self, capsys):
        for kind in (np.float32, ">f8", np.float16, np.int16):
            z = (Z * 4).astype(kind)
            np.save("z.npy", z)
            scored(capsys, "z.npy", "y.npy", *OUTPUTS, "--chunk-rows", 33)
            expected = sx.log_softmax(z)
            written = np.load("p.npy")
            assert written.dtype == expected.dtype
            assert written.tobytes() == expected.tobytes()
            _, grad = sx.cross_entropy_value_and_grad(z, Y, reduction="none")
            assert np.load("g.npy").tobytes() == grad.tobytes()
            assert names() == ["g.npy", "p.npy", "y.npy", "z.npy"]

    def test_links(self, capsys):
        """The target of a link is written, as by `numpy.save`."""
        Path("folder").mkdir()
        Path("g.npy").symlink_to("folder/later.npy")
        Path("later").symlink_to("g.npy")
        scored(capsys, "z.npy", "y.npy", "--log-probs-out", "later")
        assert (np.load("folder/later.npy") == sx.log_softmax(Z)).all()
        assert Path("later").is_symlink()
        assert Path("g.npy").is_symlink()
        assert [path.name for path in Path("folder").iterdir()] == ["later.npy"]

    def test_no_rows(self, capsys):
        np.save("z.npy", Z[:0])
        np.save("y.npy", Y[:0])
        assert scored(capsys, "z.npy", "y.npy", *OUTPUTS)["rows"] == 0
        assert np.load("p.npy").shape == (0, CLASSES)

    @pytest.mark.parametrize("module", [("-m", "smoothxent"), None], ids=["module", "script"])
    def test_command(self, module):
        command = (
            [sys.executable, *module] if module else [Path(sys.executable).with_name("smoothxent")]
        )
        run = subprocess.run([*command, "score", "z.npy", "y.npy"], capture_output=True, text=True)
        assert (run.returncode, run.stderr) == (0, "")
        assert run.stdout == f"{sx.score(Z, Y)!r}\n"
        run = subprocess.run([*command, "score", "--help"], capture_output=True, text=True)
        for code in ("0   done", "1   bad data", "2   wrong", "3   a file", "130 interrupted"):
            assert code in run.stdout


class TestColumns:
    """Parquet and Arrow, in batches of any sizes, read without a copy."""

    @pytest.mark.parametrize("targets", [Y, Q], ids=["labels", "probabilities"])
    @pytest.mark.parametrize("kind", ["arrow", "compressed", "parquet"])
    @pytest.mark.parametrize("rows", [1, 70, 1000])
    def test_files(self, capsys, kind, rows, targets):
        other = pa.array(["a"] * ROWS)
        columns = {
            "id": other,
            "logits": lists(Z),
            "targets": targets if targets is Y else lists(targets),
        }
        if kind == "parquet":
            pa.parquet.write_table(pa.table(columns), "file", row_group_size=rows)
        else:
            write_arrow("file", columns, rows, "zstd" if kind == "compressed" else None)
        expected = sx.score(Z, targets).as_dict()
        assert scored(capsys, "file", "file", "--chunk-rows", 33) == expected
        np.save("y.npy", targets)
        assert scored(capsys, "file", "y.npy", *OUTPUTS) == expected
        assert np.load("p.npy").tobytes() == sx.log_softmax(Z).tobytes()

    def test_names(self, capsys):
        columns = {"a": lists(Z), "b": lists(Z[::-1]), "c": Y}
        write_arrow("file", columns, 200)
        write_arrow("one", {"whatever": lists(Z)}, 200)
        figures = scored(capsys, "file", "file", "--logits-column", "b", "--targets-column", "c")
        assert figures == sx.score(Z[::-1], Y).as_dict()
        assert scored(capsys, "one", "y.npy") == sx.score(Z, Y).as_dict()
        write_arrow("labels", {"whatever": Y}, 30)  # in other batches
        assert scored(capsys, "one", "labels") == sx.score(Z, Y).as_dict()
        assert "no column 'logits', but 'a', 'b', 'c'" in failed(capsys, 1, "file", "y.npy")
        for name in ("logits", "targets"):
            assert "no column 'd'" in failed(capsys, 1, "one", "y.npy", f"--{name}-column", "d")

    def test_arrow_is_read_where_it_lies(self):
        write_arrow("file", {"logits": lists(Z)}, 200)
        rows = _cli_files.open_rows(Path("file"), None, "logits")
        before = pa.total_allocated_bytes()
        pieces = [rows[a:b] for a, b in ((0, 200), (250, 400), (400, 500))]
        assert (np.concatenate([pieces[0], pieces[1], pieces[2]]) == Z[np.r_[0:200, 250:500]]).all()
        assert not any(piece.flags.owndata or piece.flags.writeable for piece in pieces)
        assert pa.total_allocated_bytes() == before

    @pytest.mark.parametrize(
        "column, said",
        [
            (pa.array([[1.0, 2.0]] * ROWS), "has the type list<"),
            (pa.array(["a"] * ROWS), "has the type string, expected fixed-size lists of floats"),
            (pa.array([[1.0, 2.0]] * 333 + [None] * 167, TWO), "has a missing value in row 333"),
            (pa.array([[1.0, 2.0]] * 333 + [[1, None]] * 167, TWO), "has a missing value in row 333"),
            (pa.array([[1.0, 2.0]] * 333 + [[1, None], None] * 83 + [[1, 2]], TWO), "has a missing value in row 333"),
            (pa.array([[1.0, 2.0]] * 333 + [None, [1, 2], [1, None]] * 55 + [[1, 2]] * 2, TWO), "has a missing value in row 333"),
        ],
    )  # fmt: skip
    def test_other_columns(self, capsys, column, said):
        write_arrow("file", {"logits": column}, 100)
        np.save("y.npy", Y * 0)
        text = failed(capsys, 1, "file", "y.npy")
        assert text.startswith(f"smoothxent score: error: column 'logits' of file {said}")

    def test_a_missing_label(self, capsys):
        labels = pa.array([None if row in (450, 470) else int(y) for row, y in enumerate(Y)])
        pa.parquet.write_table(pa.table({"targets": labels}), "file", row_group_size=200)
        said = failed(capsys, 1, "z.npy", "file", "--chunk-rows", 10)
        assert said.endswith("column 'targets' of file has a missing value in row 450")


class TestErrors:
    def test_bad_label(self, capsys):
        y = Y.copy()
        y[[300, 400]] = CLASSES
        np.save("y.npy", y)
        said = failed(capsys, 1, "z.npy", "y.npy", *OUTPUTS, "--chunk-rows", 7)
        assert said == (
            "smoothxent score: error: y.npy: targets[300] is 20, but there are 20 classes "
            "(ignore_index is -100)"
        )
        assert names() == ["y.npy", "z.npy"]

    @pytest.mark.skipif(
        not Path("/proc/self/maps").exists(), reason="the system does not list what is mapped"
    )
    @pytest.mark.parametrize("where", [[], [1] * CLASSES])
    def test_outputs_are_no_longer_mapped_when_they_are_removed(self, capsys, monkeypatch, where):
        """Windows does not remove a file that is mapped into memory."""
        np.save("y.npy", np.where(np.arange(ROWS) == 300, CLASSES, Y))
        np.save("where.npy", np.array(where, bool))
        removed, unlink = {}, Path.unlink

        def watched(path, missing_ok=False):
            removed[path.name] = str(path.resolve()) in Path("/proc/self/maps").read_text()
            unlink(path, missing_ok)

        monkeypatch.setattr(Path, "unlink", watched)
        options = ("--chunk-rows", 7, *(("--where", "where.npy") if where else ()))
        failed(capsys, 1, "z.npy", "y.npy", *OUTPUTS, *options)
        assert removed == {"p.npy.part": False, "g.npy.part": False}

    def test_shapes(self, capsys):
        np.save("y.npy", Y[:-1])
        said = failed(capsys, 1, "z.npy", "y.npy")
        assert said.endswith("y.npy: targets must have shape (500,) for logits of shape (500, 20) and axis 1, got (499,)")  # fmt: skip

    @pytest.mark.parametrize("content", [b"", b"z" * 100, b"\x93NUMPY" + bytes(100)])
    def test_no_array(self, capsys, content):
        Path("z.npy").write_bytes(content)
        assert failed(capsys, 1, "z.npy", "y.npy").startswith("smoothxent score: error: z.npy ")

    @pytest.mark.parametrize("kind", ["arrow", "parquet"])
    def test_damaged_columns(self, capsys, kind):
        if kind == "arrow":
            write_arrow("file", {"logits": lists(Z)}, 200)
        else:
            pa.parquet.write_table(pa.table({"logits": lists(Z)}), "file")
        content = Path("file").read_bytes()
        Path("file").write_bytes(content[: len(content) // 2])
        said = failed(capsys, 1, "file", "y.npy")
        assert said.startswith("smoothxent score: error: file cannot be read: ")

    def test_cut_off(self, capsys):
        os.truncate("z.npy", 10_000)
        assert "z.npy cannot be read as a .npy file" in failed(capsys, 1, "z.npy", "y.npy")

    def test_objects(self, capsys):
        np.save("z.npy", Z.astype(object))
        assert "z.npy cannot be read as a .npy file" in failed(capsys, 1, "z.npy", "y.npy")

    @pytest.mark.parametrize(
        "arguments",
        [
            (),
            ("z.npy",),
            ("z.npy", "y.npy", "--label-smoothing", "much"),
            ("z.npy", "y.npy", "--label-smoothing", 2),
            ("z.npy", "y.npy", "--chunk-rows", 0),
            ("z.npy", "y.npy", "--top-k", 21),
            ("z.npy", "y.npy", "--temp", 1),
        ],
    )
    def test_usage(self, capsys, arguments):
        assert failed(capsys, 2, *arguments).startswith("smoothxent")
        assert names() == ["y.npy", "z.npy"]

    def test_ignore_index(self, capsys):
        assert failed(capsys, 2, "z.npy", "y.npy", "--ignore-index", "1e3") == (
            "smoothxent score: error: argument --ignore-index: must be an integer or \"none\", got '1e3'"
        )

    @pytest.mark.parametrize(
        "arguments, file",
        [
            (("z.npy", "y.npy", "--grad-out", "z.npy"), "z.npy"),
            (("x.npy.part", "y.npy", "--grad-out", "x.npy"), "x.npy.part"),
            (("z.npy", "x.npy.part", "--grad-out", "x.npy"), "x.npy.part"),
            (("z.npy", "y.npy", "--prior", "x.npy.part", "--grad-out", "x.npy"), "x.npy.part"),
            (("z.npy", "y.npy", "--log-probs-out", "link.npy"), "link.npy"),
            (("z.npy", "y.npy", "--log-probs-out", "link"), "link.part"),
            (("z.npy", "y.npy", "--grad-out", "a.npy", "--log-probs-out", "./a.npy"), "a.npy"),
            (("z.npy", "y.npy", "--log-probs-out", "a.part", "--grad-out", "a"), "a.part"),
            (("z.npy", "y.npy", "--log-probs-out", "a", "--grad-out", "a.part"), "a.part"),
        ],
    )
    def test_outputs_that_are_other_files_of_the_job(self, capsys, arguments, file):
        """Also their .part files, and files under other names."""
        Path("x.npy.part").write_bytes(Path("z.npy").read_bytes())
        for link in ("link.npy", "link.part"):
            os.link("z.npy", link)
        before = {name: Path(name).read_bytes() for name in names()}
        said = failed(capsys, 2, *arguments)
        assert said.endswith(f"-out: {file} is another file of this job")
        assert {name: Path(name).read_bytes() for name in names()} == before

    @pytest.mark.parametrize("output", ["", ".", "/", "folder", "x.npy", "loop", "pipe"])
    def test_outputs_that_are_no_files(self, capsys, output):
        """They are refused before the run, and left unchanged."""
        for folder in ("folder", "x.npy.part"):
            Path(folder).mkdir()
        Path("loop").symlink_to("loop")
        if hasattr(os, "mkfifo"):
            os.mkfifo("pipe")
        else:
            Path("pipe").mkdir()
        before = {path.name: path.lstat() for path in Path().iterdir()}
        said = failed(capsys, 3, "z.npy", "y.npy", "--grad-out", output)
        assert said.endswith(" is not a regular file")
        assert {path.name: path.lstat() for path in Path().iterdir()} == before

    @pytest.mark.parametrize("kind", ["pipe", "folder"])
    @pytest.mark.parametrize(
        "name, arguments",
        [
            ("logits", ("{}", "y.npy")),
            ("targets", ("z.npy", "{}")),
            ("prior", ("z.npy", "y.npy", "--prior", "{}")),
        ],
    )
    def test_inputs_that_are_no_files(self, capsys, kind, name, arguments):
        """A pipe is refused before it is opened, which would wait for a writer."""
        Path("folder").mkdir()
        if hasattr(os, "mkfifo"):
            os.mkfifo("pipe")
        else:
            Path("pipe").mkdir()
        said = failed(capsys, 3, *(argument.format(kind) for argument in arguments))
        assert said == (
            f"smoothxent score: error: {kind}: {name} must be in a regular file, not in a pipe, a device or a "
            "directory"
        )

    @pytest.mark.skipif(not Path("/dev/stdin").exists(), reason="the system has no such file")
    def test_a_file_as_standard_input(self):
        command = [sys.executable, "-m", "smoothxent", "score", "/dev/stdin", "y.npy"]
        with open("z.npy", "rb") as logits:
            run = subprocess.run(command, stdin=logits, capture_output=True, text=True)
        assert (run.returncode, run.stdout, run.stderr) == (0, f"{sx.score(Z, Y)!r}\n", "")

    def test_no_file(self, capsys):
        assert "'w.npy'" in failed(capsys, 3, "z.npy", "w.npy")
        assert "'w.npy'" in failed(capsys, 3, "z.npy", "y.npy", "--prior", "w.npy")
        outputs = ("--log-probs-out", "p.npy", "--grad-out", "nowhere/g.npy")
        assert "'nowhere/g.npy.part'" in failed(capsys, 3, "z.npy", "y.npy", *outputs)
        assert names() == ["y.npy", "z.npy"]

    @pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="the system reserves no room")
    def test_no_room_for_outputs(self, capsys, monkeypatch):
        def full(*arguments):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "posix_fallocate", full)
        said = failed(capsys, 3, "z.npy", "y.npy", *OUTPUTS)
        assert said.endswith("No space left on device: 'p.npy.part'")
        assert names() == ["y.npy", "z.npy"]

    def test_missing_package(self, capsys, monkeypatch):
        write_arrow("file", {"logits": lists(Z)}, 200)
        monkeypatch.setitem(sys.modules, "pyarrow", None)
        said = failed(capsys, 3, "file", "y.npy")
        assert said.endswith("needs pyarrow: python -m pip install 'smoothxent[cli]'")

    def test_bug(self, capsys, monkeypatch):
        monkeypatch.setattr(_cli_job, "score_chunks", lambda *args, **options: 1 / 0)
        assert "ZeroDivisionError" in failed(capsys, _cli.BUG, "z.npy", "y.npy")


class TestTerminal:
    def on_terminal(self, program=""):
        """The text on a terminal."""
        pty, termios = pytest.importorskip("pty"), pytest.importorskip("termios")
        own, its = pty.openpty()
        termios.tcsetwinsize(its, (24, 100))
        program += "from smoothxent import _cli; _cli.main(['score', 'z.npy', 'y.npy'])"
        run = subprocess.run([sys.executable, "-c", program], stderr=its, stdout=subprocess.DEVNULL)
        os.close(its)
        assert run.returncode == 0
        with contextlib.suppress(OSError), os.fdopen(own, "rb") as shown:
            return shown.read1().decode()

    def test_progress_bar(self):
        shown = self.on_terminal()
        assert "100%" in shown
        assert f"loss {sx.score(Z, Y).loss:.4g}" in shown

    def test_without_tqdm(self):
        shown = self.on_terminal("import sys; sys.modules['tqdm'] = None; ")
        assert shown.strip() == (
            "smoothxent score: a progress bar needs tqdm: python -m pip install 'smoothxent[cli]'"
        )

    @pytest.mark.parametrize(
        "arguments, code", [((), 0), (("--resume",), 0), (("--prior", "u"), 3)]
    )
    def test_closed(self, capsys, monkeypatch, arguments, code):
        """No text for standard error goes to standard output."""
        monkeypatch.setattr(sys, "stderr", None)
        assert main("z.npy", "y.npy", *arguments) == code
        sys.stderr.close()
        assert capsys.readouterr().out == ("" if code else f"{sx.score(Z, Y)!r}\n")

    def test_none_elsewhere(self, capsys):
        assert main("z.npy", "y.npy") == 0
        assert capsys.readouterr().err == ""
