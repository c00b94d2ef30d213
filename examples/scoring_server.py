"""Score digits over HTTP: ONNX Runtime runs a network, and smoothxent computes scores from its logits.

    python examples/export_digits.py digits.onnx
    export SCORING_MODEL=$PWD/digits.onnx
    uvicorn --app-dir examples scoring_server:app --workers 2                                or
    gunicorn --pythonpath examples scoring_server:app --workers 2 --worker-class asgi --preload

    POST /top-k?k=3                     classes and log_probabilities of the k most likely classes
    POST /log-probabilities             log_probabilities of all classes
    POST /losses?label_smoothing=0.1    losses of images with labels

The body has images of shape (64,) or (rows, 64), with pixels from 0 to 1, and for /losses also their labels:
as application/json {"images": [...], "labels": [...]}, or as application/x-npy the .npy file of the float32
images, followed by that of the labels. The response has the format of the request, and its arrays are in the
order above. A refused request gets a 4xx status and {"error": reason}. The header x-worker is the process id
of the worker.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

import smoothxent as sx
from scoring_formats import FORMATS, Arrays, check_finite

Array: TypeAlias = NDArray[Any]
Score: TypeAlias = Callable[..., Arrays]  # of logits, perhaps labels, and strings of the query
PIXELS, CLASSES, MAX_BYTES = 64, 10, 4 << 20


def top_k(logits: Array, *, k: str = "3") -> Arrays:
    best = sx.top_k_log_softmax(logits, int(k))
    return {"classes": best.indices, "log_probabilities": best.log_probs}


def log_probabilities(logits: Array) -> Arrays:
    return {"log_probabilities": sx.log_softmax(logits)}


def losses(logits: Array, labels: Array, *, label_smoothing: str = "0") -> Arrays:
    eps = float(label_smoothing)
    loss = sx.cross_entropy(logits, labels, label_smoothing=eps, reduction="none")
    return {"losses": np.asarray(loss)}


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[dict[str, Any]]:
    """Run in each worker. ONNX Runtime starts a thread when it is imported, which no fork survives."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # and ours: a worker for each processor leaves none for more
    sx.set_num_threads(1)
    model, providers = os.environ["SCORING_MODEL"], ["CPUExecutionProvider"]
    yield {"session": onnxruntime.InferenceSession(model, options, providers)}


def run(session: Any, images: Array) -> Array:
    if images.dtype != np.float32 or images.shape[-1:] != (PIXELS,) or images.ndim > 2:
        got = f"{images.dtype} {images.shape}"
        raise ValueError(f"images must be float32 ({PIXELS},) or (rows, {PIXELS}), got {got}")
    check_finite({"images": images})
    (logits,) = session.run(["logits"], {"images": images.reshape(-1, PIXELS)})
    return logits.reshape(*images.shape[:-1], CLASSES)


def answer(request: Request, body: bytes, score: Score) -> Response:
    media_type = request.headers.get("content-type", "no type").partition(";")[0].strip().lower()
    if media_type not in FORMATS:
        raise HTTPException(415, f"content-type must be one of {[*FORMATS]}, got {media_type!r}")
    try:
        arrays = FORMATS[media_type].read(body)
    except Exception as error:  # whatever a parser makes of what is not in its format
        raise HTTPException(400, f"the body is not {media_type}: {error}") from error
    try:
        logits = run(request.state.session, arrays.pop("images"))
        answers = score(logits, **arrays, **request.query_params)
        check_finite(answers)
    except KeyError:
        raise HTTPException(422, "the body has no images") from None
    except (TypeError, ValueError) as error:  # of the arguments, in the words of smoothxent
        raise HTTPException(422, str(error)) from error
    headers = {"x-worker": str(os.getpid())}
    return Response(FORMATS[media_type].write(answers), 200, headers, media_type)


def route(path: str, score: Score) -> Route:
    async def endpoint(request: Request) -> Response:
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BYTES:
                raise HTTPException(413, f"the body is larger than {MAX_BYTES} bytes")
        # Not in a thread: those of CPython 3.11 fail when two at once read the header of a .npy file.
        return answer(request, bytes(body), score)

    return Route(path, endpoint, methods=["POST"])


def refused(request: Request, error: HTTPException) -> Response:
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


routes = [route("/top-k", top_k), route("/log-probabilities", log_probabilities)]
app = Starlette(
    routes=[*routes, route("/losses", losses)],
    lifespan=lifespan,
    exception_handlers={HTTPException: refused},
)
