"""Items into an index: embedded and added some thousand at a time; what it holds already is left as it is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from crossdistill.console import track, warn
from crossdistill.errors import PairsError
from crossdistill.item import Item
from crossdistill.pairs.items import content_hash
from crossdistill.pipeline import CrossModalModel
from crossdistill.search import Index
from crossdistill.search.exact import Vectors

_COMMIT = 4096  # items that are added at a time: what a killed command loses at most
_CHUNK = 256  # items between two steps of the progress bar


class Adding:
    """Embeds what an index lacks and adds it, some thousand at a time.

    Args:
        index: to add to.
        model: embeds.
        skip: whether items that cannot be read are left out and named; else the first one ends it.
    """

    def __init__(self, index: Index, model: CrossModalModel, *, skip: bool) -> None:
        self._index, self._model, self._skip = index, model, skip
        self.left_out = 0

    def add(self, items: Sequence[tuple[str, Item]], metadata: pa.Table | None) -> int:
        """Adds items with as many rows of metadata; how many were new or replaced."""
        changed = 0
        with track(f"embedding {self._index.modality} items", len(items)) as task:
            for start in range(0, len(items), _COMMIT):
                part = items[start : start + _COMMIT]
                contents = [self._content(item) for _, item in part]
                present = [place for place, content in enumerate(contents) if content is not None]
                held = self._index.holds([part[place][0] for place in present], [contents[p] or "" for p in present])
                lacking = [place for place, there in zip(present, held, strict=True) if not there]
                task.advance(len(part) - len(lacking))
                kept, vectors = [], []
                for first in range(0, len(lacking), _CHUNK):
                    chunk = lacking[first : first + _CHUNK]
                    readable, found = self._embedded([part[place][1] for place in chunk])
                    kept += [chunk[place] for place in readable]
                    vectors.append(found)
                    task.advance(len(chunk))
                if kept:
                    rows = None if metadata is None else metadata.slice(start, len(part)).take(pa.array(kept))
                    changed += self._index.add(
                        np.concatenate(vectors), [part[place][0] for place in kept], rows,
                        [contents[place] or "" for place in kept],
                    )  # fmt: skip
        if self.left_out:
            warn(f"{self.left_out} of {len(items)} items are left out, as they cannot be read")
            if self.left_out == len(items):
                raise PairsError("Nothing of the inputs can be read.", expected=self._expected, received="see above")
        return changed

    @property
    def _expected(self) -> str:
        return f"files of the modality {self._model.encoder(self._index.modality).modality.modality}"

    def _embedded(self, items: Sequence[Item]) -> tuple[list[int], Vectors]:
        """The places of those that can be read, and their embeddings."""
        try:
            return list(range(len(items))), self._model.embed(items, self._index.modality)
        except PairsError:
            if not self._skip:
                raise
        modality, readable = self._model.encoder(self._index.modality).modality, []
        for place, item in enumerate(items):
            try:
                modality.decode(item)
                readable.append(place)
            except PairsError as error:
                self._leave_out(error)
        return readable, self._model.embed([items[place] for place in readable], self._index.modality)

    def _content(self, item: Item) -> str | None:
        """The hash of an item's bytes; None for one that is left out."""
        try:
            return content_hash(item)
        except OSError as error:
            problem = PairsError("An input cannot be read.", where=item, received=error.strerror)
            if not self._skip:
                raise problem from error
            self._leave_out(problem)
            return None

    def _leave_out(self, error: PairsError) -> None:
        self.left_out += 1
        warn(f"left out: {error.details.get('where', '')}: {error.problem} {error.details.get('received', '')}".strip())
