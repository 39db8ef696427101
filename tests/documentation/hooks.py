"""The site's hooks and pages, for the tests of both."""

from __future__ import annotations

import importlib.util
import re
import shutil
from pathlib import Path
from types import ModuleType

from tests.documentation.reading import ROOT

DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
RESULTS = ROOT / "benchmarks" / "results"
EXAMPLE = ROOT / "examples" / "touch-pad"


def hook(name: str) -> ModuleType:
    """One of the site's hooks, as mkdocs loads it."""
    spec = importlib.util.spec_from_file_location(f"docs_hook_{name}", DOCS / "hooks" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def name_of(page: Path) -> str:
    """As a person calls it."""
    return page.relative_to(ROOT).as_posix()


def install_touch_pad(folder: Path) -> None:
    """What pip writes for the example of a modality of one's own, for processes that have ``folder`` in their path."""
    group, point = re.findall(
        r'entry-points\."([^"]+)"\]\n(.*)', (EXAMPLE / "pyproject.toml").read_text(encoding="utf-8")
    )[0]
    facts = folder / "touch_pad-0.1.dist-info"
    facts.mkdir(parents=True)
    shutil.copy(EXAMPLE / "touch_pad.py", folder)
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: touch-pad\nVersion: 0.1\n")
    (facts / "entry_points.txt").write_text(f"[{group}]\n" + point.replace('"', "") + "\n")
