"""All items of one side, looked at once, in worker processes; what is kept of them lies in tables on disk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from crossdistill.audit.look import Look, Looker, MaskLooker
from crossdistill.console import track
from crossdistill.encoders import Encoder, Teacher
from crossdistill.errors import CrossDistillError, PairsError
from crossdistill.evaluation.intervals import Ints
from crossdistill.item import Item
from crossdistill.modalities import Modality
from crossdistill.modalities.image import Image
from crossdistill.modalities.video import Video
from crossdistill.pairs import Pairs, Side
from crossdistill.pairs.reading import decoded

_BATCH = 64  # items that the teacher embeds at a time
TEACHER = "teacher"


@dataclass
class Gathered:
    """What is known of the items of one side. An item that several rows share is there once.

    Attributes:
        side: source or target.
        items: in the order of their first rows.
        of_row: number of each row's item ``(N,)``; -1 without one.
        rows: for each item the rows that have it.
        errors: what could not be decoded, by number.
        digests: of the bytes; empty for what could not be decoded.
        facts: see :meth:`crossdistill.modalities.Modality.facts`.
        constant: whether all values are equal ``(n,)``.
        busy: share of values that differ from the background ``(n,)``.
        outlines: ``(n, P, 32, 32)``, or ``(n, width)`` for vectors; None where nothing could be decoded.
        blocks: features by name, ``(n, F)`` each.
    """

    side: Side
    items: list[Item]
    of_row: Ints
    rows: list[list[int]]
    errors: dict[int, CrossDistillError] = field(default_factory=dict)
    digests: list[str] = field(default_factory=list)
    facts: list[dict[str, str | float]] = field(default_factory=list)
    constant: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, dtype=bool))
    busy: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, dtype=np.float32))
    outlines: NDArray[np.float16] | None = None
    blocks: dict[str, NDArray[Any]] = field(default_factory=dict)

    @property
    def readable(self) -> NDArray[np.bool_]:
        """Which items could be decoded ``(n,)``."""
        whole = np.ones(len(self.items), dtype=bool)
        whole[list(self.errors)] = False
        return whole


def gather(
    pairs: Pairs, side: Side, modality: Modality, teacher: Encoder | None, device: str, workers: int, scratch: Path
) -> Gathered:
    """Looks at all items of a side.

    Args:
        pairs: the rows.
        side: which one.
        modality: resolved.
        teacher: embeds source items as they are, and pictures of target items where it takes pictures.
        device: of the teacher.
        workers: processes that decode; 0 decodes here.
        scratch: a folder for tables.

    Raises:
        MissingDependencyError: the modality needs a package that is not installed.
    """
    items, of_row, rows = _distinct(pairs, side)
    count = len(items)
    found = Gathered(side, items, of_row, rows, digests=[""] * count, facts=[{} for _ in items])
    found.constant, found.busy = np.zeros(count, dtype=bool), np.zeros(count, dtype=np.float32)
    looker = Looker(items, modality, _shown_to(teacher, side), own=side == "source")
    threads = max(1, torch.get_num_threads() - workers)
    embedder = _Embedder(found, teacher, device, threads, scratch) if teacher is not None and looker.teacher else None
    with _threads(1), track(f"reading {side} items", count) as task:
        for number, look in decoded(looker, count, workers):
            task.advance()
            if isinstance(look, CrossDistillError):
                if not isinstance(look, PairsError):
                    raise look
                found.errors[number], found.facts[number] = look, looker.facts(number)
            else:
                _keep(found, number, look, scratch)
                if embedder is not None:
                    embedder.add(number, look.shown)
    if embedder is not None:
        embedder.flush()
    return found


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """So many threads of torch inside: small steps of one item gain nothing from more, and wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def gather_masks(pairs: Pairs, workers: int) -> tuple[list[list[int]], list[tuple[int, int] | PairsError]]:
    """For each distinct mask the rows that have it, and its height and width, or why it cannot be read."""
    items, _, rows = _distinct(pairs, "mask")
    sizes = (size for _, size in decoded(MaskLooker(items), len(items), workers))
    return rows, [size if isinstance(size, PairsError) else tuple(size) for size in sizes]


def _distinct(pairs: Pairs, column: str) -> tuple[list[Item], Ints, list[list[int]]]:
    numbers: dict[str, int] = {}
    items: list[Item] = []
    rows: list[list[int]] = []
    of_row = np.full(len(pairs), -1, dtype=np.int64)
    for row, pair in enumerate(pairs):
        item: Item | None = getattr(pair, column)
        if item is None:
            continue
        number = numbers.setdefault(str(item), len(items))
        if number == len(items):
            items.append(item)
            rows.append([])
        of_row[row] = number
        rows[number].append(row)
    return items, of_row, rows


def _shown_to(teacher: Encoder | None, side: Side) -> Modality | None:
    """The teacher's preprocessing where it can be shown the items of a side."""
    if teacher is None:
        return None
    pictures = isinstance(teacher.modality, Image) and not isinstance(teacher.modality, Video)
    return teacher.modality if side == "source" or pictures else None


def _keep(found: Gathered, number: int, look: Look, scratch: Path) -> None:
    found.digests[number], found.facts[number] = look.digest, look.facts
    found.constant[number], found.busy[number] = look.constant, look.busy
    if found.outlines is None:
        found.outlines = _table(scratch / f"{found.side}-outlines.npy", (len(found.items), *look.outline.shape))
        for name, values in look.blocks.items():
            found.blocks[name] = _table(scratch / f"{found.side}-{name}.npy", (len(found.items), *values.shape))
    found.outlines[number] = look.outline
    for name, values in look.blocks.items():
        found.blocks[name][number] = values


def _table(path: Path, shape: Sequence[int], kind: type[np.floating] = np.float16) -> NDArray[Any]:
    table: NDArray[Any] = np.lib.format.open_memmap(path, mode="w+", dtype=kind, shape=tuple(shape))
    return table


class _Embedder:
    """Collects what the teacher is shown, and embeds it in batches."""

    def __init__(self, found: Gathered, encoder: Encoder, device: str, threads: int, scratch: Path) -> None:
        self.teacher, self.threads = Teacher(encoder, device), threads
        self.table = _table(scratch / f"{found.side}-{TEACHER}.npy", (len(found.items), self.teacher.width), np.float32)
        found.blocks[TEACHER] = self.table
        self.numbers: list[int] = []
        self.waiting: list[NDArray[Any]] = []

    def add(self, number: int, shown: NDArray[Any] | None) -> None:
        assert shown is not None
        self.numbers.append(number)
        self.waiting.append(shown)
        if len(self.waiting) == _BATCH:
            self.flush()

    def flush(self) -> None:
        if self.waiting:
            with _threads(self.threads):
                self.table[self.numbers] = self.teacher.embed(torch.from_numpy(np.stack(self.waiting))).numpy()
        self.numbers, self.waiting = [], []
