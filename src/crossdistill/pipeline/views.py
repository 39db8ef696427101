"""Augmented pairs: the teacher's views of the source, and how they look."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from crossdistill.bank import SourceViews, build_view_bank, teacher_view, view_placements
from crossdistill.encoders import Teacher
from crossdistill.files import write_bytes
from crossdistill.modalities import Modality
from crossdistill.pairs.items import Items
from crossdistill.pipeline.work import Run, TeacherSpace
from crossdistill.seeds import derive_seed

_PAIRS = 6  # of the strip
_VIEWS = 4
_SIDE = 96  # pixels
_STRIP = 21  # what a seed is for


def open_views(
    run: Run, teacher: Teacher, ids: torch.Tensor, rows: Sequence[int], target: Modality
) -> SourceViews | None:
    """The teacher's embeddings of augmented views of the training pairs' sources; None where the source stays as it is.

    Args:
        run: whose ``views`` section counts.
        teacher: centred as it is for the source as it is.
        ids: for every row of the pairs the identity of its source item, ``(N,)``.
        rows: training rows.
        target: the student's modality, whose geometry a shared one is.
    """
    chosen = run.config.views
    if chosen.count == 0:
        return None
    items, item = source_items(run, teacher.modality, ids, rows)
    geometry = target.geometry if chosen.geometry == "shared" else teacher.modality.geometry
    seed = run.config.train.seed
    placements = view_placements(geometry, len(items), chosen.count, seed)
    bank = run.config.bank
    embeddings = build_view_bank(
        run.bank_folder, teacher, items, chosen.count, placements, seed, dtype=bank.dtype, shard_rows=bank.shard_rows,
        shared=bank.folder is not None,
    )  # fmt: skip
    return SourceViews(embeddings, placements, item, chosen.geometry == "shared")


def source_items(run: Run, modality: Modality, ids: torch.Tensor, rows: Sequence[int]) -> tuple[Items, torch.Tensor]:
    """The source items of some rows, each content once, and for each row the number of its item."""
    first: dict[int, int] = {}
    for row in rows:
        first.setdefault(int(ids[row]), row)
    number = {identity: index for index, identity in enumerate(first)}
    return run.items(list(first.values()), "source", modality), torch.tensor([number[int(ids[row])] for row in rows])


def augmented_pairs(run: Run, space: TeacherSpace, target: Modality) -> dict[str, Any]:
    """Pictures, in the run folder, of some training pairs as they are and as the two encoders see them."""
    chosen = run.config.views
    rows = run.pairs.where("train", has=("source", "target"))
    picked = [int(row) for row in np.sort(np.random.default_rng(run.config.train.seed + 3).permutation(rows)[:_PAIRS])]
    views = open_views(run, space.teacher, space.ids, rows, target)
    items, item = source_items(run, space.teacher.modality, space.ids, rows)
    targets = run.items(picked, "target", target)
    numbers = torch.tensor([rows.index(row) for row in picked])
    shown: list[dict[str, Any]] = [
        {"source": _drawn(run, f"{row}-source", space.teacher.modality, items[int(item[number])]),
         "target": _drawn(run, f"{row}-target", target, targets[index]), "views": []}
        for index, (row, number) in enumerate(zip(picked, numbers, strict=True))
    ]  # fmt: skip
    for view in range(min(_VIEWS, chosen.count) or _VIEWS):
        torch.manual_seed(derive_seed(run.config.train.seed, _STRIP, view))
        placement = None
        if views is not None:
            _, placement = views.of(numbers, torch.full_like(numbers, view))
        changed = target.augment(targets.batch(range(len(picked))), placement)
        for index, row in enumerate(picked):
            entry: dict[str, str | None] = {
                "source": None,
                "target": _drawn(run, f"{row}-target-{view}", target, changed[index]),
            }
            if views is not None:
                # Drawn with the batch that it was embedded in: what is shown is what the teacher saw.
                place = int(item[numbers[index]])
                seen = teacher_view(space.teacher, items, place, view, views.placements, run.config.train.seed)
                entry["source"] = _drawn(run, f"{row}-source-{view}", space.teacher.modality, seen)
            shown[index]["views"].append(entry)
    return {"count": chosen.count, "geometry": chosen.geometry, "pairs": shown}


def _drawn(run: Run, name: str, modality: Modality, values: torch.Tensor) -> str:
    stream = io.BytesIO()
    modality.draw(values, _SIDE).save(stream, format="PNG", optimize=True)
    file = f"augmented-{name}.png"
    write_bytes(run.folder.pictures / file, stream.getvalue())
    return file
