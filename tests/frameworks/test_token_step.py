"""A training step of the tokens demo with torch's loss instead of ours."""

import re

import pytest
import torch

import token_step


@pytest.fixture(autouse=True)
def same_number_of_torchs_threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_both_losses_have_a_row(capsys):
    """After their gradients have been found equal."""
    token_step.main(["--rounds=2"])
    rows = re.findall(
        r"^  (\S+) +\d+\.\d+ +\d+\.\d+ +\d+\.\d%$", capsys.readouterr().out, re.MULTILINE
    )
    assert rows == ["smoothxent", "torch"]


def test_the_gradient_is_that_of_the_mean():
    losses = {"smoothxent": token_step.of_smoothxent(), "torch": token_step.of_torch(torch)}
    token_step.compare(losses)
    with pytest.raises(ArithmeticError, match="sum: the gradient is off by"):
        token_step.compare({**losses, "sum": lambda *a: token_step.BATCH * losses["torch"](*a)})
