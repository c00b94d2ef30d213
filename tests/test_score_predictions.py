"""score: which classes of a row are among its most probable ones, and its confidence."""

import numpy as np
import pytest

import smoothxent as sx
from problems import STORED

every_type = pytest.mark.parametrize("dtype", STORED, ids=str)


def shares(logits, label, **options):
    """The share of rows whose class `label` is among the k most probable, for every k."""
    logits = np.array(logits)
    labels = np.full(logits.shape[:-1], label)
    return [
        sx.score(logits, labels, top_k=k, **options).top_k_accuracy
        for k in range(1, logits.shape[-1] + 1)
    ]


@every_type
def test_class_whose_log_probability_overflows_is_a_class(dtype):
    z = np.array([[40000.0, -40000.0], [0.0, 1.0]], dtype)
    assert shares(z, 1) == [0.5, 1.0]
    assert sx.score(z, [1, 1]).top_5_accuracy == 1.0


@every_type
def test_classes_with_logit_minus_infinity_are_the_last_in_the_order_of_their_indices(dtype):
    z = np.array([[-np.inf, 3, -np.inf, 1]], dtype)
    assert [shares(z, label) for label in range(4)] == [
        [0, 0, 1, 1],
        [1, 1, 1, 1],
        [0, 0, 0, 1],
        [0, 1, 1, 1],
    ]


@every_type
@pytest.mark.parametrize("axes", [(4,), (1, 4), (3, 4), (3, 1, 4), (3, 2, 4)], ids=str)
def test_removed_class_is_never_predicted_also_beside_logits_of_minus_infinity(dtype, axes):
    z = np.broadcast_to(np.array([5, 3, -np.inf, 1], dtype), (3, 4) if len(axes) < 3 else (3, 2, 4))
    kept = np.broadcast_to([False, True, True, True], axes)
    assert [shares(z, label, where=kept) for label in range(4)] == [
        [0, 0, 0, 0],
        [1, 1, 1, 1],
        [0, 0, 1, 1],
        [0, 1, 1, 1],
    ]


def test_where_of_one_bool_removes_no_class():
    assert shares([[1.0, 2.0]], 0, where=True) == [0, 1]


def test_removed_classes_of_rows_beside_rows_that_do_not_count():
    """The label of an ignored row is no class, and a row without classes does not count."""
    z, labels = np.arange(12.0).reshape(4, 3), np.array([10**9, 2, 2, 2], np.uint64)
    kept = np.array([[1, 1, 1], [1, 1, 0], [0, 0, 0], [1, 1, 1]], bool)
    for chunk_rows in (1, 4):
        score = sx.score(z, labels, where=kept, ignore_index=10**9, chunk_rows=chunk_rows)
        assert (score.rows, score.accuracy, score.top_5_accuracy) == (2, 0.5, 0.5)


@every_type
@pytest.mark.parametrize(
    "row", [[np.nan, 1, 2], [np.inf, 1, 2], [-np.inf, -np.inf, -np.inf], [1, np.nan, -np.inf]]
)
def test_row_whose_probabilities_are_nan_predicts_no_class(dtype, row):
    z = np.array([row, [3, 2, 1]], dtype)
    assert [shares(z, label)[-1] for label in range(3)] == [0.5, 0.5, 0.5]
    assert shares(z, 2, where=np.ones(3, bool))[-1] == 0.5


def test_without_classes_there_is_no_prediction_even_if_there_are_no_rows():
    for shape in ((0, 0), (2, 0), (2, 0, 0)):
        message = f"^logits has 0 classes along axis {len(shape) - 1}, expected at least 1$"
        with pytest.raises(ValueError, match=message):
            sx.score(np.zeros(shape), np.zeros(shape[:-1], int))


def test_confidence_at_the_edge_of_a_bin():
    """1/5 = 3/15 belongs to the bin below, 1/4 to the next: the gaps of a hit and a miss are not added."""
    z = np.zeros((2, 5))
    z[1, 0] = np.log(4 / 3)
    score = sx.score(z, [0, 1])
    assert score.calibration_error == pytest.approx(((1 - 1 / 5) + 1 / 4) / 2, rel=1e-15)


def test_mask_of_as_many_axes_as_an_array_has():
    """NumPy accepts 63 arrays of indices, one less than there are axes."""
    z = np.arange(6.0).reshape(2, *[1] * 61, 1, 3)
    kept = np.array([True, False, True])
    labels = np.array([1, 2]).reshape(z.shape[:-1])
    score = sx.score(z, labels, where=kept)
    assert score == sx.score(z.reshape(2, 3), [1, 2], where=kept)
    assert score.accuracy == 0.5
