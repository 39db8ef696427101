"""Builds the source distribution from a copy of the tree, and the wheel from what that holds."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = ("src", "docs", "examples", "tests", "benchmarks")
_LEFT = ("__pycache__", "*.egg-info", "build", "dist", "site", ".*_cache")


def copied(place: Path) -> Path:
    """The tree as a fresh clone would have it: building writes beside the sources, and should not do so here."""
    for name in FOLDERS:
        shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns(*_LEFT))
    for path in ROOT.iterdir():
        if path.is_file() and not path.name.startswith(".cov"):
            shutil.copy2(path, place / path.name)
    return place


def built(place: Path) -> tuple[Path, Path]:
    """The source distribution and the wheel, by the tools of this environment: nothing is downloaded."""
    tree = copied(place / "tree")
    sdist = _call("build_sdist", tree, place)
    with tarfile.open(sdist) as archive:
        archive.extractall(place / "unpacked", filter="data")
    (unpacked,) = (place / "unpacked").iterdir()
    return sdist, _call("build_wheel", unpacked, place)


def _call(hook: str, tree: Path, out: Path) -> Path:
    """One hook of PEP 517 in a process of its own, as build front ends call it."""
    code = f"import sys; from setuptools import build_meta; print('made:', build_meta.{hook}(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, str(out)], cwd=tree, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return out / done.stdout.strip().rpartition("made: ")[2]
