"""IDX files, the format of MNIST: a magic number, the sizes, and the bytes (http://yann.lecun.com/exdb/mnist/)."""

from __future__ import annotations

import math
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crossdistill.errors import PairsError

_BYTES = 0x08  # the code of unsigned bytes


def read_idx(file: Path, dimensions: int) -> NDArray[np.uint8]:
    """The array of an IDX file of unsigned bytes.

    Raises:
        PairsError: the file is missing, holds something else, or another number of bytes than its sizes say.
    """
    expected = f"an IDX file of unsigned bytes with {dimensions} dimension{'s' * (dimensions > 1)}"
    if not file.is_file():
        raise PairsError("A file is missing.", where=file, expected=expected)
    with file.open("rb") as stream:
        head = stream.read(4 + 4 * dimensions)
        if len(head) < 4 + 4 * dimensions or head[:4] != bytes((0, 0, _BYTES, dimensions)):
            raise PairsError("The file is no such table.", where=file, expected=expected, received=f"{head[:4]!r} ...")
        shape = struct.unpack(f">{dimensions}I", head[4:])
        held = file.stat().st_size - len(head)
        if math.prod(shape) != held:
            raise PairsError("The file is not whole.", where=file, expected=f"{math.prod(shape):,} bytes for {shape}",
                             received=f"{held:,} bytes", fix="fetch the package again")  # fmt: skip
        return np.frombuffer(stream.read(), np.uint8).reshape(shape)
