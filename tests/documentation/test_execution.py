"""Every command and every block of Python of the documentation is executed, page by page: `make test-docs`.

A page has a folder of its own, so pages may run at once (`-n 2`). `-s` shows how long each piece takes.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.documentation.reading import ROOT, Piece, everything
from tests.documentation.running import Page
from tests.documentation.scenario import template


def groups() -> dict[str, list[Piece]]:
    """What is executed one after the other: a page's pieces. A sentence's command is left to the first that has it."""
    found: dict[str, list[Piece]] = {}
    seen: set[str] = set()
    for piece in everything():
        if piece.kind == "unknown" or (piece.inline and piece.text in seen):
            continue
        if piece.inline:
            seen.add(piece.text)
        found.setdefault("help" if piece.file.endswith("--help") else piece.file, []).append(piece)
    return {
        name: pieces for name, pieces in found.items() if any(piece.kind in ("shell", "python") for piece in pieces)
    }


@pytest.fixture(scope="session")
def scenario(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """The folder that all pages begin with, built by the first process that needs it."""
    base = tmp_path_factory.getbasetemp()
    base = base if worker_id == "master" else base.parent
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CROSSDISTILL_CACHE", str(base / "documentation-cache"))
        return template(base)


@pytest.fixture(scope="session")
def warm() -> Iterator[Path]:
    """The socket of a process that forks for each command; a short path, as the names of sockets are bounded."""
    with tempfile.TemporaryDirectory(prefix="warm-") as folder:
        path = Path(folder) / "socket"
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "tests.documentation.warm", "--serve", str(path)], cwd=ROOT
        )
        deadline = time.monotonic() + 300
        while not path.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.1)
        assert path.exists(), "the process that forks did not begin"
        yield path
        process.kill()
        process.wait()


@pytest.mark.docs
@pytest.mark.parametrize("name", groups())
def test_a_page(
    name: str, scenario: Path, warm: Path, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    folder = tmp_path / "reader"
    shutil.copytree(scenario, folder)
    page = Page(groups()[name], folder, scenario.parent / "documentation-cache", warm)
    page.run()
    report = scenario.parent / "reports" / f"{name.replace('/', '-')}.txt"  # also of a session that is cut off
    report.parent.mkdir(exist_ok=True)
    report.write_text("\n".join([*page.times, "", *page.failures]), encoding="utf-8")
    record_property("executed", page.executed)
    record_property("excepted", page.excepted)
    record_property("failed", len(page.failures))
    assert not page.failures, f"{len(page.failures)} of {name}:\n\n" + "\n\n".join(page.failures)
