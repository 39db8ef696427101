"""What commands take as inputs: files, and all files below folders."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from crossdistill.errors import PairsError


def files_of(inputs: Sequence[Path]) -> Iterator[Path]:
    """The files that are named, and those below folders in the order of their names.

    Hidden files, and files in hidden folders such as ``.git``, are taken where they are named alone.

    Raises:
        PairsError: an input is missing, or a folder holds no files.
    """
    for path in inputs:
        if path.is_dir():
            found = sorted(file for file in path.rglob("*") if file.is_file() and not _is_hidden(file, path))
            if not found:
                raise PairsError("The folder holds no files.", where=path)
            yield from found
        elif path.is_file():
            yield path
        else:
            raise PairsError("An input is missing.", where=path, expected="a file or a folder")


def _is_hidden(path: Path, folder: Path) -> bool:
    """Whether a file, or a folder below ``folder`` that it is in, is hidden."""
    return any(part.startswith(".") for part in path.relative_to(folder).parts)
