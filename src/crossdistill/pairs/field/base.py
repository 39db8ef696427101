"""Data sets of the field: what each of them declares, and the official split that their rows keep."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from crossdistill.console import warn
from crossdistill.errors import PairsError
from crossdistill.pairs.table import Licence, Pair, Pairs


class FieldOptions(BaseModel):
    """Settings that every data set has."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    root: Path = Field(description="folder of the set, as its archives unpack")
    verify: bool = Field(
        True, description="refuse a tree without the official numbers; false takes the part that is there, and says so"
    )

    @property
    def val_share(self) -> float:
        """Of the training rows, that becomes val."""
        return 0.0


class SplitOptions(FieldOptions):
    """Settings of a set whose official split has no val."""

    val: float = Field(
        0.1, ge=0, lt=1, description="share of the official training rows that becomes val, by a hash of their group"
    )

    @property
    def val_share(self) -> float:
        """Of the training rows, that becomes val."""
        return self.val


Options = TypeVar("Options", bound=FieldOptions)


@dataclass(frozen=True, kw_only=True)
class FieldSet(Generic[Options]):
    """A data set that the user brings, in its official layout.

    Attributes:
        name: how a configuration calls it.
        summary: one line for a list.
        home: the official page, where it is to be had.
        licence: of the data.
        options: its settings.
        read: its rows, with the official split where there is one. Raises PairsError.
        counts: the numbers that a whole set has; where several are published, each of them is accepted.
        extra: what of crossdistill to install for it.
        source, target: settings of the two modalities that fit the set.
    """

    name: str
    summary: str
    home: str
    licence: Licence
    options: type[Options]
    read: Callable[[Options], Sequence[Pair]]
    counts: Mapping[str, tuple[int, ...]]
    extra: str = ""
    source: dict[str, Any] = field(default_factory=lambda: {"modality": "image"})
    target: dict[str, Any] = field(default_factory=lambda: {"modality": "image"})

    def open(self, options: Options) -> Pairs:
        """The set as pairs: the official split, with val carved out of train.

        Raises:
            PairsError: a file is missing or damaged, or the set is not whole.
            MissingDependencyError: a package is missing.
        """
        rows = carve_val(keep_official_split(self.read(options), self.name), options.val_share, self.name)
        return Pairs(tuple(rows), name=self.name, licence=self.licence)


def verify_counts(name: str, official: Mapping[str, tuple[int, ...]], found: Mapping[str, int], verify: bool) -> None:
    """Compares what was found with the official numbers.

    Args:
        name: of the set.
        official: for each quantity the numbers that are published for it.
        found: some of the same quantities.
        verify: whether other numbers are an error; otherwise they are told.

    Raises:
        PairsError: there are other numbers.
    """
    wrong = [key for key, number in found.items() if number not in official[key]]
    if not wrong:
        return
    expected = ", ".join(f"{key}: {' or '.join(f'{number:,}' for number in official[key])}" for key in wrong)
    received = ", ".join(f"{key}: {found[key]:,}" for key in wrong)
    if verify:
        raise PairsError(
            f"The data set {name} is not whole.", expected=expected, received=received,
            fix="add what is missing, or set verify: false to use the part that is there",
        )  # fmt: skip
    warn(f"{name}: this is not the whole set ({received}; official: {expected})")


def report_missing(name: str, what: str, missing: Sequence[str], listed: int, verify: bool) -> None:
    """Tells what lists name and the tree lacks.

    Args:
        name: of the set.
        what: the files, such as ``photos of testset.txt``.
        missing: the names.
        listed: how many there should be.
        verify: whether a missing one is an error.

    Raises:
        PairsError: something is missing.
    """
    if not missing:
        return
    if verify:
        raise PairsError(
            f"{len(missing):,} of {listed:,} {what} are missing.", where=missing[0],
            fix="add them, or set verify: false to use the part that is there",
        )  # fmt: skip
    warn(f"{name}: {len(missing):,} of {listed:,} {what} are missing and left out, such as {missing[0]}")


def keep_official_split(rows: Sequence[Pair], name: str) -> list[Pair]:
    """The rows with groups that no split separates: where the official one does, its parts become groups."""
    splits: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        if row.group is not None and row.split is not None:
            splits[row.group].add(row.split)
    torn = {group for group, found in splits.items() if len(found) > 1}
    if torn:
        warn(f"{name}: the official split separates {len(torn):,} groups, such as {min(torn)}; it is kept as it is")
    return [replace(row, group=f"{row.group} ({row.split})") if row.group in torn else row for row in rows]


def carve_val(rows: Sequence[Pair], share: float, name: str) -> list[Pair]:
    """The rows with about ``share`` of the training rows in val: whole groups, the same ones wherever this is run.

    Within each label the groups are taken in the order of a hash of their name, as long as they fit into the share.
    """
    if share == 0:
        return list(rows)
    members: dict[str, list[int]] = defaultdict(list)
    for number, row in enumerate(rows):
        if row.split == "train":
            members[f"no group: {row.where}" if row.group is None else row.group].append(number)
    strata: dict[str, list[str]] = defaultdict(list)
    for group in sorted(members, key=lambda group: hashlib.blake2b(f"{name}:{group}".encode()).digest()):
        strata[Counter(rows[number].label or "" for number in members[group]).most_common(1)[0][0]].append(group)
    chosen: set[str] = set()
    for groups in strata.values():
        room = share * sum(len(members[group]) for group in groups) + 0.5
        for group in groups:
            if len(members[group]) <= room:
                chosen.add(group)
                room -= len(members[group])
    if not chosen and len(members) > 1:
        chosen.add(min(members, key=lambda group: (len(members[group]), group)))
    val = {number for group in chosen for number in members[group]}
    return [replace(row, split="val") if number in val else row for number, row in enumerate(rows)]
