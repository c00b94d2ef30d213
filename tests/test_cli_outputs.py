"""What a run of the command line leaves behind, and what it never destroys: the outputs of another run."""

import os
from pathlib import Path

import pytest

from cli_runs import failed, in_folder, main, names
from smoothxent import _cli_job
from test_cli_resume import JOB, started, wait_for_row
from test_cli_resume import TestResume as Resume

folder = in_folder


def only_progress(part, path, replace=os.replace):
    """Rename progress; interrupt the run where it renames an output."""
    if str(path).endswith(".npy"):
        raise KeyboardInterrupt
    replace(part, path)


class TestOutputs:
    def test_an_option_that_is_refused_destroys_nothing(self, capsys, monkeypatch):
        expected = Resume().expected(capsys)
        Resume().interrupt(monkeypatch, *JOB)
        before = names()
        for wrong in ("0", "-3", "many"):
            assert main(*JOB, "--chunk-rows", wrong, "--resume") == 2
        assert names() == before
        assert main(*JOB, "--resume") == 0
        capsys.readouterr()
        assert Resume().expected(capsys) == expected

    def test_a_file_of_another_job_is_not_the_result(self, capsys, monkeypatch):
        assert main(*JOB, "--temperature", 5) == 0
        with monkeypatch.context() as patched:
            patched.setattr(os, "replace", only_progress)
            assert main(*JOB) == 130
        for part in ("p.npy.part", "g.npy.part"):
            Path(part).unlink()
        capsys.readouterr()
        assert "p.npy is not the output that" in failed(capsys, 1, *JOB, "--resume")

    @pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
    def test_no_part_is_left_if_there_is_no_progress(self, capsys, monkeypatch, error):
        def at_once(*arguments, **options):
            raise error

        monkeypatch.setattr(_cli_job, "score_chunks", at_once)
        assert main(*JOB) in (130, 3)
        assert names() == ["y.npy", "z.npy"]

    @pytest.mark.parametrize("number", [1, 2])
    def test_no_part_is_left_if_room_is_still_being_reserved(self, capsys, monkeypatch, number):
        reserved = []

        def interrupted(path):
            reserved.append(path)
            if len(reserved) == number:
                raise KeyboardInterrupt

        monkeypatch.setattr(_cli_job, "_reserve", interrupted)
        assert main(*JOB) == 130
        assert len(reserved) == number
        assert names() == ["y.npy", "z.npy"]

    @pytest.mark.skipif(_cli_job.fcntl is None, reason="the system locks files that are mapped")
    def test_two_runs_with_one_output(self, capsys):
        with started("--temperature", "2") as first:
            wait_for_row(first, 3)
            said = failed(capsys, 3, *JOB)
            assert said.endswith("another run is writing it: 'p.npy.part'")
            assert first.wait() == 0, first.communicate()
        assert names() == ["g.npy", "p.npy", "y.npy", "z.npy"]
