"""Building a packed matrix by any number of processes, each of which may be killed at any moment.

Whatever starts the same build helps: ``torchrun``'s ranks, or the same command several times, on one machine or on
several that share the folder. A shard is claimed by a lock, written in place, forced to the disk and then marked as
done with its checksum; who sees that all are done moves the matrix into its place.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from crossdistill import ranks
from crossdistill.bank.description import Description, Shard
from crossdistill.bank.half_built import ACTIVE, finish, marked, prepare, read_mark
from crossdistill.bank.locks import claimed, take
from crossdistill.bank.packed import Place, shard_hash
from crossdistill.console import Task, say, track
from crossdistill.files import storage_errors, write_json

Compute = Callable[[int, int], Iterable[Tensor]]
"""Rows from ``start`` to ``stop`` in float32, in parts ``(n, width)`` and in order."""

_POLL = 0.2  # seconds between two looks at what others do


def build_packed(
    place: Place,
    plan: Description,
    hashes: NDArray[np.uint8] | None,
    compute: Compute,
    title: str,
    previous: Description | None = None,
) -> None:
    """Computes the matrix of a plan, together with all others who do; afterwards it is in its place.

    Args:
        place: where it goes.
        plan: the shards of a build that is already under way are taken instead of the plan's.
        hashes: content hashes of the items, ``(rows, 12)`` in uint8.
        compute: rows; only those of shards that are nowhere yet.
        title: for the progress bar, which the first rank alone shows.
        previous: describes the matrix that this one replaces; its shards are copied where they are also shards of the
            plan and undamaged. It stays as it is until the new one takes its place.

    Raises:
        RunFolderError: something else lies half built there.
        StorageError: the disk has not enough space, or cannot be written.
    """
    adopted = prepare(place, plan, hashes, previous)
    if adopted is None:  # another process has been quicker
        return
    build = _Build(place, adopted, compute, previous)
    bar = track(title, adopted.rows) if ranks.is_first() else nullcontext(_Silent())
    with bar as task, build.joined():
        build.work(task)
    finish(place)


class _Build:
    """One process's part in a build."""

    def __init__(self, place: Place, plan: Description, compute: Compute, previous: Description | None) -> None:
        self.place, self.plan, self.compute, self.previous = place, plan, compute, previous
        self.data = place.building / place.data.name
        self.active: int | None = None  # inode of the file that all of this very build have open
        self.counted: set[int] = set()  # shards that the progress bar knows of
        same = [] if previous is None else previous.shards
        self.copied = {(shard.start, shard.rows): shard.sha256 for shard in same}

    @contextmanager
    def joined(self) -> Iterator[None]:
        """Takes part. Who comes first, after all others were killed, looks at what they left; others wait for it."""
        try:
            with storage_errors(self.place.building, but=FileNotFoundError):
                stream = (self.place.building / ACTIVE).open("ab")
        except FileNotFoundError:  # it was finished a moment ago
            yield
            return
        with stream:
            self.active = os.fstat(stream.fileno()).st_ino  # not given to another file while it is open here
            path = self.place.building / ACTIVE
            if take(stream, path, wait=False):
                for number, shard in marked(self.place, self.plan).items():
                    if shard_hash(self.data, self.plan, shard) != shard.sha256:
                        self.mark(number).unlink(missing_ok=True)
            take(stream, path, shared=True)
            yield

    def mark(self, number: int) -> Path:
        """Where shard ``number`` is marked as done."""
        return self.place.building / f"{number:06d}.json"

    @property
    def over(self) -> bool:
        """Whether another process has moved the matrix into its place, or removed it and begun another build."""
        try:
            return (self.place.building / ACTIVE).stat().st_ino != self.active
        except OSError:
            return True

    def work(self, task: Task) -> None:
        """Computes shards, its own share first, until all are done by someone."""
        everything = range(len(self.plan.shards))
        own = everything[ranks.rank() :: ranks.world()]
        order = [*own, *sorted(set(everything) - set(own))]
        waiting = False
        while order and not self.over:
            try:
                tried = [self.attempt(number, task) for number in order]
            except FileNotFoundError:
                if self.over:
                    return
                raise
            order = [number for number in order if read_mark(self.mark(number)) is None]
            if order and not any(tried):
                if ranks.is_first() and not waiting:
                    say(f"waiting for {len(order)} shards that other processes compute")
                waiting = True
                time.sleep(_POLL)

    def attempt(self, number: int, task: Task) -> bool:
        """Computes a shard if nobody has and nobody does; whether it did."""
        if self.is_done(number, task):
            return False
        with claimed(self.place.building / f"{number:06d}.claim") as mine:
            if not mine or self.is_done(number, task):
                return False
            shard = self.plan.shards[number]
            self.counted.add(number)
            with self.data.open("r+b") as stream:
                if self.over:  # seen after both files were opened: they are those of another build
                    return False
                stream.seek(self.plan.layout.offset(shard.start))
                digest = self.copy(shard, stream, task) or self.fill(shard, stream, task)
                with storage_errors(self.data):
                    stream.flush()
                    os.fsync(stream.fileno())
            if self.over:
                return False
            write_json(self.mark(number), shard.model_copy(update={"sha256": digest}).model_dump())
            return True

    def is_done(self, number: int, task: Task) -> bool:
        """Whether a shard is marked as done; one that another process did is counted."""
        if not self.mark(number).is_file() or read_mark(self.mark(number)) is None:
            return False
        if number not in self.counted:
            self.counted.add(number)
            task.advance(self.plan.shards[number].rows)
        return True

    def copy(self, shard: Shard, stream: BinaryIO, task: Task) -> str | None:
        """Takes a shard over from the previous matrix, if it is there and undamaged; its checksum."""
        wanted = self.copied.get((shard.start, shard.rows))
        if self.previous is None or wanted is None:
            return None
        source, description = self.place.data, self.previous
        if not source.is_file() or shard_hash(source, description, shard) != wanted:
            return None
        with source.open("rb") as old, storage_errors(self.data):
            old.seek(description.layout.offset(shard.start))
            left = shard.rows * description.layout.row_bytes
            while left:
                left -= stream.write(old.read(min(left, 1 << 20)))
        task.advance(shard.rows)
        return wanted

    def fill(self, shard: Shard, stream: BinaryIO, task: Task) -> str:
        """Computes a shard; its checksum."""
        digest = hashlib.sha256()
        for rows in self.compute(shard.start, shard.start + shard.rows):
            packed = self.plan.layout.pack(rows).data
            digest.update(packed)
            with storage_errors(self.data):
                stream.write(packed)
            task.advance(len(rows))
        return digest.hexdigest()


class _Silent(Task):
    def advance(self, steps: int = 1, status: str = "") -> None:
        """Shows nothing."""
