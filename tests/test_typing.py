"""The types that type checkers see are those of the values: runs the program that `make lint` checks."""

import inspect
import runpy
import types
import typing
from pathlib import Path

import numpy as np
import pytest

import smoothxent as sx
from smoothxent import objectives, tf_losses

PROGRAM = Path(__file__).parent / "typing" / "user_program.py"


def is_a(value, kind):
    """Is a value exactly of a type? Only for the types that the program uses."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if hasattr(origin, "__value__"):  # NDArray since NumPy 2.5, a `type` statement
        return is_a(value, origin.__value__[arguments])
    if origin is np.ndarray:
        return type(value) is np.ndarray and is_a(value.dtype, arguments[1])
    if origin is np.dtype:
        scalar = typing.get_origin(arguments[0]) or arguments[0]
        is_right = value.type is scalar or (scalar is np.floating and value.kind == "f")
        return isinstance(value, np.dtype) and is_right
    if origin is tuple:
        kinds = [arguments[0]] * len(value) if arguments[1:] == (...,) else arguments
        return type(value) is tuple and all(map(is_a, value, kinds))
    if origin in (typing.Union, types.UnionType):
        return any(is_a(value, one) for one in arguments)
    if origin is not None and issubclass(origin, tuple):  # a named tuple, of arrays of such numbers
        floats = [one for one in value if isinstance(one, np.ndarray) and one.dtype.kind == "f"]
        types_of_floats = {one.dtype.type for one in floats}
        return type(value) is origin and types_of_floats == {arguments[0]}
    return type(value) is (origin or kind)


def program(monkeypatch):
    """The functions of the program, which check the types of values; and the list of checked types."""
    checked = []

    def check(value, kind):
        assert is_a(value, kind), f"{value!r} is not a {kind}"
        checked.append(kind)
        return value

    monkeypatch.setattr(typing, "assert_type", check)
    names = runpy.run_path(str(PROGRAM))
    return {
        name: one
        for name, one in names.items()
        if isinstance(one, types.FunctionType) and name != "__annotate__"  # Python 3.14
    }, checked


def test_types_are_those_of_the_values(monkeypatch):
    functions, checked = program(monkeypatch)
    functions = {name: one for name, one in functions.items() if one is not typing.assert_type}
    for name, function in functions.items():
        if name == "reduced":
            assert type(function("mean")) is float
            assert function("none").dtype == np.float32
        elif name == "without_a_type":
            function(np.zeros((4, 3), np.float32))
        elif not name.startswith("refused_"):
            before = len(checked)
            function()
            assert len(checked) > before, name
    assert len(checked) > 40


def test_what_they_refuse_is_an_error(monkeypatch):
    functions, _ = program(monkeypatch)
    refused = [one for name, one in functions.items() if name.startswith("refused_")]
    assert len(refused) == PROGRAM.read_text("utf-8").count("type: ignore[")
    for function in refused:
        with pytest.raises((TypeError, ValueError)):
            function()


def test_types_are_found_at_run_time():
    """Those of all functions but the builtins, which have none, and of all classes."""
    public = [
        vars(module)[name] for module in (sx, tf_losses, objectives) for name in module.__all__
    ]
    typed = [one for one in public if inspect.isfunction(one) or inspect.isclass(one)]
    assert len(public) - len(typed) == 5 + 2  # builtins; the version and tf_losses
    hints = {one.__name__: typing.get_type_hints(one) for one in typed}
    assert hints["smooth_labels"]["label_smoothing"] is typing.SupportsFloat
    assert hints["TopK"]["indices"] == np.ndarray[typing.Any, np.dtype[np.int64]]
