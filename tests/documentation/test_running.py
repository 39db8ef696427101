"""How a page is executed: a file of Python that it shows is run by one of its commands, or the page fails."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.documentation.reading import of_page
from tests.documentation.running import Page, is_run

SHOWN = """```python title="own.py"
print("shown")
```
"""


@pytest.mark.parametrize(
    ("behind", "expected"),
    [
        ("", False),
        ("```\npython own.py\n```", True),
        ("```\npython examples/own.py --out x\n```", True),
        ("```\npython my-own.py\n```", False),
        ("```\npython own.pyc\n```", False),
        ("```\npip install own.py\n```", False),  # excepted: it is never run
        ("```python\nfrom own import thing\n```", True),
        ("```python\nimport owner\n```", False),
        ("```python\n# own.py is above\n```", False),
    ],
)
def test_who_runs_a_file(behind: str, expected: bool) -> None:
    pieces = of_page(f"{SHOWN}\n{behind}\n", "page.md")
    assert [piece.named for piece in pieces if piece.named] == ["own.py"]
    assert is_run("own.py", pieces) is expected


@pytest.mark.parametrize(("command", "problem"), [("python own.py", None), ("ls", "no command of the page runs")])
def test_a_file_that_nobody_runs_fails_the_page(tmp_path: Path, command: str, problem: str | None) -> None:
    (tmp_path / "page").mkdir()
    pieces = of_page(f"{SHOWN}\n```\n{command}\n```\n", "page.md")
    page = Page(pieces, tmp_path / "page", tmp_path / "cache", tmp_path / "none")
    page.run()
    assert len(page.failures) == (problem is not None), page.failures
    assert problem is None or problem in page.failures[0]


@pytest.mark.parametrize(("right", "failures"), [("True", 0), ("False", 1)])
def test_a_test_that_is_shown_is_run(tmp_path: Path, right: str, failures: int) -> None:
    (tmp_path / "page").mkdir()
    shown = f'```python title="test_own.py"\ndef test_it():\n    assert {right}\n```\n'
    page = Page(of_page(shown, "page.md"), tmp_path / "page", tmp_path / "cache", tmp_path / "none")
    page.run()
    assert len(page.failures) == failures, page.failures
