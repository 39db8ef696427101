"""Items that are lines of a larger text file, such as the drawings in QuickDraw's ``.ndjson``: ``cats.ndjson#17``."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crossdistill.pairs.readers.stores import MOST_BYTES, Store, StoredItem

_LINE = re.compile(r"(.+\.ndjson)#(\d+)")


class LineStore(Store):
    """A text file; keys are line numbers from 1."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self.path = path

    def read(self, key: int) -> bytes:
        """Reads one line."""
        starts = self._starts()
        if not 1 <= key < len(starts):
            raise ValueError(f"line {key} of a file of {len(starts) - 1} lines")
        size = int(starts[key] - starts[key - 1])
        if size > MOST_BYTES:
            raise ValueError(f"a line of {size:,} bytes, where {MOST_BYTES:,} are the most")
        with self.path.open("rb") as stream:
            stream.seek(int(starts[key - 1]))
            return stream.read(size)

    def _starts(self) -> NDArray[np.int64]:
        """Where each line begins, and the end of the file."""
        if self._handle is None:
            found, place = [0], 0
            with self.path.open("rb") as stream:
                while chunk := stream.read(1 << 20):
                    ends = np.flatnonzero(np.frombuffer(chunk, dtype=np.uint8) == ord("\n")) + 1 + place
                    found.extend(ends.tolist())
                    place += len(chunk)
            if found[-1] != place:
                found.append(place)
            self._handle = np.array(found, dtype=np.int64)
        starts: NDArray[np.int64] = self._handle
        return starts


def line_item(text: str, stores: dict[str, LineStore]) -> StoredItem | None:
    """The item that ``FILE.ndjson#LINE`` names; None where the text names none. Files are shared through ``stores``."""
    found = _LINE.fullmatch(text)
    if found is None:
        return None
    store = stores.setdefault(found[1], LineStore(Path(found[1])))
    return StoredItem(store, int(found[2]), f"{found[2]}.ndjson")
