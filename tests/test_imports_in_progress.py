"""While another thread imports a library, its module is there, but its classes are not: there can be no objects of them."""

import sys
import types

import numpy as np
import pytest

import smoothxent as sx
from smoothxent import _imported

CALLS = {
    "a list": lambda: sx.softmax([[1.0, 2.0]]),
    "a list of arrays": lambda: sx.cross_entropy([np.ones(3), np.zeros(3)], [0, 1]),
    "integers": lambda: sx.log_softmax(np.arange(3)),
    "byte-swapped": lambda: sx.logsumexp(np.ones((2, 3), ">f4")),
    "a buffer": lambda: sx.softmax(memoryview(np.ones(3))),
    "an output of several axes": lambda: sx.softmax(
        np.ones((2, 3)), axis=None, out=np.empty((2, 3))
    ),
    "an output of a subclass": lambda: sx.softmax(np.ones(3), out=np.empty(3).view(np.memmap)),
    "an output of NumPy": lambda: sx.smooth_labels(
        [0, 1], 3, label_smoothing=0.1, out=np.empty((2, 3))
    ),
    "a score": lambda: sx.score(np.eye(3), [0, 1, 2], grad_out=np.empty((3, 3))).loss,
    "a layer": lambda: (
        sx.linear_cross_entropy_value_and_grad(
            np.eye(3), np.eye(3), [0, 1, 2], hidden_grad_out=np.empty((3, 3))
        ).loss
    ),
}


@pytest.mark.parametrize("library", ["numpy.ma", "pandas", "pyarrow", "torch"])
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_another_thread_is_importing(monkeypatch, library, call):
    expected = call()
    monkeypatch.setitem(sys.modules, library, types.ModuleType(library))
    np.testing.assert_array_equal(call(), expected)


def test_a_part_of_a_library_is_there(monkeypatch):
    """pandas has its data frames before its module `api`."""
    pandas = types.ModuleType("pandas")
    pandas.DataFrame = pandas.Series = pandas.Index = type("DataFrame", (), {})
    monkeypatch.setitem(sys.modules, "pandas", pandas)
    assert sx.softmax([0.0, 0.0]).tolist() == [0.5, 0.5]


def test_attribute_error_of_a_signal_handler():
    """A handler runs between any two instructions of the lookup; here a trace function stands for it."""
    assert isinstance(np.ma.masked, _imported.MASKED_ARRAY())
    place, reached = 0, True

    def trace(frame, event, argument):
        if frame.f_code is not _imported.MASKED_ARRAY.__code__:
            return None
        frame.f_trace_opcodes, left = True, place

        def at(frame, event, argument):
            nonlocal left, reached
            left -= event == "opcode"
            if left < 0:
                reached = True
                raise AttributeError("stop")
            return at

        return at

    while reached:
        reached, raised = False, None
        sys.settrace(trace)
        try:
            _imported.MASKED_ARRAY()
        except AttributeError as error:
            raised = str(error)
        finally:
            sys.settrace(None)
        assert raised == ("stop" if reached else None), place
        place += 1
    assert place > 10
