"""A plugin of pytest: SciPy's tests of logsumexp, softmax and log_softmax, on the functions of this package.

    python -m pytest -p scipy_in_place --pyargs scipy.special.tests.test_logsumexp

`axis` is None by default, as in SciPy. Below are the features that the functions of this package do not have,
by the names of the tests and of their parameters:
"""

import functools

import smoothxent as sx

NAMES = ("logsumexp", "softmax", "log_softmax")
LEFT_OUT = {
    "test_wrap_radians": "a function of SciPy's own",
    "test_logsumexp_b": "b",
    "test_logsumexp_sign": "b and sign",
    "test_logsumexp_sign_zero": "b and sign",
    "test_logsumexp_sign_shape": "b and sign",
    "test_logsumexp_complex_sign": "complex numbers",
    "test_logsumexp_shape": "b",
    "test_logsumexp_b_zero": "b",
    "test_logsumexp_b_shape": "b",
    "test_dtypes_ab": "b",
    "test_gh21610": "complex numbers",
    "test_gh21709_small_imaginary": "complex numbers",
    "test_no_writeback": "b",
    "test_device": "b",
    "test_gh22903": "b and sign",
    "test_gh23548": "b and sign",
}


def needs_complex(item):
    values = getattr(item, "callspec", None)
    return values is not None and any(
        isinstance(value, complex) or str(value).startswith("complex")
        for value in values.params.values()
    )


def pytest_collection_modifyitems(config, items):
    for item in items:
        for name in NAMES:
            setattr(item.module, name, functools.partial(getattr(sx, name), axis=None))
    kept = [item for item in items if item.originalname not in LEFT_OUT and not needs_complex(item)]
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = kept
