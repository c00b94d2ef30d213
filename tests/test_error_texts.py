"""The whole text and type of the error for every kind of wrong argument, as in error_texts.txt."""

import inspect

import pytest

import smoothxent as sx
from error_texts import COMMAND, FILE, Call, agrees, entries

ENTRIES = entries()
# Functions that take the same arguments and have the same errors.
TWINS = {
    sx.softmax: (sx.softmax, sx.log_softmax),
    sx.cross_entropy: (sx.cross_entropy, sx.cross_entropy_value_and_grad),
    sx.linear_cross_entropy: (sx.linear_cross_entropy, sx.linear_cross_entropy_value_and_grad),
}
FUNCTIONS = {getattr(sx, name) for name in sx.__all__ if inspect.isroutine(getattr(sx, name))} | {
    getattr(sx.tf_losses, name) for name in sx.tf_losses.__all__
}


def with_ids(entries):
    return [pytest.param(*entry, id=f"line {entry[0]}") for entry in entries]


def has_outputs(source):
    function = Call.of(source).function
    return "out" in inspect.signature(function).parameters or "linear" in function.__name__


def assert_says(call, line, source, text):
    said = call.error()
    assert agrees(said, text), (
        f"\n{FILE.name}:{line}: {source}\n  said     {said}\n  expected {text}\n"
        f"If the new text is right, write it down with `{COMMAND}`."
    )


@pytest.mark.parametrize("line, source, text", with_ids(ENTRIES))
def test_text(line, source, text):
    assert_says(Call.of(source), line, source, text)


@pytest.mark.parametrize("line, source, text", with_ids(e for e in ENTRIES if has_outputs(e[1])))
def test_nothing_is_written(line, source, text):
    """With every output given, and in the twin function: the same text, and no array has changed."""
    call = Call.of(source)
    for function in TWINS.get(call.function, (call.function,)):
        assert_says(call._replace(function=function).with_outputs(), line, source, text)


def test_every_argument_is_wrong_somewhere():
    calls = [Call.of(source) for _, source, _ in ENTRIES]
    assert len({source for _, source, _ in ENTRIES}) == len(ENTRIES)
    for function in FUNCTIONS - {sx.get_num_threads}:
        own = [call for call in calls if function in TWINS.get(call.function, (call.function,))]
        parameters = inspect.signature(function).parameters
        for index, (name, parameter) in enumerate(parameters.items()):
            given = [
                call
                for call in own
                if name in call.options
                or (parameter.kind == parameter.VAR_KEYWORD and call.options.keys() - parameters)
                or (
                    parameter.kind <= parameter.POSITIONAL_OR_KEYWORD
                    and index < len(call.arguments)
                )
            ]
            assert given, f"{function.__name__} has no wrong {name} in {FILE.name}"
