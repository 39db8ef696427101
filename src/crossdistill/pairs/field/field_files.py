"""Files of official data sets: found, listed and read with messages that say where to get what is missing."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from crossdistill.errors import PairsError

PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
SOUNDS = (".wav", ".flac", ".ogg", ".mp3")

_LARGEST_LIST = 1 << 29  # bytes; the longest official list has about a fifth of it


def set_root(root: Path, home: str) -> Path:
    """The folder of a set. Raises PairsError where there is none."""
    if not root.is_dir():
        raise PairsError("The folder of the data set is missing.", where=root, fix=f"get the set from {home}")
    return root


def locate(root: Path, candidates: Sequence[str], what: str, home: str) -> Path:
    """The first of the paths below ``root`` that exists.

    Raises:
        PairsError: there is none of them; the message says what it is and where to get it.
    """
    for candidate in candidates:
        if (root / candidate).exists():
            return root / candidate
    raise PairsError(
        f"The data set lacks {what}.", where=root, expected=" or ".join(candidates),
        fix=f"get it from {home}, and give the folder it is in as root",
    )  # fmt: skip


def files_in(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    """Files of one folder with one of the endings, sorted; hidden ones are left out."""
    if not folder.is_dir():
        raise PairsError("A folder of the data set is missing.", where=folder)
    return sorted(path for path in folder.iterdir() if _wanted(path, suffixes))


def files_below(folder: Path, suffixes: Sequence[str]) -> dict[str, Path]:
    """Files of a folder and its sub-folders with one of the endings, by their name without it.

    Raises:
        PairsError: the folder is missing, or two files have the same name.
    """
    if not folder.is_dir():
        raise PairsError("A folder of the data set is missing.", where=folder)
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if _wanted(path, suffixes) and found.setdefault(path.stem, path) != path:
            raise PairsError("Two files have the same name.", where=f"{found[path.stem]} and {path}")
    return found


def class_folders(folder: Path) -> list[Path]:
    """The sub-folders of a folder, one a class, sorted. Raises PairsError where there is none."""
    if not folder.is_dir():
        raise PairsError("A folder of the data set is missing.", where=folder)
    found = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not found:
        raise PairsError("The folder holds no sub-folders.", where=folder, expected="one sub-folder a class")
    return found


def list_lines(path: Path) -> list[tuple[int, str]]:
    """The lines of a list that are not empty, with their numbers.

    Raises:
        PairsError: the file is missing, too large, no text or empty.
    """
    _check_list(path)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise PairsError("A list is not text.", where=path, expected="UTF-8", received=error) from error
    found = [(number, text) for number, line in enumerate(lines, start=1) if (text := line.strip())]
    if not found:
        raise PairsError("A list names nothing.", where=path, expected="at least one line")
    return found


def csv_lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The records of a CSV file, with their line numbers; lines of ``#`` at its beginning are comments.

    Raises:
        PairsError: the file is missing, too large, no text, no CSV or empty.
    """
    _check_list(path)
    number, empty = 0, True
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            first = ""
            for first in stream:
                if not first.startswith("# "):
                    break
                number += 1
                first = ""
            comments = number
            reader = csv.reader(chain([first], stream), strict=True, skipinitialspace=True)
            for record in reader:
                number = comments + reader.line_num
                if record:
                    empty = False
                    yield number, record
    except csv.Error as error:
        raise PairsError("A list cannot be read as CSV.", where=f"{path}, line {number + 1}", received=error) from error
    except UnicodeDecodeError as error:
        raise PairsError("A list is not text.", where=path, expected="UTF-8", received=error) from error
    if empty:
        raise PairsError("A list names nothing.", where=path, expected="at least one line")


def wrong_line(path: Path, number: int, expected: str, received: object) -> PairsError:
    """The error about one line of a list."""
    return PairsError("A line of a list is wrong.", where=f"{path}, line {number}", expected=expected,
                      received=received)  # fmt: skip


def plain_name(path: Path, number: int, name: str) -> str:
    """A file name out of a list. Raises PairsError for one that leads out of its folder."""
    if Path(name).name != name or name in ("", ".", ".."):
        raise wrong_line(path, number, "a file name without a folder", repr(name))
    return name


def _wanted(path: Path, suffixes: Sequence[str]) -> bool:
    return path.suffix.lower() in suffixes and not path.name.startswith(".") and path.is_file()


def _check_list(path: Path) -> None:
    if not path.is_file():
        raise PairsError("A list of the data set is missing.", where=path)
    if (size := path.stat().st_size) > _LARGEST_LIST:
        raise PairsError("A list is too large.", where=path, expected=f"at most {_LARGEST_LIST:,} bytes",
                         received=f"{size:,} bytes")  # fmt: skip
