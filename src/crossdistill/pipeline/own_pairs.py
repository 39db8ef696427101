"""The pairs that a finished run was made of, opened again."""

from __future__ import annotations

import csv
from collections.abc import Sequence

from crossdistill.errors import RunFolderError
from crossdistill.files import read_json
from crossdistill.item import Item
from crossdistill.pairs import Pairs, Side, Split, open_pairs
from crossdistill.pairs.reading import Unreadable, skip_unreadable
from crossdistill.pipeline.folder import RunFolder, open_run


def own_pairs(folder: RunFolder) -> Pairs:
    """The pairs of a run with the splits that it used, without the rows that it left out as unreadable.

    Raises:
        PairsError: they are where they were no longer, or cannot be read.
        RunFolderError: it is no run folder, or other pairs stand in their place now.
    """
    _, config = open_run(folder.root)
    pairs = open_pairs(config.pairs)
    if folder.skipped.is_file():
        found = [Unreadable(**each) for each in read_json(folder.skipped)["items"]]
        pairs = skip_unreadable(pairs, found, config.pairs.corrupt_limit)
    if folder.pairs.is_file():
        with folder.pairs.open(encoding="utf-8", newline="") as stream:
            recorded = sum(1 for _ in csv.reader(stream)) - 1
        if recorded != len(pairs):
            raise RunFolderError(
                "The pairs have changed since this run was made.", where=folder.root,
                expected=f"the {recorded} rows recorded in {folder.pairs.name}", received=f"{len(pairs)} rows",
                fix="put the pairs back that it was made of, or run it anew",
            )  # fmt: skip
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
