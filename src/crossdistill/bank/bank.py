"""The teacher's embeddings of source items, in a packed, memory-mapped matrix.

It is keyed by the teacher's weights and preprocessing, and each row by the content of its item. A bank therefore serves
any pairs whose source items it has; one that another teacher made, or that lacks items, is refused and never silently
used.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crossdistill import ranks
from crossdistill.bank.building import build_packed
from crossdistill.bank.config import BATCH, SHARD_ROWS
from crossdistill.bank.description import Description, cut, read_description
from crossdistill.bank.layout import HASH_BYTES, Dtype, Layout
from crossdistill.bank.packed import Check, Packed, Place, open_to_mend, settle
from crossdistill.bank.refusals import about_teacher, check_values, lacking_items, refuse_first_format, refuse_other
from crossdistill.bank.rows import BankRows
from crossdistill.encoders import Teacher
from crossdistill.errors import RunFolderError
from crossdistill.item import Item
from crossdistill.pairs.items import Items, content_hash

NAME = "embeddings"

Hashes = NDArray[np.uint8]
"""Content hashes of items, ``(n, 12)``."""


class TeacherBank:
    """Embeddings of source items by their content.

    Attributes:
        packed: the open file.
    """

    def __init__(self, packed: Packed) -> None:
        assert packed.hashes is not None
        self.packed = packed
        keys = _keys(packed.hashes)
        self._order = np.argsort(keys, kind="stable")
        self._sorted = keys[self._order]
        self._known: dict[Item, int] = {}

    @property
    def matrix(self) -> Tensor:
        """All of it, ``(N, d)`` in the bank's type, not unit length: the mapped file itself, not to be written to."""
        return self.packed.matrix

    def rows(self, files: Sequence[Item]) -> NDArray[np.int64]:
        """The rows of some files, ``(n,)``. The row number also serves as the identity of a source item.

        Raises:
            RunFolderError: the bank lacks some of them.
        """
        unknown = [file for file in dict.fromkeys(files) if file not in self._known]
        if unknown:
            self.learn(unknown, np.stack([_hash(file) for file in unknown]))
        return np.array([self._known[file] for file in files], dtype=np.int64)

    def of(self, files: Sequence[Item]) -> Tensor:
        """The embeddings of some files, ``(n, d)`` in float32, copied into memory."""
        return self.lazy(files)[:]

    def lazy(self, files: Sequence[Item]) -> BankRows:
        """The same without reading them."""
        return BankRows(self.matrix, torch.from_numpy(self.rows(files)))

    def learn(self, files: Sequence[Item], hashes: Hashes) -> None:
        """Remembers the rows of files whose content hashes ``(n, 12)`` are known."""
        wanted = _keys(hashes)
        found = np.searchsorted(self._sorted, wanted)
        absent = self._sorted[np.minimum(found, len(self._sorted) - 1)] != wanted
        if absent.any():
            raise lacking_items(self.packed.place, int(absent.sum()), len(files), files[int(absent.argmax())])
        self._known.update(zip(files, self._order[found].tolist(), strict=True))


def open_bank(folder: str | Path, check: Check = "some", name: str = NAME) -> TeacherBank:
    """The bank in a folder, whoever made it; ``check`` as in :meth:`Packed.open`, ``name`` as in :func:`build_bank`.

    Raises:
        RunFolderError: it is missing, damaged or of another format.
    """
    folder = Path(folder)
    refuse_first_format(folder)
    return TeacherBank(Packed.open(Place(folder, name), check))


def build_bank(
    folder: Path,
    teacher: Teacher,
    items: Items,
    *,
    dtype: Dtype = "float32",
    shard_rows: int = SHARD_ROWS,
    extend: bool = False,
    mend: bool = False,
    name: str = NAME,
) -> TeacherBank:
    """Opens the bank in ``folder``, after embedding ``items`` where there is none or only half of one.

    Any number of processes may do so at once: each item is embedded by one of them. Under ``torch.distributed`` all
    ranks have to call it.

    Args:
        folder: of the bank.
        teacher: frozen; its weights and preprocessing are the key.
        items: files of equal content get one row.
        dtype: float32, bfloat16 or float16: what the rows are rounded to.
        shard_rows: rows of a shard, a multiple of 64: what one process computes at a time, and loses when killed.
        extend: add the items that a finished bank lacks, instead of refusing it.
        mend: check all of a finished bank, and compute its damaged shards again, instead of refusing it.
        name: of its files, where a folder has banks of several teachers.

    Raises:
        RunFolderError: the bank there is of another teacher, preprocessing or type, lacks items, or is damaged.
        TrainingError: the teacher gives values that are not finite, or that the type cannot hold.
        PairsError: an item cannot be decoded.
        StorageError: the disk has not enough space.
    """
    refuse_first_format(folder)
    place = Place(folder, name)
    key, about = teacher.fingerprint(), about_teacher(teacher)
    wanted = content_hashes(items)
    _, first = np.unique(_keys(wanted), return_index=True)
    fresh = wanted[np.sort(first)]  # each content once, in the order of the items
    while True:
        settle(place)
        old = read_description(place.description, f"run: {place.rebuild}") if place.description.is_file() else None
        present, packed = np.empty((0, HASH_BYTES), dtype=np.uint8), None
        if old is not None:
            refuse_other(place, old, key, about, dtype)
            packed = open_to_mend(place) if mend else Packed.open(place)
            old = old if packed is None else packed.description
            found = _salvaged(place, old, fresh) if packed is None else packed.hashes
            assert found is not None
            present = found
        lacking = ~np.isin(_keys(fresh), _keys(present))
        if packed is not None and not lacking.any():
            bank = TeacherBank(packed)
            bank.learn(items.files, wanted)
            return bank
        if old is not None and lacking.any() and not extend:
            missing = items.files[int(np.sort(first)[lacking][0])]
            raise lacking_items(place, int(lacking.sum()), len(fresh), missing)
        hashes = np.concatenate([present, fresh[lacking]])
        shards = [] if old is None else old.unfinished
        digest = hashlib.sha256(hashes.tobytes()).hexdigest()
        plan = Description(key=key, rows=len(hashes), width=teacher.width, dtype=dtype, items=digest, about=about,
                           shards=shards + cut(len(present), len(hashes), shard_rows))  # fmt: skip
        number = dict(zip(_keys(wanted)[::-1].tolist(), range(len(wanted) - 1, -1, -1), strict=True))
        numbers = [number.get(value, -1) for value in _keys(hashes).tolist()]

        def compute(
            start: int, stop: int, numbers: list[int] = numbers, layout: Layout = plan.layout
        ) -> Iterator[Tensor]:
            for begin in range(start, stop, BATCH):
                yield _embedded(place, teacher, items, numbers[begin : min(begin + BATCH, stop)], layout)

        build_packed(place, plan, hashes, compute, "embedding the source items with the teacher", old)
        mend = False


def _embedded(place: Place, teacher: Teacher, items: Items, numbers: list[int], layout: Layout) -> Tensor:
    if -1 in numbers:
        raise RunFolderError(
            "A damaged shard of the bank holds items that these pairs do not have.", where=place.data,
            fix="build it with the configuration that has them, or anew: " + place.rebuild,
        )  # fmt: skip
    embedded = teacher.embed(items.batch(numbers))
    check_values(embedded, layout, [items.files[number] for number in numbers], "check the source's mean and std")
    return embedded


def content_hashes(items: Items) -> Hashes:
    """Content hashes of all items, ``(n, 12)``; each rank reads its share of them."""
    own = [_packed(items.content_hash(number)) for number in ranks.share(len(items))]
    return ranks.gather_rows(np.stack(own) if own else np.empty((0, HASH_BYTES), dtype=np.uint8))


def _salvaged(place: Place, old: Description, fresh: Hashes) -> Hashes:
    """The item hashes of a damaged bank: from its file, or else these items', if they are the same."""
    layout = old.layout
    content = b""
    if place.data.is_file():
        with place.data.open("rb") as stream:
            stream.seek(layout.offset(layout.rows))
            content = stream.read(old.rows * HASH_BYTES)
    for candidate in (content, fresh.tobytes()):
        if hashlib.sha256(candidate).hexdigest() == old.items:
            return np.frombuffer(candidate, dtype=np.uint8).reshape(-1, HASH_BYTES)
    raise RunFolderError(
        "The bank is damaged: nobody knows which row is which item.", where=place.data,
        fix=f"make it anew: {place.rebuild}",
    )  # fmt: skip


def _hash(file: Item) -> Hashes:
    return _packed(content_hash(file))


def _packed(digest: str) -> Hashes:
    return np.frombuffer(bytes.fromhex(digest), dtype=np.uint8)


def _keys(hashes: Hashes) -> NDArray[np.bytes_]:
    """Hashes ``(n, 12)`` as things that can be sorted and compared, ``(n,)``."""
    return np.ascontiguousarray(hashes).view(f"S{HASH_BYTES}").reshape(-1)
