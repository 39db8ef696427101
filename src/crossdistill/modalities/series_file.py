"""Columns of numbers from CSV and NPY files: what sensors, loggers and recorders write."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossdistill.errors import PairsError, nearest
from crossdistill.item import Item
from crossdistill.npy import read_npy

MOST_VALUES = 1 << 27  # of one file; beyond it a file is broken, or should be cut into windows
_MOST_BYTES = 1 << 29
_EXPECTED = "a CSV file with one sample a line, or an NPY file"
_MISSING = {"", "nan", "na", "n/a", "null", "none", "-"}

Column = str | int
"""A name in the header, or a number from 0."""


def read_columns(
    item: Item, columns: Sequence[Column], stored: int | None, channels_first: bool
) -> NDArray[np.float64]:
    """Some columns of a file, ``(time, len(columns))``; a missing value is NaN.

    CSV files are separated by commas, semicolons or tabs, and may begin with a line of names.

    Args:
        item: the file.
        columns: which, in order.
        stored: how many the file has to hold; None takes any number.
        channels_first: whether an array is ``(channels, time)``.

    Raises:
        PairsError: the file is missing, unreadable or far too large, lacks a column, or holds something else than
            numbers in one; the message names it.
    """
    try:
        if item.suffix.lower() == ".npy":
            return array_columns(read_npy(item, MOST_VALUES), columns, stored, channels_first)
        with item.open("rb") as stream:
            size = stream.seek(0, 2)
            if size > _MOST_BYTES:
                raise ValueError(f"{size:,} bytes, where {_MOST_BYTES:,} are the most that are read")
            stream.seek(0)
            with io.TextIOWrapper(stream, encoding="utf-8-sig", newline="") as text:
                return _csv_columns(text, columns, stored)
    except FileNotFoundError as error:
        raise PairsError("A file is missing.", where=item, expected=_EXPECTED) from error
    except PairsError as error:
        raise error.at(item) from error
    except (OSError, ValueError, csv.Error) as error:
        raise PairsError(
            "A series cannot be read.", where=item, expected=_EXPECTED, received=str(error) or type(error).__name__,
            fix="replace the file, or remove its row from the pairs",
        ) from error  # fmt: skip


def array_columns(
    array: NDArray[Any], columns: Sequence[Column], stored: int | None, channels_first: bool
) -> NDArray[np.float64]:
    """The same of an array ``(time, channels)``, ``(channels, time)`` or ``(time,)``.

    Raises:
        PairsError: it is no such array, or lacks a column.
    """
    if array.ndim not in (1, 2) or 0 in array.shape or array.dtype.kind not in "uif":
        raise PairsError(
            "An array holds no series.", received=f"{array.dtype}, shape {array.shape}",
            expected=f"real numbers of shape {'(channels, time)' if channels_first else '(time, channels)'} or (time,)",
        )  # fmt: skip
    table = array[:, None] if array.ndim == 1 else array.T if channels_first else array
    count = table.shape[1]
    if any(isinstance(column, str) for column in columns):
        if count != len(columns):
            raise PairsError(
                "An array has another number of channels, and no names to choose by.",
                expected=f"{len(columns)} channels: {', '.join(map(str, columns))}", received=f"{count} channels",
                fix="name channels by their numbers from 0, or change layout",
            )  # fmt: skip
        return table.astype(np.float64)
    return table[:, _places(columns, None, count, stored)].astype(np.float64)


def _places(columns: Sequence[Column], names: list[str] | None, count: int, stored: int | None) -> list[int]:
    """The numbers of the columns."""
    missing = [
        column
        for column in columns
        if (column not in (names or ()) if isinstance(column, str) else not 0 <= column < count)
    ]
    if missing or (stored is not None and count != stored):
        found = f"{count} channels" + (f": {', '.join(names[:20])}" if names else " without names")
        hint = nearest(str(missing[0]), names) if missing and names else f"set channels to what the files hold: {count}"
        wanted = f"channels {', '.join(map(str, columns))}" if missing else f"{stored} channels"
        raise PairsError("A series has other channels.", expected=wanted, received=found, fix=hint)
    return [names.index(column) if names and isinstance(column, str) else int(column) for column in columns]


def _csv_columns(text: io.TextIOWrapper, columns: Sequence[Column], stored: int | None) -> NDArray[np.float64]:
    head = text.readline()
    text.seek(0)
    lines = _lines(csv.reader(text, delimiter=max(",;\t", key=head.count)))
    number, first = next(lines, (0, []))
    if not first:
        raise ValueError("an empty file")
    names = None if all(_is_number(cell) for cell in first) else [cell.strip() for cell in first]
    places = _places(columns, names, len(first), stored)
    values = [] if names else [_numbers(first, places, number, len(first))]
    values.extend(_numbers(line, places, number, len(first)) for number, line in lines)
    if not values:
        raise ValueError("names without a sample")
    return np.array(values, dtype=np.float64)


def _lines(reader: Any) -> Iterator[tuple[int, list[str]]]:
    for line in reader:
        if line:
            yield reader.line_num, line


def _is_number(cell: str) -> bool:
    try:
        return cell.strip().lower() in _MISSING or float(cell) is not None
    except ValueError:
        return False


def _numbers(line: list[str], places: list[int], number: int, count: int) -> list[float]:
    if len(line) != count:
        raise ValueError(f"line {number} has {len(line)} values, where the first has {count}")
    try:
        return [np.nan if (cell := line[place].strip()).lower() in _MISSING else float(cell) for place in places]
    except ValueError as error:
        raise ValueError(f"line {number}: {error}") from error
