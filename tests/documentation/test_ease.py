"""docs/ease.md says what `python -m benchmarks.ease` counts, and shows the very files that it counted and ran."""

from __future__ import annotations

import json

import pytest
from benchmarks.ease.__main__ import TRIALS, table
from benchmarks.ease.counting import TITLES, code_lines, effort, lines, typed
from tests.documentation.reading import ROOT

PAGE = (ROOT / "docs" / "ease.md").read_text(encoding="utf-8")


def test_the_table_is_the_count() -> None:
    assert table() in PAGE


@pytest.mark.parametrize("name", TITLES)
def test_the_page_shows_what_was_counted(name: str) -> None:
    section = PAGE.partition(f"## {TITLES[name]}\n")[2].partition("\n## ")[0]
    for file, text in typed(name).items():
        assert text in section, f"{name}/{file}"


def test_the_raw_results_are_of_these_files() -> None:
    """Counted again, with the packages' versions that the page names."""
    newest = max((ROOT / "benchmarks" / "results").glob("*-ease.json"), default=None)
    if newest is None:
        pytest.skip("raw results are not part of the source distribution")
    assert newest.name in PAGE
    for name, found in json.loads(newest.read_text(encoding="utf-8"))["packages"].items():
        counted = effort(name)
        assert {key: found[key] for key in vars(counted)} == vars(counted)
        assert found["ran"]
        assert found["changes"] == TRIALS[name].changes
        assert name == "crossdistill" or found["packages"] == list(TRIALS[name].packages)


def test_counting() -> None:
    assert lines("# a\n\npip install a\nrun \\\n  x=1\n") == ["pip install a", "run    x=1"]
    assert (
        code_lines('"""Doc."""\n\nimport a  # why\n\n\ndef f(x):\n    """Doc."""\n    return a(\n        x,\n    )\n')
        == 3
    )
    assert code_lines('def f():\n    """Doc."""\n') == 2
