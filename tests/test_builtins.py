"""Functions that are builtins look and fail like the Python functions that they replace."""

import ast
import contextlib
import inspect
import pickle
import pydoc
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import smoothxent as sx

NAMES = ["softmax", "log_softmax", "logsumexp", "cross_entropy", "cross_entropy_value_and_grad"]
every_builtin = pytest.mark.parametrize("name", NAMES)
Z, Y = np.sin(np.arange(20, dtype=np.float32)).reshape(4, 5), np.arange(4)


def required(name):
    """The arguments without a default."""
    return (Z, Y) if "entropy" in name else (Z,)


def definition(name):
    """The `def` in the source code."""
    source = Path(sys.modules[getattr(sx, name).__module__].__file__).read_text("utf-8")
    return [d for d in ast.parse(source).body if getattr(d, "name", "") == name][-1]


def same(a, b):
    a, b = ([np.asarray(x) for x in (r if isinstance(r, tuple) else (r,))] for r in (a, b))
    return [(x.dtype, x.shape, x.tobytes()) for x in a] == [
        (x.dtype, x.shape, x.tobytes()) for x in b
    ]


@every_builtin
def test_what_is_shown(name):
    function, source = getattr(sx, name), definition(name)
    assert inspect.isbuiltin(function)
    assert function.__name__ == function.__qualname__ == name
    assert inspect.getdoc(function) == ast.get_docstring(source)
    parameters = inspect.signature(function).parameters
    assert list(parameters) == [a.arg for a in source.args.args + source.args.kwonlyargs]
    defaults = [ast.literal_eval(d) for d in source.args.kw_defaults]
    assert [p.default for p in parameters.values() if p.default is not p.empty] == defaults
    first_line = str(inspect.signature(function)).join([name, "\n"])
    shown = pydoc.plain(pydoc.render_doc(function))
    assert "".join(first_line.split()) in "".join(shown.split())  # Python 3.13 breaks long lines
    assert pickle.loads(pickle.dumps(function)) is function


def test_imported_anew():
    """As notebooks do after an edit."""
    source = """
import importlib, numpy as np, smoothxent as sx
from smoothxent import _losses
before = sx.cross_entropy
assert importlib.reload(_losses).cross_entropy is not before
for function in (before, _losses.cross_entropy):
    assert function([[0.0, 0.0]], [1]) == function([[0.0, 0.0]], **{"".join("targets"): [1]}) == np.log(2)
"""
    subprocess.run([sys.executable, "-c", source], check=True, timeout=60)


def test_without_docstrings():
    """Python removes them with -OO, and assertions too."""
    source = (
        "import sys, smoothxent as sx; sys.exit(sx.softmax.__doc__ or sx.cross_entropy.__doc__)"
    )
    subprocess.run([sys.executable, "-OO", "-c", source], check=True, timeout=60)


def wrong_calls(name):
    given, (first, *_) = required(name), inspect.signature(getattr(sx, name)).parameters
    yield (), {}
    yield (), {"axis": 0}
    yield given[:-1], {}
    yield (*given, 0), {}
    yield (*given, 0, 0), {"axis": 0}
    yield given, {first: Z}
    yield given[1:], {first: Z, "out": None, "no_such": 1}
    yield given, {"no_such": 1}
    yield given, {"Axis": 0, "out": None}


@every_builtin
def test_errors_are_those_of_a_python_function(name):
    function = getattr(sx, name)
    names = {}
    exec(f"def {name}{inspect.signature(function)}: pass", names)
    failed = 0
    for arguments, options in wrong_calls(name):
        try:
            names[name](*arguments, **options)
        except TypeError as error:
            expected = str(error)
        else:
            continue
        with pytest.raises(TypeError) as caught:
            function(*arguments, **options)
        assert str(caught.value) == expected
        failed += 1
    assert failed >= 7


@every_builtin
@pytest.mark.parametrize("options", [{"axis": 0}, {"temperature": 2.0, "axis": -2}])
def test_ways_to_pass_the_same(name, options):
    """By position, by keyword in any order, and by keywords that are equal but other strings."""
    function, given = getattr(sx, name), required(name)
    if len(given) > 1:
        given = (Z, np.arange(5) % 4)
    expected = function(*given, **options)
    assert not same(expected, function(Z[:, :4] if len(given) > 1 else Z, *given[1:2] and (Y,)))
    first = dict(zip(inspect.signature(function).parameters, given))
    assert same(expected, function(**first, **options))
    assert same(expected, function(**dict(reversed((first | options).items()))))
    others = {"".join(list(keyword)): value for keyword, value in options.items()}
    assert not any(a is b for a, b in zip(others, options))
    assert same(expected, function(*given, **others))


@every_builtin
def test_no_reference_is_kept_or_lost(name):
    function, given = getattr(sx, name), required(name)
    wrong = object()
    keyword = "".join(["ax", "is"])
    options = inspect.signature(function).parameters.values()
    held = [*given, wrong, keyword, *(p.default for p in options if p.default is not p.empty)]
    before = [sys.getrefcount(one) for one in held]
    for _ in range(100):
        function(*given)
        function(*given, axis=-1)
        function(*given, **{keyword: -1})
        for arguments, options in [(given, {"axis": wrong}), ((*given, wrong), {}), ((wrong,), {})]:
            with contextlib.suppress(
                TypeError
            ):  # pytest.raises would keep the arguments for a while
                function(*arguments, **options)
                raise AssertionError("not refused")
    after = [sys.getrefcount(one) for one in held]
    assert max(abs(a - b) for a, b in zip(before, after)) < 20  # others hold None, 1.0 and the like
