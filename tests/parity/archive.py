"""Vectors on disk: one .npz file per framework, read with NumPy alone.

    index      JSON text in UTF-8: {"versions": {...}, "cases": [...]}; an array in it is
               {"array": [dtype, offset, shape]}
    <dtype>    the elements of all arrays of that dtype, end to end; equal arrays are there once

A case holds the call of the framework and its results:

    call                       the framework's function
    op, logits, targets        the same call for smoothxent, and
    options                    the keyword arguments that mean the same
    float64, float32, ...      the results computed in that type: loss and grad, or value, or error

All floating inputs are float32 values, so that one float64 answer judges both types.
"""

import json
import math
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent
# From this size of the logits on, only the gradient of "mean" is kept: that of "sum" differs by a
# factor, and these gradients are most of a file.
LARGE = 130


def ask(peer, case, call, dtypes=None, **more):
    """The case with the answers of `peer(logits, targets, **options | more)` added, by dtype."""
    answered = {"call": call, "op": "cross_entropy", **case}
    half = case["logits"].dtype == np.float16
    for dtype in dtypes or (("float16",) if half else ("float64", "float32")):
        arrays = [as_type(case[name], dtype) for name in ("logits", "targets") if name in case]
        options = {name: as_type(value, dtype) for name, value in case["options"].items()}
        try:
            answer = peer(*arrays, **options | more)
        except Exception as error:  # any exception of the framework is its answer
            if "name" not in case:
                raise
            answer = {"error": f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"}
        if isinstance(answer, tuple):
            answer = dict(zip(("loss", "grad"), answer))
            if case["logits"].size >= LARGE and options["reduction"] != "mean":
                answer.pop("grad", None)
        answered[dtype] = {
            name: value if name == "error" else np.asarray(value) for name, value in answer.items()
        }
    return answered


def as_type(value, dtype):
    """A floating array in another floating type; anything else as it is."""
    floating = isinstance(value, np.ndarray) and value.dtype.kind == "f"
    # NumPy has no bfloat16; its values are also float32 values.
    return value.astype(dtype.replace("bfloat16", "float32")) if floating else value


def write(framework, versions, cases):
    pools, places = {}, {}

    def place(array):
        array = np.asarray(array)
        key = array.dtype.name, array.tobytes()
        if key not in places:
            pool = pools.setdefault(array.dtype.name, [])
            places[key] = sum(map(len, pool))
            pool.append(array.ravel())
        return {"array": [array.dtype.name, places[key], list(array.shape)]}

    index = json.dumps({"versions": versions, "cases": cases}, default=place).encode()
    path = FOLDER / f"{framework}.npz"
    flat = {name: np.concatenate(pool) for name, pool in pools.items()}
    np.savez_compressed(path, index=np.frombuffer(index, np.uint8), **flat)
    print(f"{path.name}: {len(cases)} cases, {path.stat().st_size / 1000:.0f} kB, {versions}")


def read(framework):
    """(versions, cases), as they were given to `write`."""
    with np.load(FOLDER / f"{framework}.npz") as file:
        pools = {name: file[name] for name in file.files}

    def array(entry):
        if set(entry) != {"array"}:
            return entry
        dtype, offset, shape = entry["array"]
        return pools[dtype][offset : offset + math.prod(shape)].reshape(shape)

    content = json.loads(pools["index"].tobytes(), object_hook=array)
    return content["versions"], content["cases"]
