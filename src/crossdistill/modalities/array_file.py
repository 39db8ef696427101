"""Arrays from NPY content. The header is checked before anything of the size that it claims is allocated."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from crossdistill.item import Item


def read_npy(item: Item, most: int) -> NDArray[Any]:
    """The array in an NPY file.

    Args:
        item: with the content of an NPY file.
        most: values that it may hold.

    Raises:
        OSError: it cannot be opened.
        ValueError: it is no NPY file, is truncated, holds objects, or too many values.
    """
    with item.open("rb") as stream:
        version = npy.read_magic(stream)
        shape, _, dtype = npy.read_array_header_1_0(stream) if version == (1, 0) else npy.read_array_header_2_0(stream)
        count = int(np.prod(shape, dtype=object))
        if count > most:
            raise ValueError(f"{count:,} values, where {most:,} are the most that are read")
        if dtype.hasobject:
            raise ValueError("it holds Python objects, which are never loaded")
        stream.seek(0)
        try:
            values: NDArray[Any] = np.load(stream, allow_pickle=False)
        except (EOFError, MemoryError) as error:
            raise ValueError(str(error) or "it is truncated") from error
    return values
