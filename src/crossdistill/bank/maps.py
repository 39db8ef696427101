"""The teacher's feature maps of the source items, computed once: what it says of each place, beside the whole.

The teacher is frozen, so that its maps are the same in every epoch; computing them in every step would cost a pass of
the teacher, which is mostly the larger network, each time. One map an item is enough whatever the augmentation: a map
is a function of the place, and can be read at the places where an augmented target shows things (see :meth:`at`).
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from crossdistill.bank.bank import content_hashes
from crossdistill.bank.building import build_packed
from crossdistill.bank.config import BATCH, SHARD_ROWS
from crossdistill.bank.description import Description, cut, differences, read_description
from crossdistill.bank.layout import Dtype
from crossdistill.bank.packed import Packed, Place, open_to_mend, settle
from crossdistill.bank.refusals import about_teacher, check_values, refuse_first_format
from crossdistill.encoders import Level, Teacher, feature_maps, plain_backbone, weights_hash
from crossdistill.errors import RunFolderError
from crossdistill.pairs.items import Items

NAME = "maps"
_CHUNK = 1024  # items at once, where all are gone through


@dataclass(frozen=True)
class TeacherMaps:
    """Feature maps of source items.

    Attributes:
        cells: ``(n, h, w, c)`` in any floating type, memory-mapped.
        item: for each training pair the number of its source item, ``(pairs,)``.
        centre: ``(c,)``, subtracted from each cell; None where the space is not centred.
    """

    cells: Tensor
    item: Tensor
    centre: Tensor | None

    @property
    def width(self) -> int:
        """Channels ``c`` of a cell."""
        return int(self.cells.shape[3])

    def at(self, pairs: Tensor, places: Tensor) -> Tensor:
        """What the teacher says of places in the sources of some pairs, ``(B, k, c)`` in float32.

        Between the centres of cells it is interpolated (bilinear), beyond the outermost ones it stays as it is there;
        at the centre of a cell it is that cell. No more than four cells a place are read.

        Args:
            pairs: numbers of training pairs, ``(B,)``.
            places: x and y in each source, from -1 to 1 over the whole picture, ``(B, k, 2)``.
        """
        height, width = self.cells.shape[1:3]
        x = (((places[..., 0] + 1) * width - 1) / 2).clamp(0, width - 1)
        y = (((places[..., 1] + 1) * height - 1) / 2).clamp(0, height - 1)
        left, top = x.floor(), y.floor()
        item = self.item[pairs][:, None]
        found = torch.zeros(*places.shape[:2], self.width)
        for column, across in ((left, 1 - (x - left)), (left + 1, x - left)):
            for row, down in ((top, 1 - (y - top)), (top + 1, y - top)):
                inside = row.clamp(max=height - 1).long(), column.clamp(max=width - 1).long()
                found += (across * down)[..., None] * self.cells[(item, *inside)].float()
        return found if self.centre is None else found - self.centre

    def nearest(self, places: Tensor) -> Tensor:
        """The number of the cell, row by row, that each place ``(B, k, 2)`` lies in, ``(B, k)``."""
        height, width = self.cells.shape[1:3]
        column = ((places[..., 0] + 1) / 2 * width).long().clamp(0, width - 1)
        row = ((places[..., 1] + 1) / 2 * height).long().clamp(0, height - 1)
        return row * width + column

    def centred(self) -> TeacherMaps:
        """The same, minus the mean of all cells; added up in float64."""
        total = torch.zeros(self.width, dtype=torch.float64)
        for start in range(0, len(self.cells), _CHUNK):
            total += self.cells[start : start + _CHUNK].float().sum(dim=(0, 1, 2), dtype=torch.float64)
        mean = total / max(1, self.cells.numel() // self.width)
        return TeacherMaps(self.cells, self.item, mean.float())


def build_map_bank(
    folder: Path,
    teacher: Teacher,
    items: Items,
    level: Level,
    *,
    dtype: Dtype = "float16",
    shard_rows: int = SHARD_ROWS,
    mend: bool = False,
    shared: bool = False,
) -> Tensor:
    """Computes one feature map of each of ``items`` into ``folder``, or opens what is there.

    Any number of processes may do so at once, as in :func:`~crossdistill.bank.bank.build_bank`.

    Args:
        folder: of the bank.
        teacher: frozen.
        items: source items; ``h * w`` rows of the matrix are the cells of one of them, row by row.
        level: which of its maps.
        dtype: what the values are rounded to.
        shard_rows: rows of a shard; it is made of whole batches of items, at least of one.
        mend: check all of it, and compute damaged shards again, instead of refusing it.
        shared: the folder is of several runs, whose settings may differ: the file's name then has the key.

    Returns:
        ``(n, h, w, c)`` in ``dtype``: the memory-mapped file itself, not to be written to.

    Raises:
        RunFolderError: the maps there are of another teacher, level or other items, or damaged.
        TrainingError: the teacher gives values that are not finite, or that the type cannot hold.
        StorageError: the disk has not enough space.
    """
    refuse_first_format(folder)
    height, width = map_size(teacher, level)
    cells = height * width
    weights = weights_hash(plain_backbone(teacher.encoder))
    about = about_teacher(teacher)
    about = {**about, "teacher": {**about["teacher"], "weights": weights}, "level": level.index,
             "grid": [height, width]}  # fmt: skip
    digest = hashlib.sha256(f"{weights}:{level.index}:{height}:{width}".encode())
    digest.update(teacher.modality.model_dump_json(exclude={"augment_with"}).encode())
    digest.update(content_hashes(items).tobytes())
    at_once = max(shard_rows // cells // BATCH, 1) * BATCH * cells
    plan = Description(key=digest.hexdigest(), rows=len(items) * cells, width=level.channels, dtype=dtype, about=about,
                       shards=cut(0, len(items) * cells, at_once))  # fmt: skip

    place = Place(folder, f"{NAME}-{plan.key[:12]}" if shared else NAME)

    def compute(start: int, stop: int) -> Iterator[Tensor]:
        for first in range(start // cells, stop // cells, BATCH):
            numbers = list(range(first, min(first + BATCH, stop // cells)))
            found = _map_of(teacher, items.batch(numbers), level)
            rows = found.permute(0, 2, 3, 1).reshape(-1, level.channels)
            files = [items.files[number] for number in numbers for _ in range(cells)]
            check_values(rows, plan.layout, files, "or leave dense out")
            yield rows

    while True:
        settle(place)
        old = read_description(place.description, f"run: {place.rebuild}") if place.description.is_file() else None
        if old is not None:
            if (old.key, old.dtype) != (plan.key, plan.dtype):
                raise _stale(place, old, plan)
            packed = open_to_mend(place) if mend else Packed.open(place)
            if packed is not None:
                return packed.matrix.view(len(items), height, width, -1)
            plan = plan.model_copy(update={"shards": old.unfinished})
        build_packed(place, plan, None, compute, "the teacher's feature maps of the source items", old)
        mend = False


def map_size(teacher: Teacher, level: Level) -> tuple[int, int]:
    """Height and width of one of a teacher's maps."""
    found = _map_of(teacher, torch.zeros(1, *teacher.modality.shape), level)
    return int(found.shape[2]), int(found.shape[3])


def _map_of(teacher: Teacher, items: Tensor, level: Level) -> Tensor:
    """Decoded items ``(B, *shape)`` to one map ``(B, c, h, w)`` in float32 on the CPU."""
    with torch.no_grad():
        images = teacher.modality.normalise(items.to(teacher.device))
        return feature_maps(teacher.encoder.backbone, images, [level])[0].float().cpu()


def _stale(place: Place, old: Description, plan: Description) -> RunFolderError:
    changed = differences(old.about, plan.about) + differences({"dtype": old.dtype}, {"dtype": plan.dtype})
    return RunFolderError(
        "The teacher's feature maps are stale: they are of another teacher, of another level or of other items.",
        where=place.data, expected=f"key {old.key[:12]}",
        received=f"key {plan.key[:12]}: {'; '.join(changed) or 'other items'}",
        fix="choose another output folder (out=...), or make them anew: "
            f"rm {shlex.quote(str(place.description))} && {place.build}",
    )  # fmt: skip
