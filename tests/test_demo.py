"""The demo runs as a user runs it: tables with every arm, three pictures that are not empty."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import train_digits

ROOT = Path(__file__).parents[1]
EPS = ("0.05", "0.1", "0.2")
METHODS = {
    "balanced": ("uniform prior", "label dropout"),
    "unbalanced": ("uniform prior", "class prior"),
}
PICTURES = ("reliability.png", "logit_gaps.png", "gallery.png")


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The output of the demo, and the folder of its pictures."""
    out = tmp_path_factory.mktemp("demo")
    run = subprocess.run(
        [sys.executable, ROOT / "examples" / "train_digits.py", "--quick", "--out", out],
        cwd=out,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout, out


ROW = re.compile(r"^  eps = (\S+) +(\D+?) {2,}(.*)$", re.MULTILINE)
INTERVAL = re.compile(r"([-+]?\d+\.\d+) ± \d+\.\d+")


def parts(text, model, split):
    """The three parts of a table, each {(method, eps): [the mean of every metric]}."""
    _, _, rest = text.partition(f"\n{model}, {split} split\n")
    table, _, _ = rest.partition("\n\n")
    values, _, rest = table.partition("  paired difference to eps = 0 ")
    to_baseline, _, to_uniform = rest.partition("  ... to uniform prior, same eps ")
    for part in (values, to_baseline, to_uniform):
        yield {
            (method, eps): [float(mean) for mean in INTERVAL.findall(numbers)]
            for eps, method, numbers in ROW.findall(part)
        }


@pytest.mark.parametrize("model", ["softmax regression", "network"])
@pytest.mark.parametrize("split", METHODS)
class TestTable:
    def test_every_arm_has_its_row_of_numbers(self, demo, model, split):
        values, to_baseline, to_uniform = parts(demo[0], model, split)
        smoothed = {(method, eps) for method in METHODS[split] for eps in EPS}
        assert set(values) == smoothed | {("hard labels", "0")}
        assert set(to_baseline) == smoothed
        assert set(to_uniform) == {arm for arm in smoothed if arm[0] != "uniform prior"}
        for part in (values, to_baseline, to_uniform):
            assert {len(means) for means in part.values()} == {4}

    def test_differences_are_those_of_the_values(self, demo, model, split):
        values, to_baseline, to_uniform = parts(demo[0], model, split)
        for part, reference in ((to_baseline, lambda eps: ("hard labels", "0")),
                                (to_uniform, lambda eps: ("uniform prior", eps))):  # fmt: skip
            for (method, eps), differences in part.items():
                of_means = np.subtract(values[method, eps], values[reference(eps)])
                np.testing.assert_allclose(
                    differences, of_means, rtol=0, atol=0.016
                )  # three roundings to 0.01

    def test_methods_differ_at_the_same_eps(self, demo, model, split):
        """If a prior were not used, or no labels dropped, the differences would be 0."""
        _, _, to_uniform = parts(demo[0], model, split)
        for differences in to_uniform.values():
            assert any(abs(difference) >= 0.0002 for difference in differences)

    def test_classifiers_have_learned(self, demo, model, split):
        """Guessing has an error of 90 %; --quick, with few examples of some digits, reaches half of that."""
        values, _, _ = parts(demo[0], model, split)
        for error, *_ in values.values():
            assert 0 < error < (20 if split == "balanced" else 70)

    def test_smoothing_narrows_the_gap_of_the_logits(self, demo, model, split):
        """The subject of section 7 of the paper: the largest logit stays nearer to the others."""
        _, to_baseline, _ = parts(demo[0], model, split)
        gaps = [to_baseline["uniform prior", eps][-1] for eps in EPS]
        assert 0 > gaps[0] > gaps[1] > gaps[2]


def test_pictures(demo):
    from matplotlib.image import imread  # takes half a second, in each worker

    text, out = demo
    assert {path.name for path in out.glob("*.png")} == set(PICTURES)
    for name in PICTURES:
        assert f"wrote {out / name}" in text
        pixels = imread(out / name)[..., :3]
        assert min(pixels.shape[:2]) > 300
        colours = np.round(255 * pixels).astype(int) @ [1, 2**8, 2**16]
        assert len(np.unique(colours)) > 20  # not one flat colour
        assert pixels.std() > 0.02


@pytest.mark.parametrize(
    "option, message",
    [
        ("--seeds=1", "--seeds must be at least 2 (an interval needs two), got 1"),
        ("--processes=0", "--processes must be at least 1, got 0"),
    ],
)
def test_options_that_make_no_sense(option, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        train_digits.main([option])
    printed = capsys.readouterr()
    assert printed.out == ""
    assert message in printed.err
