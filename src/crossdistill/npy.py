"""Arrays from NPY content. The header is checked before anything of the size that it claims is allocated."""

from __future__ import annotations

import tokenize
import warnings
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from crossdistill.item import Item

# What numpy's reader of headers lets through, beside its own ValueError.
_DAMAGED = (SyntaxError, tokenize.TokenError, EOFError, MemoryError, OverflowError, TypeError, KeyError, RecursionError)


def npy_header(stream: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, Fortran order and type of the array that begins here; the stream is then at its first value.

    Raises:
        ValueError: there is no NPY header, it is damaged, or the array holds objects.
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # of headers as Python 2 wrote them
            version = npy.read_magic(stream)
            read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            shape, fortran, dtype = read(stream)
    except _DAMAGED as error:
        raise ValueError(f"its header is damaged: {error}") from error
    if any(length < 0 for length in shape):
        raise ValueError(f"its header claims the shape {shape}")
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which are never loaded")
    return shape, fortran, dtype


def read_npy(item: Item, most: int) -> NDArray[Any]:
    """The array in an NPY file.

    Args:
        item: with the content of an NPY file.
        most: values that it may hold.

    Raises:
        OSError: it cannot be opened.
        ValueError: it is no NPY file, is truncated, holds objects, or too many values.
    """
    direct = getattr(item, "as_array", None)  # items of larger files may hold the array itself
    values: NDArray[Any] | None = direct() if direct is not None else None
    if values is not None:
        return values
    with item.open("rb") as stream:
        return npy_values(stream, most)


def npy_values(stream: BinaryIO, most: int) -> NDArray[Any]:
    """Like :func:`read_npy`, from an open stream such as a member of an archive."""
    shape, fortran, dtype = npy_header(stream)
    count = int(np.prod(shape, dtype=object))
    if count > most:
        raise ValueError(f"{count:,} values, where {most:,} are the most that are read")
    content = stream.read(count * dtype.itemsize)
    if len(content) < count * dtype.itemsize:
        raise ValueError(f"it is truncated: {len(content):,} of {count * dtype.itemsize:,} bytes")
    values = np.frombuffer(bytearray(content), dtype=dtype)
    return values.reshape(shape, order="F" if fortran else "C")
