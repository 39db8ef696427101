"""Items inside of larger files: a store reads them, a :class:`StoredItem` names one."""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

MOST_BYTES = 1 << 30  # of one item; beyond it a file is broken or hostile

# First bytes of the formats that a modality cannot tell from others without a name.
_SIGNATURES = (
    (b"\x93NUMPY", ".npy"), (b"PK\x03\x04", ".npz"), (b"II*\x00", ".tif"), (b"MM\x00*", ".tif"), (b"v/1\x01", ".exr"),
    (b"<svg", ".svg"), (b"<?xml", ".svg"), (b"{", ".json"),
)  # fmt: skip


class Store(ABC):
    """A file that holds many items. Handles are opened when first used, once in each process, and are not pickled."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._handle: Any = None

    @abstractmethod
    def read(self, key: Any) -> bytes:
        """The bytes of one item. Raises OSError or ValueError where they cannot be read."""

    def array(self, key: Any) -> NDArray[Any] | None:
        """The item as an array, where it is one; None where it has to be decoded."""
        return None

    def __str__(self) -> str:
        return self.name

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_handle": None}


@dataclass(frozen=True)
class StoredItem:
    """One item of a store; see :class:`crossdistill.item.Item`.

    Attributes:
        store: where it lies.
        key: what the store knows it by.
        name: what messages and formats go by, such as ``0007.depth.png``.
    """

    store: Store
    key: Hashable
    name: str

    @property
    def suffix(self) -> str:
        """The name's ending."""
        return PurePosixPath(self.name).suffix

    def open(self, mode: Literal["rb"]) -> BinaryIO:
        """Its bytes as a stream in memory."""
        return io.BytesIO(self.read_bytes())

    def read_bytes(self) -> bytes:
        """Its bytes."""
        return self.store.read(self.key)

    def as_array(self) -> NDArray[Any] | None:
        """The array that its bytes would hold, without the way through them."""
        return self.store.array(self.key)

    def __str__(self) -> str:
        return f"{self.store}#{self.name}"


def suffix_of(content: bytes) -> str:
    """The ending that content of these first bytes would have as a file; empty for what readers tell by themselves."""
    start = content[:64].lstrip()
    return next((suffix for signature, suffix in _SIGNATURES if start.startswith(signature)), "")


def npy_bytes(values: NDArray[Any]) -> bytes:
    """An array as the content of an NPY file. Raises ValueError for arrays of objects."""
    stream = io.BytesIO()
    np.save(stream, np.ascontiguousarray(values), allow_pickle=False)
    return stream.getvalue()
