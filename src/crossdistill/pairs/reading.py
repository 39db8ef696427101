"""Decoding many items: in several processes where wanted, with errors that keep their message on the way back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from crossdistill.console import track, warn
from crossdistill.errors import CrossDistillError, PairsError
from crossdistill.modalities import InputDefaults, Modality
from crossdistill.pairs.table import Pairs, Side

_CHUNK = 32  # items that a process decodes at a time
_NAMED = 3  # items in the message of a run that skips some
_SMALL = InputDefaults(size=32, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25), interpolation="bilinear")


@dataclass(frozen=True)
class Unreadable:
    """An item that cannot be decoded.

    Attributes:
        row: of the pairs.
        side: source or target.
        where: manifest, row, column and file.
        reason: the whole message.
    """

    row: int
    side: Side
    where: str
    reason: str


class _Rows(Dataset[list[Any]]):
    """Index: a chunk of positions; answer: for each the decoded item, or the error that it gave."""

    def __init__(self, decode: Any, keep: bool) -> None:
        self.decode, self.keep = decode, keep

    def __getitem__(self, chunk: Sequence[int]) -> list[Any]:
        return [self._one(position) for position in chunk]

    def _one(self, position: int) -> Tensor | CrossDistillError | None:
        try:
            item: Tensor = self.decode(position)
        except CrossDistillError as error:
            return error
        return item if self.keep else None


def decoded(decode: Any, count: int, workers: int, *, keep: bool = True) -> Iterator[tuple[int, Any]]:
    """``(position, decode(position))`` for all positions in order; an error takes the place of what it prevented.

    Args:
        decode: a picklable function.
        count: positions.
        workers: processes; 0 decodes here. At most two chunks a process are in memory.
        keep: give the decoded items; without it only the errors come back.
    """
    chunks = [list(range(start, min(start + _CHUNK, count))) for start in range(0, count, _CHUNK)]
    rows = _Rows(decode, keep)
    loader: DataLoader[list[Any]] = DataLoader(
        rows, batch_size=None, sampler=chunks, num_workers=workers if count > _CHUNK else 0
    )
    for chunk, answers in zip(chunks, loader, strict=True):
        yield from zip(chunk, answers, strict=True)


def unreadable(pairs: Pairs, modalities: dict[Side, Modality], workers: int) -> list[Unreadable]:
    """Every item that cannot be decoded, in the order of the rows; decodes all of them once, in small."""
    found: list[Unreadable] = []
    for side, modality in modalities.items():
        rows = pairs.where(has=(side,))
        check = _Check(pairs, rows, side, modality.resolve(_SMALL))
        with track(f"checking {side} items", len(rows)) as task:
            for position, error in decoded(check, len(rows), workers, keep=False):
                task.advance()
                if isinstance(error, PairsError):
                    row = rows[position]
                    found.append(Unreadable(row, side, f"{pairs[row].where}, column {side}", str(error)))
                elif error is not None:
                    raise error
    return sorted(found, key=lambda each: (each.row, each.side))


@dataclass(frozen=True)
class _Check:
    pairs: Pairs
    rows: Sequence[int]
    side: Side
    modality: Modality

    def __call__(self, position: int) -> Tensor:
        item = self.pairs[self.rows[position]].item(self.side)
        assert item is not None
        try:
            return self.modality.decode(item)
        except PairsError as error:
            raise error.at(item) from error


def skip_unreadable(pairs: Pairs, found: Sequence[Unreadable], limit: float) -> Pairs:
    """The pairs without the rows of unreadable items.

    Raises:
        PairsError: these are more than the share ``limit`` of all rows, or all.
    """
    rows = {each.row for each in found}
    if not rows:
        return pairs
    named = "; ".join(each.where for each in found[:_NAMED]) + ("; ..." if len(found) > _NAMED else "")
    if len(rows) > limit * len(pairs) or len(rows) == len(pairs):
        raise PairsError(
            f"{len(rows)} of {len(pairs)} rows have an item that cannot be read, more than pairs.corrupt_limit.",
            where=named, expected=f"at most {limit:.2%} of the rows", received=f"{len(rows) / len(pairs):.2%}",
            fix="replace or remove these items; `crossdistill audit` lists all of them",
        )  # fmt: skip
    warn(f"{len(rows)} of {len(pairs)} rows are skipped, as an item of theirs cannot be read: {named}")
    return pairs.with_rows(pair for row, pair in enumerate(pairs) if row not in rows)
