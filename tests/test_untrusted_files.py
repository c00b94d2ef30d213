"""Nothing in a .npy file is executed, and for the command malformed files are bad data."""

import pickle
import struct
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from cli_runs import CLASSES, ROWS, Y, Z, failed, in_folder, names
from smoothxent import _cli_files

folder = in_folder
FILES = ["logits", "targets", "prior"]


class Touches:
    """Unpickled, it makes a file."""

    def __reduce__(self):
        return Path.touch, (Path("ran"),)


def given(file):
    return {
        "logits": ("bad.npy", "y.npy"),
        "targets": ("z.npy", "bad.npy"),
        "prior": ("z.npy", "y.npy", "--prior", "bad.npy"),
    }[file]


def write(header, data=b""):
    header = header.encode("latin1") + b"\n"
    Path("bad.npy").write_bytes(
        b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data
    )


def of(descr="'<f4'", shape="(500, 20)"):
    return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}"


def test_the_pickle_does_run():
    pickle.loads(pickle.dumps(Touches()))
    assert Path("ran").exists()


@pytest.mark.parametrize("file", FILES)
def test_pickles_are_not_run(capsys, file):
    np.save("bad.npy", np.array([Touches()] * len(Y)), allow_pickle=True)
    assert "bad.npy cannot be read as a .npy file" in failed(capsys, 1, *given(file))
    assert not Path("ran").exists()


# The sizes overflow in NumPy before it refuses them.
@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize(
    "header",
    [
        of(),  # without the data
        of(shape="(1099511627776, 1099511627776)"),
        of(shape="(4294967296, 4294967296)"),  # 2^64 elements
        of(shape="(-500, -20)"),
        of(shape="(0, 9223372036854775808)"),
        of("'?'", shape="(0, 9223372036854775807)"),  # too large only in other types
        of(shape=f"({'9' * 40}, 20)"),
        of(shape="(" * 500 + ")" * 500),
        of(shape="(1,) * 99999999"),
        of(shape="(True, 0)"),
        of(shape="-" * 4000 + "1"),  # deeper than Python parses
        of(descr="'zz'"),
        of(descr="()"),
        of(descr="'(1,2f4'"),
        of(descr="((','),)"),
        of(descr="[('a', '|O')]"),
        "__import__('pathlib').Path('ran').touch()",
        "{",
        "  x\n y\n  z",
        "\xff{",
        "",
    ],
)
def test_malformed_headers(capsys, header, file):
    write(header)
    assert "bad.npy cannot be read as a .npy file" in failed(capsys, 1, *given(file))
    assert not Path("ran").exists()


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize(
    "descr, shape",
    [
        ("'<f4'", "()"),
        ("'|V0'", "(500, 20)"),
        ("'<U1'", "(500, 20)"),
        ("[('a', '<f4')]", "(500, 20)"),
    ],
)
def test_arrays_of_other_kinds(capsys, descr, shape, file):
    write(of(descr, shape), bytes(500 * 20 * 4))
    assert failed(capsys, 1, *given(file)).startswith("smoothxent score: error: bad.npy: ")


@pytest.mark.parametrize("content", [b"\x93NUMPY", b"\x93NUMPY\x09\x00", b"\x93NUMPY\x01\x00\xff"])
def test_cut_off_before_the_header(capsys, content):
    Path("bad.npy").write_bytes(content)
    assert "bad.npy cannot be read as a .npy file" in failed(capsys, 1, *given("logits"))


def lists(array):
    return pa.FixedSizeListArray.from_arrays(pa.array(array.ravel()), array.shape[1])


def write_arrow():
    """A file with one batch; return its content."""
    table = pa.table({"logits": lists(Z)})
    with pa.OSFile("file", "wb") as sink, pa.ipc.new_file(sink, table.schema) as file:
        file.write_table(table)
    return Path("file").read_bytes()


@pytest.mark.parametrize(
    "error, code, said",
    [
        (pa.ArrowInvalid("Output buffer size"), 1, "file cannot be read: Output buffer size"),
        (pa.ArrowNotImplementedError("128 bits"), 1, "file cannot be read: 128 bits"),
        (OSError("Invalid page header"), 1, "file cannot be read: Invalid page header"),
        (IndexError("out of range"), 1, "file cannot be read: out of range"),
        (OSError(5, "broken"), 3, "file cannot be read: [Errno 5] broken"),
        (pa.ArrowMemoryError("malloc failed"), 3, "file cannot be read: malloc failed"),
        (StopIteration(), 1, "column 'logits' of file has fewer rows than its file says"),
    ],
)
def test_batches_that_cannot_be_read(capsys, monkeypatch, error, code, said):
    class Batches:
        def __next__(self):
            raise error

    write_arrow()
    monkeypatch.setattr(_cli_files._ArrowRows, "batches_from", lambda *_: Batches())
    assert failed(capsys, code, "file", "y.npy") == f"smoothxent score: error: {said}"


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("said", ["Unable to allocate 1. KiB", ""])
def test_a_file_for_which_there_is_no_memory_is_not_malformed(capsys, monkeypatch, file, said):
    def lacking(path, **how):
        raise MemoryError(said)

    write(of(), bytes(500 * 20 * 4))
    monkeypatch.setattr(np.lib.format, "open_memmap", lacking)
    text = f"smoothxent score: error: {said or 'not enough memory'}"
    assert failed(capsys, 3, *given(file)) == text


@pytest.mark.parametrize("batch", [pa.array(Z.ravel()[:-1]), lists(Z[:, 1:])])
def test_batches_of_another_shape(capsys, monkeypatch, batch):
    write_arrow()
    monkeypatch.setattr(_cli_files._ArrowRows, "batches_from", lambda *_: iter([batch]))
    said = failed(capsys, 1, "file", "y.npy", "--grad-out", "g.npy")
    assert said.startswith("smoothxent score: error: file cannot be read: ")
    assert names() == ["file", "y.npy", "z.npy"]


@pytest.mark.parametrize("length", [-5, -(2**63)])
def test_negative_lengths(capsys, length):
    """A batch at which pyarrow would abort the process."""
    content, lengths = write_arrow(), struct.pack("<qqqq", ROWS, 0, ROWS * CLASSES, 0)
    assert content.count(lengths) == 1
    negative = struct.pack("<qqqq", length, 0, ROWS * CLASSES, 0)
    Path("file").write_bytes(content.replace(lengths, negative))
    said = failed(capsys, 1, "file", "y.npy")
    assert said.startswith("smoothxent score: error: file cannot be read: ")


@pytest.mark.parametrize("lengths", [[-3], [-3, 503], [2**60]])
def test_numbers_of_rows_that_cannot_be(capsys, monkeypatch, lengths):
    write_arrow()
    start = _cli_files.BatchedRows.__init__
    monkeypatch.setattr(
        _cli_files.BatchedRows, "__init__", lambda rows, field, path, _: start(rows, field, path, lengths)
    )  # fmt: skip
    said = failed(capsys, 1, "file", "y.npy", "--grad-out", "g.npy")
    assert said.startswith(("smoothxent score: error: file ", "smoothxent score: error: column "))


def test_damaged_footer(capsys):
    pa.parquet.write_table(pa.table({"logits": lists(Z)}), "file")
    content = Path("file").read_bytes()
    Path("file").write_bytes(content[:-58] + b"\xff" * 50 + content[-8:])
    said = failed(capsys, 1, "file", "y.npy")
    assert said.startswith("smoothxent score: error: file cannot be read: ")
