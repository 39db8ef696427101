"""The source items that a user wants to search: a folder of files, or an index that was built before."""

from __future__ import annotations

import os
from pathlib import Path

from crossdistill.console import say, warn
from crossdistill.errors import ConfigError, PairsError, RunFolderError
from crossdistill.pipeline import CrossModalModel
from crossdistill.search import Index
from crossdistill.search.description import NAME as _INDEX
from crossdistill.search.description import Description, read_description
from crossdistill.serve.gallery import Entry, Gallery, Shelf, folder_files, shelved

_NAMED = 3
_LOOKED_AT = 100  # ids of an index, to see whether they are files


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
        label = about.get("label")
        return Entry(name, _file(name), None if label is None else str(label))


def _file(name: str) -> Path | None:
    """The file of that path. Ids may be anything: what no file can be called is none."""
    try:
        return Path(name) if Path(name).is_file() else None
    except (OSError, ValueError):  # a name that is too long, a folder that may not be looked into
        return None


def check_gallery(place: Path) -> None:
    """Refuses what is no gallery, before anything long begins.

    Raises:
        PairsError: it is missing, or no folder, or holds no files.
        RunFolderError: it is an index that is half built, or damaged.
        ConfigError: it is an index of target items.
    """
    if not place.is_dir():
        raise PairsError(
            "The gallery is no folder." if place.exists() else "The gallery is missing.", where=place,
            expected="a folder of source items, or an index",
        )  # fmt: skip
    if (place / _INDEX).is_file():
        _check_index(place, read_description(place))
    else:
        folder_files(place)


def _check_index(place: Path, about: Description) -> None:
    if about.half_built:
        raise RunFolderError(
            "The index is half built.", where=place, fix="run the same crossdistill index build again: it goes on"
        )
    if about.modality != "source":
        raise ConfigError(
            "The index holds target items.", where=place, expected="an index of source items", received=about.modality,
            fix="build it with --modality source",
        )  # fmt: skip


def open_gallery(place: Path, model: CrossModalModel) -> Shelf:
    """A folder of source items, embedded by the run's teacher, or an index of such items.

    Files of a folder that cannot be read are left out, and told.

    Raises:
        PairsError: it is missing or empty, or nothing in it can be read.
        RunFolderError: the index was made by another teacher, is half built, or is damaged.
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
        entries.append(Entry(_shown(file.relative_to(place)), file))
    if not entries:
        raise PairsError(
            "Nothing in the gallery can be read.", where=place, expected=f"files of the modality {modality.modality}",
            received=f"{len(left_out)} other files",
        )  # fmt: skip
    if left_out:
        named = ", ".join(_shown(Path(file.name)) for file in left_out[:_NAMED]) + (
            ", ..." if len(left_out) > _NAMED else ""
        )
        warn(
            f"{len(left_out)} of {len(entries) + len(left_out)} files of the gallery are left out, unreadable: {named}"
        )
    gallery = Gallery(f"the gallery {place.name}", "source", modality, entries)
    say(f"gallery: {len(entries)} items")
    return shelved(model, gallery, "items of the gallery")


def _shown(file: Path) -> str:
    """A path as text, whatever bytes it is made of."""
    return os.fsencode(file).decode("utf-8", "backslashreplace")


def _open_index(place: Path, model: CrossModalModel) -> Shelf:
    index = Index.open(place)
    _check_index(place, index.description)
    index.check(model, ("source",))  # queries of the page are embedded by the run itself
    first = index.ids[:_LOOKED_AT]
    if first and not any(map(_file, first)):
        warn(
            f"items of the index {place} are shown without pictures: none of the first {len(first)} ids, such as "
            f"{first[0]}, is a file from here; start the server in the folder in which the index was built"
        )
    modality = model.encoder("source").modality
    return Shelf(Gallery(f"the index {place.name}", "source", modality, IndexEntries(index)), index)
