"""The pairs that a finished run was made of, opened again."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path

from crossdistill.errors import RunFolderError
from crossdistill.files import read_json
from crossdistill.item import Item
from crossdistill.pairs import Pair, Pairs, Side, Split
from crossdistill.pairs.reading import Unreadable, skip_unreadable
from crossdistill.pipeline.folder import RunFolder, open_run
from crossdistill.pipeline.run_pairs import run_pairs

_COLUMNS = ("source", "target", "mask", "label", "split", "group")
_PLACES = 3  # of these columns name items

_Row = tuple[str, ...]


def own_pairs(folder: RunFolder) -> Pairs:
    """The pairs of a run with the splits that it used, without the rows that it left out as unreadable.

    They are compared with the rows that the run recorded: with others, or with the same ones in other splits, a test
    item could be one that the run was trained on. Items may have been moved together to another folder.

    Raises:
        PairsError: they are where they were no longer, or cannot be read.
        RunFolderError: it is no run folder, or other pairs stand in their place now.
    """
    _, config = open_run(folder.root)
    pairs = run_pairs(config)
    if folder.skipped.is_file():
        found = [Unreadable(**each) for each in read_json(folder.skipped)["items"]]
        pairs = skip_unreadable(pairs, found, config.pairs.corrupt_limit)
    if folder.pairs.is_file():
        _compare(folder, pairs)
    return pairs


def own_items(folder: RunFolder, side: Side, first: Sequence[Split] = ("test", "val", "train")) -> list[Item]:
    """The items of one side of a run's own pairs, each once, split by split in the order of ``first``.

    Raises:
        PairsError, RunFolderError: as for :func:`own_pairs`.
    """
    pairs = own_pairs(folder)
    found: dict[str, Item] = {}
    for split in first:
        for row in pairs.where(split, has=(side,)):
            item = pairs[row].item(side)
            if item is not None:
                found.setdefault(str(item), item)
    return list(found.values())


def _compare(folder: RunFolder, pairs: Pairs) -> None:
    """Refuses pairs that are not those of ``pairs.csv``."""
    if all(before == now for before, now in zip_longest(_recorded(folder.pairs), map(_row, pairs))):
        return
    recorded, present = list(_recorded(folder.pairs)), [_row(pair) for pair in pairs]
    if len(recorded) != len(present):
        raise _changed(folder, f"the {len(recorded)} rows recorded in {folder.pairs.name}", f"{len(present)} rows")
    recorded_in, present_in = ([_shared([row[at] for row in rows]) for at in range(_PLACES)] + [""] * len(_COLUMNS)
                               for rows in (recorded, present))  # fmt: skip
    for number, (before, now) in enumerate(zip(recorded, present, strict=True)):
        for at, name in enumerate(_COLUMNS):
            if before[at].removeprefix(recorded_in[at]) != now[at].removeprefix(present_in[at]):
                raise _changed(
                    folder, f"{name} {before[at] or '(none)'} in row {number + 2} of {folder.pairs.name}",
                    f"{now[at] or '(none)'} in {pairs[number].where or 'the pairs'}",
                )  # fmt: skip


def _changed(folder: RunFolder, expected: str, received: str) -> RunFolderError:
    return RunFolderError(
        "The pairs have changed since this run was made.", where=folder.root, expected=expected, received=received,
        fix="put the pairs back that it was made of, or run it anew",
    )  # fmt: skip


def _recorded(path: Path) -> Iterator[_Row]:
    """The rows of ``pairs.csv``, as :meth:`~crossdistill.pairs.Pairs.to_csv` wrote them.

    Raises:
        RunFolderError: it is damaged.
    """
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            for row in csv.DictReader(stream, strict=True):
                yield tuple(row.get(name) or "" for name in _COLUMNS)
    except (csv.Error, UnicodeDecodeError) as error:
        raise RunFolderError("A file of the run is damaged.", where=path, received=error) from error


def _row(pair: Pair) -> _Row:
    items = ("" if item is None else str(item) for item in (pair.source, pair.target, pair.mask))
    return (*items, pair.label or "", pair.split or "", pair.group or "")


def _shared(places: Sequence[str]) -> str:
    """The folder that all items of a column are in, with its last slash; empty where there is none."""
    named = [place for place in places if place]
    if not named:
        return ""
    low, high = min(named), max(named)  # what these two share, all share
    same = next((at for at, (one, other) in enumerate(zip(low, high, strict=False)) if one != other), len(low))
    return low[: low.rfind("/", 0, same) + 1]
