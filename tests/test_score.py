"""score: the exact sums of the results of the other functions for each row, for any chunks."""

import itertools
import math
import pickle

import numpy as np
import pytest

import smoothxent as sx
from problems import STORED, one_hot, problem, random_probabilities

ROWS, CLASSES = 101, 12
Z, Y, U = problem(CLASSES, np.float32, rows=ROWS)
RNG = np.random.default_rng(5)
S = RNG.exponential(size=ROWS).round(2)
C = RNG.exponential(size=CLASSES)
Q = random_probabilities(RNG, ROWS, CLASSES, np.float64)
U_ROWS = random_probabilities(RNG, ROWS, CLASSES, np.float64)
KEPT = RNG.random((ROWS, CLASSES)) < 0.8
KEPT[np.arange(ROWS), Y] = True
S[[3, 50]] = 0
SOME_IGNORED = np.where(np.arange(ROWS) % 7 == 1, -100, Y)

CASES = {
    "labels": (Y, {}),
    "smoothing": (Y, {"label_smoothing": 0.1}),
    "prior": (Y, {"label_smoothing": 0.1, "prior": U}),
    "prior of each row": (Y, {"label_smoothing": 0.1, "prior": U_ROWS}),
    "class weights": (Y, {"class_weight": C}),
    "sample weights": (SOME_IGNORED, {"sample_weight": S}),
    "one weight": (Y, {"sample_weight": 0.5}),
    "where": (Y, {"where": KEPT}),
    "where of classes": (np.minimum(Y, 9), {"where": np.arange(CLASSES) < 10}),
    "where for all": (np.minimum(Y, 9), {"where": np.arange(CLASSES)[np.newaxis] < 10}),
    "temperature": (Y, {"temperature": 0.3}),
    "z_loss": (Y, {"z_loss": 0.01}),
    "ignored": (SOME_IGNORED, {"label_smoothing": 0.1}),
    "another ignore_index": (Y, {"ignore_index": 3}),
    "no ignore_index": (Y, {"ignore_index": None}),
    "probabilities": (Q, {"label_smoothing": 0.1}),
    "everything": (
        SOME_IGNORED,
        {"label_smoothing": 0.2, "prior": U_ROWS, "class_weight": C, "sample_weight": S,
         "where": KEPT, "temperature": 2.0, "z_loss": 0.01, "ignore_index": -100},
    ),
    "everything, probabilities": (
        Q * KEPT,
        {"label_smoothing": 0.2, "prior": U_ROWS, "class_weight": C, "sample_weight": S,
         "where": KEPT, "temperature": 2.0, "z_loss": 0.01},
    ),
}  # fmt: skip
cases = pytest.mark.parametrize("targets, options", CASES.values(), ids=CASES)


def counted(targets, options):
    """Which rows count."""
    rows = np.broadcast_to(np.asarray(options.get("sample_weight", 1.0)) != 0, (ROWS,))
    ignored = options.get("ignore_index", -100)
    return rows & (targets != ignored) if targets.ndim == 1 and ignored is not None else rows


def weights(options):
    return np.broadcast_to(options.get("sample_weight", 1.0), (ROWS,)).astype(float)


class TestFigures:
    @cases
    def test_loss_is_the_mean_of_the_losses_of_the_rows(self, targets, options):
        score = sx.score(Z, targets, **options)
        losses = sx.cross_entropy(Z, targets, reduction="none", **options)
        assert score.loss == pytest.approx(math.fsum(losses) / score.divisor, rel=1e-15)
        assert score.loss == pytest.approx(sx.cross_entropy(Z, targets, **options), rel=1e-7)

    @cases
    def test_float64_loss_is_that_of_cross_entropy(self, targets, options):
        z = Z.astype(np.float64)
        mean = sx.cross_entropy(z, targets, **options)
        assert sx.score(z, targets, **options).loss == pytest.approx(mean, rel=1e-15)

    @cases
    def test_terms_are_means_over_the_rows_that_count(self, targets, options):
        score = sx.score(Z, targets, **options)
        own = {
            k: v
            for k, v in options.items()
            if k in ("prior", "ignore_index", "where", "temperature")
        }
        terms, rows = sx.cross_entropy_terms(Z, targets, **own), counted(targets, options)
        s = weights(options)[rows]
        for name, values in terms._asdict().items():
            mean = math.fsum(values[rows] * s) / math.fsum(s)
            assert getattr(score, name) == pytest.approx(mean, rel=1e-14), name
        assert score.perplexity == pytest.approx(math.exp(score.nll), rel=2**-52)
        assert (score.rows, score.ignored_rows) == (rows.sum(), (~rows).sum())
        assert score.nonfinite_rows == 0

    @cases
    def test_accuracy_and_calibration(self, targets, options):
        score = sx.score(Z, targets, top_k=3, **options)
        own = {k: v for k, v in options.items() if k in ("where", "temperature")}
        p, rows = sx.softmax(Z, **own).astype(float), counted(targets, options)
        labels = np.maximum(targets, 0) if targets.ndim == 1 else targets.argmax(-1)
        rank = (p > np.take_along_axis(p, labels[:, None], -1)).sum(-1)[rows]
        s = weights(options)[rows]
        for k, figure in (
            (1, score.accuracy),
            (3, score.top_k_accuracy),
            (5, score.top_5_accuracy),
        ):
            assert figure == pytest.approx((s * (rank < k)).sum() / s.sum(), rel=1e-12)
        confidence, error = p[rows].max(-1), 0.0
        for low in range(15):
            here = (confidence > low / 15) & (confidence <= (low + 1) / 15)
            error += abs((s * ((rank < 1) - confidence))[here].sum())
        assert score.calibration_error == pytest.approx(error / s.sum(), rel=1e-6)

    def test_by_hand(self):
        """Two rows of confidence 3/4, one of which is right, and one of confidence 1/2, ..."""
        z = np.log([[3.0, 1.0], [1.0, 3.0], [2.0, 2.0]])
        score = sx.score(z, [0, 0, 1])
        assert score.nll == pytest.approx((math.log(4 / 3) + math.log(4) + math.log(2)) / 3)
        assert score.perplexity == pytest.approx((4 / 3 * 4 * 2) ** (1 / 3))
        assert score.accuracy == 1 / 3  # with equal logits the first class is predicted
        assert score.calibration_error == pytest.approx((2 * (3 / 4 - 1 / 2) + 1 / 2) / 3)
        assert (score.rows, score.divisor, score.top_k_accuracy) == (3, 3.0, None)

    @pytest.mark.parametrize("low, high", [(0.05, 0.1), (0.07, 0.13), (0.06, 0.07), (0.61, 0.65)])
    def test_bins_of_the_calibration_error(self, low, high):
        """Two predictions, one of which is right: a gap in each of two bins, or one gap in one bin."""
        p = np.full((2, 100), [[(1 - low) / 99], [(1 - high) / 99]])
        p[:, 7] = low, high
        gaps = -low, 1 - high
        in_one_bin = math.ceil(15 * low) == math.ceil(15 * high)
        error = abs(sum(gaps)) if in_one_bin else sum(map(abs, gaps))
        assert sx.score(np.log(p), [8, 7]).calibration_error == pytest.approx(error / 2)

    @pytest.mark.parametrize("dtype", STORED, ids=str)
    def test_types(self, dtype):
        z = Z.astype(dtype)
        score = sx.score(z, Y, label_smoothing=0.1, chunk_rows=7)
        losses = sx.cross_entropy(z, Y, label_smoothing=0.1, reduction="none")
        assert score.loss == pytest.approx(math.fsum(losses.astype(float)) / ROWS, rel=1e-15)

    @pytest.mark.parametrize("dtype", STORED[:2], ids=str)
    @pytest.mark.parametrize(
        "options", [{}, {"temperature": 3.0, "where": KEPT}], ids=["", "options"]
    )
    def test_confidences_have_more_than_16_bits(self, dtype, options):
        z = Z.astype(dtype)
        stored, wide = (sx.score(a, Y, **options) for a in (z, z.astype(np.float32)))
        assert stored.accuracy == wide.accuracy
        assert stored.calibration_error == pytest.approx(wide.calibration_error, abs=1e-6)

    def test_class_of_one_hot_rows_is_that_of_the_labels(self):
        assert sx.score(Z, one_hot(Y, CLASSES)) == sx.score(Z, Y)

    def test_few_classes(self):
        assert sx.score(Z[:, :3], Y % 3).top_5_accuracy == 1
        one = sx.score(Z[:, :1], Y * 0)
        assert (one.loss, one.accuracy, one.calibration_error) == (0, 1, 0)

    def test_several_axes_of_rows(self):
        z, y, s = Z[:100].reshape(25, 4, CLASSES), Y[:100].reshape(25, 4), S[:100].reshape(25, 4)
        flat = sx.score(Z[:100], Y[:100], sample_weight=S[:100])
        assert sx.score(z, y, sample_weight=s, chunk_rows=2) == flat

    def test_no_rows(self):
        for z, y in ((Z[:0], Y[:0]), (Z, np.full(ROWS, -100)), (np.zeros((0, 3)), [])):
            score = sx.score(z, y, label_smoothing=0.1)
            assert (score.rows, score.divisor) == (0, 0)
            assert math.isnan(score.loss)
            assert math.isnan(score.accuracy)


class TestSpecialValues:
    def test_what_does_not_count_is_not_seen(self):
        z, s = Z.copy(), np.ones(ROWS)
        y = Y.copy()
        y[4], s[5] = -100, 0
        z[[4, 5]] = np.nan
        kept = np.ones((ROWS, CLASSES), bool)
        kept[6] = False
        score = sx.score(z, y, label_smoothing=0.1, sample_weight=s, where=kept, chunk_rows=10)
        rest = np.delete(np.arange(ROWS), [4, 5, 6])
        others = sx.score(Z[rest], Y[rest], label_smoothing=0.1)
        assert score.as_dict() == others.as_dict() | {"ignored_rows": 3}

    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_nan(self, value):
        z = Z.copy()
        z[[40, 60], 2] = value
        score = sx.score(z, Y, chunk_rows=10)
        assert score.nonfinite_rows == 2
        for figure in (score.loss, score.nll, score.perplexity, score.calibration_error):
            assert math.isnan(figure)
        rest = sx.score(np.delete(Z, [40, 60], 0), np.delete(Y, [40, 60]))
        assert score.accuracy * ROWS == pytest.approx(rest.accuracy * (ROWS - 2))  # they are wrong
        assert "the loss of 2 is infinite or nan" in repr(score)

    def test_infinite_loss(self):
        z = Z.copy()
        z[7, Y[7]] = -np.inf
        score = sx.score(z, Y)
        assert (score.loss, score.perplexity, score.nonfinite_rows) == (np.inf, np.inf, 1)
        assert math.isfinite(score.calibration_error)

    def test_masked_class_is_never_predicted(self):
        kept = np.arange(CLASSES) == 2
        score = sx.score(Z, np.full(ROWS, 1), where=kept)
        assert (score.accuracy, score.top_5_accuracy, score.loss) == (0, 0, np.inf)

    def test_perplexity_beyond_the_range(self):
        assert sx.score([[0.0, 1e5]], [0]).perplexity == np.inf

    def test_weights_beyond_the_range(self):
        score = sx.score(Z, Y, sample_weight=np.full(ROWS, 1e308))
        assert score.accuracy == pytest.approx(sx.score(Z, Y).accuracy)


def run(targets, options, **how):
    """The score and the outputs."""
    outputs = [np.full(Z.shape, 7, np.float32) for _ in range(2)]
    score = sx.score(
        Z, targets, top_k=2, log_probs_out=outputs[0], grad_out=outputs[1], **how, **options
    )
    return score, [out.tobytes() for out in outputs]


class TestChunks:
    @cases
    def test_no_bit_depends_on_chunks(self, targets, options):
        whole = run(targets, options)
        assert whole[0] == sx.score(Z, targets, top_k=2, **options)
        for chunk_rows in (1, 7, 50, ROWS, 1000):
            assert run(targets, options, chunk_rows=chunk_rows) == whole

    @cases
    def test_outputs(self, targets, options):
        _, (log_probs, grad) = run(targets, options, chunk_rows=9)
        own = {k: v for k, v in options.items() if k in ("where", "temperature")}
        assert log_probs == sx.log_softmax(Z, **own).tobytes()
        _, expected = sx.cross_entropy_value_and_grad(Z, targets, reduction="none", **options)
        assert grad == expected.tobytes()

    def test_parts_add_up(self):
        whole = sx.score(Z, Y, label_smoothing=0.1, sample_weight=S)
        for cuts in ((50,), (1, 2, 100), range(1, ROWS)):
            places = [0, *cuts, ROWS]
            parts = [
                sx.score(Z[a:b], Y[a:b], label_smoothing=0.1, sample_weight=S[a:b])
                for a, b in itertools.pairwise(places)
            ]
            assert sum(parts) == sum(reversed(parts)) == whole
            assert sum(parts).as_dict() == whole.as_dict()
        assert sx.Score() + whole == whole
        assert whole + whole != whole

    def test_other_things_do_not_add_up(self):
        with pytest.raises(ValueError, match="^scores with top_k None and 2 cannot be added to"):
            sx.score(Z, Y) + sx.score(Z, Y, top_k=2)
        with pytest.raises(TypeError):
            sx.score(Z, Y) + 1
        with pytest.raises(TypeError):
            1 + sx.score(Z, Y)

    def test_on_chunk(self):
        calls = []
        score = sx.score(Z, Y, chunk_rows=40, on_chunk=lambda *call: calls.append(call))
        assert [row for _, row in calls] == [40, 80, ROWS]
        assert [part.rows for part, _ in calls] == [40, 80, ROWS]
        assert calls[-1][0] == score
        assert calls[0][0] == sx.score(Z[:40], Y[:40])

    def test_stopped_and_resumed(self):
        """An exception from on_chunk ends the run; the arguments of on_chunk are enough to continue."""
        whole, outputs = run(SOME_IGNORED, {"label_smoothing": 0.1})
        log_probs, grad = np.full_like(Z, 7), np.full_like(Z, 7)
        how = {"top_k": 2, "label_smoothing": 0.1, "log_probs_out": log_probs, "grad_out": grad}
        kept = []

        def stop(score, row):
            kept.append((pickle.loads(pickle.dumps(score)), row))
            if row >= 60:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            sx.score(Z, SOME_IGNORED, chunk_rows=12, on_chunk=stop, **how)
        score, row = kept[-1]
        assert row == 60
        assert (log_probs[60:] == 7).all()
        assert score + sx.score(Z, SOME_IGNORED, start=row, chunk_rows=5, **how) == whole
        assert [log_probs.tobytes(), grad.tobytes()] == outputs

    def test_start(self):
        grad = np.full_like(Z, 7)
        assert sx.score(Z, Y, start=90, grad_out=grad) == sx.score(Z[90:], Y[90:])
        assert (grad[:90] == 7).all()
        assert sx.score(Z, Y, start=ROWS).rows == 0


class TestArrays:
    def test_layouts_and_types_are_read_in_chunks(self):
        wide = np.zeros((2 * ROWS, 3 * CLASSES), np.float32)
        wide[::2, 1::3] = Z
        big = Z.astype(">f4"), Y.astype(">i2")
        whole = sx.score(Z, Y)
        for z, y in ((wide[::2, 1::3], Y), (np.asfortranarray(Z), Y), big, (Z, Y.astype(np.uint8))):
            assert sx.score(z, y, chunk_rows=8) == whole
        integers = (Z * 4).astype(np.int8)
        expected = sx.score(integers.astype(float), Y)
        assert sx.score(integers, Y, chunk_rows=8) == expected
        assert sx.score(integers.tolist(), Y.tolist(), chunk_rows=8) == expected

    def test_memory_maps(self, tmp_path):
        np.save(tmp_path / "z.npy", Z)
        np.save(tmp_path / "y.npy", Y)
        out = np.lib.format.open_memmap(tmp_path / "out.npy", "w+", np.float32, Z.shape)
        z, y = (np.load(tmp_path / name, mmap_mode="r") for name in ("z.npy", "y.npy"))
        assert sx.score(z, y, chunk_rows=10, log_probs_out=out) == sx.score(Z, Y)
        out.flush()
        assert (np.load(tmp_path / "out.npy") == sx.log_softmax(Z)).all()


def changed(array, place, value):
    array = np.array(array)
    array[place] = value
    return array


class TestErrors:
    """Indices are those of the whole array, and rows before the chunk have been written."""

    @pytest.mark.parametrize("targets", [None, "labels", True, 1 + 0j])
    def test_targets_without_rows_are_refused_for_their_type(self, targets):
        for function in (sx.score, sx.cross_entropy):
            with pytest.raises(TypeError, match="^targets has dtype .*, expected integer labels"):
                function(Z, targets)

    @pytest.mark.parametrize(
        "message, targets, options",
        [
            (r"targets\[77\] is 12, but there are 12 classes", changed(Y, [77, 78], 12), {}),
            (r"targets\[77, 5\] is -1.0, but prob", changed(Q, (77, 5), -1), {}),
            (r"sample_weight\[77\] is nan, but", Y, {"sample_weight": changed(S, 77, np.nan)}),
            (r"class_weight\[7\] is nan, but", Y, {"class_weight": changed(C, 7, np.nan)}),
            (
                r"prior\[77, 5\] is -1.0, but",
                Y,
                {"label_smoothing": 0.1, "prior": changed(U_ROWS, (77, 5), -1)},
            ),
            (
                r"prior\[77, :\] sums to 2",
                Y,
                {"label_smoothing": 0.1, "prior": changed(U_ROWS, 77, 2 / CLASSES)},
            ),
            (r"prior\[5\] is -1.0", Y, {"label_smoothing": 0.1, "prior": changed(U, 5, -1)}),
            (
                r"the prior of row \[77\] has no mass",
                Y,
                {"prior": np.eye(CLASSES)[1], "where": changed(np.ones_like(KEPT), (77, 1), False)},
            ),
        ],
    )  # fmt: skip
    def test_places(self, message, targets, options):
        grad = np.full_like(Z, 7)
        with pytest.raises(ValueError, match=f"^{message}") as caught:
            sx.score(Z, targets, chunk_rows=10, grad_out=grad, **options)
        is_of_a_row = "77" in message
        assert ((grad == 7).all(-1) == (np.arange(ROWS) >= 70 * is_of_a_row)).all()
        assert isinstance(caught.value, sx.LabelError) == ("classes" in message)

    def test_places_with_several_axes(self):
        z, y = Z[:100].reshape(25, 4, CLASSES), Y[:100].reshape(25, 4)
        with pytest.raises(sx.LabelError, match=r"^targets\[17, 2\] is 99, "):
            sx.score(z, changed(y, (17, 2), 99), chunk_rows=3)

    def test_outputs_that_are_read(self):
        with pytest.raises(ValueError, match="^grad_out must not share memory with logits$"):
            sx.score(Z, Y, grad_out=Z)
        prior = np.full(Z.shape, 1 / CLASSES)
        with pytest.raises(ValueError, match="^grad_out must not share memory with prior$"):
            sx.score(Z, Y, prior=prior, grad_out=prior)
        both = np.zeros((ROWS, 2 * CLASSES), np.float32)
        assert sx.score(both[:, ::2], Y, grad_out=both[:, 1::2]).rows == ROWS
        with pytest.raises(ValueError, match="^grad_out must not share memory with log_probs_out$"):
            sx.score(Z, Y, log_probs_out=both[:, 3:-9], grad_out=both[:, 9:-3])


def test_figures_by_name():
    score = sx.score(Z, Y, top_k=2)
    figures = score.as_dict()
    assert list(figures) == [
        "rows", "ignored_rows", "nonfinite_rows", "divisor", "loss", "nll", "prior_cross_entropy",
        "prior_kl", "prior_entropy", "logsumexp", "perplexity", "accuracy", "top_5_accuracy", "top_k",
        "top_k_accuracy", "calibration_error",
    ]  # fmt: skip
    assert figures.keys() - sx.score(Z, Y).as_dict().keys() == {"top_k", "top_k_accuracy"}
    assert "top-2 accuracy" in repr(score)
    assert {type(figure) for figure in figures.values()} == {int, float}
