"""The moments at which a run is killed from within, in the order in which a run comes to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

STEP = "crossdistill.training.state:TrainState.step_optimiser"
SHARD = "crossdistill.bank.building:_Build.attempt"
PICTURES = "crossdistill.pipeline.results:example_pairs"
STAGES = ("beginning", "stage 1", "bank", "views", "stage 2", "baseline", "control", "evaluation", "report")


@dataclass(frozen=True)
class Moment:
    """A moment of a run.

    Attributes:
        stage: of it, one of ``STAGES``.
        name: in words.
        hook: that strikes then, see victim.py.
    """

    stage: str
    name: str
    hook: dict[str, Any]


def _write(of: str, nth: int = 1, mode: str = "") -> dict[str, Any]:
    return {"at": "write", "of": of, "nth": nth, "mode": mode}


def _replace(of: str, point: str = "before", nth: int = 1) -> dict[str, Any]:
    return {"at": "replace", "of": of, "point": point, "nth": nth}


def _call(of: str, nth: int = 1, point: str = "before") -> dict[str, Any]:
    return {"at": "call", "of": of, "nth": nth, "point": point}


def _training(stage: str, folder: str) -> list[Moment]:
    """Of a training, whose checkpoints are in ``checkpoints/FOLDER``."""
    states = f"checkpoints/{folder}/"
    return [
        Moment(stage, "in a step, before its update", _call(STEP, 3)),
        Moment(stage, "half-way through a checkpoint", _write(rf"{states}\.step-.*\.pt", 1)),
        Moment(stage, "before a checkpoint takes its place", _replace(rf"{states}step-.*\.pt$", nth=2)),
        Moment(stage, "between a checkpoint and its checksum", _replace(rf"{states}step-.*\.pt$", "after", 2)),
        Moment(stage, "half-way through a checksum", _write(rf"{states}\.step-.*\.sha256")),
        Moment(stage, "before old checkpoints go", _replace(rf"{states}step-.*\.sha256$", "after", 3)),
        Moment(stage, "among old checkpoints that go",
               {"at": "unlink", "of": rf"{states}step-[0-9]+\.pt$", "nth": 1, "point": "before"}),
        Moment(stage, "half-way through a line of train.jsonl", _write(r"train\.jsonl$", 4, "a")),
    ]  # fmt: skip


def _matrix(stage: str, name: str) -> list[Moment]:
    """Of a matrix of the bank."""
    return [
        Moment(stage, "while its file is begun", _write(rf"{name}\.building/{name}\.safetensors", 1, "w")),
        Moment(stage, "half-way through a shard", _write(rf"{name}\.building/{name}\.safetensors", 1, "r+")),
        Moment(stage, "between a shard and its mark", _replace(rf"{name}\.building/000000\.json")),
        Moment(stage, "between two shards", _replace(rf"{name}\.building/000000\.json", "after")),
        Moment(stage, "before the file takes its place", _replace(rf"bank/{name}\.safetensors$")),
        Moment(stage, "between the file and its description", _replace(rf"bank/{name}\.json$")),
        Moment(stage, "after its folder was put aside", _replace(rf"bank/\.{name}\.built$", "after")),
    ]


MOMENTS: tuple[Moment, ...] = (
    Moment("beginning", "half-way through config.yaml", _write(r"run/\.config\.yaml")),
    Moment("beginning", "between config.yaml and pairs.csv", _replace(r"run/config\.yaml$", "after")),
    Moment("beginning", "before pairs.csv takes its place", _replace(r"run/pairs\.csv$")),
    *_training("stage 1", "pretrain"),
    Moment("stage 1", "between weights and description of the encoder", _replace(r"pretrained/encoder\.json$")),
    *_matrix("bank", "embeddings"),
    *_matrix("views", "views"),
    *_training("stage 2", "distil-cmcd"),
    Moment("stage 2", "between weights and description of the student", _replace(r"student/encoder\.json$")),
    Moment("baseline", "in a step, after its update", _call(STEP, 4, "after")),
    Moment("baseline", "between a checkpoint and its checksum",
           _replace(r"checkpoints/distil-l2/step-.*\.pt$", "after", 2)),
    Moment("control", "half-way through a checkpoint", _write(r"checkpoints/control-online_teacher-\w+/\.step-.*\.pt")),
    Moment("control", "between its source encoder and its student",
           _replace(r"controls/online_teacher/source/encoder\.json$", "after")),
    Moment("control", "between weights and description of its student",
           _replace(r"controls/online_teacher/encoder\.json$")),
    Moment("evaluation", "among the subjects", _call("crossdistill.pipeline.results:_measured", 2)),
    Moment("evaluation", "half-way through a picture", _write(r"pictures/\.source", 5)),
    Moment("evaluation", "half-way through metrics.json", _write(r"run/\.metrics\.json")),
    Moment("evaluation", "before metrics.json takes its place", _replace(r"run/metrics\.json$")),
    Moment("report", "between metrics.json and the end of the checkpoints",
           _call("crossdistill.pipeline.commands:discard_checkpoints")),
    Moment("report", "half-way through report.html", _write(r"run/\.report\.html")),
    Moment("report", "before report.html takes its place", _replace(r"run/report\.html$")),
)  # fmt: skip

INDEX_MOMENTS: tuple[Moment, ...] = (
    Moment("build", "before index.json is there", _replace(r"index/index\.json$")),
    Moment("build", "between items and the end", _replace(r"index/index\.json$", nth=3)),
    Moment("add", "half-way through the vectors", _write(r"vectors-000000\.f32$", 1, "r+")),
    Moment("add", "between vectors and metadata", _replace(r"items-000003\.parquet$")),
    Moment("add", "between metadata and index.json", _replace(r"items-000003\.parquet$", "after")),
    Moment("add", "half-way through index.json", _write(r"\.index\.json")),
    Moment("add", "before index.json takes its place", _replace(r"index/index\.json$")),
    Moment("add", "after it took its place", _replace(r"index/index\.json$", "after")),
    Moment("replace", "half-way through the vectors", _write(r"\.vectors-000003\.f32")),
    Moment("replace", "between vectors and metadata", _replace(r"items-000003\.parquet$")),
    Moment("replace", "before index.json takes its place", _replace(r"index/index\.json$")),
    Moment("replace", "among old files that go",
           {"at": "unlink", "of": r"vectors-000000\.f32$", "nth": 1, "point": "before"}),
)  # fmt: skip
"""Those of an index; the stage is what its command does."""
