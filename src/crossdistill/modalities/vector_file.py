"""One vector of numbers from an NPY, JSON or CSV file."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossdistill.errors import PairsError
from crossdistill.item import Item
from crossdistill.npy import read_npy

MOST_VALUES = 1 << 20
_MOST_BYTES = 32 * MOST_VALUES
_EXPECTED = "one vector: NPY of shape (width,) or (1, width), a JSON list, or one line of CSV"


def read_vector(item: Item) -> NDArray[np.float32]:
    """The vector in a file, ``(width,)``.

    Raises:
        PairsError: the file is missing, unreadable, far too large or no vector; the message names it.
    """
    try:
        if item.suffix.lower() == ".npy":
            return checked_vector(read_npy(item, MOST_VALUES))
        with item.open("rb") as stream:
            content = stream.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise ValueError(f"more than the {_MOST_BYTES:,} bytes that are the most")
        text = content.decode("utf-8-sig")
        return checked_vector(_json(text) if item.suffix.lower() == ".json" else _line(text))
    except FileNotFoundError as error:
        raise PairsError("A file is missing.", where=item, expected=_EXPECTED) from error
    except PairsError as error:
        raise error.at(item) from error
    except (OSError, ValueError, OverflowError, RecursionError) as error:
        raise PairsError(
            "A vector cannot be read.", where=item, expected=_EXPECTED, received=str(error) or type(error).__name__,
            fix="replace the file, or remove its row from the pairs",
        ) from error  # fmt: skip


def checked_vector(array: NDArray[Any]) -> NDArray[np.float32]:
    """An array ``(width,)`` or ``(1, width)`` in float32.

    Raises:
        PairsError: it is of another shape or type, or holds values that are not finite in float32.
    """
    vector = array[0] if array.ndim == 2 and len(array) == 1 else array
    if vector.ndim != 1 or len(vector) == 0 or vector.dtype.kind not in "uif":
        raise PairsError("This is no vector.", expected=_EXPECTED, received=f"{array.dtype}, shape {array.shape}")
    with np.errstate(over="ignore"):
        single: NDArray[np.float32] = vector.astype(np.float32)
    wrong = int((~np.isfinite(single)).sum())
    if wrong:
        raise PairsError(
            "A vector has values that are not finite.", expected="numbers that float32 holds",
            received=f"{wrong} of {len(single)} are NaN, infinite or too large",
        )  # fmt: skip
    return single


def _json(text: str) -> NDArray[Any]:
    content = json.loads(text)
    row = content[0] if isinstance(content, list) and len(content) == 1 and isinstance(content[0], list) else content
    if not isinstance(row, list) or not all(type(value) in (int, float) for value in row):
        raise ValueError("something else than a list of numbers")
    return np.array(row, dtype=np.float64)


def _line(text: str) -> NDArray[Any]:
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) != 1:
        raise ValueError(f"{len(lines)} lines; split them into one file a vector")
    return np.array([float(cell) for cell in re.split(r"[,;\s]+", lines[0].strip())], dtype=np.float64)
