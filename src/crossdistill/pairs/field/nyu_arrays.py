"""Rows of the arrays of a MATLAB 7.3 file, which is HDF5 with its axes turned round."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossdistill.errors import MissingDependencyError, PairsError, nearest
from crossdistill.pairs.field.derived import DerivedItem, check_values
from crossdistill.pairs.readers.stores import npy_bytes

_LONGEST_TEXT = 1000  # characters


@dataclass(frozen=True)
class ArrayRow(DerivedItem):
    """One picture of an array as the content of an NPY file: ``(H, W)``, or ``(H, W, C)``.

    Attributes:
        file: of MATLAB 7.3.
        array: name of the array, ``(N, W, H)`` or ``(N, C, W, H)`` as it is stored.
        row: counted from 0.
        lookup: bytes that stored whole numbers are replaced by, such as class numbers; none leaves them.
    """

    file: Path
    array: str
    row: int
    lookup: bytes | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """What it would be called as a file."""
        return f"{self.array}-{self.row}.npy"

    def read_bytes(self) -> bytes:
        """Reads it and turns it."""
        if not self.file.is_file():
            raise FileNotFoundError(self.file)
        try:
            rows = _handle(str(self.file), os.getpid())[self.array]
            check_values(int(np.prod(rows.shape[1:], dtype=object)))
            values = np.asarray(rows[self.row]).T
        except (KeyError, IndexError, RuntimeError) as error:
            raise ValueError(f"row {self.row} of {self.array}: {error}") from error
        if self.lookup is not None:
            if values.size and int(values.max()) >= len(self.lookup):
                raise ValueError(f"class {int(values.max())}, where the list of classes ends at {len(self.lookup) - 1}")
            values = np.frombuffer(self.lookup, dtype=np.uint8)[values]
        return npy_bytes(values)

    def __str__(self) -> str:
        return f"{self.file}#{self.array}/{self.row}"


@lru_cache(maxsize=4)
def _handle(file: str, process: int) -> Any:
    """The open file: once in each process, as a handle must not cross a fork."""
    return _h5py(file).File(file, "r")


def _h5py(file: object) -> Any:
    try:
        import h5py
    except ImportError as error:
        raise MissingDependencyError(
            "MATLAB 7.3 files need the package h5py.", where=file, fix="pip install 'crossdistill[hdf5]'"
        ) from error
    return h5py


def row_shapes(file: Path, names: list[str]) -> dict[str, tuple[int, ...]]:
    """The stored shapes of arrays.

    Raises:
        PairsError: the file is missing or damaged, or an array is missing.
        MissingDependencyError: h5py is not installed.
    """
    h5py = _h5py(file)
    if not file.is_file():
        raise PairsError("A file of the data set is missing.", where=file, expected="a MATLAB file of version 7.3")
    try:
        with h5py.File(file, "r") as opened:
            for name in names:
                if not isinstance(opened.get(name), h5py.Dataset):
                    raise PairsError("A MATLAB file lacks a variable.", where=file, expected=name,
                                     received=nearest(name, [str(key) for key in opened]))  # fmt: skip
            return {name: tuple(opened[name].shape) for name in names}
    except (OSError, RuntimeError, KeyError) as error:
        raise _damaged(file, error) from error


def texts(file: Path, name: str) -> list[str]:
    """A cell array of text, which HDF5 has as references to arrays of characters.

    Raises:
        PairsError: it is missing, damaged or something else.
    """
    h5py = _h5py(file)
    try:
        with h5py.File(file, "r") as opened:
            references: NDArray[Any] = np.asarray(opened[name][()]).reshape(-1)
            return [_text(opened[reference]) for reference in references]
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise PairsError("A variable holds no text.", where=f"{file}, {name}", expected="a cell array of text",
                         received=error) from error  # fmt: skip


def _text(characters: Any) -> str:
    if characters.attrs.get("MATLAB_empty"):
        return ""
    if characters.dtype != np.uint16 or characters.size > _LONGEST_TEXT:
        raise ValueError(f"{characters.dtype} of shape {characters.shape}")
    return "".join(chr(code) for code in np.asarray(characters[()]).reshape(-1))


def _damaged(file: Path, error: Exception) -> PairsError:
    return PairsError("A MATLAB file cannot be read.", where=file, expected="a MATLAB file of version 7.3 (HDF5)",
                      received=str(error) or type(error).__name__)  # fmt: skip
