"""The teacher's embeddings of augmented views of the source items, computed once.

A view is drawn once and kept with the place where things went in it: its embedding is used for that very view alone.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from crossdistill import draws
from crossdistill.bank.bank import content_hashes
from crossdistill.bank.building import build_packed
from crossdistill.bank.config import BATCH, SHARD_ROWS
from crossdistill.bank.description import Description, cut, differences, read_description
from crossdistill.bank.layout import Dtype
from crossdistill.bank.packed import Packed, Place, open_to_mend, settle
from crossdistill.bank.refusals import about_teacher, check_values, refuse_first_format
from crossdistill.encoders import Teacher
from crossdistill.errors import RunFolderError
from crossdistill.modalities.geometry import Geometry, draw_placements
from crossdistill.pairs.items import Items
from crossdistill.seeds import derive_seed

NAME = "views"
_PLACES, _LOOKS = 11, 12  # what a seed is for


@dataclass(frozen=True)
class SourceViews:
    """K augmented views of each source item as the teacher sees them.

    Attributes:
        embeddings: ``(n, K, d)`` in any floating type, memory-mapped.
        placements: where things are in each view, ``(n, K, 2, 3)``; None for modalities on no grid.
        item: for each training pair the number of its source item, ``(pairs,)``.
        shared: whether the target has to be placed as its source is.
    """

    embeddings: Tensor
    placements: Tensor | None
    item: Tensor
    shared: bool

    def draw(self, pairs: Tensor) -> tuple[Tensor, Tensor | None]:
        """One random view for each of some pairs ``(B,)``: its embedding ``(B, d)``, and the target's placement.

        Draws from torch's global generator, through :mod:`crossdistill.draws`.
        """
        view = draws.randint(0, self.embeddings.shape[1], len(pairs))
        return self.of(pairs, view)

    def of(self, pairs: Tensor, view: Tensor) -> tuple[Tensor, Tensor | None]:
        """Certain views: embeddings ``(B, d)`` in float32, and placements that show the targets as the sources."""
        item = self.item[pairs]
        chosen = self.embeddings[item, view].float()
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
    start = number // BATCH * BATCH
    batch = list(range(start, min(start + BATCH, len(items))))
    return augmented_view(teacher, items, batch, view, placements, seed)[number - start]


def build_view_bank(
    folder: Path,
    teacher: Teacher,
    items: Items,
    count: int,
    placements: Tensor | None,
    seed: int,
    *,
    dtype: Dtype = "float32",
    shard_rows: int = SHARD_ROWS,
    mend: bool = False,
    shared: bool = False,
) -> Tensor:
    """Embeds ``count`` views of each of ``items`` into ``folder``, or opens what is there.

    Any number of processes may do so at once, as in :func:`~crossdistill.bank.bank.build_bank`.

    Args:
        folder: of the bank.
        teacher: frozen.
        items: to be seen in views; row ``item * count + view`` of the matrix is one of them.
        count: views of each.
        placements: where things are in them, ``(n, count, 2, 3)``.
        seed: draws all else.
        dtype: what the embeddings are rounded to.
        shard_rows: rows of a shard; it is made of whole batches of items, at least of one.
        mend: check all of it, and compute damaged shards again, instead of refusing it.
        shared: the folder is of several runs, whose settings may differ: the file's name then has the key.

    Returns:
        ``(n, count, d)`` in ``dtype``: the memory-mapped file itself, not to be written to.

    Raises:
        RunFolderError: the views there are of another teacher, other items or another augmentation, or damaged.
        TrainingError: the teacher gives values that are not finite, or that the type cannot hold.
        StorageError: the disk has not enough space.
    """
    refuse_first_format(folder)
    augmentation = teacher.modality.model_dump(mode="json", by_alias=True)
    about = {**about_teacher(teacher), "preprocessing": augmentation, "count": count, "seed": seed}
    at_once = max(shard_rows // count // BATCH, 1) * BATCH * count
    plan = Description(key=_key(teacher, items, count, placements, seed), rows=len(items) * count, width=teacher.width,
                       dtype=dtype, about=about, shards=cut(0, len(items) * count, at_once))  # fmt: skip

    place = Place(folder, f"{NAME}-{plan.key[:12]}" if shared else NAME)

    def compute(start: int, stop: int) -> Iterator[Tensor]:
        for first in range(start // count, stop // count, BATCH):
            numbers = list(range(first, min(first + BATCH, stop // count)))
            seen = torch.empty(len(numbers), count, teacher.width)
            for view in range(count):
                embedded = teacher.embed(augmented_view(teacher, items, numbers, view, placements, seed))
                files = [items.files[number] for number in numbers]
                check_values(embedded, plan.layout, files, "check the source's augment section")
                seen[:, view] = embedded
            yield seen.view(-1, teacher.width)

    while True:
        settle(place)
        old = read_description(place.description, f"run: {place.rebuild}") if place.description.is_file() else None
        if old is not None:
            if (old.key, old.dtype) != (plan.key, plan.dtype):
                raise _stale(place, old, plan)
            packed = open_to_mend(place) if mend else Packed.open(place)
            if packed is not None:
                return packed.matrix.view(len(items), count, -1)
            plan = plan.model_copy(update={"shards": old.unfinished})
        build_packed(place, plan, None, compute, f"embedding {count} views of the source items", old)
        mend = False


def _stale(place: Place, old: Description, plan: Description) -> RunFolderError:
    changed = differences(old.about, plan.about) + differences({"dtype": old.dtype}, {"dtype": plan.dtype})
    return RunFolderError(
        "The teacher's views are stale: they are of another teacher, of other items or with another augmentation.",
        where=place.data, expected=f"key {old.key[:12]}",
        received=f"key {plan.key[:12]}: {'; '.join(changed) or 'other items or placements'}",
        fix="choose another output folder (out=...), or make them anew: "
            f"rm {shlex.quote(str(place.description))} && {place.build}",
    )  # fmt: skip


def _key(teacher: Teacher, items: Items, count: int, placements: Tensor | None, seed: int) -> str:
    digest = hashlib.sha256(teacher.fingerprint().encode())
    digest.update(f"{count}:{seed}:{teacher.modality.model_dump_json(by_alias=True)}".encode())
    if placements is not None:
        digest.update(placements.numpy().tobytes())
    digest.update(content_hashes(items).tobytes())
    return digest.hexdigest()
