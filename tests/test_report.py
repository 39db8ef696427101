"""The report: self-contained, safe, and every number of it from the run folder."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from crossdistill.errors import RunFolderError
from crossdistill.files import write_json
from crossdistill.pipeline import run
from crossdistill.report import build_table, write_report
from crossdistill.report.table import format_value, label_of


@pytest.fixture
def folder(tiny: dict[str, Any]) -> Path:
    return run(tiny).root


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if name in ("src", "href")]


def test_is_self_contained_and_holds_what_was_measured(folder: Path) -> None:
    page = (folder / "report.html").read_text()
    links = _Links()
    links.feed(page)
    assert links.found
    assert all(link.startswith("data:image/png;base64,") for link in links.found)
    metrics = json.loads((folder / "metrics.json").read_text())
    for outcome in metrics["outcomes"]:
        for name, estimate in outcome["metrics"].items():
            assert format_value(name, estimate["value"]) in page
    for wanted in (
        "Retrieval gallery",
        "Map of the shared space",
        "config.yaml",
        "licence is not known",
        "Example pairs",
    ):
        assert wanted in page
    assert page.count('<div class="query">') == len(metrics["gallery"])


def test_comes_from_the_folder_alone_and_is_the_same_each_time(folder: Path) -> None:
    before = (folder / "report.html").read_bytes()
    for name in ("bank", "teacher", "student", "pairs.csv", "train.jsonl"):
        (folder / name).rename(folder.parent / f"away-{name}")
    write_report(folder)
    assert (folder / "report.html").read_bytes() == before


def test_names_from_outside_cannot_become_markup(folder: Path) -> None:
    metrics = json.loads((folder / "metrics.json").read_text())
    evil = "</script><script>alert(1)</script>"
    metrics["examples"][0]["label"] = evil
    metrics["map"]["classes"] = [evil]
    metrics["map"]["points"][0]["label"] = evil
    metrics["pairs"]["name"] = evil
    write_json(folder / "metrics.json", metrics)
    assert evil not in write_report(folder).read_text()


def test_a_picture_from_outside_the_folder_is_refused(folder: Path) -> None:
    metrics = json.loads((folder / "metrics.json").read_text())
    metrics["examples"][0]["source"] = "../config.yaml"
    write_json(folder / "metrics.json", metrics)
    with pytest.raises(RunFolderError, match="picture"):
        write_report(folder)


def test_a_folder_without_results_or_with_damaged_ones_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="no results yet"):
        write_report(tmp_path)
    (folder / "metrics.json").write_text("{")
    with pytest.raises(RunFolderError, match="damaged"):
        write_report(folder)
    (folder / "metrics.json").write_text('{"format": 99}')
    with pytest.raises(RunFolderError, match="another format"):
        write_report(folder)


def test_the_table_marks_the_best_student_and_orders_its_columns(folder: Path) -> None:
    metrics = json.loads((folder / "metrics.json").read_text())
    for outcome in metrics["outcomes"]:
        for estimate in outcome["metrics"].values():
            estimate["value"] = {"cmcd": 0.5, "l2": 0.3}.get(outcome["name"], 0.9)
    table = build_table(metrics, headlines=True)
    assert [column.label for column in table.columns] == [
        "R@1", "R@5", "zero-shot", "2-shot", "k-NN", "linear", "all weights trained",
    ]  # fmt: skip
    best = {row.name: [cell.best for cell in row.cells if cell.value] for row in table.rows}
    assert best["cmcd"] == [True] * 6 + [False]  # nothing to compare with where all weights are trained
    assert not any(best["l2"])
    assert not any(best["random_student"])  # controls do not compete
    assert label_of("linear_20_shot") == "20-shot"
    assert re.fullmatch(r"50\.0", table.rows[0].cells[0].value)
