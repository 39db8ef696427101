"""A packed matrix on disk: ``NAME.safetensors`` and its description ``NAME.json``, opened, checked, read."""

from __future__ import annotations

import hashlib
import random
import shlex
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from crossdistill.bank.description import Description, Shard, read_description
from crossdistill.bank.locks import locked
from crossdistill.errors import RunFolderError, StorageError
from crossdistill.files import write_json

Check = Literal["some", "all", "none"]

_ALL_UP_TO = 4 << 30  # bytes of a file that is read as a whole whenever it is opened
_SOME = 16  # shards of a larger one
_CHUNK = 1 << 20  # bytes


@dataclass(frozen=True)
class Place:
    """Where a packed matrix lies, finished or half built.

    Attributes:
        folder: of the bank.
        name: of the matrix.
    """

    folder: Path
    name: str

    @property
    def data(self) -> Path:
        """The finished file."""
        return self.folder / f"{self.name}.safetensors"

    @property
    def description(self) -> Path:
        """Its description; a matrix without one is not finished."""
        return self.folder / f"{self.name}.json"

    @property
    def building(self) -> Path:
        """What is half built."""
        return self.folder / f"{self.name}.building"

    @property
    def lock(self) -> Path:
        """Held while a build is begun, and while it takes its place."""
        return self.folder / f".{self.name}.lock"

    @property
    def leftovers(self) -> list[Path]:
        """What killed processes left: descriptions half written, folders of builds half deleted."""
        return [*self.folder.glob(f".{self.name}.json.*.part"), *self.folder.glob(f".{self.name}.built")]

    @property
    def build(self) -> str:
        """The command that computes what is missing or damaged."""
        config = self.folder.parent / "config.yaml"
        if config.is_file():
            return f"crossdistill bank build {shlex.quote(str(config))}"
        return f"crossdistill bank build CONFIG bank.folder={shlex.quote(str(self.folder))}"

    @property
    def drop(self) -> str:
        """The command that removes what is half built."""
        return f"rm -r {shlex.quote(str(self.building))}"

    @property
    def rebuild(self) -> str:
        """The command that computes everything anew."""
        return f"rm -r {shlex.quote(str(self.folder / self.name))}.* && {self.build}"


@dataclass(frozen=True)
class Packed:
    """An open packed matrix.

    Attributes:
        place: where it lies.
        description: of it.
        matrix: ``(rows, width)``, the memory-mapped file itself; writing to it ends the process.
        hashes: content hashes of the rows' items ``(rows, 12)`` in uint8, where the file has them.
    """

    place: Place
    description: Description
    matrix: Tensor
    hashes: NDArray[np.uint8] | None

    @classmethod
    def open(cls, place: Place, check: Check = "some") -> Packed:
        """Opens a finished matrix. Its structure is always checked.

        Args:
            place: where it lies.
            check: checksums: of all shards, of none, or of all up to 4 GiB and of 16 random shards of a larger file.

        Raises:
            RunFolderError: it is missing or damaged; the message has the command that mends it.
        """
        settle(place)
        description = read_description(place.description, f"run: {place.rebuild}")
        try:
            return cls._checked(place, description, check)
        except RunFolderError:
            settle(place)
            if read_description(place.description, f"run: {place.rebuild}") == description:
                raise
            return cls.open(place, check)  # a larger one has taken its place in between

    @classmethod
    def _checked(cls, place: Place, description: Description, check: Check) -> Packed:
        check_structure(place.data, description, place.build)
        shards = list(enumerate(description.shards))
        if check == "none":
            shards = []
        elif check == "some" and description.layout.size > _ALL_UP_TO:
            shards = random.SystemRandom().sample(shards, min(_SOME, len(shards)))  # leaves the seeded generators alone
        check_shards(place.data, description, shards, place.build)
        matrix, hashes = description.layout.open(place.data)
        if hashes is not None and hashlib.sha256(hashes.tobytes()).hexdigest() != description.items:
            raise RunFolderError(
                "The bank is damaged: the hashes of its items are not those that were written.",
                where=place.data, fix=f"run: {place.build}",
            )  # fmt: skip
        return cls(place, description, matrix, hashes)


def open_to_mend(place: Place) -> Packed | None:
    """A finished matrix all of whose shards are as they were written; None where it has to be mended."""
    try:
        return Packed.open(place, "all")
    except RunFolderError:
        return None


def check_structure(path: Path, description: Description, build: str) -> None:
    """Refuses a file that is missing, truncated, or no file of this description."""
    layout = description.layout
    if not path.is_file():
        raise RunFolderError("The bank is damaged: its file is missing.", where=path, fix=f"run: {build}")
    if path.stat().st_size != layout.size:
        raise RunFolderError(
            "The bank is damaged: its file has another length.", where=path, expected=f"{layout.size:,} bytes",
            received=f"{path.stat().st_size:,} bytes", fix=f"run: {build}",
        )  # fmt: skip
    with path.open("rb") as stream:
        header = stream.read(len(layout.header))
    if header != layout.header:
        raise RunFolderError(
            "The bank is damaged: its file has not the header that its description asks for.", where=path,
            expected=f"{layout.dtype} ({layout.rows}, {layout.width}), identity {layout.identity[:12]}",
            received=repr(header[8:120]), fix=f"run: {build}",
        )  # fmt: skip


def check_shards(path: Path, description: Description, shards: list[tuple[int, Shard]], build: str) -> None:
    """Refuses a file with damaged shards; the first is told in full."""
    found = [(number, shard, shard_hash(path, description, shard)) for number, shard in shards]
    bad = [(number, shard, received) for number, shard, received in found if received != shard.sha256]
    if bad:
        number, shard, received = bad[0]
        others = f" (also damaged: {', '.join(str(each) for each, _, _ in bad[1:9])})" if len(bad) > 1 else ""
        raise RunFolderError(
            "The bank is damaged.", where=f"{path}, shard {number}, {shard}{others}",
            expected=f"SHA-256 {shard.sha256}", received=received, fix=f"compute the damaged shards again: {build}",
        )  # fmt: skip


def shard_hash(path: Path, description: Description, shard: Shard) -> str:
    """The SHA-256 of a shard's bytes as they are; they are read, not mapped, so that memory stays as it is."""
    digest = hashlib.sha256()
    left = shard.rows * description.layout.row_bytes
    with path.open("rb") as stream:
        stream.seek(description.layout.offset(shard.start))
        while left and (chunk := stream.read(min(left, _CHUNK))):
            digest.update(chunk)
            left -= len(chunk)
    return digest.hexdigest()


def settle(place: Place) -> None:
    """Ends what a killed process left undone: a build that was finished and had not quite taken its place."""
    if (place.building / "finished.json").is_file():
        with locked(place.lock):
            take_place(place)
    if place.leftovers:
        with suppress(StorageError), locked(place.lock):  # under the lock nobody is writing them
            for path in place.leftovers:
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)


def take_place(place: Place) -> None:
    """Moves a finished build into its place; the caller holds the lock. Can be killed at any point and done again."""
    finished = place.building / "finished.json"
    if not finished.is_file():
        return
    description = read_description(finished, f"run: {place.rebuild}")
    data = place.building / place.data.name
    if data.is_file():
        data.replace(place.data)
    write_json(place.description, description.to_json())
    # The folder goes in one step: nobody ever sees a part of it.
    old = place.folder / f".{place.name}.built"
    shutil.rmtree(old, ignore_errors=True)
    place.building.replace(old)
    shutil.rmtree(old, ignore_errors=True)
