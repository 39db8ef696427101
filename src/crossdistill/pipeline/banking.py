"""The teacher bank of a run alone: built, extended by the items that it lacks, and mended."""

from __future__ import annotations

from pathlib import Path

from crossdistill.bank import BankConfig, build_bank, build_view_bank, view_placements
from crossdistill.encoders import Teacher
from crossdistill.pipeline.commands import deterministic
from crossdistill.pipeline.config import load_config
from crossdistill.pipeline.dense import map_bank
from crossdistill.pipeline.stages import first_rows, fresh_student, open_teacher_space, run_pretraining
from crossdistill.pipeline.views import source_items
from crossdistill.pipeline.work import Run, bank_name, begin, fresh_teacher


def build_teacher_bank(config: Path, overrides: list[str] | None = None) -> Path:
    """What a run does up to its bank: stage 1, where the configuration names it, then embeddings, views and maps.

    Several processes may do so at once, and share the work; see docs/bank.md.

    Args:
        config: a YAML file.
        overrides: such as ``["bank.dtype=bfloat16"]``.

    Returns:
        The bank's folder.

    Raises:
        CrossDistillError: anything that the user can mend; the message says how.
    """
    run = begin(load_config(config, overrides))
    deterministic()
    run_pretraining(run)
    settings, folder = run.config.bank, run.bank_folder
    teacher = Teacher(fresh_teacher(run), run.device)
    items = run.items(first_rows(run.pairs, run.pairs.where(has=("source",))), "source", teacher.modality)
    build_bank(folder, teacher, items, dtype=settings.dtype, shard_rows=settings.shard_rows, extend=True, mend=True,
               name=bank_name(run.config, teacher.encoder))  # fmt: skip
    if run.config.views.count:
        _build_views(run, folder, settings)
    if run.config.dense is not None:
        space = open_teacher_space(run)
        rows = run.pairs.require("train", ("source", "target"), "distillation")
        map_bank(run, space.teacher, source_items(run, space.teacher.modality, space.ids, rows)[0], mend=True)
    return folder


def _build_views(run: Run, folder: Path, settings: BankConfig) -> None:
    space = open_teacher_space(run)  # centred, as the views are
    rows = run.pairs.require("train", ("source", "target"), "distillation")
    modality = space.teacher.modality
    items, _ = source_items(run, modality, space.ids, rows)
    shared = run.config.views.geometry == "shared"
    geometry = fresh_student(run, rows, space.teacher.encoder)[0].modality.geometry if shared else modality.geometry
    count, seed = run.config.views.count, run.config.train.seed
    build_view_bank(folder, space.teacher, items, count, view_placements(geometry, len(items), count, seed), seed,
                    dtype=settings.dtype, shard_rows=settings.shard_rows, mend=True,
                    shared=settings.folder is not None)  # fmt: skip
