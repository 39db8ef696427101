"""What a run has of its own to check an export on: its pairs, and items of these."""

from __future__ import annotations

from typing import get_args

from crossdistill.errors import PairsError, RunFolderError
from crossdistill.item import Item
from crossdistill.pairs import Pairs, Side, Split
from crossdistill.pipeline import CrossModalModel
from crossdistill.pipeline.own_pairs import own_pairs

MOST_ITEMS = 64
_ORDER: tuple[Split, ...] = tuple(reversed(get_args(Split)))


def pairs_of(model: CrossModalModel) -> Pairs:
    """The pairs that a run was made of.

    Raises:
        RunFolderError: the model was published, or made in memory, or other pairs stand in their place now.
        PairsError: they cannot be read.
    """
    if not model.folder.config.is_file():
        raise RunFolderError(
            "A model without its run has no pairs of its own to be checked on.", where=model.folder.root,
            fix="name some files of that modality (--items), and leave --int8 out",
        )  # fmt: skip
    try:
        return own_pairs(model.folder)
    except PairsError as error:
        raise PairsError(
            "The run's own pairs cannot be read, on which an export is checked.", where=model.folder.root,
            received=error.problem, fix="put them back where they were, or name some files of that modality (--items)",
        ) from error  # fmt: skip


def items_of(pairs: Pairs, side: Side) -> list[Item]:
    """Some items of one side, of the test split first."""
    found: dict[str, Item] = {}
    for split in _ORDER:
        for row in pairs.where(split, has=(side,)):
            item = pairs[row].item(side)
            if item is not None:
                found.setdefault(str(item), item)
            if len(found) == MOST_ITEMS:
                return list(found.values())
    return list(found.values())
