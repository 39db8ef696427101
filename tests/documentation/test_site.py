"""The pages: their links and anchors, the files that they name, the navigation, the figures."""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from markdown.extensions.toc import slugify
from markdown_it import MarkdownIt
from tests.documentation.hooks import DOCS, PAGES, RESULTS, name_of
from tests.documentation.reading import ROOT

READ = [*PAGES, *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md"))]

_HEADING = re.compile(r"^#{1,6} (.*)$", re.MULTILINE)
_FENCE = re.compile(r"^(`{3,}).*?^\1", re.MULTILINE | re.DOTALL)


def links(page: Path) -> Iterator[str]:
    """Where a page's links and pictures lead."""
    for block in MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8")):
        for token in block.children or []:
            target = token.attrs.get("href" if token.type == "link_open" else "src")
            if token.type in ("link_open", "image") and target is not None:
                yield str(target)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, which GitHub and the site make alike."""
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    plain = [re.sub(r"\[([^\]]*)\]\([^)]*\)|[`*]", r"\1", heading) for heading in _HEADING.findall(text)]
    return {slugify(heading, "-") for heading in plain}


@pytest.mark.parametrize("page", READ, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    for link in links(page):
        parts = urlsplit(link)
        if parts.scheme:
            assert parts.scheme == "https", f"{name_of(page)}: {link}"
            assert re.fullmatch(r"[\w-]+(\.[\w-]+)+", parts.netloc), f"{name_of(page)}: {link}"
            continue
        target = (page.parent / parts.path).resolve() if parts.path else page
        assert target.exists(), f"{name_of(page)}: there is no {link}"
        if parts.fragment:
            assert parts.fragment in anchors(target), f"{name_of(page)}: {link} has no such heading"


def test_links_that_lead_nowhere_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A `b` (c)\n\n[x](other.md) ![y](none.png)\n\n```\n# no heading\n[z](code.md)\n```\n\n"
        "| a |\n|---|\n| [t](#a-b-c) |\n"
    )
    assert list(links(page)) == ["other.md", "none.png", "#a-b-c"]
    assert anchors(page) == {"a-b-c"}


@pytest.mark.parametrize("page", READ, ids=name_of)
def test_files_that_a_page_names_are_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for found in re.findall(r"`((?:examples|benchmarks|tests|docs|src)/[\w./-]+)`", text):
        assert "NAME" in found or (ROOT / found).exists(), f"{name_of(page)} names {found}"
    for found in re.findall(r"(?<![\w*-])(20\d\d-\d\d-\d\d-[\w-]+\.json)", text):
        assert (RESULTS / found).is_file(), f"{name_of(page)} names {found}"


def settings_of_the_site() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    return loaded


def nav_pages(entries: list[Any]) -> Iterator[str]:
    for entry in entries:
        if isinstance(entry, str):
            yield entry
        else:
            for content in entry.values():
                yield from nav_pages(content) if isinstance(content, list) else [content]


def test_every_page_is_in_the_navigation_once() -> None:
    named = list(nav_pages(settings_of_the_site()["nav"]))
    assert sorted(named) == [page.relative_to(DOCS).as_posix() for page in PAGES]


class TestFigures:
    """Numbers on the page of choices are those of the results that it names."""

    def test_number_of_pairs(self) -> None:
        rows = json.loads((RESULTS / "2026-11-26-theory-study.json").read_text())["rows"]
        rows = [row for row in rows if row["teacher"] == "imagenet" and row["objective"] == "cmcd"]
        names = {"all that the source shows": "dial-1", "90%": "dial-0.9", "75%": "dial-0.75", "45%": "dial-0.45"}
        text = (DOCS / "choosing.md").read_text(encoding="utf-8").split("## The number of pairs")[1]
        found = re.findall(
            r"^\| `([\w-]+)`(?:, ([^|]*?))? \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$", text, re.MULTILINE
        )
        assert len(found) == 9
        for family, kept, *shown in found:
            chosen = next((value for key, value in names.items() if kept.startswith(key)), family)
            mine = [row for row in rows if row["set"] == chosen]
            most = max(row["pairs"] for row in mine)
            accuracies = [
                statistics.mean(100 * row["accuracy"] for row in mine if row["pairs"] == count)
                for count in (200, 600, most)
            ]
            alone = statistics.mean(100 * row["alone"] for row in mine)
            assert [float(each) for each in shown] == pytest.approx([alone, *accuracies], abs=0.0501), chosen

    def test_objectives(self) -> None:
        means = json.loads((RESULTS / "2026-11-27-objectives-emoji.json").read_text())["mean_low_high"]
        text = (DOCS / "choosing.md").read_text(encoding="utf-8").split("## The temperature")[0]
        for name in ("cmcd", "cmc", "cmd", "l2", "cosine"):
            row = re.search(rf"^\| `{name}` \| (.*) \|$", text, re.MULTILINE)
            assert row is not None
            shown = [float(each) for each in re.findall(r"-?[\d.]+", row[1])]
            keys = ("target_to_source_r@1", "zero_shot", "linear_5_shot", "linear")
            wanted = [100 * each for key in keys for each in means[name][key]]
            assert shown == pytest.approx(wanted, abs=0.0501), name


def test_each_question_is_answered_by_a_page() -> None:
    text = (DOCS / "faq.md").read_text(encoding="utf-8").split("## When it does not work")[0]
    answers = re.findall(r"^### (.*?)\n(.*?)(?=^### |\Z)", text, re.MULTILINE | re.DOTALL)
    assert len(answers) == 12
    for question, answer in answers:
        assert re.search(r"\]\([\w/-]+\.md", answer), f"{question} leads nowhere"
        assert re.search(r"\*Asked at [\w.-]+#\d+", answer), f"{question} was asked by nobody"
