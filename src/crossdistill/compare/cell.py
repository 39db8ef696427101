"""Work on one cell: train, measure, keep the results and nothing else."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crossdistill.compare.plan import Cell
from crossdistill.errors import RunFolderError, TrainingError
from crossdistill.evaluation.intervals import Estimate
from crossdistill.files import read_json, write_json
from crossdistill.pipeline.commands import deterministic
from crossdistill.pipeline.config import make_config
from crossdistill.pipeline.environment import describe_environment
from crossdistill.pipeline.outcomes import read_outcomes, write_outcomes
from crossdistill.pipeline.results import measure_run
from crossdistill.pipeline.stages import open_teacher_space, run_distillation
from crossdistill.pipeline.work import Decoded, begin

_RESULT = "result.json"


@dataclass(frozen=True)
class Result:
    """What a cell gave.

    Attributes:
        metrics: values with their intervals over test groups; empty where it failed.
        items: what was measured on each item, for paired comparisons.
        skipped: protocols that this method cannot be measured by, with the reason.
        failed: why there is no result: a training that diverged, a control that cannot be had here.
        seconds: of work.
    """

    metrics: Mapping[str, Mapping[str, Any]]
    items: Mapping[str, Estimate]
    skipped: Mapping[str, str]
    failed: str | None
    seconds: float


def is_done(folder: Path, cell: Cell) -> bool:
    """Whether its result is there."""
    return (folder / cell.key / _RESULT).is_file()


def read_result(folder: Path, cell: Cell) -> Result:
    """The result of a cell that is done.

    Raises:
        RunFolderError: it is missing or damaged.
    """
    place = folder / cell.key
    content = read_json(place / _RESULT)
    try:
        # Trials are compared by their metrics alone.
        measured = not content["failed"] and cell.measured_on == "test"
        items = read_outcomes(place / "outcomes.safetensors").get(cell.method, {}) if measured else {}
        return Result(content["metrics"], items, content["skipped"], content["failed"], content["seconds"])
    except (KeyError, TypeError) as error:
        raise RunFolderError(
            "A cell's result is damaged.", where=place, received=repr(error), fix="delete this folder, and go on"
        ) from error


def work_on(cell: Cell, folder: Path, decoded: Decoded, *, device: str, keep: bool) -> None:
    """Does what is left to do of a cell.

    Args:
        cell: which.
        folder: of all cells.
        decoded: items that earlier cells on the same pairs have read.
        device: where to compute.
        keep: keep the student's weights as well.
    """
    place, started = folder / cell.key, time.monotonic()
    config = make_config({**cell.config, "out": str(place)})
    config = config.model_copy(update={"train": config.train.model_copy(update={"device": device})})
    run = begin(config)
    run.decoded = decoded
    deterministic()
    about: dict[str, Any] = {
        "method": cell.method, "seed": cell.seed, "measured_on": cell.measured_on, "settings": dict(cell.settings),
        "failed": None, "metrics": {}, "skipped": {},
    }  # fmt: skip
    try:
        space = open_teacher_space(run)
        if cell.control is None:
            run_distillation(run, space)
        measured = measure_run(run, space, controls_alone=cell.control is not None)
    except TrainingError as error:  # a trial that diverges is a result, too
        about["failed"] = str(error)
    else:
        found = [each for each in measured.outcomes if cell.control is None or each.name == cell.control]
        if found:
            outcome = found[0]
            outcome.name = cell.method
            about["metrics"] = {name: each.to_json() for name, each in outcome.metrics.items()}
            about["skipped"] = outcome.skipped
            write_outcomes(place / "outcomes.safetensors", [outcome])
        else:
            about["failed"] = run.left_out.get(str(cell.control), "this control cannot be had here")
    seconds = round(time.monotonic() - started, 1)
    write_json(place / _RESULT, {**about, "seconds": seconds, "environment": describe_environment()})
    for name in ("checkpoints", *(() if keep else ("student", "teacher", "tensorboard"))):
        shutil.rmtree(place / name, ignore_errors=True)
