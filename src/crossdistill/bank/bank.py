"""A packed bank of teacher embeddings: one ``.npy`` matrix that is memory-mapped, and a description that keys it.

The key is the teacher's weights and preprocessing and every item's content: a bank that was made by another teacher,
or from other pictures, is refused and never silently reused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crossdistill.console import track
from crossdistill.encoders import Teacher
from crossdistill.errors import RunFolderError, TrainingError
from crossdistill.files import atomic_path, read_json, sha256_file, write_json
from crossdistill.item import Item
from crossdistill.pairs.items import Items, content_hash

FORMAT = 1
_FILES = {"bank": "embeddings.npy", "views": "views.npy"}
_BATCH = 64


@dataclass(frozen=True)
class TeacherBank:
    """Embeddings of source items, in the order of ``files``.

    Attributes:
        matrix: ``(N, d)`` float32, memory-mapped, not unit length.
        position: for each file its row in ``matrix``; files of the same content share a row.
    """

    matrix: NDArray[np.float32]
    position: dict[Item, int]

    def rows(self, files: Sequence[Item]) -> NDArray[np.int64]:
        """The rows of some files, ``(n,)``. The row number also serves as the identity of a source item."""
        return np.array([self.position[file] for file in files], dtype=np.int64)

    def of(self, files: Sequence[Item]) -> Tensor:
        """The embeddings of some files, ``(n, d)``, copied into memory."""
        return torch.from_numpy(np.ascontiguousarray(self.matrix[self.rows(files)]))


def _key(teacher: Teacher, hashes: Sequence[str]) -> str:
    digest = hashlib.sha256(teacher.fingerprint().encode())
    for value in hashes:
        digest.update(value.encode())
    return digest.hexdigest()


def build_bank(folder: Path, teacher: Teacher, items: Items) -> TeacherBank:
    """Embeds ``items`` once into ``folder``, or opens the bank there when its key says that it is the same.

    Raises:
        RunFolderError: the bank there is another one, or damaged.
        TrainingError: the teacher gives values that are not finite.
        StorageError: the disk is full.
    """
    hashes = [content_hash(file) for file in items.files]
    unique = {value: number for number, value in reversed(list(enumerate(hashes)))}  # the first file of each content
    order = sorted(unique.values())
    row_of = {hashes[number]: row for row, number in enumerate(order)}
    position = {file: row_of[value] for file, value in zip(items.files, hashes, strict=True)}
    key = _key(teacher, hashes)
    description_path = folder / "bank.json"
    if description_path.is_file():
        if read_json(description_path).get("key") != key:
            raise RunFolderError(
                "The teacher bank was made by another teacher or from other source items.",
                where=folder,
                expected="the teacher, its preprocessing and the files that the bank was made with",
                fix="put them back, or choose another output folder (out=...)",
            )
        return TeacherBank(open_bank(folder), position)

    matrix = np.empty((len(order), teacher.width), dtype=np.float32)
    with track("embedding the source items with the teacher", len(order)) as task:
        for start in range(0, len(order), _BATCH):
            numbers = order[start : start + _BATCH]
            embedded = teacher.embed(items.batch(numbers))
            if not bool(torch.isfinite(embedded).all()):
                bad = numbers[int((~torch.isfinite(embedded)).any(dim=1).nonzero()[0])]
                raise TrainingError(
                    "The teacher gives values that are not finite.",
                    where=items.files[bad],
                    fix="check the teacher's weights and the source's mean and std",
                )
            matrix[start : start + len(numbers)] = embedded.numpy()
            task.advance(len(numbers))
    about = {"key": key, "teacher": teacher.fingerprint(), "width": teacher.width}
    write_matrix(folder, "bank", matrix, about)
    return TeacherBank(open_bank(folder), position)


def open_bank(folder: Path) -> NDArray[np.float32]:
    """The matrix of a bank, ``(N, d)``; see :func:`open_matrix`."""
    return open_matrix(folder, "bank")


def write_matrix(folder: Path, name: str, matrix: NDArray[np.float32], about: dict[str, Any]) -> None:
    """Writes a matrix ``(rows, d)`` and, last, the description that makes it valid."""
    path = folder / _FILES[name]
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        np.save(stream, matrix, allow_pickle=False)
    rows = {"rows": len(matrix), "dtype": "float32", "sha256": sha256_file(path)}
    write_json(folder / f"{name}.json", {"format": FORMAT, **about, **rows})


def open_matrix(folder: Path, name: str) -> NDArray[np.float32]:
    """A matrix of the bank, memory-mapped and checked against its description.

    Raises:
        RunFolderError: it is missing or has been changed.
    """
    description = read_json(folder / f"{name}.json")
    path = folder / _FILES[name]
    if not path.is_file() or sha256_file(path) != description["sha256"]:
        raise RunFolderError(
            "The teacher bank is damaged.", where=path, fix=f"delete the folder {folder} and run the same command again"
        )
    matrix: NDArray[np.float32] = np.load(path, mmap_mode="r", allow_pickle=False)
    return matrix
