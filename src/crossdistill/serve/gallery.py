"""What can be found: items of one modality with their pictures, sounds and labels, and their place in the space."""

from __future__ import annotations

import hashlib
import io
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image as Pillow

from crossdistill.console import track
from crossdistill.errors import PairsError
from crossdistill.evaluation.probes import Ints, Vectors
from crossdistill.item import Item
from crossdistill.modalities import Modality
from crossdistill.pairs import Pairs, Side, Split
from crossdistill.pairs.items import content_hash
from crossdistill.pipeline import CrossModalModel
from crossdistill.search import Index
from crossdistill.serve.remembered import remembered

PICTURE_SIDE = 160  # pixels: 80 on a page, of screens with two dots a pixel
_KEPT = 4096  # pictures in memory, of about 3 kB each
_CHUNK = 64  # items embedded at a time


@dataclass(frozen=True)
class Entry:
    """One item that can be found.

    Attributes:
        id: as the run's pairs, the folder or the index name it.
        item: to draw and to play it; None where it is gone, or never was a file.
        label: its class, where it is known.
        split: of the run's own items.
    """

    id: str
    item: Item | None
    label: str | None = None
    split: Split | None = None


class Entries(Protocol):
    """A sequence of entries, perhaps read from a disk one by one."""

    def __len__(self) -> int:
        """How many."""

    def __getitem__(self, position: int, /) -> Entry:
        """One of them."""


class Gallery:
    """Items of one modality.

    Args:
        name: what they are, for people: ``the run's own source items``.
        side: their modality's part in the run.
        modality: draws and plays them.
        entries: the items.
        contents: of the run's own items, whose partners are known: a hash of all their contents.
    """

    def __init__(
        self, name: str, side: Side, modality: Modality, entries: Entries, contents: str | None = None
    ) -> None:  # fmt: skip
        self.name, self.side, self.modality, self.entries, self.contents = name, side, modality, entries, contents
        self._pictures: OrderedDict[int, bytes | None] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def own(self) -> bool:
        """Whether these are the run's own items."""
        return self.contents is not None

    def picture(self, position: int) -> bytes | None:
        """A small picture of an item as WebP; None where it cannot be drawn any more."""
        with self._lock:
            if position in self._pictures:
                self._pictures.move_to_end(position)
                return self._pictures[position]
        drawn = self._draw(position)
        with self._lock:
            self._pictures[position] = drawn
            while len(self._pictures) > _KEPT:
                self._pictures.popitem(last=False)
        return drawn

    def sound(self, position: int) -> bytes | None:
        """An item as an OGG file; None for what cannot be heard."""
        item = self.entries[position].item
        try:
            return None if item is None else self.modality.sound(item)
        except PairsError:  # it was there when it was embedded
            return None

    def _draw(self, position: int) -> bytes | None:
        item = self.entries[position].item
        if item is None:
            return None
        try:
            return webp(self.modality.picture(item, PICTURE_SIDE))
        except PairsError:
            return None


class Shelf:
    """A gallery with its vectors in an index.

    Args:
        gallery: the items.
        index: their vectors, by the same numbers.
    """

    def __init__(self, gallery: Gallery, index: Index) -> None:
        self.gallery, self.index = gallery, index

    @property
    def vectors(self) -> Vectors:
        """Of all items in the gallery's order, ``(N, d)``, unit length."""
        return self.index.vectors

    def nearest(self, queries: Vectors, k: int) -> tuple[Ints, Vectors]:
        """Positions and cosine similarities ``(Q, min(k, N))`` of the nearest items, nearest first."""
        hits = self.index.query(queries, k)
        rows = np.array([[hit.row for hit in each] for each in hits], dtype=np.int64)
        return rows, np.array([[hit.score for hit in each] for each in hits], dtype=np.float32)


def own_gallery(pairs: Pairs, side: Side, modality: Modality, name: str) -> tuple[Gallery, dict[int, int]]:
    """The run's own items of one side, equal ones once, and for each row of the pairs that has one its position."""
    entries: list[Entry] = []
    place: dict[str, int] = {}
    content: dict[str, str] = {}
    position: dict[int, int] = {}
    for row in pairs.where(has=(side,)):
        pair = pairs[row]
        item = pair.item(side)
        assert item is not None
        key = content.get(str(item)) or content.setdefault(str(item), _content(item, f"{pair.where}, column {side}"))
        if key not in place:
            place[key] = len(entries)
            entries.append(Entry(str(item), item, pair.label, pair.split))
        position[row] = place[key]
    digest = hashlib.sha256("\n".join(place).encode()).hexdigest()
    return Gallery(name, side, modality, entries, digest), position


def _content(item: Item, where: str) -> str:
    try:
        return content_hash(item)
    except OSError as error:
        raise PairsError(
            "An item of the run's own pairs cannot be read.", where=f"{where}: {item}", received=error.strerror,
            fix="put it back where it was when the run was made",
        ) from error  # fmt: skip


def shelved(model: CrossModalModel, gallery: Gallery, what: str, known: Vectors | None = None) -> Shelf:
    """A gallery with the embeddings of its items by the model's encoder of their side, where these are not ``known``.

    Raises:
        PairsError: an item cannot be read any more.
    """
    index = Index.create(None, model, gallery.side, "exact")
    if known is None and gallery.contents is not None:
        shape = (len(gallery), model.width)
        known = remembered(
            model.encoder(gallery.side), gallery.contents, shape, lambda: _embedded(model, gallery, what)
        )  # fmt: skip
    vectors = _embedded(model, gallery, what) if known is None else known
    if len(vectors):
        index.add(vectors, [gallery.entries[row].id for row in range(len(gallery))])
    return Shelf(gallery, index)


def _embedded(model: CrossModalModel, gallery: Gallery, what: str) -> Vectors:
    found = [np.empty((0, model.width), dtype=np.float32)]
    with track(f"embedding {len(gallery)} {what}", len(gallery)) as task:
        for start in range(0, len(gallery), _CHUNK):
            chunk = [gallery.entries[row] for row in range(start, min(start + _CHUNK, len(gallery)))]
            found.append(model.embed([each.item for each in chunk], gallery.side))
            task.advance(len(chunk))
    return np.concatenate(found)


def webp(picture: Pillow.Image) -> bytes:
    """A picture as WebP."""
    stream = io.BytesIO()
    picture.convert("RGB").save(stream, format="WEBP", quality=82, method=4)
    return stream.getvalue()


def folder_files(folder: Path) -> list[Path]:
    """All files below a folder, without hidden ones and those in hidden folders, sorted.

    Raises:
        PairsError: it is missing or empty.
    """
    found = sorted(path for path in folder.rglob("*") if path.is_file() and not _is_hidden(path, folder))
    if not found:
        raise PairsError("The gallery holds no files.", where=folder, expected="a folder of source items, or an index")
    return found


def _is_hidden(path: Path, folder: Path) -> bool:
    """Whether a file, or a folder below ``folder`` that it is in, is hidden, such as ``.git``."""
    return any(part.startswith(".") for part in path.relative_to(folder).parts)
