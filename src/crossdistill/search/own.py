"""The items of a run's own pairs, to be searched where no others are given."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from crossdistill.errors import PairsError
from crossdistill.item import Item
from crossdistill.pairs import Side
from crossdistill.pairs.items import content_hash
from crossdistill.pipeline import open_run
from crossdistill.pipeline.own_pairs import own_pairs


@dataclass(frozen=True)
class OwnItem:
    """An item of a run's own pairs.

    Attributes:
        id: its path, or what its reader calls it.
        item: what holds it.
        label: class name; None where it is unknown.
        split: train, val or test.
        row: of the pairs, the first that has it.
        content: hash of its bytes.
    """

    id: str
    item: Item
    label: str | None
    split: str
    row: int
    content: str


def own_items(run: Path, modality: Side) -> list[OwnItem]:
    """The items of one side of a run's own pairs, in the order of the rows; equal contents count once.

    Raises:
        RunFolderError: it is no run folder, or its pairs have changed since.
        PairsError: the pairs, or an item, are gone.
    """
    folder, _ = open_run(run)
    try:
        pairs = own_pairs(folder)
    except PairsError as error:
        raise PairsError(
            f"The run's own pairs cannot be opened: {error.problem}", where=error.details.get("where", run),
            expected=error.details.get("expected"), received=error.details.get("received"),
            fix="put them back where they were, or name files and folders instead",
        ) from error  # fmt: skip
    found: dict[str, OwnItem] = {}
    seen: set[str] = set()
    for row in pairs.where(has=(modality,)):
        pair = pairs[row]
        item = pair.item(modality)
        assert item is not None
        name = str(item)
        if name in seen:
            continue
        seen.add(name)
        try:
            content = content_hash(item)
        except OSError as error:
            raise PairsError(
                "An item of the run's own pairs cannot be read.", where=f"{pair.where}: {item}",
                received=error.strerror, fix="put it back where it was, or name files and folders instead",
            ) from error  # fmt: skip
        found.setdefault(content, OwnItem(name, item, pair.label, pair.split or "train", row, content))
    return list(found.values())
