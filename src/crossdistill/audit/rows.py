"""What the rows alone tell: empty and repeated ones, splits, and groups or files that are in two splits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from crossdistill.audit.finding import Finding
from crossdistill.pairs import SPLITS, Pairs, Side

SIDES: tuple[Side, ...] = ("source", "target")
_FEWEST_TEST = 50  # pairs, below which results of the test split are hardly more than anecdotes
_SHOWN = 3  # rows in a message


def check_rows(pairs: Pairs) -> list[Finding]:
    """Findings about the rows."""
    found = [*_broken(pairs), *_splits(pairs)]
    groups: dict[str, list[int]] = defaultdict(list)
    files: dict[tuple[Side, str], list[int]] = defaultdict(list)
    for row, pair in enumerate(pairs):
        if pair.group is not None:
            groups[pair.group].append(row)
        for side in SIDES:
            if (item := pair.item(side)) is not None:
                files[side, str(item)].append(row)
    for group, rows in groups.items():
        if (splits := splits_of(pairs, rows)) > 1:
            found.append(
                Finding(
                    severity="severe", check="leak", message=f"The group {group!r} is in {splits} splits.",
                    where=places(pairs, rows), rows=tuple(rows),
                    fix="put all rows of the group into one split, or remove the split column to have it made",
                )
            )  # fmt: skip
    for (side, name), rows in files.items():
        if (splits := splits_of(pairs, rows)) > 1:
            found.append(
                Finding(
                    severity="severe", check="leak", message=f"One {side} item is in {splits} splits: {name}",
                    where=places(pairs, rows), rows=tuple(rows), side=side,
                    fix="put all rows of the file into one split, or remove the split column to have it made",
                )
            )  # fmt: skip
    return found


def _broken(pairs: Pairs) -> Iterator[Finding]:
    seen: dict[tuple[str, str], int] = {}
    for row, pair in enumerate(pairs):
        if pair.source is None and pair.target is None:
            yield Finding(
                severity="severe", check="rows", message="A row has neither a source nor a target.",
                where=places(pairs, [row]), rows=(row,), fix="remove the row, or name its files",
            )  # fmt: skip
            continue
        first = seen.setdefault((str(pair.source), str(pair.target)), row)
        if first != row:
            yield Finding(
                severity="severe", check="rows", message="The same pair stands twice.",
                where=places(pairs, [first, row]), rows=(first, row), fix="remove one of the two rows",
            )  # fmt: skip


def _splits(pairs: Pairs) -> Iterator[Finding]:
    without = [row for row, pair in enumerate(pairs) if pair.split is None]
    if without and len(without) < len(pairs):
        yield Finding(
            severity="severe", check="splits", rows=tuple(without), where=places(pairs, without),
            message=f"{len(without)} of {len(pairs)} rows have no split, and the others have one.",
            fix="give every row a split, or none",
        )  # fmt: skip
    for split in SPLITS:
        count = len(pairs.where(split, has=SIDES))
        if count == 0:
            yield Finding(
                severity="severe" if split == "train" else "warning", check="splits", where=pairs.name,
                message=f"The split '{split}' has no pairs.", fix="change the split column, or pairs.split",
            )  # fmt: skip
        elif split == "test" and count < _FEWEST_TEST:
            yield Finding(
                severity="note", check="splits", where=pairs.name,
                message=f"The test split has {count} pairs: its results will have wide intervals.",
                fix="hold out more of the pairs, if there are more",
            )  # fmt: skip


def splits_of(pairs: Pairs, rows: list[int]) -> int:
    """The number of splits among ``rows``."""
    return len({pairs[row].split for row in rows} - {None})


def places(pairs: Pairs, rows: list[int], side: Side | None = None) -> str:
    """Where ``rows`` stand, the first of them in words; with a side its column and file as well."""
    shown = []
    for row in rows[:_SHOWN]:
        pair = pairs[row]
        named = pair.where or f"pair {row + 1}"
        shown.append(f"{named}, column {side}: {pair.item(side)}" if side else f"{named} ({pair.split or 'no split'})")
    return "; ".join(shown) + (f"; and {len(rows) - _SHOWN} more" if len(rows) > _SHOWN else "")
