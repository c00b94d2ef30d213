"""Cases that are run one after another in a single test: as separate tests, the overhead of pytest would
be larger than most of them.
"""

import functools
import inspect


def for_each(name, values):
    """Run a test, or all tests of a class, with each value of that argument; a failure names the value."""

    def decorate(test):
        if inspect.isclass(test):
            for own in [own for own in vars(test) if own.startswith("test_")]:
                setattr(test, own, decorate(getattr(test, own)))
            return test

        @functools.wraps(test)
        def run(*args, **others):
            for value in values:
                try:
                    test(*args, **others, **{name: value})
                except BaseException as failure:
                    failure.add_note(f"where {name} is {value!r}")
                    raise

        signature = inspect.signature(test)
        rest = [parameter for parameter in signature.parameters.values() if parameter.name != name]
        run.__signature__ = signature.replace(parameters=rest)  # the arguments that pytest passes
        return run

    return decorate
