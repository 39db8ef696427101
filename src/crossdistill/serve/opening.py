"""The source items that a user wants to search: a folder of files, or an index that was built before."""

from __future__ import annotations

from pathlib import Path

from crossdistill.console import say, warn
from crossdistill.errors import ConfigError, PairsError
from crossdistill.pipeline import CrossModalModel
from crossdistill.search import Index
from crossdistill.serve.gallery import Entry, Gallery, Shelf, folder_files, shelved

_NAMED = 3
_INDEX = "index.json"  # what tells an index from a folder of files


class IndexEntries:
    """The items of an index. Those whose id is a file's path can be drawn."""

    def __init__(self, index: Index) -> None:
        self._ids = index.ids
        self._index = index

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, position: int, /) -> Entry:
        """One of them."""
        name, about = self._ids[position], self._index.metadata(position)
        file = Path(name)
        label = about.get("label")
        return Entry(name, file if file.is_file() else None, None if label is None else str(label))


def open_gallery(place: Path, model: CrossModalModel) -> Shelf:
    """A folder of source items, embedded by the run's teacher, or an index of such items.

    Files of a folder that cannot be read are left out, and told.

    Raises:
        PairsError: it is missing or empty, or nothing in it can be read.
        RunFolderError: the index was made by another teacher, or is damaged.
        ConfigError: the index holds target items.
    """
    modality = model.encoder("source").modality
    if (place / _INDEX).is_file():
        return _open_index(place, model)
    entries, left_out = [], []
    for file in folder_files(place):
        try:
            modality.decode(file)
        except PairsError:
            left_out.append(file)
            continue
        entries.append(Entry(str(file.relative_to(place)), file))
    if not entries:
        raise PairsError(
            "Nothing in the gallery can be read.", where=place, expected=f"files of the modality {modality.modality}",
            received=f"{len(left_out)} other files",
        )  # fmt: skip
    if left_out:
        named = ", ".join(file.name for file in left_out[:_NAMED]) + (", ..." if len(left_out) > _NAMED else "")
        warn(
            f"{len(left_out)} of {len(entries) + len(left_out)} files of the gallery are left out, unreadable: {named}"
        )
    gallery = Gallery(f"the gallery {place.name}", "source", modality, entries)
    say(f"gallery: {len(entries)} items")
    return shelved(model, gallery, "items of the gallery")


def _open_index(place: Path, model: CrossModalModel) -> Shelf:
    index = Index.open(place)
    index.check(model)
    if index.modality != "source":
        raise ConfigError(
            "The index holds target items.", where=place, expected="an index of source items", received=index.modality,
            fix="build it with --modality source",
        )  # fmt: skip
    modality = model.encoder("source").modality
    return Shelf(Gallery(f"the index {place.name}", "source", modality, IndexEntries(index)), index)
