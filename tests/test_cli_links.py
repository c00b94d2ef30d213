"""Files of the command that are behind symbolic links."""

from pathlib import Path

import pytest

from cli_runs import failed, in_folder, names

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
