"""The page as people meet it: a real Chromium draws, uploads, records and reads, wide and narrow, light and dark."""

from __future__ import annotations

import importlib
import math
import os
import shutil
import threading
import time
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvicorn
from tests.serving import make_run, png, png_bomb

from crossdistill.pipeline import run
from crossdistill.serve.limits import Limits
from crossdistill.serve.server import listening, make_app
from crossdistill.serve.service import Service
from crossdistill.serve.student import load_students

pytestmark = pytest.mark.browser

WIDE, NARROW = (1440, 900), (390, 844)
WAIT = 60_000  # milliseconds, on a busy machine
CALM = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
        "--disable-component-update", "--disable-sync", "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream")  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    expected = os.environ.get("CROSSDISTILL_BROWSER")  # a name or a path: without it, or without playwright, they fail
    if expected:
        program, sync_api = shutil.which(expected), importlib.import_module("playwright.sync_api")
        assert program is not None, f"CROSSDISTILL_BROWSER names {expected}, which is not there"
    else:
        sync_api = pytest.importorskip("playwright.sync_api")
        program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
        if program is None:
            pytest.skip("there is no Chromium on this machine")
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=program, args=list(CALM))
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where screenshots go: $CROSSDISTILL_SCREENSHOTS, or a folder that is forgotten."""
    named = os.environ.get("CROSSDISTILL_SCREENSHOTS")
    folder = Path(named) if named else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def audio_run(folder: Path) -> Path:
    """Polygons and beeps: one epoch on 24 pairs."""
    from crossdistill.modalities.audio import Audio
    from crossdistill.modalities.image import Image

    rows = ["source,target,label"]
    for number in range(24):
        Image.write_fake(folder / f"{number}.png", number % 2, number, rich=True)
        Audio.write_fake(folder / f"{number}.wav", number % 2, number, rich=False)
        rows.append(f"{number}.png,{number}.wav,kind {number % 2}")
    (folder / "pairs.csv").write_text("\n".join(rows) + "\n")
    return run(
        {
            "pairs": str(folder / "pairs.csv"), "source": {"size": 32}, "out": str(folder / "sounds"),
            "target": {"modality": "audio", "seconds": 0.5},
            "teacher": {"backbone": "test_resnet", "weights": "random"}, "student": {"backbone": "test_resnet"},
            "train": {"epochs": 1, "batch_size": 8},
            "evaluate": {"protocols": ["retrieval"], "shots": [], "controls": []},
        }
    ).root  # fmt: skip


@pytest.fixture(scope="module")
def address(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server in this process with two runs: drawings (two students) and sounds."""
    if not os.environ.get("CROSSDISTILL_BROWSER"):
        pytest.importorskip("soundfile")
    drawings = make_run(manifest, tmp_path_factory.mktemp("page") / "drawings").root
    sounds = audio_run(tmp_path_factory.mktemp("sounds"))
    service = Service(load_students([drawings, sounds], None, "cpu"), Limits(decoders=1, upload_bytes=300_000))
    service.decoders.start()
    with listening(0) as (listener, port):
        server = uvicorn.Server(
            uvicorn.Config(make_app(service, port), log_level="error", timeout_graceful_shutdown=1, ws="none")
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not server.started:
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}/"
        server.should_exit = True
        thread.join(30)
    service.close()


class Visit:
    """A page, and all that went wrong on it."""

    def __init__(self, browser: Any, address: str, size: tuple[int, int], scheme: str) -> None:
        self.context = browser.new_context(
            viewport={"width": size[0], "height": size[1]}, color_scheme=scheme, permissions=["microphone"]
        )
        self.page = self.context.new_page()
        self.wrong: list[str] = []
        self.page.on("console", lambda message: self._console(message))
        self.page.on("pageerror", lambda error: self.wrong.append(f"exception: {error}"))
        self.page.on("request", lambda request: self._request(request.url, address))
        self.page.goto(address)
        self.page.wait_for_selector(".cd-map image", timeout=WAIT, state="attached")
        self.page.wait_for_selector(".cd-row img", timeout=WAIT)

    def _console(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.wrong.append(f"{message.type}: {message.text}")

    def _request(self, url: str, address: str) -> None:
        if not url.startswith((address, "data:", "blob:")):
            self.wrong.append(f"a request to elsewhere: {url}")

    def draw(self) -> None:
        """A triangle."""
        box = self.page.locator(".cd-paper canvas").bounding_box()
        x, y, radius = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, box["width"] / 3
        corners = [(x + radius * math.sin(a), y - radius * math.cos(a)) for a in np.arange(4) * 2 * math.pi / 3]
        self.page.mouse.move(*corners[0])
        self.page.mouse.down()
        for corner in corners[1:]:
            self.page.mouse.move(*corner, steps=8)
        self.page.mouse.up()

    def upload(self, name: str, content: bytes, kind: str = "image/png") -> None:
        self.page.set_input_files(".cd-drop input", {"name": name, "mimeType": kind, "buffer": content})

    def answered(self, columns: int = 1) -> None:
        """Waits until there are answers in so many columns."""
        self.page.wait_for_function(
            "n => document.querySelectorAll('.cd-column .cd-verdict').length === n", arg=columns, timeout=WAIT
        )

    def problem(self) -> str:
        self.page.wait_for_selector(".cd-problem", timeout=WAIT)
        return str(self.page.inner_text(".cd-problem"))

    def close(self) -> None:
        self.context.close()
        assert self.wrong == []


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_draw_and_read_the_results(
    browser: Any, address: str, pictures: Path, size: tuple[int, int], scheme: str
) -> None:
    visit = Visit(browser, address, size, scheme)
    page = visit.page
    page.screenshot(path=pictures / f"first-{size[0]}-{scheme}.png", full_page=True)
    visit.draw()
    visit.answered()
    grids = page.locator(".cd-grid")
    assert grids.nth(0).locator(".cd-card").count() == 12
    assert grids.nth(1).locator(".cd-card").count() == 6
    scores = [float(text) for text in grids.nth(0).locator(".cd-line b").all_inner_texts()]
    assert scores == sorted(scores, reverse=True)
    assert page.locator(".cd-labels li").count() == 4
    assert page.locator(".cd-meter").count() == 3
    assert page.locator(".cd-map .cd-here").count() == 1
    # All pictures are there, and nothing is wider than the screen.
    page.wait_for_function(
        "() => [...document.querySelectorAll('.cd-results img')].every(e => e.loading === 'lazy' && !e.complete ||"
        " e.naturalWidth > 0)", timeout=WAIT,
    )  # fmt: skip
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (dark == "rgb(17, 22, 27)") is (scheme == "dark")
    page.screenshot(path=pictures / f"answer-{size[0]}-{scheme}.png", full_page=True)
    visit.close()


def test_the_drawing_is_sent_centred_and_in_the_size_of_training(browser: Any, address: str) -> None:
    """A small drawing in a corner finds what the same drawing finds in the middle."""
    visit = Visit(browser, address, WIDE, "light")
    found = []
    for shift, scale in ((0.5, 0.3), (0.25, 0.12)):
        visit.page.click("[data-do=clear]")
        box = visit.page.locator(".cd-paper canvas").bounding_box()
        at = [box["x"] + box["width"] * shift, box["y"] + box["height"] * shift]
        size = box["width"] * scale
        visit.page.mouse.move(at[0] - size / 2, at[1] - size / 2)
        visit.page.mouse.down()
        for x, y in ((0.5, -0.5), (0.5, 0.5), (-0.5, 0.5), (-0.5, -0.5)):
            visit.page.mouse.move(at[0] + size * x, at[1] + size * y, steps=6)
        visit.page.mouse.up()
        before = visit.page.inner_html(".cd-results")
        visit.page.click("[data-do=search]")
        if found:
            visit.page.wait_for_function(
                "before => document.querySelector('.cd-results').innerHTML !== before", arg=before, timeout=WAIT
            )
        visit.answered()
        visit.page.wait_for_timeout(1500)
        found.append([src.rsplit("/", 2)[1] for src in visit.page.eval_on_selector_all(
            ".cd-grid:nth-of-type(1) .cd-card img", "all => all.map(e => e.getAttribute('src'))")])  # fmt: skip
    assert len(set(found[0][:6]) & set(found[1][:6])) >= 4
    visit.close()


def test_a_right_file_and_wrong_ones(browser: Any, address: str, pictures: Path) -> None:
    visit = Visit(browser, address, WIDE, "light")
    visit.upload("square.png", png())
    visit.answered()
    visit.upload("words.png", b"these are words")
    assert "An image cannot be read" in visit.problem()
    visit.page.screenshot(path=pictures / "wrong-file.png")
    visit.upload("square.png", png())
    visit.answered()
    visit.upload("bomb.png", png_bomb())
    assert "too many pixels" in visit.problem()
    visit.upload("square.png", png())
    visit.answered()
    visit.upload("large.png", bytes(300_001))
    visit.page.wait_for_selector(".cd-note.cd-wrong", timeout=WAIT)
    assert "300,000 are the most" in visit.page.inner_text(".cd-note")
    visit.upload("empty.png", b"")
    visit.page.wait_for_function("() => document.querySelector('.cd-note').textContent.includes('empty')")
    visit.close()


def test_a_name_is_shown_as_it_is(browser: Any, address: str) -> None:
    """Nothing in a file's name or in a message becomes part of the page."""
    visit = Visit(browser, address, WIDE, "light")
    visit.upload("<img src=x onerror=alert(1)>.png", b"no picture")
    assert "cannot be read" in visit.problem()
    assert visit.page.locator(".cd-problem img").count() == 0
    visit.close()


def test_runs_beside_each_other(browser: Any, address: str, pictures: Path) -> None:
    visit = Visit(browser, address, WIDE, "light")
    visit.page.locator(".cd-row button").first.click()
    visit.answered()
    visit.page.locator(".cd-others input").first.check()
    visit.answered(2)
    names = visit.page.locator(".cd-column .cd-chip").all_inner_texts()
    assert names == ["cmcd", "l2"]
    scores = [visit.page.locator(".cd-column").nth(n).locator(".cd-line b").first.inner_text() for n in (0, 1)]
    assert scores[0] != scores[1]
    visit.page.screenshot(path=pictures / "beside.png", full_page=True)
    visit.page.locator(".cd-others input").first.uncheck()
    visit.answered(1)
    visit.close()


def choose_run(page: Any, name: str) -> None:
    page.get_by_label("Run", exact=True).click()
    page.get_by_role("option", name=name).click()


def test_record_a_sound_after_switching_to_the_run_of_sounds(browser: Any, address: str, pictures: Path) -> None:
    visit = Visit(browser, address, NARROW, "dark")
    page = visit.page
    visit.draw()
    visit.answered()
    choose_run(page, "sounds: cmcd")
    page.wait_for_selector("[data-do=record]", timeout=WAIT)
    assert not page.locator(".cd-draw").is_visible()
    page.wait_for_function("() => !document.querySelector('.cd-verdict')", timeout=WAIT)
    page.click("[data-do=record]")
    page.wait_for_timeout(1500)
    page.click("[data-do=record]")
    visit.answered()
    assert page.locator(".cd-play").count() == 6
    with page.expect_response(lambda response: "/sound?v=" in response.url, timeout=WAIT) as sound:
        page.locator(".cd-play").first.click()
    assert sound.value.headers["content-type"] == "audio/ogg"
    page.screenshot(path=pictures / "sound-390-dark.png", full_page=True)
    visit.close()


def test_a_sound_file_and_a_file_that_is_none(browser: Any, address: str, tmp_path: Path) -> None:
    visit = Visit(browser, address, WIDE, "light")
    choose_run(visit.page, "sounds: cmcd")
    visit.page.wait_for_selector("[data-do=record]", timeout=WAIT)
    with wave.open(str(tmp_path / "a.wav"), "wb") as stream:
        stream.setparams((1, 2, 16_000, 0, "NONE", ""))
        stream.writeframes((np.sin(np.arange(8000) / 5) * 20_000).astype("<i2").tobytes())
    visit.upload("a.wav", (tmp_path / "a.wav").read_bytes(), "audio/wav")
    visit.answered()
    visit.upload("picture.png", png())
    assert "A sound cannot be read" in visit.problem()
    visit.close()


def test_by_keyboard_and_with_the_other_modality(browser: Any, address: str) -> None:
    visit = Visit(browser, address, WIDE, "light")
    page = visit.page
    page.get_by_text("Options").click()
    page.get_by_label("source (image)").check()
    page.wait_for_selector(".cd-draw", state="hidden", timeout=WAIT)
    page.locator(".cd-row button").first.focus()
    page.keyboard.press("Enter")
    visit.answered()
    assert "Nearest target items" in page.inner_text(".cd-results")
    visit.close()
