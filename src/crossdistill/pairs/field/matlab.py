"""Variables of MATLAB files of version 5 to 7; those of 7.3 are HDF5, see :mod:`crossdistill.pairs.field.nyu_arrays`.

A reader of its own for numbers, text, cells and structures, as the format's public description ("Level 5 MAT-File") has
them: scipy's may end the process on a damaged file. Sizes are compared with what is there before anything is made.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossdistill.errors import PairsError, nearest

_LARGEST = 1 << 26  # bytes, also of what is unpacked; the lists of official splits have less than a megabyte
_DEEPEST = 8  # cells and structures within each other

_MATRIX, _COMPRESSED = 14, 15
_CELL, _STRUCT, _CHAR = 1, 2, 4
_STORED = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_NUMBERS = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
_TEXT = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}

Value = NDArray[Any] | str | list[Any] | dict[str, Any]  # numbers, text, a cell array, a structure


def read_mat(path: Path, key: str) -> Value:
    """A variable: an array of numbers, a text, the list of a cell array column by column, or a structure's fields.

    Raises:
        PairsError: the file is missing, too large or damaged, or has no such variable.
    """
    if not path.is_file():
        raise PairsError("A file of the data set is missing.", where=path, expected="a MATLAB file")
    if (size := path.stat().st_size) > _LARGEST:
        raise PairsError("A MATLAB file is too large.", where=path, expected=f"at most {_LARGEST:,} bytes",
                         received=f"{size:,} bytes")  # fmt: skip
    names = []
    try:
        for name, body in _variables(path.read_bytes()):
            names.append(name)
            if name == key:
                return body.value()
    except (OSError, ValueError, struct.error, zlib.error, OverflowError) as error:
        raise PairsError(
            "A MATLAB file cannot be read.", where=path, expected="a MATLAB file of version 5 to 7",
            received=str(error) or type(error).__name__,
        ) from error  # fmt: skip
    raise PairsError("A MATLAB file lacks a variable.", where=path, expected=key, received=nearest(key, names))


def whole_numbers(path: Path, key: str) -> NDArray[np.int64]:
    """A variable of whole numbers, as one row.

    Raises:
        PairsError: see :func:`read_mat`, or it holds something else.
    """
    values = read_mat(path, key)
    if not isinstance(values, np.ndarray) or not np.array_equal(values, np.round(values)):
        raise PairsError("A variable holds no whole numbers.", where=f"{path}, {key}")
    return values.astype(np.int64).reshape(-1)


def cell_texts(path: Path, key: str) -> list[str]:
    """A cell array of text.

    Raises:
        PairsError: see :func:`read_mat`, or it holds something else.
    """
    cells = read_mat(path, key)
    if not isinstance(cells, list) or not all(isinstance(cell, str) for cell in cells):
        raise PairsError("A variable holds no text.", where=f"{path}, {key}", expected="a cell array of text")
    return [cell.strip() for cell in cells]


@dataclass
class _Body:
    """The elements of a matrix. ``order`` is the byte order as struct writes it."""

    data: memoryview
    order: str
    depth: int = 0
    place: int = 0

    def element(self) -> tuple[int, memoryview]:
        """The next element: its type and its bytes."""
        word = struct.unpack_from(self.order + "I", self.data, self.place)[0]
        if word >> 16:  # a small one, within eight bytes
            kind, size, start = word & 0xFFFF, word >> 16, self.place + 4
            self.place += 8
        else:
            kind, start = word, self.place + 8
            size = struct.unpack_from(self.order + "I", self.data, self.place + 4)[0]
            self.place = start + size + (0 if kind == _COMPRESSED else -size % 8)
        if start + size > len(self.data):
            raise ValueError("it is truncated")
        return kind, self.data[start : start + size]

    def head(self) -> tuple[int, tuple[int, ...], str]:
        """Class, dimensions and name."""
        _, flags = self.element()
        kind = struct.unpack_from(self.order + "I", flags)[0]
        if kind & 0x0800:
            raise ValueError("complex numbers")
        _, dimensions = self.element()
        shape = struct.unpack(f"{self.order}{len(dimensions) // 4}i", dimensions)
        if not shape or min(shape) < 0:
            raise ValueError(f"dimensions {shape}")
        _, name = self.element()
        return kind & 0xFF, shape, bytes(name).decode("latin-1")

    def value(self) -> Value:
        """What the matrix holds."""
        if not self.data:
            return np.empty((0, 0))
        if self.depth > _DEEPEST:
            raise ValueError(f"more than {_DEEPEST} cells or structures within each other")
        kind, shape, _ = self.head()
        count = math.prod(shape)
        if kind == _CELL:
            return self._matrices(count)
        if kind == _STRUCT:
            return self._structure(count)
        stored, data = self.element()
        if kind == _CHAR:
            if stored not in _TEXT:
                raise ValueError(f"text of type {stored}")
            wide = (
                {"<": "-le", ">": "-be"}[self.order] if "utf-16" in _TEXT[stored] or "utf-32" in _TEXT[stored] else ""
            )
            return bytes(data).decode(_TEXT[stored] + wide)
        if kind not in _NUMBERS or stored not in _STORED:
            raise ValueError(f"a variable of class {kind}, type {stored}")
        numbers = np.frombuffer(data, dtype=self.order + _STORED[stored])
        return numbers.astype(_NUMBERS[kind]).reshape(shape, order="F")

    def _structure(self, count: int) -> dict[str, Any]:
        _, length = self.element()
        width = struct.unpack(self.order + "i", length)[0]
        _, data = self.element()
        if count != 1 or width <= 0 or len(data) % width:
            raise ValueError("a structure that is not a single one")
        names = [bytes(data[start : start + width]).split(b"\0")[0] for start in range(0, len(data), width)]
        return dict(zip((name.decode("latin-1") for name in names), self._matrices(len(names)), strict=True))

    def _matrices(self, count: int) -> list[Any]:
        if 8 * count > len(self.data) - self.place:
            raise ValueError("it is truncated")
        return [_Body(self._matrix(), self.order, self.depth + 1).value() for _ in range(count)]

    def _matrix(self) -> memoryview:
        kind, data = self.element()
        if kind != _MATRIX:
            raise ValueError(f"an element of type {kind} where a matrix should be")
        return data


def _variables(content: bytes) -> Iterator[tuple[str, _Body]]:
    """Names and bodies of the variables of a file."""
    marks = {b"IM": "<", b"MI": ">"}
    if len(content) < 128 or content[126:128] not in marks:
        raise ValueError("it does not begin as such a file does")
    order = marks[content[126:128]]
    if struct.unpack_from(order + "H", content, 124)[0] != 0x0100:
        raise ValueError("it is of version 7.3, or of one that nobody knows")
    file, unpacked = _Body(memoryview(content)[128:], order), 0
    while file.place < len(file.data):
        kind, data = file.element()
        if kind == _COMPRESSED:
            packed = zlib.decompressobj()
            inner = packed.decompress(bytes(data), _LARGEST - unpacked)
            unpacked += len(inner)
            if packed.unconsumed_tail or unpacked >= _LARGEST:
                raise ValueError(f"more than {_LARGEST:,} bytes when it is unpacked")
            kind, data = _Body(memoryview(inner), order).element()
        if kind == _MATRIX:
            yield _Body(data, order).head()[2], _Body(data, order)
