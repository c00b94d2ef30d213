"""examples/scoring_server.py on the loopback: starting, requests of several clients at once, stopping."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
WORKERS = 2
SECONDS = 60  # a timeout: nothing takes as long
REQUESTS_PER_CONNECTION = 25  # each new connection may go to another worker

GUNICORN = "--bind 127.0.0.1:0 --worker-class asgi --preload --no-control-socket"
SERVERS = {  # on a free port, which both write to their log
    "uvicorn": ["uvicorn", "--port", "0", "--no-access-log"],
    "gunicorn": ["gunicorn", *GUNICORN.split()],
}


class Request(NamedTuple):
    path: str
    media_type: str
    body: bytes


class Answer(NamedTuple):
    status: int
    media_type: str
    body: bytes
    worker: str | None  # its process; not in error responses
    seconds: float


def ask(connection: http.client.HTTPConnection, request: Request, method: str = "POST") -> Answer:
    start = time.perf_counter()
    headers = {"content-type": request.media_type}
    connection.request(method, request.path, request.body, headers)
    response = connection.getresponse()
    body = response.read()
    seconds = time.perf_counter() - start
    media_type = response.headers["content-type"]
    return Answer(response.status, media_type, body, response.headers["x-worker"], seconds)


def connect(port: int) -> contextlib.closing[http.client.HTTPConnection]:
    return contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS))


def ask_all(port: int, requests: Sequence[Request], clients: int) -> list[Answer]:
    """The answers in the order of the requests; each client has one pending request at a time."""

    def client(mine: Sequence[Request]) -> list[Answer]:
        answers = []
        for start in range(0, len(mine), REQUESTS_PER_CONNECTION):
            with connect(port) as connection:
                part = mine[start : start + REQUESTS_PER_CONNECTION]
                answers += [ask(connection, request) for request in part]
        return answers

    answers: list[Answer] = [None] * len(requests)  # type: ignore[list-item]
    with ThreadPoolExecutor(clients) as threads:
        parts = threads.map(client, [requests[first::clients] for first in range(clients)])
        for first, part in enumerate(parts):
            answers[first::clients] = part
    return answers


def wait_for_port(process: subprocess.Popen[bytes], log: Path) -> int:
    end = time.monotonic() + SECONDS
    while process.poll() is None and time.monotonic() < end:
        if found := re.search(r"http://127\.0\.0\.1:(\d+)", log.read_text()):
            return int(found[1])
        time.sleep(0.02)
    raise RuntimeError(f"the server has not started:\n{log.read_text()}")


def wait_for_workers(port: int, request: Request) -> None:
    end = time.monotonic() + SECONDS
    workers: set[str | None] = set()
    while len(workers - {None}) < WORKERS:
        if time.monotonic() > end:
            raise RuntimeError(f"not {WORKERS} workers answer, but {workers}")
        with connect(port) as connection:
            try:
                workers.add(ask(connection, request).worker)
            except ConnectionRefusedError:  # uvicorn logs its port before a worker listens
                time.sleep(0.02)


@contextlib.contextmanager
def running(
    server: str, model: Path, log: Path, ready: Request, app: str = "scoring_server:app"
) -> Iterator[int]:
    """The port of a server, once each of its workers has answered the request `ready`."""
    name, *options = SERVERS[server]
    command = [sys.executable, "-m", name, *options, "--workers", str(WORKERS), app]
    paths = os.pathsep.join([str(EXAMPLES), str(ROOT)])
    environment = {**os.environ, "SCORING_MODEL": str(model), "PYTHONPATH": paths}
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, stdout=file, stderr=file, env=environment, start_new_session=True
        )
    try:
        port = wait_for_port(process, log)
        wait_for_workers(port, ready)
        yield port
        process.terminate()
        process.wait(SECONDS)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
