"""The source distribution and the wheel hold what they should, and nothing large.

`make test-wheel` (tests/distribution/fresh.py) installs the wheel into a fresh environment and runs it.
"""

from __future__ import annotations

import email
import email.message
import re
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
from tests.distribution.building import FOLDERS, ROOT, built

from crossdistill import __version__

LARGEST_FILE, LARGEST_SDIST, LARGEST_WHEEL = 512 << 10, 3 << 20, 1 << 20


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Both files, built once."""
    return built(tmp_path_factory.mktemp("distribution"))


@pytest.fixture(scope="module")
def sdist(distributions: tuple[Path, Path]) -> dict[str, int]:
    """Names in the source distribution, below its folder, with their sizes."""
    with tarfile.open(distributions[0]) as archive:
        return {member.name.partition("/")[2]: member.size for member in archive if member.isfile()}


@pytest.fixture(scope="module")
def wheel(distributions: tuple[Path, Path]) -> dict[str, int]:
    """Names in the wheel with their sizes."""
    with zipfile.ZipFile(distributions[1]) as archive:
        return {member.filename: member.file_size for member in archive.infolist()}


@pytest.fixture(scope="module")
def metadata(distributions: tuple[Path, Path]) -> email.message.Message:
    """The wheel's METADATA."""
    with zipfile.ZipFile(distributions[1]) as archive:
        return email.message_from_bytes(archive.read(f"crossdistill-{__version__}.dist-info/METADATA"))


def in_tree(*folders: str) -> set[str]:
    """Files below folders of the tree, relative to the root, without what tools leave there."""
    left = re.compile(r"(^|/)(__pycache__|[^/]*\.egg-info|\.[^/]*)(/|$)|\.py[co]$")
    paths = (path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file())
    return {name for path in paths if not left.search(name := path.relative_to(ROOT).as_posix())}


def test_the_sdist_has_all_that_is_needed_to_test_and_read(sdist: dict[str, int]) -> None:
    wanted = {name for name in in_tree(*FOLDERS) if not name.startswith("benchmarks/results/")}
    assert wanted - set(sdist) == set()
    for name in ("LICENSE", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "Makefile", "pyproject.toml", "mkdocs.yml"):
        assert name in sdist or not (ROOT / name).exists(), name
    assert {"LICENSE", "README.md", "pyproject.toml", "PKG-INFO"} <= set(sdist)


def test_the_sdist_has_nothing_large_and_nothing_else(sdist: dict[str, int], distributions: tuple[Path, Path]) -> None:
    assert distributions[0].stat().st_size < LARGEST_SDIST
    assert {name: size for name, size in sdist.items() if size > LARGEST_FILE} == {}
    assert not [name for name in sdist if name.startswith("benchmarks/results/")]
    tops = {name.partition("/")[0] for name in sdist}
    files = {"LICENSE", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "Makefile", "MANIFEST.in", "mkdocs.yml"}
    assert tops <= {*FOLDERS, *files, "pyproject.toml", "PKG-INFO", "setup.cfg"}
    assert not [name for name in sdist if re.search(r"\.(py[co]|safetensors|pt|zip|tgz|deb|whl)$", name)]


def test_the_wheel_has_every_file_of_the_package(wheel: dict[str, int], distributions: tuple[Path, Path]) -> None:
    """Templates, styles, YAML, JSON and py.typed too: package-data in pyproject.toml has to name them."""
    package = {name.removeprefix("src/") for name in in_tree("src/crossdistill")}
    inside = {name for name in wheel if not name.startswith(f"crossdistill-{__version__}.dist-info/")}
    assert inside == package
    assert {"crossdistill/py.typed", "crossdistill/pipeline/demo.yaml"} <= inside
    assert distributions[1].stat().st_size < LARGEST_WHEEL
    assert distributions[1].name == f"crossdistill-{__version__}-py3-none-any.whl"


def test_the_metadata(wheel: dict[str, int], metadata: email.message.Message, distributions: tuple[Path, Path]) -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert metadata["Version"] == __version__
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["License-File"] == "LICENSE"
    assert metadata["Requires-Python"] == declared["requires-python"]
    assert set(metadata.get_all("Provides-Extra", [])) == set(declared["optional-dependencies"])
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert (ROOT / "README.md").read_text(encoding="utf-8").strip() in metadata.get_payload()
    folder = f"crossdistill-{__version__}.dist-info"
    assert wheel[f"{folder}/licenses/LICENSE"] == (ROOT / "LICENSE").stat().st_size
    with zipfile.ZipFile(distributions[1]) as archive:
        scripts = archive.read(f"{folder}/entry_points.txt").decode()
    assert "crossdistill = crossdistill.cli.app:main" in scripts
