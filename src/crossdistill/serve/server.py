"""The server: on the loopback interface alone, with a page and an API, until it is asked to stop."""

from __future__ import annotations

import errno
import os
import signal
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn
from starlette.formparsers import MultiPartParser

from crossdistill.errors import ConfigError
from crossdistill.serve.api import make_api
from crossdistill.serve.connections import impatient
from crossdistill.serve.gate import App, Gate
from crossdistill.serve.limits import LIMITS, Limits
from crossdistill.serve.page import add_page
from crossdistill.serve.service import Service
from crossdistill.serve.student import load_students

HOST = "127.0.0.1"
_PATIENCE = 2  # seconds that open requests have when the server stops


def serve(
    runs: Sequence[Path], gallery: Path | None, port: int, device: str, ready: Callable[[str], None],
    limits: Limits = LIMITS,
) -> None:  # fmt: skip
    """Serves until SIGINT or SIGTERM.

    Args:
        runs: run folders.
        gallery: a folder of source items, or an index; None: the runs' own source items.
        port: 0 takes a free one.
        device: where to compute.
        ready: is told the page's address as soon as it answers.
        limits: on what requests may take.

    Raises:
        ConfigError: the port is taken.
        RunFolderError, PairsError: as in :func:`~crossdistill.serve.student.load_students`.
    """
    with listening(port) as (listener, number), _own_folder():
        service = Service(load_students(runs, gallery, device), limits)
        try:
            service.decoders.start()
            settings = uvicorn.Config(
                make_app(service, number), log_level="error", access_log=False, lifespan="on", server_header=False,
                date_header=False, timeout_graceful_shutdown=_PATIENCE, limit_concurrency=limits.connections,
                timeout_keep_alive=15, h11_max_incomplete_event_size=32_768, ws="none", proxy_headers=False,
                http=impatient(limits.header_seconds),
            )  # fmt: skip
            threading.Thread(target=_draw_maps, args=(service,), daemon=True).start()
            with _calm_signals():
                _Server(settings, lambda: ready(f"http://{HOST}:{number}/")).run(sockets=[listener])
        finally:
            service.close()


def _draw_maps(service: Service) -> None:
    """Before anybody looks at them, as it takes seconds where items are large."""
    for seen in {id(student.map): student.map for student in service.students.values()}.values():
        seen.picture()


def make_app(service: Service, port: int) -> App:
    """Page and API behind the gate, as an ASGI application."""
    # An upload stays in memory: beyond this size the parser would write it to a disk.
    MultiPartParser.spool_max_size = max(MultiPartParser.spool_max_size, service.limits.upload_bytes)
    app = make_api(service)
    add_page(app, service)
    return Gate(app, service.limits, port)


@contextmanager
def listening(port: int) -> Iterator[tuple[socket.socket, int]]:
    """A socket that listens at a port of the loopback interface, and the port.

    Whoever connects before the server runs waits for it.

    Raises:
        ConfigError: it is taken, or this user may not have it.
    """
    # Told its protocol, as asyncio sends small answers at once (TCP_NODELAY) on sockets that know theirs alone: without
    # it an answer of two parts waits 40 ms for the client to acknowledge the first.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
            listener.listen()  # two that do not could both have the port
        except OSError as error:
            taken = error.errno == errno.EADDRINUSE
            raise ConfigError(
                "The port is taken by another program." if taken else "The port cannot be used.", where="--port",
                received=port, fix="choose another one, or --port 0 for a free one",
            ) from error  # fmt: skip
        yield listener, listener.getsockname()[1]
    finally:
        listener.close()


class _Server(uvicorn.Server):
    """Says when it answers."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if not self.should_exit:
            self._ready()


@contextmanager
def _calm_signals() -> Iterator[None]:
    """Uvicorn stops at a signal and then raises it again, for whom it may concern: here it has done its work."""

    def nothing(number: int, frame: FrameType | None) -> None:
        return

    previous: dict[int, Any] = {number: signal.signal(number, nothing) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextmanager
def _own_folder() -> Iterator[None]:
    """Whatever Gradio writes, it writes into a folder that goes with the server; and it calls nobody."""
    with tempfile.TemporaryDirectory(prefix="crossdistill-serve-", ignore_cleanup_errors=True) as folder:
        ours = {"GRADIO_TEMP_DIR": folder, "GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1"}
        before = {name: os.environ.get(name) for name in ours}
        os.environ.update(ours)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value
