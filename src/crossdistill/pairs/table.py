"""The one notion of a paired data set: :class:`Pairs`, a checked and immutable list of :class:`Pair` rows."""

from __future__ import annotations

import copy
import csv
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, get_args

from crossdistill.errors import PairsError
from crossdistill.files import write_text
from crossdistill.item import Item

Split = Literal["train", "val", "test"]
Side = Literal["source", "target"]
SPLITS: tuple[Split, ...] = get_args(Split)


_SPLIT_NAMES: dict[str, Split] = {
    **{name: name for name in SPLITS},
    "training": "train",
    "valid": "val",
    "validation": "val",
    "dev": "val",
}


_CHECKED = ContextVar("checked", default=True)


@contextmanager
def unchecked() -> Iterator[None]:
    """Pairs that are made inside of the block may hold any rows: ``crossdistill audit`` lists all that is wrong."""
    token = _CHECKED.set(False)
    try:
        yield
    finally:
        _CHECKED.reset(token)


def are_checked() -> bool:
    """Whether wrong rows are refused, as they are outside of :func:`unchecked`."""
    return _CHECKED.get()


def split_name(text: str | None, where: str) -> Split | None:
    """The split that ``text`` means; None for no text.

    Raises:
        PairsError: it means none.
    """
    if not text:
        return None
    if text.lower() not in _SPLIT_NAMES:
        raise PairsError("Unknown split.", where=where, expected=f"one of {', '.join(SPLITS)}", received=repr(text))
    return _SPLIT_NAMES[text.lower()]


@dataclass(frozen=True, kw_only=True, slots=True)  # slots: there may be millions
class Pair:
    """One row. Either side may be missing (an unpaired item), not both.

    Attributes:
        source: item in the rich modality: a file, or what a reader found inside of one.
        target: item in the poor modality.
        label: class name; None where it is unknown.
        split: train, val or test; None until :func:`crossdistill.pairs.split.assign_splits` has run.
        group: rows of one group are never separated by a split (an object seen several times, a person, a scene).
        mask: dense labels of the target, a picture of class numbers in its own geometry.
        where: where the row stands, for messages (``pairs.csv, row 17``).
    """

    source: Item | None
    target: Item | None
    label: str | None = None
    split: Split | None = None
    group: str | None = None
    mask: Item | None = None
    where: str = ""

    def item(self, side: Side) -> Item | None:
        """The item on one side."""
        return self.source if side == "source" else self.target

    @property
    def paired(self) -> bool:
        """Whether both sides are there."""
        return self.source is not None and self.target is not None


@dataclass(frozen=True, kw_only=True)
class Licence:
    """Whose data it is; a report that shows a picture of it says so."""

    name: str
    attribution: str = ""
    url: str = ""


@dataclass(frozen=True)
class Pairs(Sequence[Pair]):
    """A paired data set: rows in a fixed order, checked when they are made.

    Args:
        rows: the pairs.
        name: what the set is called in reports.
        licence: of the data, where it is known.

    Raises:
        PairsError: there is no row at all, a row has neither side, a pair stands there twice, some rows have a split
            and others have none, or a group (or one file) is in two splits.
    """

    rows: tuple[Pair, ...]
    name: str = "pairs"
    licence: Licence | None = None
    _group_ids: tuple[int, ...] = field(init=False, repr=False, compare=False, default=())

    def __post_init__(self) -> None:
        _check_rows(self.rows, self.name)
        object.__setattr__(self, "_group_ids", _connected(self.rows))
        _check_splits(self.rows, self._group_ids)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Pair:  # type: ignore[override]  # a slice of pairs would be another data set
        return self.rows[index]

    def __iter__(self) -> Iterator[Pair]:
        return iter(self.rows)

    @property
    def group_ids(self) -> tuple[int, ...]:
        """For each row the number of its group: rows that share a group, a source or a target have the same."""
        return self._group_ids

    def where(
        self, split: Split | None = None, *, has: Iterable[Side] = (), labelled: bool | None = None
    ) -> tuple[int, ...]:
        """Row numbers in ``split`` that have the sides in ``has``, and a label (True) or none (False)."""
        sides = tuple(has)
        return tuple(
            index
            for index, pair in enumerate(self.rows)
            if (split is None or pair.split == split)
            and all(pair.item(side) is not None for side in sides)
            and (labelled is None or (pair.label is not None) == labelled)
        )

    @property
    def classes(self) -> tuple[str, ...]:
        """All labels, sorted."""
        return tuple(sorted({pair.label for pair in self.rows if pair.label is not None}))

    def with_rows(self, rows: Iterable[Pair]) -> Pairs:
        """The same set with other rows."""
        return replace(self, rows=tuple(rows))

    def with_splits(self, splits: Sequence[Split]) -> Pairs:
        """The same rows with these splits, one for each; groups must not be separated by them."""
        rows = tuple(
            Pair(source=pair.source, target=pair.target, label=pair.label, split=split, group=pair.group,
                 mask=pair.mask, where=pair.where)
            for pair, split in zip(self.rows, splits, strict=True)
        )  # fmt: skip
        twin = copy.copy(self)  # what was checked of the rows and their groups stays true
        object.__setattr__(twin, "rows", rows)
        _check_splits(rows, self._group_ids)
        return twin

    def counts(self) -> dict[str, dict[str, int]]:
        """For each split the number of pairs, unpaired items, labelled rows and groups."""
        table: dict[str, dict[str, int]] = {}
        for split in SPLITS:
            rows = self.where(split)
            table[split] = {
                "pairs": sum(self.rows[i].paired for i in rows),
                "source_only": sum(self.rows[i].target is None for i in rows),
                "target_only": sum(self.rows[i].source is None for i in rows),
                "labelled": sum(self.rows[i].label is not None for i in rows),
                "groups": len({self._group_ids[i] for i in rows}),
            }
        return table

    def require(self, split: Split, has: Iterable[Side], purpose: str) -> tuple[int, ...]:
        """Like :meth:`where`, but an empty answer is an error that says what the rows were needed for."""
        sides = tuple(has)
        rows = self.where(split, has=sides)
        if not rows:
            raise PairsError(
                f"The split '{split}' has no rows for {purpose}.",
                where=self.name,
                expected=f"at least one row with {' and '.join(sides)}",
                received=f"{len(self.where(split))} rows in '{split}', {len(self)} in all",
                fix="add rows, or change the split column or pairs.split",
            )
        return rows

    def to_csv(self, path: Path, base: Path | None = None) -> None:
        """Writes the rows as a manifest that reads back as the same pairs; paths below ``base`` become relative."""

        def shown(item: Item | None) -> str:
            if not isinstance(item, Path):
                return "" if item is None else str(item)
            return str(item.relative_to(base)) if base is not None and item.is_relative_to(base) else str(item)

        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        masked = any(pair.mask is not None for pair in self.rows)
        writer.writerow(["source", "target", "label", "split", "group", *(["mask"] if masked else [])])
        for pair in self.rows:
            row = [shown(pair.source), shown(pair.target), pair.label or "", pair.split or "", pair.group or ""]
            writer.writerow([*row, shown(pair.mask)] if masked else row)
        write_text(path, text.getvalue())


def _check_rows(rows: Sequence[Pair], name: str) -> None:
    if not rows:
        raise PairsError("There are no pairs.", where=name, expected="at least one row")
    if not are_checked():
        return
    seen: dict[tuple[str, str], Pair] = {}
    for pair in rows:
        if pair.source is None and pair.target is None:
            raise PairsError("A row has neither a source nor a target.", where=pair.where or name)
        first = seen.setdefault((str(pair.source), str(pair.target)), pair)
        if first is not pair:
            raise PairsError(
                "The same pair stands twice.",
                where=f"{first.where or name} and {pair.where or name}",
                received=f"source={pair.source}, target={pair.target}",
                fix="remove one of the two rows",
            )


def _connected(rows: Sequence[Pair]) -> tuple[int, ...]:
    """Numbers the connected components of rows that share a group, a source file or a target file."""
    parent = list(range(len(rows)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    first: dict[tuple[str, str], int] = {}
    for index, pair in enumerate(rows):
        for key in (("group", pair.group), ("source", pair.source), ("target", pair.target)):
            if key[1] is not None:
                other = first.setdefault((key[0], str(key[1])), index)
                if other != index:
                    ends = root(index), root(other)
                    parent[max(ends)] = min(ends)
    numbers: dict[int, int] = {}
    return tuple(numbers.setdefault(root(index), len(numbers)) for index in range(len(rows)))


def _check_splits(rows: Sequence[Pair], group_ids: Sequence[int]) -> None:
    if not are_checked():
        return
    without = [pair for pair in rows if pair.split is None]
    if without and len(without) < len(rows):
        raise PairsError(
            "Some rows have a split and others have none.",
            where=without[0].where,
            expected=f"one of {', '.join(SPLITS)} in every row, or in no row",
            received=f"{len(without)} of {len(rows)} rows without",
        )
    first: dict[int, Pair] = {}
    for pair, group in zip(rows, group_ids, strict=True):
        other = first.setdefault(group, pair)
        if other.split != pair.split:
            shared = (
                pair.group if pair.group is not None and pair.group == other.group else "(connected by shared files)"
            )
            raise PairsError(
                "A group is in two splits, so test items would leak into training.",
                where=f"{other.where} and {pair.where}",
                expected="all rows of a group, and all rows that share a file, in one split",
                received=f"group {shared!r} in '{other.split}' and '{pair.split}'",
                fix="correct the split or group column, or remove the split column to have it made",
            )


def class_numbers(pairs: Pairs, rows: Iterable[int]) -> list[int]:
    """Of each row the number of its label in the order of ``pairs.classes``; -1 without one."""
    number = {name: place for place, name in enumerate(pairs.classes)}
    return [-1 if (label := pairs[row].label) is None else number[label] for row in rows]


def smallest_classes(pairs: Pairs, rows: Iterable[int], count: int = 3) -> list[tuple[str, int]]:
    """The ``count`` rarest labels among ``rows`` with their sizes, rarest first; labels without a row count 0."""
    sizes = Counter(dict.fromkeys(pairs.classes, 0))
    sizes.update(label for index in rows if (label := pairs[index].label) is not None)
    return sorted(sizes.items(), key=lambda item: (item[1], item[0]))[:count]
