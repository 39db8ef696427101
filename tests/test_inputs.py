"""What commands take as inputs: hidden files and folders are left out, however deep they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from crossdistill import errors
from crossdistill.cli.inputs import files_of
from crossdistill.serve.gallery import folder_files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Inside of a hidden folder itself, which is what was asked for."""
    place = tmp_path / ".mine" / "photos"
    for name in ("a.png", "sub/b.png", ".git/x.png", "sub/.cache/deep/y.png", ".hidden.png", "sub/.z.png"):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).touch()
    return place


def test_hidden_folders_are_left_out(folder: Path) -> None:
    expected = [folder / "a.png", folder / "sub" / "b.png"]
    assert list(files_of([folder])) == expected
    assert folder_files(folder) == expected


def test_what_is_named_is_taken(folder: Path) -> None:
    named = folder / ".git" / "x.png"
    assert list(files_of([named, folder / ".git"])) == [named, named]


def test_a_folder_of_hidden_files_alone_is_empty(folder: Path) -> None:
    (folder / "a.png").unlink()
    (folder / "sub" / "b.png").unlink()
    with pytest.raises(errors.PairsError, match="holds no files"):
        list(files_of([folder]))
    with pytest.raises(errors.PairsError, match="holds no files"):
        folder_files(folder)
