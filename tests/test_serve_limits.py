"""What the server bears: bodies, readers of uploads, connections, and what it keeps."""

from __future__ import annotations

import asyncio
import io
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import uvicorn
from tests.serving import npy
from tests.slow_reader import SlowReader

from crossdistill.errors import PairsError
from crossdistill.item import MemoryItem
from crossdistill.modalities import parse_modality
from crossdistill.modalities.base import InputDefaults
from crossdistill.serve.connections import impatient
from crossdistill.serve.decoding import Decoders
from crossdistill.serve.gate import Gate
from crossdistill.serve.headers import check_header
from crossdistill.serve.limits import Admission, Deadline, Limits, RefusedError, safe_name
from crossdistill.serve.server import listening
from crossdistill.serve.service import Kept, Service

PORT = 7860

# Bodies


def test_a_body_that_never_comes_is_given_up() -> None:
    async def reads(scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass

    sent: list[Any] = []

    async def receive() -> Any:
        await asyncio.sleep(60)

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/page/queries",
             "headers": [(b"host", f"127.0.0.1:{PORT}".encode())]}  # fmt: skip
    began = time.monotonic()
    asyncio.run(Gate(reads, Limits(body_seconds=0.2), PORT)(scope, receive, send))
    assert time.monotonic() - began < 5
    assert sent[0]["status"] == 408


def gate_scope(path: str) -> dict[str, Any]:
    return {"type": "http", "method": "POST", "path": path, "headers": [(b"host", f"127.0.0.1:{PORT}".encode())]}


def test_only_so_many_bodies_are_in_memory() -> None:
    """One more is refused before any of it is read, and its place is free again afterwards."""
    begun, answers = [], []

    async def reads(scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def ask(gate: Gate, go_on: asyncio.Event) -> None:
        async def receive() -> Any:
            begun.append(1)
            await go_on.wait()
            return {"type": "http.request", "body": b"x", "more_body": False}

        async def send(message: Any) -> None:
            if "status" in message:
                answers.append(message["status"])

        await gate(gate_scope("/page/queries"), receive, send)

    async def all_of_them() -> None:
        gate, go_on = Gate(reads, Limits(waiting=2), PORT), asyncio.Event()
        held = [asyncio.create_task(ask(gate, go_on)) for _ in range(2)]
        await asyncio.sleep(0.05)
        await asyncio.wait_for(ask(gate, go_on), 5)
        assert (answers, len(begun)) == ([503], 2)
        go_on.set()
        await asyncio.gather(*held)
        await ask(gate, go_on)
        assert answers == [503, 200, 200, 200]

    asyncio.run(all_of_them())


@pytest.mark.parametrize(
    ("path", "most"),
    [("/api/v1/runs/mine/embed/array", 1000), ("/api/v1/runs/mine/search/array", 1000),
     ("/api/v1/runs/mine/search/vector", 1000), ("/gradio_api/queue/join", 1 << 18), ("/page/queries", 1 << 20),
     ("/api/v1/runs/mine/search", 1 << 20)],
)  # fmt: skip
@pytest.mark.parametrize("declared", [True, False])
def test_json_is_far_shorter_than_files(path: str, most: int, declared: bool) -> None:
    answers: list[int] = []

    async def reads(scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def ask(size: int) -> None:
        async def receive() -> Any:
            return {"type": "http.request", "body": b" " * (size - 1) + b"1", "more_body": False}

        async def send(message: Any) -> None:
            if "status" in message:
                answers.append(message["status"])

        scope = gate_scope(path)
        if declared:
            scope["headers"].append((b"content-length", str(size).encode()))
        await Gate(reads, Limits(json_bytes=1000, upload_bytes=1 << 20), PORT)(scope, receive, send)

    asyncio.run(ask(most))
    asyncio.run(ask(most + 1))
    assert answers == [200, 413]


# Connections


@pytest.fixture
def patient_server() -> Iterator[int]:
    """One that gives connections half a second, with an application that takes a second to answer."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(1)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    with listening(0) as (listener, port):
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off", ws="none", http=impatient(0.5)))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        yield port
        server.should_exit = True
        thread.join(30)


@pytest.mark.parametrize("sent", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nhost: a\r\n"])
def test_a_connection_without_a_request_is_closed(patient_server: int, sent: bytes) -> None:
    with socket.create_connection(("127.0.0.1", patient_server), timeout=20) as connection:
        connection.sendall(sent)
        assert connection.recv(1000) == b""


def test_a_connection_with_requests_is_not(patient_server: int) -> None:
    with socket.create_connection(("127.0.0.1", patient_server), timeout=20) as connection:
        for _ in range(2):
            connection.sendall(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            found = b""
            while not found.endswith(b"ok"):
                found += connection.recv(1000)
        connection.sendall(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n1")  # the rest never comes
        found = b""
        while part := connection.recv(1000):
            found += part
        assert found.endswith(b"ok")


# The processes that read uploads


def test_a_reader_that_hangs_dies_or_eats_memory_is_replaced() -> None:
    slow: Any = SlowReader()
    limits = Limits(decoders=1, decode_seconds=2.0, decode_bytes=256 << 20)
    decoders = Decoders(limits, [(slow, MemoryItem("a.bin", b"fine"))])
    try:
        for content, status in ((b"sleep", 504), (b"eat", 413)):
            with pytest.raises(RefusedError) as caught:
                decoders.decode(slow, MemoryItem("a.bin", content))
            assert caught.value.status == status
        with pytest.raises(PairsError, match="ended the process"):
            decoders.decode(slow, MemoryItem("a.bin", b"die"))
        assert decoders.decode(slow, MemoryItem("a.bin", b"fine")).shape == (3,)
    finally:
        decoders.close()


def test_a_reader_that_is_killed_leaves_no_file() -> None:
    """Some libraries read files alone, so uploads are written to a place that goes with the server."""
    slow: Any = SlowReader()
    decoders = Decoders(Limits(decoders=1, decode_seconds=20.0))
    try:
        with pytest.raises(PairsError, match="ended the process"):
            decoders.decode(slow, MemoryItem("a.left-behind", b"leave"))
    finally:
        decoders.close()
    assert list(Path(tempfile.gettempdir()).rglob("*.left-behind")) == []


def test_a_deadline_ends_the_work_itself() -> None:
    """Of many slow files those that would come after it are not read."""
    slow: Any = SlowReader()
    decoders = Decoders(Limits(decoders=1, decode_seconds=20.0), [(slow, MemoryItem("a.bin", b"fine"))])
    service: Any = SimpleNamespace(decoders=decoders)
    student: Any = SimpleNamespace(modality=lambda side: slow)
    try:
        decoders.start()
        began = time.monotonic()
        with pytest.raises(RefusedError) as caught:
            Service.embed(service, student, [MemoryItem("a.bin", b"nap")] * 16, "target", Deadline(1.0))
        assert caught.value.status == 504
        assert time.monotonic() - began < 4  # of 6.4 s
        for content in (b"fine", b"nap"):
            assert decoders.decode(slow, MemoryItem("a.bin", content)).shape == (3,)
    finally:
        decoders.close()


def test_sizes_are_read_in_headers_before_anything_is_decoded() -> None:
    tifffile = pytest.importorskip("tifffile")
    limits, found = Limits(pixels=10_000), {}
    for name, shape in (("few", (5, 90, 100)), ("many", (5, 101, 100))):
        zeros = np.zeros(shape, dtype=np.uint16)
        packed, pages = io.BytesIO(), io.BytesIO()
        np.savez_compressed(packed, zeros)
        tifffile.imwrite(pages, zeros, compression="zlib", planarconfig="separate", photometric="minisblack")
        found[name] = {"a.npy": npy(zeros)[:200], "a.npz": packed.getvalue(), "a.tif": pages.getvalue()}
    for kind in ("multispectral", "depth"):
        modality: Any = SimpleNamespace(modality=kind)
        for name, content in found["many"].items():
            with pytest.raises(RefusedError, match="too many pixels") as caught:
                check_header(MemoryItem(name, content), modality, limits)
            assert caught.value.status == 413
        for name, content in found["few"].items():
            check_header(MemoryItem(name, content), modality, limits)
            check_header(MemoryItem(name, content[: len(content) // 2]), modality, limits)  # the reader says so
    long: Any = SimpleNamespace(modality="timeseries")
    with pytest.raises(RefusedError):
        check_header(MemoryItem("a.npy", npy(np.zeros((20_000, 3), dtype=np.float32))), long, limits)


def test_a_long_sound_is_refused_by_its_header() -> None:
    soundfile = pytest.importorskip("soundfile")
    import io

    stream = io.BytesIO()
    soundfile.write(stream, np.zeros(8000 * 20), 8000, format="FLAC")  # a few bytes of silence
    assert len(stream.getvalue()) < 20_000
    audio = parse_modality({"modality": "audio"}).resolve(
        InputDefaults(size=32, mean=(0.5,), std=(0.25,), interpolation="bilinear")
    )
    with pytest.raises(RefusedError, match="too long"):
        check_header(MemoryItem("a.flac", stream.getvalue()), audio, Limits(sound_seconds=10.0))
    check_header(MemoryItem("a.flac", stream.getvalue()), audio, Limits(sound_seconds=30.0))


def test_names_of_uploads_lead_nowhere() -> None:
    for name, wanted in [
        ("../../etc/passwd", "passwd"), ("C:\\data\\a.png", "a.png"), ("..", "item"), ("", "item"), (None, "item"),
        ("a\x00b.png", "a_b.png"), ("<img src=x>.png", "_img src_x_.png"), ("é.png", "_.png"), (".npy", "npy"),
    ]:  # fmt: skip
        assert safe_name(name) == wanted
    assert len(safe_name("x" * 500 + ".png")) == 80
    assert safe_name("x" * 500 + ".png").endswith(".png")


def test_admission_counts_down_after_failures() -> None:
    admission = Admission(1)
    for _ in range(3):
        with pytest.raises(ValueError, match="oops"), admission.enter():
            raise ValueError("oops")
    assert admission.count == 0


def test_queries_of_the_page_are_kept_within_bounds() -> None:
    kept = Kept(Limits(kept=3, kept_bytes=100, kept_seconds=60))
    words = [kept.put(MemoryItem("a", bytes(20))) for _ in range(5)]
    assert len(set(words)) == 5
    for gone in words[:2]:
        with pytest.raises(RefusedError):
            kept.get(gone)
    assert kept.get(words[2]).content == bytes(20)
    large = kept.put(MemoryItem("b", bytes(90)))
    assert kept.get(large).name == "b"
    with pytest.raises(RefusedError):
        kept.get(words[4])
    kept.close()
    brief = Kept(Limits(kept_seconds=0.0))
    with pytest.raises(RefusedError):
        brief.get(brief.put(MemoryItem("a", b"1")))


def test_queries_of_the_page_are_forgotten_in_time() -> None:
    """Not only when another one comes."""
    kept = Kept(Limits(kept_seconds=0.3))
    kept.put(MemoryItem("a", b"1"))
    time.sleep(0.1)
    kept.put(MemoryItem("b", b"2"))
    until = time.monotonic() + 10
    while kept._items and time.monotonic() < until:
        time.sleep(0.05)
    assert not kept._items
    assert kept.get(kept.put(MemoryItem("c", b"3"))).content == b"3"
    kept.close()
    assert not kept._items
