"""The site's hooks and pages, for the tests of both."""

from __future__ import annotations

import importlib.util
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
