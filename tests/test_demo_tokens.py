"""The tokens demo runs as a user runs it; and its parts: the text, the network, the methods."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import smoothxent as sx
import token_corpus
import token_step
import token_training
import train_tokens
from token_corpus import CLASSES, CONTEXT, END_OF_LINE, OTHER, TEST, TRAINING, VALIDATION
from token_network import Network
from token_training import DROPOUT, EPS, HARD, METHODS, UNIFORM, UNIGRAM, Plan

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
PICTURES = ("token_learning_curves.png", "token_reliability.png")
METRICS = ("top-1 error", "top-5 error", "perplexity", "ECE", "entropy")

# Three values rounded to 0.01, or finer.
THREE_ROUNDINGS = 0.016
# A central difference with step h in float64: errors of h² times the curvature, and of an ulp of the loss over h.
STEP, FINITE_DIFFERENCE = 1e-5, 1e-7
# Plain float64 formulas, less accurate than the kernels.
PLAIN_FORMULA = 1e-14


def run(script, *options, cwd):
    return subprocess.run(
        [sys.executable, EXAMPLES / script, *map(str, options)],
        cwd=cwd,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=300,
    )


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The output of the demo, and the folder of its pictures."""
    out = tmp_path_factory.mktemp("demo_tokens")
    done = run("train_tokens.py", "--quick", "--out", out, cwd=out)
    assert done.returncode == 0, done.stderr
    return done.stdout, out


def parts(text):
    """The three parts of the table, each {method: [mean of every metric]}."""
    table = text[text.index("  mean ± 95 % interval") :]
    values, _, rest = table.partition("  paired difference to eps = 0 ")
    to_hard, _, rest = rest.partition("  ... to uniform prior ")
    to_uniform, _, _ = rest.partition("\n\n")
    rows = re.compile(r"^  eps = \S+ +(\D+?) {2,}(.*)$", re.MULTILINE)
    means = re.compile(r"([-+]?\d+\.\d+) ± \d+\.\d+")
    for part in (values, to_hard, to_uniform):
        yield {name: [float(m) for m in means.findall(line)] for name, line in rows.findall(part)}


class TestOutput:
    def test_every_method_has_its_row_of_numbers(self, demo):
        values, to_hard, to_uniform = parts(demo[0])
        assert list(values) == [method.name for method in METHODS]
        assert list(to_hard) == ["uniform prior", "unigram prior", "label dropout"]
        assert list(to_uniform) == ["unigram prior", "label dropout"]
        for part in (values, to_hard, to_uniform):
            assert {len(means) for means in part.values()} == {len(METRICS)}

    def test_differences_are_those_of_the_values(self, demo):
        values, to_hard, to_uniform = parts(demo[0])
        for part, reference in ((to_hard, "hard labels"), (to_uniform, "uniform prior")):
            for name, differences in part.items():
                of_means = np.subtract(values[name], values[reference])
                np.testing.assert_allclose(differences, of_means, rtol=0, atol=THREE_ROUNDINGS)
                assert any(differences)  # methods differ

    def test_networks_have_learned(self, demo):
        """After 80 steps they do better than always predicting the most frequent token."""
        text, _ = demo
        frequent = float(re.search(r"^always \S+: error ([\d.]+)%$", text, re.MULTILINE)[1])
        for top_1, top_5, perplexity, _, entropy in parts(text).__next__().values():
            assert 0 < top_5 < top_1 < frequent - 10
            assert 1 < perplexity < CLASSES / 10
            assert 0 < entropy < np.log(CLASSES)

    def test_smoothing_makes_predictions_less_certain(self, demo):
        """Towards the uniform prior most, since no distribution has more entropy."""
        _, to_hard, to_uniform = parts(demo[0])
        assert to_hard["uniform prior"][-1] > 0
        assert to_uniform["unigram prior"][-1] < 0

    def test_share_of_the_loss(self, demo):
        shares = re.findall(r"(\d+\.\d)% +\((\d+\.\d+) of (\d+\.\d+) ms\)$", demo[0], re.MULTILINE)
        assert len(shares) == len(METHODS)
        for share, loss, step in shares:
            assert 0 < float(loss) < float(step)
            rounding = 0.05 + 100 * 0.001 / float(step)
            assert abs(float(share) - 100 * float(loss) / float(step)) < rounding

    def test_pictures(self, demo):
        from matplotlib.image import imread  # takes half a second, in each worker

        text, out = demo
        assert {path.name for path in out.glob("*.png")} == set(PICTURES)
        for name in PICTURES:
            assert f"wrote {out / name}" in text
            pixels = imread(out / name)[..., :3]
            assert min(pixels.shape[:2]) > 300
            assert len(np.unique(pixels.sum(axis=-1))) > 20  # not one flat colour

    def test_a_step_with_and_without_torch(self, tmp_path):
        done = run("token_step.py", "--rounds=3", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert re.search(r"^  smoothxent +\d+\.\d+ +\d+\.\d+ +\d+\.\d%$", done.stdout, re.MULTILINE)
        with_torch = importlib.util.find_spec("torch") is not None
        assert ("torch cannot be imported here" in done.stdout) != with_torch


@pytest.mark.parametrize(
    "main, option, message",
    [
        (train_tokens.main, "--seeds=1", "--seeds must be at least 2"),
        (train_tokens.main, "--processes=0", "--processes must be at least 1, got 0"),
        (token_step.main, "--rounds=0", "--rounds must be at least 1, got 0"),
    ],
)
def test_options_that_make_no_sense(main, option, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        main([option])
    printed = capsys.readouterr()
    assert printed.out == ""
    assert message in printed.err


@pytest.fixture(scope="module")
def files():
    """Some of each side, whichever files a distribution of Python has."""
    sides: dict[str, list[Path]] = {TRAINING: [], VALIDATION: [], TEST: []}
    for file in token_corpus.library_files():
        sides[token_corpus.side_of(token_corpus.module_of(file))].append(file)
    return sorted(file for of_side in sides.values() for file in of_side[::24])


@pytest.fixture(scope="module")
def corpus(files):
    return token_corpus.read(files, lambda name: None)


class TestText:
    def test_no_module_is_on_two_sides(self):
        """In the whole library, only tests and installed packages are on no side."""
        by_side = {TRAINING: set(), VALIDATION: set(), TEST: set()}
        for file in token_corpus.library_files():
            module = token_corpus.module_of(file)
            by_side[token_corpus.side_of(module)].add(module)
            assert not {"test", "site-packages"} & set(file.parts)
        assert all(by_side.values())
        assert sum(map(len, by_side.values())) == len(set.union(*by_side.values()))
        assert {"asyncio", "email"} <= by_side[TRAINING]  # in any version of Python
        assert {"json", "logging"} <= by_side[TEST]
        assert {"multiprocessing", "re"} <= by_side[VALIDATION]

    def test_vocabulary(self, corpus):
        counts = np.bincount(corpus.texts[TRAINING].labels, minlength=CLASSES)
        assert len(corpus.vocabulary) == len(set(corpus.vocabulary)) == len(counts) == CLASSES
        assert corpus.vocabulary[-1] == OTHER
        assert (np.diff(counts[:-1]) <= 0).all()
        assert counts.min() > 0

    def test_every_token_is_an_example(self, corpus, files):
        assert len(files) == sum(text.files for text in corpus.texts.values())
        folder, text = token_corpus.library_folder(), corpus.texts[VALIDATION]
        of_side = [file for file in files if token_corpus.module_of(file) in text.modules]
        tokens = [token for file in of_side for token in token_corpus.tokens_of(folder / file)]
        known = [token if token in corpus.vocabulary else OTHER for token in tokens]
        assert [corpus.vocabulary[label] for label in text.labels] == known

    def test_contexts_stay_within_their_file(self):
        vocabulary = (END_OF_LINE, "a", "b", OTHER)
        text = token_corpus.text_of({Path("m.py"): ["a", "b"], Path("n.py"): ["?"]}, vocabulary)
        contexts, labels = text.examples(slice(None))
        before = [0] * CONTEXT
        assert labels.tolist() == text.labels.tolist() == [1, 2, 3]
        assert contexts.tolist() == [before, [*before, 1][1:], before]

    def test_tokens(self, tmp_path):
        file = tmp_path / "a.py"
        file.write_text("# comment\n\ndef f(x):\n    'doc'\n    return x + 1\n")
        assert token_corpus.tokens_of(file) == [
            "def", "f", "(", "x", ")", ":", "<newline>", "<indent>", "<string>", "<newline>",
            "return", "x", "+", "1", "<newline>", "<dedent>",
        ]  # fmt: skip

    def test_files_that_cannot_be_read_are_named(self, tmp_path, monkeypatch):
        names = "\n".join(f"name_{k} = {k}" for k in range(CLASSES))
        broken = {"a.py": b"x = (", "b.py": b"\xff = 1", "c.py": b"if x:\n  y\n z\n"}
        for name, content in {**broken, "asyncio.py": names.encode()}.items():
            (tmp_path / name).write_bytes(content)
        monkeypatch.setattr(token_corpus, "library_folder", lambda: tmp_path)
        read = token_corpus.read(token_corpus.library_files(), lambda name: None)
        assert [reason.partition(":")[0] for reason in read.unreadable] == list(broken)
        assert read.texts[TRAINING].modules == ("asyncio",)

    def test_too_little_text(self, tmp_path, monkeypatch):
        monkeypatch.setattr(token_corpus, "library_folder", lambda: tmp_path)
        with pytest.raises(RuntimeError, match="no sources of the standard library"):
            token_corpus.library_files()
        with pytest.raises(ValueError, match="999 different tokens are needed, the text has 2"):
            token_corpus.most_frequent([["a", "b"], ["a"]])


def test_gradient_of_the_network():
    """Along a random direction of each parameter, in float64, beside a central difference."""
    rng = np.random.default_rng(0)
    network = Network.initial(rng, np.float64)
    tokens = rng.integers(0, CLASSES, (6, CONTEXT + 1))
    tokens[1] = tokens[0]  # a token that occurs in several places
    contexts, labels = tokens[:, :-1].astype(np.int16), tokens[:, -1]
    layers = network.layers(contexts)
    _, upstream = sx.cross_entropy_value_and_grad(layers.logits, labels, label_smoothing=EPS)
    gradient = network.gradient(contexts, layers, upstream)
    for parameter, of_parameter in zip(network.parameters, gradient.parameters):
        direction = rng.standard_normal(parameter.shape)
        direction /= np.linalg.norm(direction)
        losses = []
        for step in (STEP, -2 * STEP):
            parameter += step * direction
            logits = network.layers(contexts).logits
            losses.append(sx.cross_entropy(logits, labels, label_smoothing=EPS))
        parameter += STEP * direction
        slope = (losses[0] - losses[1]) / (2 * STEP)
        assert abs(slope) > 100 * FINITE_DIFFERENCE
        assert (of_parameter * direction).sum() == pytest.approx(
            slope, rel=0, abs=FINITE_DIFFERENCE
        )


class TestMethods:
    PRIORS = {  # noqa: RUF012
        UNIFORM: np.full(CLASSES, 1 / CLASSES),
        UNIGRAM: np.arange(CLASSES) / (CLASSES * (CLASSES - 1) / 2),
    }

    @pytest.mark.parametrize("method", [HARD, UNIFORM, UNIGRAM], ids=str)
    def test_gradient_is_p_minus_smoothed_labels(self, method):
        rng = np.random.default_rng(0)
        logits, labels = rng.standard_normal((3, CLASSES)), rng.integers(0, CLASSES, 3)
        q = np.eye(CLASSES)[labels]
        if method is not HARD:
            q = 0.9 * q + 0.1 * self.PRIORS[method]
        p = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
        prior = self.PRIORS[UNIGRAM] if method.unigram else None
        loss, gradient = token_training.loss_and_gradient(logits, labels, method, prior, rng)
        assert gradient is logits  # in place
        np.testing.assert_allclose(gradient, (p - q) / 3, rtol=0, atol=PLAIN_FORMULA)
        assert loss == pytest.approx(-(q * np.log(p)).sum() / 3, rel=PLAIN_FORMULA)

    def test_label_dropout_is_smoothing_in_expectation(self):
        """Within five standard errors of a mean over rows that are all the same."""
        rng = np.random.default_rng(0)
        rows, row, label = 10_000, rng.standard_normal(CLASSES), 3
        expected, smoothed = token_training.loss_and_gradient(
            row[None].copy(), np.array([label]), UNIFORM, None, rng
        )
        logits = np.tile(row, (rows, 1))
        loss, gradient = token_training.loss_and_gradient(
            logits, np.full(rows, label), DROPOUT, None, rng
        )
        dropped = EPS * (1 - 1 / CLASSES)
        of_one = np.sqrt(dropped * (1 - dropped))
        assert abs(gradient.sum(axis=0)[label] - smoothed[0, label]) < 5 * of_one / np.sqrt(rows)
        largest_step = np.ptp(row)
        assert abs(loss - expected) < 5 * of_one * largest_step / np.sqrt(rows)
        assert loss != expected

    def test_a_seed_decides_the_figures(self, corpus):
        plan = Plan(steps=5, looks=2, validation_rows=100, test_rows=100)

        def trained(method, seed):
            return token_training.run(corpus, plan, method, seed, lambda text: None)

        first, again = trained(DROPOUT, 0), trained(DROPOUT, 0)
        assert [step for step, _ in first.trained.curve] == [3, 5]
        assert first.trained.curve == again.trained.curve
        assert first.test.score == again.test.score
        assert first.test.score != trained(DROPOUT, 1).test.score
        assert first.test.score != trained(UNIFORM, 0).test.score
        assert first.test.score.rows == first.test.bins[0].sum() == 100

    def test_entropy_is_that_of_the_predictions(self, corpus):
        network = Network.initial(np.random.default_rng(0))
        text = corpus.texts[TEST]
        contexts, labels = text.examples(token_training.every_nth(text, 50))
        p = sx.softmax(network.layers(contexts).logits.astype(np.float64))
        found = token_training.evaluate(network, text, 50)
        assert found.entropy == pytest.approx(-(p * np.log(p)).sum() / 50, rel=1e-6)  # of float32
        assert found.score.accuracy == (p.argmax(axis=-1) == labels).mean()
