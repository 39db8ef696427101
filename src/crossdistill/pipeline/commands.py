"""Runs from end to end: what the commands and Python's ``crossdistill.run`` call."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from crossdistill import ranks
from crossdistill.console import say
from crossdistill.encoders import Encoder, has_encoder
from crossdistill.errors import RunFolderError
from crossdistill.files import read_json
from crossdistill.pipeline.config import RunConfig, load_config, make_config
from crossdistill.pipeline.folder import RunFolder, discard_checkpoints, open_run
from crossdistill.pipeline.results import is_current, run_evaluation
from crossdistill.pipeline.stages import open_teacher_space, run_distillation, run_pretraining, students_of
from crossdistill.pipeline.work import begin
from crossdistill.report import write_report


def run(
    config: RunConfig | Mapping[str, Any] | str | Path,
    overrides: list[str] | None = None,
    *,
    teacher: Encoder | None = None,
    student: Encoder | None = None,
) -> RunFolder:
    """All stages that the configuration names, then the report; goes on where an earlier call stopped.

    Args:
        config: a YAML file, a mapping of the same content, or a checked configuration.
        overrides: such as ``["train.epochs=5"]``.
        teacher: any encoder of your own (:meth:`Encoder.from_module`) in place of the ``teacher`` and ``source``
            sections.
        student: likewise in place of ``student`` and ``target``.

    Raises:
        CrossDistillError: anything that the user can mend; the message says how.
    """
    work = begin(_config(config, overrides), teacher, student)
    deterministic()
    run_pretraining(work)
    metrics = read_json(work.folder.metrics) if work.folder.metrics.is_file() else None
    if metrics is None or not is_current(work, metrics):
        space = open_teacher_space(work)
        run_distillation(work, space)
        run_evaluation(work, space)
    else:
        say("this run is complete: nothing to compute")
    ranks.first_does(lambda: discard_checkpoints(work.folder))  # also where a kill came between the results and this
    ranks.first_does(lambda: write_report(work.folder.root))
    return work.folder


def run_stage_one(config: RunConfig | Mapping[str, Any] | str | Path, overrides: list[str] | None = None) -> RunFolder:
    """Stage 1 alone."""
    work = begin(_config(config, overrides))
    deterministic()
    run_pretraining(work)
    return work.folder


def run_stage_two(
    config: RunConfig | Mapping[str, Any] | str | Path,
    overrides: list[str] | None = None,
    *,
    teacher: Encoder | None = None,
    student: Encoder | None = None,
) -> RunFolder:
    """Stage 1, where the configuration names it, and stage 2."""
    work = begin(_config(config, overrides), teacher, student)
    deterministic()
    run_pretraining(work)
    run_distillation(work, open_teacher_space(work))
    return work.folder


def evaluate(
    root: str | Path,
    overrides: list[str] | None = None,
    *,
    teacher: Encoder | None = None,
    student: Encoder | None = None,
) -> RunFolder:
    """Stage 3 again on a finished distillation, with other settings of the ``evaluate`` section if wanted.

    Raises:
        RunFolderError: the distillation has not ended, or an override touches another section.
    """
    folder, config = open_run(Path(root))
    missing = [place for _, place in students_of(config, folder) if not has_encoder(place)]
    if missing:
        raise RunFolderError(
            "The distillation has not ended, so there is nothing to evaluate.",
            where=missing[0],
            fix="run the same configuration again: it goes on where it stopped",
        )
    if overrides:
        config = make_config(config.to_dict(), overrides)
    work = begin(config, teacher, student)
    deterministic()
    run_evaluation(work, open_teacher_space(work))
    ranks.first_does(lambda: write_report(folder.root))
    return folder


def _config(config: RunConfig | Mapping[str, Any] | str | Path, overrides: list[str] | None) -> RunConfig:
    if isinstance(config, RunConfig):
        return make_config(config.to_dict(), overrides) if overrides else config
    if isinstance(config, Mapping):
        return make_config(dict(config), overrides)
    return load_config(Path(config), overrides)


def deterministic() -> None:
    """Same seed, same machine, same bits; operations that have no deterministic form say so in a warning."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # products on a GPU are not repeatable without it
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False
