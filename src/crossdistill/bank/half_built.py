"""The folder of a matrix that is being built: how it begins, what is done in it, and how it ends."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from crossdistill.bank.description import Description, Shard, differences, read_description
from crossdistill.bank.locks import locked, take
from crossdistill.bank.packed import Place, take_place
from crossdistill.errors import RunFolderError
from crossdistill.files import require_space, storage_errors, write_json

PLAN = "plan.json"
ACTIVE = "active"  # locked, shared, by all who build


def marked(place: Place, plan: Description) -> dict[int, Shard]:
    """The shards of a half-built matrix that are done, by number."""
    found = {}
    for path in place.building.glob("[0-9]*.json"):
        number = int(path.stem)
        shard = read_mark(path)
        if number < len(plan.shards) and shard is not None and shard.start == plan.shards[number].start:
            found[number] = shard
    return found


def half_built(place: Place) -> Description | None:
    """The plan of what is being built, or was when its processes were killed."""
    path = place.building / PLAN
    return read_description(path, f"run: {place.drop} && {place.build}") if path.is_file() else None


def prepare(
    place: Place, plan: Description, hashes: NDArray[np.uint8] | None, previous: Description | None
) -> Description | None:
    """Makes the folder of a build with an empty file of full size, or joins the build that is there."""
    with storage_errors(place.folder):
        place.folder.mkdir(parents=True, exist_ok=True)
    with locked(place.lock):
        take_place(place)
        if previous != (read_description(place.description, place.rebuild) if place.description.is_file() else None):
            return None
        present = half_built(place)
        if present is not None and present.identity != plan.identity:
            busy = in_work(place)
            raise RunFolderError(
                f"Something else {'is being' if busy else 'lies half'} built in the teacher bank.",
                where=place.building,
                received="; ".join(_told_apart(present, plan)),
                fix="wait for the processes that build it, and run the same command again" if busy else
                f"finish it with its own configuration, or delete it: {place.drop}",
            )  # fmt: skip
        data = place.building / place.data.name
        if present is None or not data.is_file() or data.stat().st_size != plan.layout.size:
            for mark in place.building.glob("[0-9]*.json"):
                mark.unlink()  # of a file that is gone
            with storage_errors(data):
                place.building.mkdir(exist_ok=True)
                _allocate(data, plan, hashes)
            write_json(place.building / PLAN, (present or plan).to_json())
        return present or plan


def in_work(place: Place) -> bool:
    """Whether some process is building the matrix now."""
    try:
        with (place.building / ACTIVE).open("rb") as stream:
            return not take(stream, place.building / ACTIVE, wait=False)
    except OSError:
        return False


def _told_apart(present: Description, plan: Description) -> list[str]:
    found = differences(present.about, plan.about) + differences({"dtype": present.dtype}, {"dtype": plan.dtype})
    return found or [f"{present.rows} rows of other items, now {plan.rows}"]


def _allocate(path: Path, plan: Description, hashes: NDArray[np.uint8] | None) -> None:
    """A file of full size whose space is taken on the disk, with all that is known beforehand."""
    layout = plan.layout
    path.unlink(missing_ok=True)
    require_space(path, layout.size, "the teacher bank")
    with path.open("wb") as stream:
        _reserve(stream, layout.size)
        stream.write(layout.header)
        if hashes is not None:
            stream.seek(layout.offset(layout.rows))
            stream.write(hashes.tobytes())
        stream.flush()
        os.fsync(stream.fileno())


def _reserve(stream: BinaryIO, size: int) -> None:
    """Takes the space on the disk, where the file system can: a full disk is then met now and not after hours."""
    try:
        if sys.platform != "win32" and sys.platform != "darwin":
            os.posix_fallocate(stream.fileno(), 0, size)
            return
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
            raise
    stream.truncate(size)


def finish(place: Place) -> None:
    """Moves the matrix into its place, unless another process has done it."""
    with locked(place.lock):
        plan = half_built(place)
        if plan is None:
            return
        done = marked(place, plan)
        if len(done) == len(plan.shards):
            shards = [done[number] for number in range(len(plan.shards))]
            write_json(place.building / "finished.json", plan.model_copy(update={"shards": shards}).to_json())
            take_place(place)


def read_mark(path: Path) -> Shard | None:
    """What was marked as done; None where a power cut left no more than the name."""
    try:
        return Shard.model_validate_json(path.read_bytes())
    except (OSError, ValueError):
        return None
