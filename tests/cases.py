"""Cases of a test that are run one after another: as tests of their own, most would take pytest longer
than they take themselves.
"""

import functools
import inspect


def for_each(name, values):
    """Run a test with each value of that argument, the tests of a class if it is one; a failure says which."""

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
        run.__signature__ = signature.replace(parameters=rest)  # what pytest is to give
        return run

    return decorate
