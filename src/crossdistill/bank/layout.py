"""Where the bytes of a packed matrix lie: a safetensors file, whose header is a function of what it holds.

As the header can be written again from the description, it is compared and never parsed: no content of a file decides
what is allocated or read.
"""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Dtype = Literal["float32", "bfloat16", "float16"]
DTYPES: tuple[Dtype, ...] = get_args(Dtype)
HASH_BYTES = 12  # of an item's content, see crossdistill.pairs.items.content_hash

_ALIGNMENT = 64  # bytes: of a cache line, and of the widest vector registers
_NAMES: dict[str, str] = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}
_TYPES: dict[str, torch.dtype] = {
    "float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16,
}  # fmt: skip


@dataclass(frozen=True)
class Layout:
    """A file that holds ``embeddings`` ``(rows, width)`` and, after them, where ``hashed``, ``items`` ``(rows, 12)``.

    Attributes:
        rows: of the matrix.
        width: of a row.
        dtype: of the embeddings.
        hashed: whether the content hashes of the rows' items are there, in uint8.
        identity: written into the header; ties the file to its description.
    """

    rows: int
    width: int
    dtype: Dtype
    hashed: bool
    identity: str

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return self.width * _TYPES[self.dtype].itemsize

    @property
    def header(self) -> bytes:
        """The file's first bytes, padded so that the embeddings begin at a multiple of 64."""
        end = self.rows * self.row_bytes
        content: dict[str, Any] = {
            "__metadata__": {"format": "pt", "identity": self.identity},
            "embeddings": {
                "dtype": _NAMES[self.dtype],
                "shape": [self.rows, self.width],
                "data_offsets": [0, end],
            },
        }
        if self.hashed:
            content["items"] = {
                "dtype": "U8",
                "shape": [self.rows, HASH_BYTES],
                "data_offsets": [end, end + self.rows * HASH_BYTES],
            }
        text = json.dumps(content, separators=(",", ":")).encode()
        text += b" " * (-(8 + len(text)) % _ALIGNMENT)
        return len(text).to_bytes(8, "little") + text

    def offset(self, row: int) -> int:
        """Where a row begins in the file; ``rows`` gives the place of the hashes."""
        return len(self.header) + row * self.row_bytes

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self.offset(self.rows) + (self.rows * HASH_BYTES if self.hashed else 0)

    def pack(self, values: Tensor) -> NDArray[np.uint8]:
        """Rows ``(n, width)`` in float32 as the bytes that the file holds, rounded to the nearest of its numbers."""
        converted = values.to(_TYPES[self.dtype]).contiguous()
        packed: NDArray[np.uint8] = converted.view(torch.uint8).numpy().reshape(-1)
        return packed

    def overflows(self, values: Tensor) -> Tensor:
        """Which rows ``(n,)`` of finite values the dtype cannot hold."""
        return ~torch.isfinite(values.to(_TYPES[self.dtype])).all(dim=1)

    def open(self, path: Path) -> tuple[Tensor, NDArray[np.uint8] | None]:
        """The matrix ``(rows, width)``, memory-mapped and read-only; and the hashes ``(rows, 12)``, where there are."""
        content = np.memmap(path, dtype=np.uint8, mode="r")
        start, end = self.offset(0), self.offset(self.rows)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # about a read-only map: nothing of ours writes to it
            # As 16-bit integers where numpy has no such number.
            raw = torch.from_numpy(content[start:end].view(np.int16 if self.row_bytes < 4 * self.width else np.int32))
        hashes = np.asarray(content[end : self.size]).reshape(self.rows, HASH_BYTES) if self.hashed else None
        return raw.view(_TYPES[self.dtype]).view(self.rows, self.width), hashes
