"""The teacher's embeddings of augmented views of the source items, computed once.

A view is drawn once and kept with the place where things went in it: its embedding is used for that very view alone.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crossdistill.bank.bank import open_matrix, write_matrix
from crossdistill.console import track
from crossdistill.encoders import Teacher
from crossdistill.errors import RunFolderError, TrainingError
from crossdistill.files import read_json
from crossdistill.modalities.geometry import Geometry, draw_placements
from crossdistill.pairs.items import Items, content_hash
from crossdistill.seeds import derive_seed

_BATCH = 64
_PLACES, _LOOKS = 11, 12  # what a seed is for


@dataclass(frozen=True)
class SourceViews:
    """K augmented views of each source item as the teacher sees them.

    Attributes:
        embeddings: ``(n, K, d)`` float32, memory-mapped.
        placements: where things are in each view, ``(n, K, 2, 3)``; None for modalities on no grid.
        item: for each training pair the number of its source item, ``(pairs,)``.
        shared: whether the target has to be placed as its source is.
    """

    embeddings: NDArray[np.float32]
    placements: Tensor | None
    item: Tensor
    shared: bool

    def draw(self, pairs: Tensor) -> tuple[Tensor, Tensor | None]:
        """One random view for each of some pairs ``(B,)``: its embedding ``(B, d)``, and the target's placement.

        Draws from torch's global generator.
        """
        view = torch.randint(self.embeddings.shape[1], (len(pairs),))
        return self.of(pairs, view)

    def of(self, pairs: Tensor, view: Tensor) -> tuple[Tensor, Tensor | None]:
        """The embedding of certain views, and the placement that shows the target as its source is shown."""
        item = self.item[pairs]
        chosen = torch.from_numpy(np.ascontiguousarray(self.embeddings[item.numpy(), view.numpy()]))
        placement = self.placements[item, view] if self.shared and self.placements is not None else None
        return chosen, placement


def view_placements(geometry: Geometry | None, items: int, count: int, seed: int) -> Tensor | None:
    """Placements ``(items, count, 2, 3)`` of all views, drawn by the seed; None where there is no geometry."""
    if geometry is None:
        return None
    generator = torch.Generator().manual_seed(derive_seed(seed, _PLACES))
    return draw_placements(geometry, items * count, generator).view(items, count, 2, 3)


def augmented_view(
    teacher: Teacher, items: Items, numbers: list[int], view: int, placements: Tensor | None, seed: int
) -> Tensor:
    """View ``view`` of some items, ``(B, *shape)`` on the scale of decoded items; the same whenever it is asked for."""
    torch.manual_seed(derive_seed(seed, _LOOKS, numbers[0], view))
    placement = None if placements is None else placements[numbers, view]
    return teacher.modality.augment(items.batch(numbers), placement)


def teacher_view(
    teacher: Teacher, items: Items, number: int, view: int, placements: Tensor | None, seed: int
) -> Tensor:
    """One item's view as the teacher saw it, ``(*shape)``: its look was drawn together with those of its batch."""
    start = number // _BATCH * _BATCH
    batch = list(range(start, min(start + _BATCH, len(items))))
    return augmented_view(teacher, items, batch, view, placements, seed)[number - start]


def build_view_bank(
    folder: Path, teacher: Teacher, items: Items, count: int, placements: Tensor | None, seed: int
) -> NDArray[np.float32]:
    """Embeds ``count`` views of each of ``items`` into ``folder``, or opens what is there, ``(n, count, d)``.

    Raises:
        RunFolderError: the views there are of another teacher, other items or another augmentation, or damaged.
        TrainingError: the teacher gives values that are not finite.
        StorageError: the disk is full.
    """
    key = _key(teacher, items, count, placements, seed)
    if (folder / "views.json").is_file():
        if read_json(folder / "views.json").get("key") != key:
            raise RunFolderError(
                "The teacher's views were made by another teacher, of other items or with another augmentation.",
                where=folder, fix="choose another output folder (out=...)",
            )  # fmt: skip
        return open_matrix(folder, "views").reshape(len(items), count, -1)
    matrix = np.empty((len(items), count, teacher.width), dtype=np.float32)
    with track(f"embedding {count} views of the source items", len(items)) as task:
        for start in range(0, len(items), _BATCH):
            numbers = list(range(start, min(start + _BATCH, len(items))))
            for view in range(count):
                embedded = teacher.embed(augmented_view(teacher, items, numbers, view, placements, seed))
                if not bool(torch.isfinite(embedded).all()):
                    raise TrainingError("The teacher gives values that are not finite.", where=items.files[start],
                                        fix="check the source's augment section and the teacher's weights")  # fmt: skip
                matrix[numbers, view] = embedded.numpy()
            task.advance(len(numbers))
    write_matrix(folder, "views", matrix.reshape(len(items) * count, -1), {"key": key, "count": count})
    return open_matrix(folder, "views").reshape(len(items), count, -1)


def _key(teacher: Teacher, items: Items, count: int, placements: Tensor | None, seed: int) -> str:
    digest = hashlib.sha256(teacher.fingerprint().encode())
    digest.update(f"{count}:{seed}:{teacher.modality.model_dump_json(by_alias=True)}".encode())
    if placements is not None:
        digest.update(placements.numpy().tobytes())
    for file in items.files:
        digest.update(content_hash(file).encode())
    return digest.hexdigest()
