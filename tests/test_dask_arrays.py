"""The functions for NumPy arrays refuse collections of dask, which NumPy would compute."""

import sys
import types

import pytest

import smoothxent as sx
from test_array_likes import HasArray, Y, Z, of_dask
from ulp import assert_same_bits


def test_dask_is_refused_by_every_function(monkeypatch):
    monkeypatch.setitem(sys.modules, "dask", types.ModuleType("dask"))
    given = of_dask("array.core")
    calls = [
        lambda: sx.cross_entropy_value_and_grad(Z, Y, label_smoothing=0.1, prior=given),
        lambda: sx.cross_entropy_terms(given, Y),
        lambda: sx.smooth_labels(given, 10, label_smoothing=0.1),
        lambda: sx.label_dropout(given, 10, rate=0.1),
        lambda: sx.class_prior(given, 10),
        lambda: sx.tf_losses.softmax_cross_entropy(given, Z),
        lambda: sx.tf_losses.sparse_softmax_cross_entropy(Y, Z, given),
    ]
    for call in calls:
        with pytest.raises(TypeError, match="is a collection of dask, which is not computed here"):
            call()


def test_a_collection_of_another_library_is_refused_if_it_holds_one_of_dask(monkeypatch):
    """As arrays of xarray."""
    monkeypatch.setitem(sys.modules, "dask", types.ModuleType("dask"))

    class Labelled(HasArray):
        graph: object = None

        def __dask_graph__(self):
            return self.graph

    given = Labelled(Z)
    assert_same_bits(sx.softmax(given), sx.softmax(Z))
    given.graph = {}
    with pytest.raises(TypeError, match="logits is a collection of dask"):
        sx.softmax(given)
