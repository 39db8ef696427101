"""Items whose bytes are made from a file when they are asked for: a part of it, or its content in another form."""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from pathlib import PurePath
from typing import BinaryIO, Literal

MOST_VALUES = 100_000_000  # of one item; beyond it a file is broken or hostile


class DerivedItem(ABC):
    """An item that is no file; see :class:`crossdistill.item.Item`. Subclasses are frozen and picklable."""

    @property
    @abstractmethod
    def name(self) -> str:
        """What it would be called as a file."""

    @abstractmethod
    def read_bytes(self) -> bytes:
        """Its bytes. Raises OSError or ValueError where they cannot be made."""

    @property
    def suffix(self) -> str:
        """The name's ending: the format of the bytes."""
        return PurePath(self.name).suffix

    def open(self, mode: Literal["rb"]) -> BinaryIO:
        """Its bytes as a stream in memory."""
        return io.BytesIO(self.read_bytes())


def check_values(count: int) -> None:
    """Raises ValueError where an item would have more values than are read."""
    if count > MOST_VALUES:
        raise ValueError(f"{count:,} values, where {MOST_VALUES:,} are the most that are read")
