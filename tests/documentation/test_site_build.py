"""The site as it is built: `make test-docs` runs this."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.documentation.hooks import hook
from tests.documentation.reading import ROOT, leaf_commands

from crossdistill.modalities import known_modalities, registry
from crossdistill.objectives.registry import known_objectives


class _Loads(HTMLParser):
    """What a browser would fetch for a page, its anchors, and what its links lead to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.ids: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.ids.add(given.get("id") or "")
        if tag in ("script", "img", "iframe", "source", "audio", "video") and given.get("src"):
            self.fetched.append(str(given["src"]))
        if tag == "link" and given.get("rel") != "canonical":
            self.fetched.append(str(given.get("href")))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(place)], cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return place


@pytest.mark.docs
class TestBuild:
    def test_nothing_is_fetched_from_elsewhere(self, site: Path) -> None:
        pages = list(site.rglob("*.html"))
        assert len(pages) > 60
        for page in pages:
            text = page.read_text(encoding="utf-8")
            for each in _Loads(text).fetched:
                if not each.startswith("data:"):
                    assert not urlsplit(each).netloc, f"{page.relative_to(site)} fetches {each}"
                    if page.name != "404.html":
                        assert (page.parent / urlsplit(each).path).exists(), f"{page.relative_to(site)} lacks {each}"
            assert 'class="mermaid"' not in text
        for sheet in site.rglob("*.css"):
            assert not re.search(r"(?:url\(|@import)\s*[\"']?https?:", sheet.read_text(encoding="utf-8")), sheet

    def test_the_reference_is_in_it(self, site: Path) -> None:
        for module, names in hook("api").public_names().items():
            page = site / hook("api").uri(module).replace(".md", ".html")
            ids = _Loads(page.read_text(encoding="utf-8")).ids
            for name in names:
                assert any(each.rpartition(".")[2] == name for each in ids), f"{module}.{name}"
        commands = _Loads((site / "cli.html").read_text(encoding="utf-8")).ids
        assert {"crossdistill-" + name.replace(" ", "-") for name in dict(leaf_commands())} <= commands
        settings = _Loads((site / "configuration.html").read_text(encoding="utf-8")).ids
        ours = set(known_modalities()) - set(registry._registered)  # not those of this process alone
        assert {f"modality-{name}" for name in ours} <= settings
        assert {f"name-{name}" for name in known_objectives()} <= settings
        assert "the-top-level" in settings

    def test_formulas_and_drawings_are_in_the_pages(self, site: Path) -> None:
        theory = (site / "theory.html").read_text(encoding="utf-8")
        assert {f"eq-{number}" for number in range(1, 50)} <= _Loads(theory).ids
        assert theory.count("<math") > 250
        assert '<svg role="img" aria-label="The frozen teacher' in (site / "index.html").read_text(encoding="utf-8")
