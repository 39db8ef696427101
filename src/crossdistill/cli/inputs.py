"""What commands take as inputs: files, and all files below folders."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from crossdistill.errors import PairsError


def files_of(inputs: Sequence[Path]) -> Iterator[Path]:
    """The files that are named, and those below folders in the order of their names, without hidden ones.

    Raises:
        PairsError: an input is missing, or a folder holds no files.
    """
    for path in inputs:
        if path.is_dir():
            found = sorted(file for file in path.rglob("*") if file.is_file() and not file.name.startswith("."))
            if not found:
                raise PairsError("The folder holds no files.", where=path)
            yield from found
        elif path.is_file():
            yield path
        else:
            raise PairsError("An input is missing.", where=path, expected="a file or a folder")
