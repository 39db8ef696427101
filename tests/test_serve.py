"""The server's API, its limits, what it refuses, and whether what it says is true."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
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
from numpy.typing import NDArray
from tests.serving import make_run, npy, png, png_bomb
from tests.slow_reader import SlowReader

from crossdistill.cli import serve as command
from crossdistill.errors import ConfigError, MissingDependencyError, PairsError, RunFolderError
from crossdistill.evaluation import ranks
from crossdistill.files import read_json
from crossdistill.item import MemoryItem
from crossdistill.modalities import parse_modality
from crossdistill.modalities.base import InputDefaults
from crossdistill.pipeline import load
from crossdistill.pipeline.folder import RunFolder
from crossdistill.pipeline.own_pairs import own_pairs
from crossdistill.search import Index
from crossdistill.serve.certainty import Familiarity, PartnerCertainty, calibrate, percent
from crossdistill.serve.decoding import Decoders
from crossdistill.serve.gate import Gate
from crossdistill.serve.limits import Admission, Limits, RefusedError, safe_name
from crossdistill.serve.place import Map
from crossdistill.serve.server import listening, make_app
from crossdistill.serve.service import Kept, Service
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
    for wrong in ([[1, 2], [3]], [[1, 256]], [["a"]]):
        refused = client.post("/api/v1/runs/mine/embed/array", json={"array": wrong})
        assert (refused.status_code, refused.json()["where"]) == (400, "array")


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
    again = client.post("/api/v1/runs/mine/search/vector?k=7", json={"embedding": (3 * query).tolist()}).json()
    assert [found["position"] for found in again["nearest"]] == [found["position"] for found in answer["nearest"]]


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


def test_a_long_sound_is_refused_by_its_header() -> None:
    soundfile = pytest.importorskip("soundfile")
    import io

    stream = io.BytesIO()
    soundfile.write(stream, np.zeros(8000 * 20), 8000, format="FLAC")  # a few bytes of silence
    assert len(stream.getvalue()) < 20_000
    audio = parse_modality({"modality": "audio"}).resolve(
        InputDefaults(size=32, mean=(0.5,), std=(0.25,), interpolation="bilinear")
    )
    from crossdistill.serve.limits import check_header

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
    brief = Kept(Limits(kept_seconds=0.0))
    with pytest.raises(RefusedError):
        brief.get(brief.put(MemoryItem("a", b"1")))


def test_many_at_once_get_the_same_answers(service: Service, students: list[Student]) -> None:
    items = [MemoryItem(f"{n}.png", png(40 + n, 40)) for n in range(8)]
    alone = [service.ask(students[0], item, "target", 3) for item in items]
    together: dict[int, Any] = {}
    threads = [
        threading.Thread(target=lambda n=n: together.setdefault(n, service.ask(students[0], items[n], "target", 3)))
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [together[n] for n in range(8)] == alone


# How sure it is


def cases(
    count: int, strength: float, seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(count, 2))
    chance = 1 / (1 + np.exp(-strength * features[:, 0]))
    return features, rng.random(count) < chance, np.arange(count) // 2


def test_calibration_finds_the_probability_behind_the_cases() -> None:
    found = calibrate(*cases(2000, 2.0))
    assert found is not None
    assert found.informative
    assert found.error < 0.03
    for value in (-1.0, 0.0, 1.0):
        assert found.probability(np.array([value, 0.0])) == pytest.approx(1 / (1 + np.exp(-2 * value)), abs=0.05)


def test_scores_that_tell_nothing_give_the_plain_rate() -> None:
    features, right, groups = cases(400, 0.0, seed=3)
    found = calibrate(features, right, groups)
    assert found is not None
    assert not found.informative
    assert found.probability(np.array([9.0, 9.0])) == found.rate == pytest.approx((right.sum() + 1) / 402)


def test_nothing_is_promised_of_few_cases() -> None:
    features, right, groups = cases(400, 5.0)
    assert calibrate(features[:29], right[:29], groups[:29]) is None
    assert calibrate(features, right, groups // 50) is None
    never = calibrate(features, np.zeros(400, dtype=bool), groups)
    assert never is not None
    assert (never.informative, never.probability(features[0])) == (False, 1 / 402)
    sure = calibrate(np.where(right, 50.0, -50.0)[:, None] + features, right, groups)
    assert sure is not None
    assert sure.probability(np.array([50.0, 50.0])) <= 1 - 1 / 402
    assert [percent(share) for share in (0, 0.004, 0.5, 0.994, 1)] == ["under 1%", "under 1%", "50%", "99%", "over 99%"]


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


def test_partner_certainty_without_held_out_pairs_is_unknown() -> None:
    empty = PartnerCertainty(np.empty((0, 1), np.float32), np.empty(0, np.int64), np.empty(0, np.int64))
    assert empty.within(5) is None


def test_familiarity_is_the_share_of_held_out_items_no_nearer() -> None:
    known = Familiarity(np.linspace(0.5, 0.99, 50, dtype=np.float32))
    assert known.share(0.4) == 0
    assert known.share(1.0) == 1
    assert known.share(0.745) == 0.5
    assert known.strange(0.0)
    assert not known.strange(0.5)
    assert Familiarity(np.ones(5, np.float32)).share(0.3) is None


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
    from crossdistill.serve.answer import answer

    told = answer(student, student.sources.vectors[1], "target", 3)
    assert told.nearest[0].id == "1.png"
    assert told.certainty.partner.probability is None
    assert "no partners are known" in told.certainty.partner.meaning
    assert told.place is None
    with pytest.raises(PairsError, match="holds no files"):
        load_students([finished.root], tmp_path / "missing", "cpu")


def test_an_index_of_ones_own(finished: RunFolder, tmp_path: Path) -> None:
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
    Index.create(tmp_path / "targets.index", model, "target").finish()
    with pytest.raises(ConfigError, match="holds target items"):
        load_students([finished.root], tmp_path / "targets.index", "cpu")


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
    with listening(0) as (listener, port):
        listener.listen()
        with pytest.raises(ConfigError, match="port is taken"), listening(port):
            pass


def test_without_gradio_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(command.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError) as caught:
        command.serve_runs([tmp_path], None, 0, "cpu")
    assert caught.value.details["fix"] == "pip install 'crossdistill[serve]'"


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_signal_ends_it_cleanly(finished: RunFolder, tmp_path: Path, number: signal.Signals) -> None:
    """While a browser holds a stream open: exit code 0, no traceback, no folder left."""
    # In a short place: sockets in it, by which processes are forked, have at most 107 letters.
    temporary = Path(tempfile.mkdtemp(prefix="cd-"))
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
        shutil.rmtree(temporary)


def test_answers_are_plain_json(client: Client) -> None:
    answer = client.post("/api/v1/runs/mine.l2/search?k=20", files=upload(png()))
    json.loads(answer.text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
