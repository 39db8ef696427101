"""The notebooks: without outputs in the repository, and executed from top to bottom by `make test-docs`."""

from __future__ import annotations

import ast
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from tests.documentation.parsing import check_extras
from tests.documentation.reading import ROOT

NOTEBOOKS = sorted((ROOT / "examples" / "notebooks").glob("*.ipynb"))
# What has to be so when a notebook has run, beside that it ran.
HOLDS = {
    "03-own-loop": "assert train.modalities['source'] == test.modalities['source'] == teacher.modality\n"
    "assert (teacher.modality.mean, teacher.modality.std) == ((0.5,) * 3, (0.5,) * 3)\n"
    "assert -1 <= train[0]['source'].min() < 0 < train[0]['source'].max() <= 1",
}
SECONDS = 1800  # for a cell; each notebook is meant to take two minutes on two cores, and a busy machine takes longer
each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def test_there_are_notebooks() -> None:
    assert [path.name[:2] for path in NOTEBOOKS] == ["01", "02", "03"]


@each
def test_is_kept_without_outputs(path: Path) -> None:
    """So that none can be stale: what a reader sees is what the code of the day makes."""
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None
            ast.parse(cell.source)
            assert "!" not in cell.source.splitlines()[0][:1], "a shell command is no part of these"
    assert set(notebook.metadata) <= {"kernelspec", "language_info"}
    kinds = [cell.cell_type for cell in notebook.cells]
    assert kinds[0] == "markdown"
    assert kinds.count("markdown") >= 5, "prose is what a notebook is for"


@each
def test_says_what_to_install_and_names_files_that_are_there(path: Path) -> None:
    prose = "\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown")
    check_extras(prose)
    for name in prose.split("`")[1::2]:
        if name.startswith(("docs/", "examples/")):
            assert (ROOT / name).exists(), name


@pytest.mark.docs
@each
def test_runs(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record_property: Callable[[str, object], None]
) -> None:
    """In a kernel of this environment, in an empty folder; an error in any cell is a failure with its traceback.

    NOTEBOOK_OUTPUTS names a folder to keep the executed notebooks in, to look at.
    """
    from nbclient import NotebookClient

    for name in ("JUPYTER_CONFIG_DIR", "IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "MPLCONFIGDIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("PYTHONWARNINGS", "ignore::DeprecationWarning")
    (tmp_path / "work").mkdir()
    notebook = nbformat.read(path, as_version=4)
    if path.stem in HOLDS:
        notebook.cells.append(nbformat.v4.new_code_cell(HOLDS[path.stem]))
    client = NotebookClient(
        notebook,
        timeout=SECONDS,
        kernel_name=_kernel(tmp_path, monkeypatch),
        resources={"metadata": {"path": tmp_path / "work"}},
    )
    began = time.monotonic()
    client.execute()
    seconds = time.monotonic() - began
    print(f"{path.name}: {seconds:.0f} s")
    if path.stem in HOLDS:
        assert not notebook.cells.pop()["outputs"]
    record_property("executed", sum(cell.cell_type == "code" for cell in notebook.cells))
    if place := os.environ.get("NOTEBOOK_OUTPUTS"):
        nbformat.write(notebook, Path(place) / path.name)
    pictures = 0
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            assert output.output_type != "error"
            assert "Traceback" not in output.get("text", ""), output.text
            pictures += "image/png" in output.get("data", {})
    assert pictures >= 2, "there is nothing to see"
    shutil.rmtree(tmp_path / "work")


def _kernel(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A kernel of this very interpreter, wherever Jupyter would look for one."""
    import json

    place = folder / "share" / "kernels" / "here"
    place.mkdir(parents=True)
    command = [
        sys.executable,
        "-W",
        "ignore::DeprecationWarning",
        "-m",
        "ipykernel_launcher",
        "-f",
        "{connection_file}",
    ]
    (place / "kernel.json").write_text(json.dumps({"argv": command, "display_name": "here", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(folder / "share"))
    return "here"
