"""Dense distillation on a run: the teacher's feature maps, and the part of the loss that uses them."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from crossdistill.bank.maps import TeacherMaps, build_map_bank
from crossdistill.encoders import Encoder, Teacher
from crossdistill.objectives import Objective, ObjectiveConfig
from crossdistill.pairs.items import Items
from crossdistill.pipeline.dense_check import map_level
from crossdistill.pipeline.views import source_items
from crossdistill.pipeline.work import Run
from crossdistill.seeds import derive_seed
from crossdistill.training.dense import DenseTerm

_PROJECTION = 51  # what a seed is for


def open_maps(run: Run, teacher: Teacher, ids: torch.Tensor, rows: Sequence[int]) -> TeacherMaps | None:
    """The teacher's feature maps of the training pairs' sources; None where nothing is distilled densely.

    Args:
        run: whose ``dense`` section counts.
        teacher: of the source items.
        ids: for every row of the pairs the identity of its source item, ``(N,)``.
        rows: training rows.
    """
    if run.config.dense is None:
        return None
    items, item = source_items(run, teacher.modality, ids, rows)
    maps = TeacherMaps(map_bank(run, teacher, items), item, None)
    return maps.centred() if run.config.teacher.center else maps


def map_bank(run: Run, teacher: Teacher, items: Items, *, mend: bool = False) -> torch.Tensor:
    """The maps ``(n, h, w, c)`` of source items, in the bank's folder; in 16 bits, as there are many cells."""
    assert run.config.dense is not None
    settings, level = run.config.bank, map_level(teacher.encoder, run.config.dense.level, "source")
    dtype = "float16" if settings.dtype == "float32" else settings.dtype
    return build_map_bank(
        run.bank_folder, teacher, items, level, dtype=dtype, shard_rows=settings.shard_rows, mend=mend,
        shared=settings.folder is not None,
    )  # fmt: skip


def dense_term(run: Run, student: Encoder, maps: TeacherMaps | None, own: ObjectiveConfig) -> DenseTerm | None:
    """The dense part of one student's loss, its projection drawn by the run's seed.

    Args:
        run: whose ``dense`` section counts.
        student: to be trained.
        maps: see :func:`open_maps`.
        own: the student's objective, which is that of the cells too unless another is named.
    """
    config = run.config.dense
    if config is None or maps is None:
        return None
    torch.manual_seed(derive_seed(run.config.train.seed, _PROJECTION))
    objective: Objective = (config.objective or own).build()
    return DenseTerm(student, maps, map_level(student, config.level, "target"), objective, config.weight, config.cells)
