"""Nothing in a .npy file is run, and a header that does not fit its file is bad data, for the command."""

import pickle
import struct
from pathlib import Path

import numpy as np
import pytest

from cli_runs import Y, failed, in_folder

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
        of(shape=f"({'9' * 40}, 20)"),
        of(shape="(" * 500 + ")" * 500),
        of(shape="(1,) * 99999999"),
        of(shape="(True, 0)"),
        of(shape="-" * 4000 + "1"),  # deeper than Python parses
        of(descr="'zz'"),
        of(descr="[('a', '|O')]"),
        "__import__('pathlib').Path('ran').touch()",
        "{",
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
