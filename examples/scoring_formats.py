"""Arrays in the bodies of scoring_server.py: by name in JSON, one after another as .npy files."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn, TypeAlias

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

Arrays: TypeAlias = dict[str, NDArray[Any]]


class Format(NamedTuple):
    read: Callable[[bytes], Arrays]  # raises whatever it may, and unpickles nothing
    write: Callable[[Arrays], bytes]


def read_npy(body: bytes) -> Arrays:
    file, arrays = io.BytesIO(body), []
    while file.tell() < len(body):
        arrays.append(npy.read_array(file, allow_pickle=False))
    if len(arrays) > 2:
        raise ValueError(f"{len(arrays)} arrays, expected those of images and labels")
    return dict(zip(("images", "labels"), arrays))


def write_npy(arrays: Arrays) -> bytes:
    file = io.BytesIO()
    for array in arrays.values():
        npy.write_array(file, array, allow_pickle=False)
    return file.getvalue()


def read_json(body: bytes) -> Arrays:
    fields = json.loads(body, parse_constant=refuse)
    if not isinstance(fields, dict) or fields.keys() - {"images", "labels"}:
        raise ValueError('expected {"images": [...]} or {"images": [...], "labels": [...]}')
    arrays = {name: np.asarray(value) for name, value in fields.items()}
    images = arrays.get("images")
    if images is not None and images.dtype.kind in "iuf":  # the numbers of JSON have no type
        with np.errstate(over="ignore"):  # an infinity is refused with its place
            arrays["images"] = images.astype(np.float32)
    return arrays


def refuse(literal: str) -> NoReturn:
    raise ValueError(f"{literal} is not JSON")


def write_json(arrays: Arrays) -> bytes:
    return json.dumps({name: array.tolist() for name, array in arrays.items()}).encode()


FORMATS = {
    "application/json": Format(read_json, write_json),
    "application/x-npy": Format(read_npy, write_npy),
}


def check_finite(arrays: Arrays) -> None:
    for name, array in arrays.items():
        for place in np.argwhere(~np.isfinite(array))[:1].tolist():
            raise ValueError(f"{name}{place} is {array[*place]}, not a finite number")
