"""What holds one item: a file, or a part of a larger one (a shard's member, a table's cell, an array's row)."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Literal, Protocol


class Item(Protocol):
    """The bytes of one item. A :class:`pathlib.Path` is one; ``suffix`` says the format where bytes alone do not."""

    @property
    def name(self) -> str:
        """The last part of its path or key."""

    @property
    def suffix(self) -> str:
        """The name's ending with the dot, such as ``.png``; empty where nobody knows."""

    def open(self, mode: Literal["rb"]) -> BinaryIO:
        """Its bytes as a stream that can seek. Raises OSError, among them FileNotFoundError."""

    def read_bytes(self) -> bytes:
        """All of its bytes."""


@dataclass(frozen=True)
class MemoryItem:
    """Bytes at hand, such as an upload.

    Attributes:
        name: what messages and formats go by, such as ``drawing.png``; never a place on a disk.
        content: its bytes.
    """

    name: str
    content: bytes

    @property
    def suffix(self) -> str:
        """The name's ending."""
        return PurePosixPath(self.name).suffix

    def open(self, mode: Literal["rb"]) -> BinaryIO:
        """Its bytes as a stream."""
        return io.BytesIO(self.content)

    def read_bytes(self) -> bytes:
        """Its bytes."""
        return self.content

    def __str__(self) -> str:
        return self.name


@contextmanager
def local_file(item: Item) -> Iterator[Path]:
    """The item as a file, for libraries that read nothing else: itself, or a copy that lasts as long as the block."""
    if isinstance(item, Path):
        yield item
        return
    handle, name = tempfile.mkstemp(suffix=item.suffix)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(item.read_bytes())
        yield Path(name)
    finally:
        Path(name).unlink()
