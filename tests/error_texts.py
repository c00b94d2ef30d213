"""The texts of errors: reads error_texts.txt, runs its calls, and writes their current errors.

The file has pairs of lines, a call and the error it raises; other lines are comments or blank. The
calls use the names in `NAMES`. "..." at the end of a text stands for NumPy's own text.
"""

import builtins
import inspect
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import ml_dtypes
import numpy as np
import scipy.sparse

import smoothxent as sx
import torch_stand_in
from problems import problem

FILE = Path(__file__).with_name("error_texts.txt")
COMMAND = f"python tests/{Path(__file__).name}"
INDENT = "    "
Z = problem(10, np.float32, rows=8).logits


def changed(array, place, value):
    """A copy with one entry changed."""
    array = np.array(array)
    array[place] = value
    return array


def filled(*shape, dtype=np.float32):
    return np.full(shape, 7, dtype)


def read_only(array):
    array.flags.writeable = False
    return array


def strided(shape, strides):
    """A float32 array whose elements may overlap in memory."""
    return np.lib.stride_tricks.as_strided(np.zeros(1000, np.float32), shape, strides)


def masked(array):
    return np.ma.array(array, mask=np.arange(np.size(array)) == 1)


def list_column(array):
    """A column of lists or numbers, as in a data frame: an array of objects."""
    column = np.empty(len(array), object)
    column[:] = [np.atleast_1d(row).tolist() for row in array]
    return column


class OnDevice:
    """An array on another device, which only has `__dlpack_device__`."""

    def __init__(self, device, number):
        self.device = device, number

    def __dlpack_device__(self):
        return self.device

    def __dlpack__(self, **options):
        raise BufferError("not on this device")


class Recursive:
    """An object whose conversion to an array calls itself."""

    def __array__(self, dtype=None, copy=None):
        # Without defaults: CPython 3.13 before 3.13.8 does not limit the recursion of calls with them.
        return self.__array__(dtype, copy)


NAMES = {
    "sx": sx,
    "tf": sx.tf_losses,
    "np": np,
    "inf": np.inf,
    "nan": np.nan,
    "Decimal": Decimal,
    "Z": Z,
    "Z3": Z.reshape(2, 4, 10),
    "Y": np.arange(8),
    "Y3": np.arange(8).reshape(2, 4),
    "Q": np.full((8, 10), 0.1),
    "W": np.ones((12, 10), np.float32),
    "B": np.ones(12, np.float32),
    "U12": np.full(12, 1 / 12),
    "U": np.full(10, 0.1),
    "one_class": np.eye(10)[2],
    "keeps_4": np.arange(10) == 4,
    "row_3_keeps_4": (np.arange(8)[:, None] != 3) | (np.arange(10) == 4),
    "changed": changed,
    "list_column": list_column,
    "filled": filled,
    "read_only": read_only,
    "strided": strided,
    "masked": masked,
    "on_cuda": OnDevice(2, 0),
    "recursive": Recursive(),
    "one_true": torch_stand_in.Tensor(np.array(True)),
    "one_in_a_list": torch_stand_in.Tensor(np.array([1])),
    "sparse": scipy.sparse.csr_array(Z),
    "needs_gradient": torch_stand_in.Tensor(Z).requires_grad_(),
    "float8": ml_dtypes.float8_e4m3fn,
}


class Call(NamedTuple):
    function: object
    arguments: tuple
    options: dict

    @classmethod
    def of(cls, source):
        """The call of a line, not yet executed."""
        name, _, rest = source.partition("(")
        capture = "lambda *arguments, **options: (arguments, options)"
        arguments, options = eval(f"({capture})({rest}", dict(NAMES))
        return cls(eval(name, dict(NAMES)), arguments, options)

    def with_outputs(self):
        """The call with an array for every output of the function that is not given."""
        parameters = inspect.signature(self.function).parameters
        logits = self.arguments[0] if isinstance(self.arguments[0], np.ndarray) else Z
        shape = logits.shape
        if "reduction" in parameters:
            reduction = self.options.get("reduction", parameters["reduction"].default)
            shape = shape[:-1] if reduction == "none" else ()
        elif "keepdims" in parameters:
            shape = shape[:-1] if "axis" not in self.options else ()
        outputs = {"out": filled(*shape), "grad_out": filled(*logits.shape)}
        if "weight_grad_out" in parameters:
            outputs |= {"hidden_grad_out": filled(8, 10), "weight_grad_out": filled(12, 10)}
        missing = {name: outputs[name] for name in outputs.keys() & parameters.keys()}
        return self._replace(options=missing | self.options)

    def error(self):
        """The last line of the traceback; also checks that no array was written."""
        arrays = [a for a in (*self.arguments, *self.options.values()) if isinstance(a, np.ndarray)]
        before = [np.ma.getdata(a).tobytes() for a in arrays]
        try:
            self.function(*self.arguments, **self.options)
        except Exception as error:
            assert [np.ma.getdata(a).tobytes() for a in arrays] == before, "an array was written"
            kind = type(error)
            module = "" if kind.__module__ == builtins.__name__ else f"{kind.__module__}."
            return f"{module}{kind.__qualname__}: {error}"
        return "no error"


def entries():
    """(number of the line, call, text) of the file."""
    lines = FILE.read_text(encoding="utf-8").splitlines()
    after = [*lines[1:], ""]  # a new call has no text yet
    texts = [line.removeprefix(INDENT) if line.startswith(INDENT) else "" for line in after]
    return [(n + 1, lines[n], texts[n]) for n in range(len(lines)) if is_call(lines[n])]


def is_call(line):
    return bool(line) and not line.startswith(("#", INDENT))


def agrees(text, expected):
    if expected.endswith("..."):
        return text.startswith(expected.removesuffix("..."))
    return text == expected


def rewrite():
    lines = [line for line in FILE.read_text(encoding="utf-8").splitlines() if line[:4] != INDENT]
    old = {call: text for _, call, text in entries()}
    new = []
    for line in lines:
        new.append(line)
        if is_call(line):
            text = Call.of(line).error()
            new.append(INDENT + (old[line] if agrees(text, old[line]) else text))
    FILE.write_text("\n".join(new) + "\n", encoding="utf-8")


if __name__ == "__main__":
    rewrite()
