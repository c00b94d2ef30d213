"""Files of the command behind symbolic links, and in file systems that reserve no room."""

import errno
import os
from pathlib import Path

import pytest

from cli_runs import failed, in_folder, names, scored

folder = in_folder


@pytest.mark.parametrize(
    "arguments",
    [("loop", "y.npy"), ("z.npy", "loop"), ("z.npy", "y.npy", "--prior", "loop")],
    ids=["logits", "targets", "prior"],
)
def test_a_link_to_itself_cannot_be_opened(capsys, arguments):
    Path("loop").symlink_to("loop")
    assert failed(capsys, 3, *arguments).endswith("'loop'")


def test_an_output_behind_a_link_to_itself_cannot_be_opened(capsys):
    Path("loop").symlink_to("loop")
    said = failed(capsys, 3, "z.npy", "y.npy", "--grad-out", "loop/g.npy")
    assert said.endswith("'loop/g.npy.part'")
    assert names() == ["loop", "y.npy", "z.npy"]


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="no system reserves room")
@pytest.mark.parametrize("number", [errno.EINVAL, errno.EOPNOTSUPP])
def test_room_that_cannot_be_reserved(capsys, monkeypatch, number):
    def unsupported(*arguments):
        raise OSError(number, "unsupported")

    monkeypatch.setattr(os, "posix_fallocate", unsupported)
    scored(capsys, "z.npy", "y.npy", "--grad-out", "g.npy")
    assert names() == ["g.npy", "y.npy", "z.npy"]


@pytest.mark.skipif(not Path("/dev/fd").exists(), reason="needs /dev/fd")
def test_a_pipe_without_a_path(capsys):
    """As /dev/stdout may be: it is refused before the run."""
    for file in os.pipe():
        said = failed(capsys, 3, "z.npy", "y.npy", "--grad-out", f"/dev/fd/{file}")
        os.close(file)
        assert said.endswith(f"--grad-out: /dev/fd/{file} is not a regular file")
