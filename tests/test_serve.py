"""The server's API, its limits, what it refuses, and whether what it says is true."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from tests.serving import make_run, npy, png, png_bomb

from crossdistill.cli import serve as command
from crossdistill.errors import ConfigError, MissingDependencyError, PairsError, RunFolderError
from crossdistill.evaluation import ranks
from crossdistill.files import read_json
from crossdistill.item import MemoryItem
from crossdistill.pipeline import load
from crossdistill.pipeline.folder import RunFolder
from crossdistill.pipeline.own_pairs import own_pairs
from crossdistill.search import Index
from crossdistill.serve import api, place, server
from crossdistill.serve import student as student_module
from crossdistill.serve.answer import answer
from crossdistill.serve.gallery import Entry
from crossdistill.serve.limits import Deadline, Limits
from crossdistill.serve.page import Page
from crossdistill.serve.place import Map
from crossdistill.serve.server import listening, make_app
from crossdistill.serve.service import Service
from crossdistill.serve.setup import setup_of
from crossdistill.serve.student import Student, load_students

PORT = 7860
LIMITS = Limits(upload_bytes=200_000, decoders=1, body_seconds=2.0, results=20, decode_seconds=20.0)


@pytest.fixture(scope="module")
def finished(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return make_run(manifest, tmp_path_factory.mktemp("serve") / "mine")


@pytest.fixture(scope="module")
def students(finished: RunFolder) -> list[Student]:
    return load_students([finished.root], None, "cpu")


@pytest.fixture(scope="module")
def service(students: list[Student]) -> Iterator[Service]:
    made = Service(students, LIMITS)
    yield made
    made.close()


class Client:
    """Asks an ASGI application, in one event loop."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._loop = asyncio.new_event_loop()

    def ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        async def one() -> httpx.Response:
            transport = httpx.ASGITransport(app=self._app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url=f"http://127.0.0.1:{PORT}") as client:
                return await client.request(method, path, **more)

        return self._loop.run_until_complete(one())

    def get(self, path: str, **more: Any) -> httpx.Response:
        return self.ask("GET", path, **more)

    def post(self, path: str, **more: Any) -> httpx.Response:
        return self.ask("POST", path, **more)

    def close(self) -> None:
        self._loop.close()


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[Client]:
    made = Client(make_app(service, PORT))
    yield made
    made.close()


def upload(content: bytes, name: str = "drawing.png") -> dict[str, Any]:
    return {"file": (name, content)}


# What it answers


def test_runs_and_health(client: Client, students: list[Student]) -> None:
    health = client.get("/api/v1/health").json()
    assert health["status"] == "ok"
    assert health["at_work"] == 0
    told = client.get("/api/v1/runs").json()
    assert [each["id"] for each in told] == ["mine", "mine.l2"]
    assert [each["role"] for each in told] == ["objective", "baseline"]
    assert told[0]["modalities"] == {"source": "image", "target": "image"}
    assert told[0]["items"]["source"] == len(students[0].own["source"].gallery)
    assert told[0]["classes"] == [f"corners {number}" for number in (3, 4, 5, 6)]


def test_embeddings_are_the_models_own(client: Client, finished: RunFolder) -> None:
    files = [png(48, 48), png(60, 60)]
    answer = client.post("/api/v1/runs/mine/embed", files=[("file", (f"{n}.png", one)) for n, one in enumerate(files)])
    assert answer.status_code == 200
    wanted = load(finished.root).embed([MemoryItem("a.png", one) for one in files])
    np.testing.assert_allclose(answer.json()["embeddings"], wanted, atol=1e-6)
    source = client.post("/api/v1/runs/mine/embed?modality=source", files=upload(files[0]))
    wanted = load(finished.root).embed([MemoryItem("a.png", files[0])], "source")
    np.testing.assert_allclose(source.json()["embeddings"], wanted, atol=1e-6)


def test_an_array_is_embedded_as_its_file(client: Client, finished: RunFolder) -> None:
    array = np.random.default_rng(0).integers(0, 256, (40, 40), dtype=np.uint8)
    answer = client.post("/api/v1/runs/mine/embed/array", json={"array": array.tolist()})
    np.testing.assert_allclose(answer.json()["embeddings"], load(finished.root).embed([array]), atol=1e-6)
    same = client.post("/api/v1/runs/mine/embed/array", json={"array": array.astype(float).tolist()})
    assert same.json() == answer.json()
    for wrong in ([[1, 2], [3]], [[1, 256]], [["a"]], [[10**400]], [[-1]]):
        for path in ("embed/array", "search/array"):
            refused = client.post(f"/api/v1/runs/mine/{path}", json={"array": wrong})
            assert (refused.status_code, refused.json()["where"]) == (400, "array")
    refused = client.post("/api/v1/runs/mine/embed/array", json={"array": [[1e300]], "dtype": "float32"})
    assert (refused.status_code, refused.json()["where"]) == (400, "array")


def test_shares_of_one_are_no_picture(client: Client) -> None:
    """They would be cut down to black."""
    for path in ("embed/array", "search/array"):
        refused = client.post(f"/api/v1/runs/mine/{path}", json={"array": [[0.0, 0.5], [1.0, 0.25]]})
        assert (refused.status_code, refused.json()["received"]) == (400, "0.5")
        assert "multiplied by 255" in refused.json()["fix"]


def test_search_finds_what_brute_force_finds(client: Client, finished: RunFolder, students: list[Student]) -> None:
    model, content = load(finished.root), png(50, 44)
    answer = client.post("/api/v1/runs/mine/search?k=7", files=upload(content)).json()
    query = model.embed([MemoryItem("a.png", content)])[0]
    for side, key in (("source", "nearest"), ("target", "nearest_own")):
        gallery = students[0].own[side].gallery  # type: ignore[index]
        items = [gallery.entries[row].item for row in range(len(gallery))]
        similarity = model.embed(items, side) @ query  # type: ignore[arg-type]
        order = np.argsort(-similarity, kind="stable")[:7]
        assert [found["position"] for found in answer[key]] == order.tolist()
        np.testing.assert_allclose([found["similarity"] for found in answer[key]], similarity[order], atol=1e-4)
        assert [found["label"] for found in answer[key]] == [gallery.entries[row].label for row in order]
    for length in (3, 1e-300, 1e300):
        vector = (length * query.astype(np.float64)).tolist()
        again = client.post("/api/v1/runs/mine/search/vector?k=7", json={"embedding": vector}).json()
        assert [found["position"] for found in again["nearest"]] == [found["position"] for found in answer["nearest"]]
        np.testing.assert_allclose(
            [found["similarity"] for found in again["nearest"]], [found["similarity"] for found in answer["nearest"]],
            atol=2e-5,
        )  # fmt: skip


def test_a_query_in_the_source_modality_finds_targets(client: Client) -> None:
    answer = client.post("/api/v1/runs/mine/search?k=2&modality=source", files=upload(png())).json()
    assert all(found["picture"].startswith("/api/v1/runs/mine/target/") for found in answer["nearest"])
    assert all(found["picture"].startswith("/api/v1/runs/mine/source/") for found in answer["nearest_own"])


def test_labels_are_those_of_the_zero_shot_protocol(finished: RunFolder, students: list[Student]) -> None:
    """The accuracy of the page's labels on test items is the one that the run reports, for both students."""
    pairs = own_pairs(finished)
    rows = pairs.where("test", has=("target",), labelled=True)
    outcomes = {each["name"]: each for each in read_json(finished.metrics)["outcomes"]}
    for student in students:
        assert student.labeller is not None
        vectors = student.model.embed([pairs[row].target for row in rows])
        found = student.labeller.probabilities(vectors, "target")
        np.testing.assert_allclose(found.sum(axis=1), 1)
        guessed = [student.labeller.classes[place] for place in found.argmax(axis=1)]
        right = np.mean([guess == pairs[row].label for guess, row in zip(guessed, rows, strict=True)])
        assert right == pytest.approx(outcomes[student.objective]["metrics"]["zero_shot"]["value"])


def test_pictures_sounds_and_the_map(client: Client, students: list[Student]) -> None:
    found = client.post("/api/v1/runs/mine/search?k=1", files=upload(png())).json()
    picture = client.get(found["nearest"][0]["picture"])
    assert (picture.status_code, picture.headers["content-type"]) == (200, "image/webp")
    assert picture.content[8:12] == b"WEBP"
    assert client.get("/api/v1/runs/mine/map").content[8:12] == b"WEBP"
    assert found["nearest"][0]["sound"] is None
    assert client.get("/api/v1/runs/mine/source/0/sound").status_code == 404
    assert client.get("/api/v1/runs/mine/source/99999/picture").status_code == 404
    assert client.get("/api/v1/runs/mine/source/-1/picture").status_code == 404


def test_addresses_of_pictures_hold_for_one_start(
    client: Client, service: Service, students: list[Student], finished: RunFolder
) -> None:
    """Browsers keep pictures for a day: no other start, with another gallery, may have the same addresses."""
    found = client.post("/api/v1/runs/mine/search?k=2", files=upload(png())).json()
    shown = Page(service).ask(None, "mine", [], "target", 3)
    told = re.search(r'href="(/api/v1/runs/mine/map[^"]*)"', shown)
    assert told is not None
    examples = setup_of(students[0], "source", LIMITS)["examples"]
    addresses = [told[1], *(each["picture"] for each in (*found["nearest"], *found["nearest_own"], *examples))]
    again = load_students([finished.root], None, "cpu")
    for each in addresses:
        assert "max-age=86400" in client.get(each).headers["cache-control"]
        assert client.get(each.split("?")[0]).headers["cache-control"] == "no-cache"
        assert client.get(each.replace(students[0].version, again[0].version)).status_code == 404
    assert len({each.version for each in (*students, *again)}) == 4


def test_the_api_is_documented(client: Client) -> None:
    described = client.get("/api/openapi.json").json()
    assert "/api/v1/runs/{run}/search" in described["paths"]
    page = client.get("/api/docs")
    assert page.status_code == 200
    for path in described["paths"]:
        assert path in page.text
    for name in described["components"]["schemas"]:
        assert name in page.text or "ValidationError" in name
    assert "http://" not in page.text.replace("http://127.0.0.1", "")
    assert "https://" not in page.text
    assert "<script" not in page.text


# What it refuses


@pytest.mark.parametrize(
    ("content", "name", "status"),
    [
        (b"", "empty.png", 400),
        (b"these are words", "words.png", 400),
        (png()[:90], "truncated.png", 400),
        (png_bomb(), "bomb.png", 413),
        (b"\x93NUMPY", "damaged.npy", 400),
        (npy(np.zeros((4, 4), dtype=np.float64)), "floats.npy", 400),
        (b"GIF89a" + bytes(20), "damaged.gif", 400),
    ],
)
def test_wrong_files(client: Client, content: bytes, name: str, status: int) -> None:
    answer = client.post("/api/v1/runs/mine/search", files=upload(content, name))
    assert answer.status_code == status, answer.text
    assert set(answer.json()) <= {"problem", "where", "expected", "received", "fix"}
    assert "Traceback" not in answer.text
    assert answer.json()["where"] == name
    fine = client.post("/api/v1/runs/mine/search", files=upload(png()))
    assert fine.status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "more", "status"),
    [
        ("GET", "/api/v1/runs/nobody/map", {}, 404),
        ("POST", "/api/v1/runs/nobody/search", {"files": upload(png())}, 404),
        ("POST", "/api/v1/runs/mine/search?k=0", {"files": upload(png())}, 400),
        ("POST", "/api/v1/runs/mine/search?k=21", {"files": upload(png())}, 400),
        ("POST", "/api/v1/runs/mine/search?k=many", {"files": upload(png())}, 400),
        ("POST", "/api/v1/runs/mine/search?modality=smell", {"files": upload(png())}, 400),
        ("POST", "/api/v1/runs/mine/search", {"json": {"file": "/etc/passwd"}}, 415),
        ("POST", "/api/v1/runs/mine/search", {"data": {"file": "/etc/passwd"}}, 415),
        ("POST", "/api/v1/runs/mine/search", {"content": png()}, 415),
        ("POST", "/api/v1/runs/mine/search/vector", {"files": upload(png())}, 415),
        ("POST", "/api/v1/runs/mine/search/vector", {"json": {"embedding": [1.0]}}, 400),
        ("POST", "/api/v1/runs/mine/search/vector", {"json": {}}, 400),
        ("POST", "/api/v1/runs/mine/search/vector", {"json": {"embedding": [10**400]}}, 400),
        ("POST", "/api/v1/runs/mine/search/vector", {"json": {"embedding": "words"}}, 400),
        ("POST", "/api/v1/runs/mine/embed/array", {"json": {"array": [[1]], "dtype": "int8"}}, 400),
        ("POST", "/api/v1/runs/mine/embed/array",
         {"content": b"{", "headers": {"content-type": "application/json"}}, 400),
        ("POST", "/api/v1/runs/mine/embed/array",
         {"content": b'{"array": ' + b"[" * 5000, "headers": {"content-type": "application/json"}}, 400),
        ("POST", "/api/v1/runs/mine/embed", {"files": [("file", ("a.png", png()))] * 17}, 413),
        ("DELETE", "/api/v1/runs", {}, 405),
        ("POST", "/api/v1/runs", {}, 405),
    ],
)  # fmt: skip
def test_wrong_requests(client: Client, method: str, path: str, more: dict[str, Any], status: int) -> None:
    answer = client.ask(method, path, **more)
    assert answer.status_code == status, answer.text
    assert answer.json()["problem"]


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=/etc/passwd", "/gradio_api/file/etc/passwd", "/file=/etc/passwd", "/gradio_api/upload",
        "/gradio_api/proxy=http://example.org/", "/gradio_api/info", "/gradio_api/run/ask", "/gradio_api/call/ask",
        "/gradio_api/vibe-code/", "/gradio_api/process_recording", "/gradio_api/runs", "/gradio_api/app_id",
        "/monitoring", "/svelte/svelte.js", "/gradio_api/custom_component/1/client/component/index.js",
        "/docs", "/redoc", "/openapi.json", "/assets/../../../../etc/passwd", "/static/..%2f..%2fetc/passwd",
        "/api/v1/runs/..%2f..%2fetc/map", "/nothing",
    ],
)  # fmt: skip
def test_addresses_that_are_not_there(client: Client, path: str) -> None:
    """Above all nothing that serves, fetches or takes files of Gradio's."""
    assert client.get(path).status_code == 404
    assert client.post(path).status_code == 404


def test_the_runs_own_files_are_not_served(client: Client, finished: RunFolder) -> None:
    for file in (finished.config, finished.metrics, finished.student / "model.safetensors"):
        assert client.get(f"/gradio_api/file={file}").status_code == 404
        assert client.get(f"/api/v1/runs/mine{file}").status_code == 404


@pytest.mark.parametrize("inside", [{"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}},
                                    {"url": "http://127.0.0.1:22/", "path": "x", "meta": {"_type": "gradio.FileData"}},
                                    [{"deep": [{"path": "/etc/passwd"}]}]])  # fmt: skip
def test_gradio_is_given_no_path(client: Client, inside: Any, tmp_path: Path) -> None:
    body = {"data": [inside, "mine", [], "target", 12], "fn_index": 0, "session_hash": "abc"}
    answer = client.post("/gradio_api/queue/join", json=body)
    assert answer.status_code == 400
    assert "Files are not sent" in answer.json()["problem"]


def test_gradio_itself_would_refuse_a_path_too(service: Service) -> None:
    """The second lock: a mounted Gradio checks paths only where it believes to have been launched."""
    app = make_app(service, PORT)
    mounted = [route for route in app.app.routes if getattr(route, "path", None) == ""]  # type: ignore[attr-defined]
    assert mounted[0].app.get_blocks().has_launched is True


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:7860", "127.0.0.1:1", "127.0.0.1", "localhost.evil:7860", ""]
)
def test_other_hosts_are_refused(client: Client, host: str) -> None:
    """A web page elsewhere may name its own host for this machine (DNS rebinding)."""
    answer = client.get("/api/v1/health", headers={"host": host})
    assert answer.status_code == 421


def test_own_names_are_hosts(client: Client) -> None:
    for host in (f"localhost:{PORT}", f"127.0.0.1:{PORT}", f"[::1]:{PORT}", f"LOCALHOST:{PORT}"):
        assert client.get("/api/v1/health", headers={"host": host}).status_code == 200


def test_other_pages_are_refused(client: Client) -> None:
    for origin in ("https://evil.example", "null", f"http://127.0.0.1:{PORT + 1}", f"https://127.0.0.1:{PORT}"):
        answer = client.post("/api/v1/runs/mine/search", files=upload(png()), headers={"origin": origin})
        assert answer.status_code == 403, origin
    own = client.post("/api/v1/runs/mine/search", files=upload(png()), headers={"origin": f"http://127.0.0.1:{PORT}"})
    assert own.status_code == 200
    assert "access-control-allow-origin" not in own.headers


def test_every_answer_forbids_what_is_elsewhere(client: Client) -> None:
    for path in ("/", "/api/docs", "/api/v1/health", "/nothing"):
        policy = client.get(path).headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy


def test_a_body_that_its_header_makes_too_large(client: Client) -> None:
    answer = client.post("/api/v1/runs/mine/search", files=upload(bytes(300_000)))
    assert (answer.status_code, answer.json()["expected"]) == (413, "at most 200,000 bytes")
    kept = client.post("/page/queries?name=a.png", content=bytes(300_000))
    assert kept.status_code == 413


def endless(chunk: bytes, seen: list[int]) -> Any:
    async def parts() -> Any:
        for _ in range(1000):
            seen.append(len(chunk))
            yield chunk

    return parts()


def test_a_body_without_end_is_cut_off(client: Client) -> None:
    """No header says how long it is; it is refused as soon as it is too much, and the rest is not read."""
    for path in ("/page/queries?name=a.png", "/gradio_api/queue/join"):
        seen: list[int] = []
        answer = client.post(path, content=endless(bytes(50_000), seen))
        assert answer.status_code == 413
        assert sum(seen) <= 400_000


def test_a_fault_of_the_server_is_told_in_the_same_shape(
    client: Client, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fault(*arguments: Any) -> Any:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(service, "ask", fault)
    found = client.post("/api/v1/runs/mine/search", files=upload(png()))
    assert (found.status_code, found.json()["received"]) == (500, "ZeroDivisionError")
    assert "secret" not in found.text


def test_an_item_that_is_gone_is_told_on_the_page(service: Service, tmp_path: Path) -> None:
    student = service.student("mine")
    entries = student.own["target"].gallery.entries
    kept, entries[0] = entries[0], Entry("gone", tmp_path / "gone.png")  # type: ignore[index]
    try:
        value = json.dumps({"query": {"own": 0, "side": "target"}})
        assert "cannot be read any more" in Page(service).ask(value, "mine", [], "target", 3)
    finally:
        entries[0] = kept  # type: ignore[index]


# What it bears


def test_an_upload_stays_in_memory(
    students: list[Student], monkeypatch: pytest.MonkeyPatch, service: Service
) -> None:  # fmt: skip
    def written(*arguments: Any) -> None:
        raise AssertionError("an upload is written to a disk")

    monkeypatch.setattr(tempfile.SpooledTemporaryFile, "rollover", written)
    large = npy(np.zeros((900, 900, 3), dtype=np.uint8))
    assert len(large) > 2 << 20
    generous = Service(students, Limits(upload_bytes=4 << 20, decoders=1))
    generous.close()
    monkeypatch.setattr(generous, "decoders", service.decoders)
    asked = Client(make_app(generous, PORT))
    found = asked.post("/api/v1/runs/mine/embed", files=upload(large, "large.npy"))
    asked.close()
    assert found.status_code == 200, found.text


def test_json_is_read_by_who_does_the_work(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by the loop, in which everybody else waits meanwhile."""
    parsed, threads = api.parsed, set()

    def seen(*arguments: Any) -> Any:
        threads.add(threading.current_thread())
        return parsed(*arguments)

    monkeypatch.setattr(api, "parsed", seen)
    for path, body in (("embed/array", {"array": [[0]]}), ("search/array", {"array": [[0]]}),
                       ("search/vector", {"embedding": [0]})):  # fmt: skip
        client.post(f"/api/v1/runs/mine/{path}", json=body)
        assert threads
        assert threading.current_thread() not in threads
        threads.clear()


def test_all_columns_of_the_page_have_one_deadline(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    deadlines = []

    def late(student: Student, item: Any, side: Any, k: int, deadline: Any) -> Any:
        deadlines.append(deadline)
        raise deadline.refusal

    monkeypatch.setattr(service, "look", late)
    token = service.kept.put(MemoryItem("a.png", png()))
    shown = Page(service).ask(json.dumps({"query": {"token": token}}), "mine", ["mine.l2"], "target", 3)
    assert shown.count("The request takes too long") == 2
    assert len(deadlines) == 2
    assert deadlines[0] is deadlines[1]


def test_more_than_may_wait_is_refused(client: Client, service: Service) -> None:
    admission = service.admission
    held = [admission.enter() for _ in range(admission.most)]
    for each in held:
        each.__enter__()
    try:
        answer = client.post("/api/v1/runs/mine/search", files=upload(png()))
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert client.get("/api/v1/health").json()["at_work"] == admission.most
    finally:
        for each in held:
            each.__exit__(None, None, None)
    assert client.post("/api/v1/runs/mine/search", files=upload(png())).status_code == 200


def test_many_at_once_get_the_same_answers(service: Service, students: list[Student]) -> None:
    items = [MemoryItem(f"{n}.png", png(40 + n, 40)) for n in range(8)]
    patience = Deadline(300)  # this is about answers; a busy machine may take its time
    alone = [service.ask(students[0], item, "target", 3, patience) for item in items]
    together: dict[int, Any] = {}
    threads = [
        threading.Thread(
            target=lambda n=n: together.setdefault(n, service.ask(students[0], items[n], "target", 3, patience))
        )
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [together[n] for n in range(8)] == alone


# How sure it is


def test_partner_certainty_is_measured_on_held_out_pairs(finished: RunFolder, students: list[Student]) -> None:
    pairs, student = own_pairs(finished), students[0]
    rows = [row for split in ("val", "test") for row in pairs.where(split, has=("source", "target"))]
    sources = student.own["source"]
    place = {sources.gallery.entries[n].id: n for n in range(len(sources.gallery))}
    partner = np.array([place[str(pairs[row].source)] for row in rows])
    queries = student.model.embed([pairs[row].target for row in rows])
    found = ranks(queries, sources.vectors, partner, np.arange(len(sources.vectors)))
    measured = student.partners["target"].within(5)
    assert measured is not None
    assert measured.cases == len(rows)
    assert measured.rate == pytest.approx(((found <= 5).sum() + 1) / (len(rows) + 2))


def test_an_odd_query_is_called_strange(service: Service, students: list[Student]) -> None:
    """The negative of all training is farther from it than any held-out item."""
    trained = students[0].own["target"].vectors[students[0].trained["target"]]
    answer = service.ask_vector(students[0], -trained.mean(axis=0), "target", 3)
    assert answer.certainty.verdict == "strange"
    assert answer.certainty.familiarity == 0


def test_the_place_on_the_map_is_among_the_nearest(students: list[Student]) -> None:
    made: Map = students[0].map
    assert len(made) == len(made.rows) > 8
    assert made.places.min() >= 0
    assert made.places.max() <= 1
    for number in (0, 5):
        placed = made.place(np.asarray(students[0].sources.vectors[made.rows[number]]))
        assert placed is not None
        point, anchors = placed
        assert anchors[0].x == pytest.approx(made.places[number, 0])
        assert min(a.x for a in anchors) - 1e-9 <= point.x <= max(a.x for a in anchors) + 1e-9
        assert min(a.y for a in anchors) - 1e-9 <= point.y <= max(a.y for a in anchors) + 1e-9
    twin = Map(students[0].sources, 0)
    np.testing.assert_array_equal(made.places, twin.places)


# What it searches


def test_a_folder_of_ones_own(finished: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(png(40 + 8 * number))
    (tmp_path / "notes.txt").write_text("no picture")
    student = load_students([finished.root], tmp_path, "cpu")[0]
    assert "1 of 4 files of the gallery are left out, unreadable: notes.txt" in capsys.readouterr().err
    assert [student.sources.gallery.entries[n].id for n in range(3)] == ["0.png", "1.png", "2.png"]
    told = answer(student, student.sources.vectors[1], "target", 3)
    assert told.nearest[0].id == "1.png"
    assert told.certainty.partner.probability is None
    assert "no partners are known" in told.certainty.partner.meaning
    assert told.place is None


@pytest.mark.parametrize(
    ("name", "problem"), [("missing", "is missing"), ("a.png", "is no folder"), ("empty", "holds no files")]
)
def test_what_is_no_gallery_is_told_before_anything_long_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, problem: str
) -> None:
    (tmp_path / "a.png").write_bytes(png())
    (tmp_path / "empty").mkdir()

    def never(*arguments: Any, **more: Any) -> Any:
        raise AssertionError("a run is loaded")

    monkeypatch.setattr(student_module, "load", never)
    with pytest.raises(PairsError, match=problem):
        load_students([tmp_path], tmp_path / name, "cpu")


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gallery")
    for number in range(3):
        (folder / f"{number}.png").write_bytes(png(40 + 8 * number))
    (folder / os.fsdecode(b"\xff.png")).write_bytes(png(64))
    return folder


@pytest.fixture(scope="module")
def searching(finished: RunFolder, gallery: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Two runs, which search in one gallery."""
    yours = tmp_path_factory.mktemp("second") / "yours"
    shutil.copytree(finished.root, yours)
    made = Service(load_students([finished.root, yours], gallery, "cpu"), LIMITS)
    yield made
    made.close()


@pytest.fixture(scope="module")
def in_gallery(searching: Service) -> Iterator[Client]:
    made = Client(make_app(searching, PORT))
    yield made
    made.close()


def test_two_runs_search_in_one_gallery(in_gallery: Client) -> None:
    told = in_gallery.get("/api/v1/runs").json()
    assert [each["id"] for each in told] == ["mine", "mine.l2", "yours", "yours.l2"]
    assert {each["items"]["source"] for each in told} == {4}
    found = [in_gallery.post(f"/api/v1/runs/{run}/search", files=upload(png())).json() for run in ("mine", "yours")]
    scores = [[(each["id"], each["similarity"]) for each in answer["nearest"]] for answer in found]
    assert scores[0] == scores[1]
    assert "\\xff.png" in {name for name, _ in scores[0]}  # a name that is no text is shown nevertheless
    for each in found:
        assert in_gallery.get(each["nearest"][0]["picture"]).content[8:12] == b"WEBP"


def test_own_items_beside_a_gallery(in_gallery: Client, searching: Service) -> None:
    """What is offered to try, and the nearest of its own modality, are the run's own items, of either modality."""
    student = searching.student("mine")
    for side in ("source", "target"):
        own = student.own[side].gallery  # type: ignore[index]
        offered = setup_of(student, side, LIMITS)["examples"]  # type: ignore[arg-type]
        assert len(offered) > 4  # more than the gallery has
        for each in offered:
            assert in_gallery.get(each["picture"]).content == own.picture(each["position"])
        found = in_gallery.post(f"/api/v1/runs/mine/search?modality={side}&k=3", files=upload(png())).json()
        for each in found["nearest_own"]:
            assert each["id"] == own.entries[each["position"]].id
            assert in_gallery.get(each["picture"]).content == own.picture(each["position"])
    assert in_gallery.get("/api/v1/runs/mine/own/source/99999/picture").status_code == 404
    assert in_gallery.get("/api/v1/runs/mine/own/source/0/sound").status_code == 404


def test_without_labels_and_partners_the_reason_is_the_true_one(searching: Service) -> None:
    unlabelled = dataclasses.replace(searching.student("mine"), labeller=None)
    told = answer(unlabelled, unlabelled.sources.vectors[1], "target", 3).certainty
    assert told.verdict in ("unknown", "strange")
    known = answer(unlabelled, unlabelled.own["target"].vectors[0], "target", 3).certainty
    assert (known.verdict, known.summary) == ("unknown", known.partner.meaning)
    assert "gallery of your own" in known.summary


def test_an_index_of_another_run_of_the_same_teacher(finished: RunFolder, tmp_path: Path) -> None:
    """Its own student embeds no query here."""
    model = load(finished.root)
    index = Index.create(tmp_path / "index", model, "source")
    index.add(model.embed([MemoryItem("a.png", png())], "source"), ["a.png"])
    described = tmp_path / "index" / "index.json"
    for side, fine in (("target", True), ("source", False)):
        content = json.loads(described.read_text())
        content["encoders"][side]["weights_hash"] = "0" * 64
        described.write_text(json.dumps(content))
        if fine:
            assert len(load_students([finished.root], tmp_path / "index", "cpu")[0].sources.gallery) == 1
        else:
            with pytest.raises(RunFolderError, match="another source encoder"):
                load_students([finished.root], tmp_path / "index", "cpu")


def test_an_index_of_ones_own(
    finished: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    model = load(finished.root)
    (tmp_path / "a.png").write_bytes(png())
    index = Index.create(tmp_path / "photos.index", model, "source")
    vectors = model.embed([MemoryItem("a.png", png()), MemoryItem("b.png", png(90, 30))], "source")
    index.add(vectors, [str(tmp_path / "a.png"), "gone.png"])
    index.finish()
    student = load_students([finished.root], tmp_path / "photos.index", "cpu")[0]
    assert student.sources.gallery.picture(0) is not None
    assert student.sources.gallery.picture(1) is None
    assert student.shelf("source").nearest(vectors[:1], 1)[0].tolist() == [[0]]
    wrong_names = Index.create(tmp_path / "names.index", model, "source")
    wrong_names.add(vectors, ["a caption. " * 500, "nul\x00"])
    capsys.readouterr()
    student = load_students([finished.root], tmp_path / "names.index", "cpu")[0]
    assert "shown without pictures: none of the first 2 ids" in capsys.readouterr().err
    assert [student.sources.gallery.picture(row) for row in (0, 1)] == [None, None]
    Index.create(tmp_path / "half.index", model, "source", half_built=True).add(vectors, ["a", "b"])
    with pytest.raises(RunFolderError, match="half built"):
        load_students([finished.root], tmp_path / "half.index", "cpu")
    Index.create(tmp_path / "targets.index", model, "target").finish()
    with pytest.raises(ConfigError, match="holds target items"):
        load_students([finished.root], tmp_path / "targets.index", "cpu")


def test_what_is_measured_does_not_depend_on_its_parts(
    finished: RunFolder, students: list[Student], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(student_module, "_VALUES", 100)  # similarities at a time, not of all queries to all items
    again = load_students([finished.root], None, "cpu")[0]
    for side in ("source", "target"):
        for k in (1, 5):
            assert again.partners[side].within(k) == students[0].partners[side].within(k)  # type: ignore[index]
        for value in np.linspace(0, 1, 50):
            assert again.familiarity[side].share(value) == students[0].familiarity[side].share(value)  # type: ignore[index]


def test_alike_items_have_no_map(monkeypatch: pytest.MonkeyPatch) -> None:
    """t-SNE of what has no extent ends the process."""

    def never(*arguments: Any, **more: Any) -> Any:
        raise AssertionError("t-SNE is asked")

    monkeypatch.setattr(place, "TSNE", never)
    alike = np.repeat(np.eye(16, dtype=np.float32)[:1], 40, axis=0)
    noisy = alike + np.random.default_rng(0).normal(size=alike.shape).astype(np.float32) * 1e-7
    few = np.concatenate([np.eye(16, dtype=np.float32)[:7]] * 6)
    for vectors in (alike, noisy, few):
        assert place._places(vectors, 0).shape == (0, 2)


def test_one_run_twice_has_two_names(finished: RunFolder) -> None:
    assert [each.id for each in load_students([finished.root] * 2, None, "cpu")] == [
        "mine", "mine.l2", "mine-2", "mine-2.l2",
    ]  # fmt: skip


def test_embeddings_are_kept_for_the_next_start(finished: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_students([finished.root], None, "cpu")
    from crossdistill.serve import gallery

    def never(*arguments: Any) -> Any:
        raise AssertionError("they are embedded again")

    monkeypatch.setattr(gallery, "_embedded", never)
    again = load_students([finished.root], None, "cpu")
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.own["target"].vectors, other.own["target"].vectors)


def test_what_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError):
        load_students([tmp_path], None, "cpu")


# The command


def test_a_port_that_is_taken() -> None:
    """Also while the other server still loads."""
    with listening(0) as (_, port):
        assert port > 0
        with pytest.raises(ConfigError, match="port is taken"), listening(port):
            pass


def test_small_answers_are_sent_at_once() -> None:
    """Without it an answer in two parts waits 40 ms between them."""
    found: list[int] = []

    async def accepted(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        found.append(writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()

    async def connect(listener: socket.socket, port: int) -> None:
        server = await asyncio.start_server(accepted, sock=listener)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await reader.read()
        writer.close()
        server.close()

    with listening(0) as (listener, port):
        asyncio.run(connect(listener, port))
    assert found[0] != 0


def test_without_gradio_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(command.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError) as caught:
        command.serve_runs([tmp_path], None, 0, "cpu")
    assert caught.value.details["fix"] == "pip install 'crossdistill[serve]'"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_it_loads_ends_it_cleanly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: signal.Signals
) -> None:
    def loading(*arguments: Any) -> Any:
        assert list(tmp_path.glob("crossdistill-serve-*"))
        os.kill(os.getpid(), number)
        time.sleep(30)

    def unheard(number: int, frame: Any) -> None:
        raise AssertionError("the command does not hear signals while it loads")

    monkeypatch.setattr(server, "load_students", loading)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = signal.signal(number, unheard)
    try:
        command.serve_runs([tmp_path], None, 0, "cpu")
        assert signal.getsignal(number) is unheard
    finally:
        signal.signal(number, before)
    assert capsys.readouterr().err == "stopped\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_signal_ends_it_cleanly(finished: RunFolder, tmp_path: Path, number: signal.Signals) -> None:
    """While a browser holds a stream open: exit code 0, no traceback, no folder left."""
    # In a place that is too long for the names of sockets.
    temporary = tmp_path / ("long" * 20)
    temporary.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "crossdistill", "serve", str(finished.root), "--port", "0", "--device", "cpu"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, "TMPDIR": str(temporary), "CROSSDISTILL_CACHE": str(tmp_path / "kept")},
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        page = process.stdout.readline().split()[-1]
        assert httpx.get(f"{page}api/v1/health", timeout=60).json()["runs"] == 2
        with httpx.stream("GET", f"{page}gradio_api/heartbeat/abc", timeout=60) as held:
            next(held.iter_raw())
            began = time.monotonic()
            process.send_signal(number)
            told = [process.stderr.readline()]
            while told[-1] not in ("stopped\n", ""):
                told.append(process.stderr.readline())
            assert time.monotonic() - began < 10
        out, rest = process.communicate(timeout=120)
        assert process.returncode == 0, told
        assert told[-1] == "stopped\n"
        assert "Traceback" not in "".join([*told, out, rest])
        assert list(temporary.glob("crossdistill-serve-*")) == []
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def test_answers_are_plain_json(client: Client) -> None:
    answer = client.post("/api/v1/runs/mine.l2/search?k=20", files=upload(png()))
    json.loads(answer.text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
