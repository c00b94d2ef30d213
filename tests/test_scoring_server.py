"""examples/scoring_server.py under uvicorn and gunicorn, two workers each, over real connections."""

import io
import json
import multiprocessing
import os
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import cache

import numpy as np
import pytest

import smoothxent as sx
from benches.serving import EXAMPLES, SERVERS, Request, ask, ask_all, connect, running

pytestmark = pytest.mark.skipif(os.name != "posix", reason="gunicorn needs fork")

REQUESTS, CLIENTS = 2000, 8
JSON, NPY = "application/json", "application/x-npy"
RNG = np.random.default_rng(12)
IMAGES = RNG.random((5, 64), dtype=np.float32)
ONE = IMAGES[0].tolist()


def npy(*arrays):
    file = io.BytesIO()
    for array in arrays:
        np.save(file, array)
    return file.getvalue()


def as_json(images, labels=None):
    fields = {"images": images.tolist()} | ({} if labels is None else {"labels": labels.tolist()})
    return json.dumps(fields).encode()


READY = Request("/top-k", NPY, npy(IMAGES))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The network, trained and exported as the docstring of the server says."""
    path = tmp_path_factory.mktemp("model") / "digits.onnx"
    subprocess.run([sys.executable, EXAMPLES / "export_digits.py", path], check=True, timeout=300)
    return path


@cache
def session(model):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def run(model, batches):
    of_rows = [images.reshape(-1, 64) for images in batches]
    logits = [session(model).run(["logits"], {"images": images})[0] for images in of_rows]
    return [z.reshape(*images.shape[:-1], 10) for z, images in zip(logits, batches)]


@pytest.fixture(scope="module")
def network(model):
    """From images to logits, batch by batch: in another process, since ONNX Runtime starts threads and tests fork."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        yield lambda *batches: pool.submit(run, model, batches).result()


@pytest.fixture(scope="module", params=SERVERS)
def port(request, model, tmp_path_factory):
    """The port of a server, which must not have logged an error by its end."""
    log = tmp_path_factory.mktemp(request.param) / "log"
    with running(request.param, model, log, READY) as port:
        yield port
    text = log.read_text()
    for sign in ("Traceback", "ERROR", "WARNING", "terminate", "SIG", "Exception"):
        assert sign not in text.replace("SIGTERM", ""), text


def test_network_has_learned(network):
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    [logits] = network((pixels / 16).astype(np.float32))
    assert (logits.argmax(axis=-1) == labels).mean() > 0.95  # guessing has an accuracy of 0.1


def arrays_in(answer):
    """Read an answer; JSON numbers as float64, in which every float32 is exact."""
    if answer.media_type == JSON:
        return [np.array(value) for value in json.loads(answer.body).values()]
    file, arrays = io.BytesIO(answer.body), []
    while file.tell() < len(answer.body):
        arrays.append(np.load(file))
    return arrays


def drawn_images(rng):
    """One image, or a batch."""
    shape = (64,) if rng.random() < 0.3 else (int(rng.integers(0, 40)), 64)
    return rng.random(shape, dtype=np.float32)


def draw(rng, images, logits):
    """A request for these images, in either format, and the results of direct calls."""
    labels = rng.integers(0, 10, images.shape[:-1])
    media_type = JSON if images.size and rng.random() < 0.5 else NPY
    kind = rng.integers(3)
    if kind == 0:
        k = int(rng.integers(1, 11))
        path, expected = f"/top-k?k={k}", list(sx.top_k_log_softmax(logits, k))
    elif kind == 1:
        path, expected = "/log-probabilities", [sx.log_softmax(logits)]
    else:
        losses = sx.cross_entropy(logits, labels, label_smoothing=0.1, reduction="none")
        path, expected = "/losses?label_smoothing=0.1", [losses]
    given = (images, labels) if kind == 2 else (images,)
    body = as_json(*given) if media_type == JSON else npy(*given)
    return Request(path, media_type, body), expected


@pytest.fixture(scope="module")
def load(network):
    """Requests, the same for each server, and the results of direct calls."""
    rng = np.random.default_rng(3)
    batches = [drawn_images(rng) for _ in range(REQUESTS)]
    return [draw(rng, *drawn) for drawn in zip(batches, network(*batches))]


def test_load(port, load):
    """Many requests at once: no error, from both workers, with the bits of direct calls."""
    answers = ask_all(port, [request for request, _ in load], CLIENTS)
    assert [answer.status for answer in answers] == [200] * REQUESTS
    assert len({answer.worker for answer in answers}) == 2
    for (request, direct), answer in zip(load, answers):
        assert answer.media_type == request.media_type
        found = arrays_in(answer)
        assert len(found) == len(direct)
        for ours, theirs in zip(direct, found):
            if request.media_type == NPY:
                assert theirs.dtype == ours.dtype
            assert np.array_equal(theirs, ours), request.path


def changed(place, value):
    images = IMAGES.copy()
    images[place] = value
    return images


def header_only(shape, dtype="<f4"):
    """A .npy file without the data that its header announces."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        file, {"descr": dtype, "fortran_order": False, "shape": shape}
    )
    return file.getvalue()


LABELS = np.arange(5)
REFUSED = {  # path, media type, body; status, text of the message
    "NaN in .npy": ("/top-k", NPY, npy(changed((1, 2), np.nan)), 422, "images[1, 2] is nan"),
    "inf in .npy": ("/losses", NPY, npy(changed((0, 63), -np.inf), LABELS), 422, "images[0, 63] is -inf"),
    "NaN in JSON": ("/top-k", JSON, json.dumps({"images": [np.nan] * 64}).encode(), 400, "NaN is not JSON"),
    "-Infinity in JSON": ("/top-k", JSON, json.dumps({"images": [-np.inf] * 64}).encode(), 400, "-Infinity is not JSON"),
    "1e999 in JSON": ("/top-k", JSON, b'{"images": [%s1e999]}' % (b"0," * 63), 422, "images[63] is inf"),
    "1e39 in JSON": ("/top-k", JSON, b'{"images": [%s1e39]}' % (b"0," * 63), 422, "images[63] is inf"),
    "logits overflow": ("/log-probabilities", NPY, npy(IMAGES * np.float32(3e38)), 422, "log_probabilities[0, 0] is"),
    "float64": ("/top-k", NPY, npy(IMAGES.astype(np.float64)), 422, "images must be float32 (64,) or (rows, 64), got float64 (5, 64)"),
    "other byte order": ("/top-k", NPY, npy(IMAGES.astype(">f4")), 422, "got >f4 (5, 64)"),
    "objects": ("/top-k", NPY, npy(np.array([{}, None])), 400, "allow_pickle=False"),
    "three axes": ("/top-k", NPY, npy(IMAGES[None]), 422, "got float32 (1, 5, 64)"),
    "no axis": ("/top-k", JSON, b'{"images": 3}', 422, "got float32 ()"),
    "63 pixels": ("/top-k", JSON, json.dumps({"images": ONE[1:]}).encode(), 422, "got float32 (63,)"),
    "ragged": ("/top-k", JSON, json.dumps({"images": [ONE, ONE[1:]]}).encode(), 400, "inhomogeneous"),
    "text": ("/top-k", JSON, b'{"images": ["a"]}', 422, "got <U1 (1,)"),
    "null": ("/top-k", JSON, json.dumps({"images": [None] * 64}).encode(), 422, "got object (64,)"),
    "integers beyond int64": ("/top-k", JSON, b'{"images": [%s]}' % (b"9" * 5000), 400, "the body is not"),
    "no images": ("/top-k", JSON, b"{}", 422, "the body has no images"),
    "no JSON object": ("/top-k", JSON, b"[1, 2]", 400, '{"images": [...]}'),
    "another field": ("/top-k", JSON, json.dumps({"images": ONE, "k": 2}).encode(), 400, '{"images": [...]}'),
    "no JSON": ("/top-k", JSON, b"\xff{", 400, "the body is not application/json"),
    "deep JSON": ("/top-k", JSON, b"[" * 100_000, 400, "the body is not application/json"),
    "empty .npy": ("/top-k", NPY, b"", 422, "the body has no images"),
    "no .npy": ("/top-k", NPY, b"PK\x03\x04 and so on", 400, "the body is not application/x-npy"),
    "half a .npy": ("/top-k", NPY, npy(IMAGES)[:-1], 400, "the body is not application/x-npy"),
    "a header of terabytes": ("/top-k", NPY, header_only((10**11, 64)), 400, "the body is not application/x-npy"),
    "a header beyond 64 bits": ("/top-k", NPY, header_only((10**30, 64)), 400, "the body is not application/x-npy"),
    "a deep header": ("/top-k", NPY, b"\x93NUMPY\x01\x00\x28\x23" + b"-" * 9000, 400, "the body is not application/x-npy"),
    "three arrays": ("/losses", NPY, npy(IMAGES, LABELS, LABELS), 400, "3 arrays"),
    "label that is no class": ("/losses", NPY, npy(IMAGES, LABELS + 6), 422, "targets[4] is 10"),
    "label in JSON": ("/losses", JSON, as_json(IMAGES[0], np.array(10)), 422, "targets is 10"),
    "labels that are floats": ("/losses", NPY, npy(IMAGES, LABELS / 2), 422, "float"),
    "too few labels": ("/losses", NPY, npy(IMAGES, LABELS[:4]), 422, "(4,)"),
    "no labels": ("/losses", NPY, npy(IMAGES), 422, "labels"),
    "labels for top-k": ("/top-k", NPY, npy(IMAGES, LABELS), 422, "labels"),
    "k of 11": ("/top-k?k=11", NPY, npy(IMAGES), 422, "k must be"),
    "k of -1": ("/top-k?k=-1", NPY, npy(IMAGES), 422, "k must be"),
    "k that is no integer": ("/top-k?k=few", NPY, npy(IMAGES), 422, "few"),
    "another option": ("/top-k?n=3", NPY, npy(IMAGES), 422, "'n'"),
    "smoothing of 2": ("/losses?label_smoothing=2", NPY, npy(IMAGES, LABELS), 422, "label_smoothing"),
    "smoothing of nan": ("/losses?label_smoothing=nan", NPY, npy(IMAGES, LABELS), 422, "label_smoothing"),
    "images in the query": ("/top-k?logits=3", NPY, npy(IMAGES), 422, "logits"),
    "another type": ("/top-k", "text/plain", npy(IMAGES), 415, "text/plain"),
    "a large body": ("/top-k", NPY, bytes(4194305), 413, "larger than 4194304 bytes"),
    "another path": ("/top", NPY, npy(IMAGES), 404, "Not Found"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refused(port, case):
    *request, status, message = REFUSED[case]
    with connect(port) as connection:
        answer = ask(connection, Request(*request))
    assert (answer.status, answer.media_type) == (status, JSON)
    assert message in json.loads(answer.body)["error"]


def test_other_method(port):
    with connect(port) as connection:
        assert ask(connection, READY, method="PUT").status == 405


def test_after_refusals(port, network):
    """After an error the connection can be used again, and so can its worker."""
    *request, status, _ = REFUSED["NaN in .npy"]
    with connect(port) as connection:
        assert ask(connection, Request(*request)).status == status
        classes, _ = arrays_in(ask(connection, READY))
    [logits] = network(IMAGES)
    np.testing.assert_array_equal(classes, sx.top_k_log_softmax(logits, 3).indices)
