"""The tasks of the study, and its methods."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from crossdistill.compare import CompareConfig, MethodConfig
from crossdistill.compare.config import objective_called
from crossdistill.errors import ConfigError
from crossdistill.pipeline.config import RunConfig, make_config

TASKS = Path(__file__).parent / "tasks"
NAMES = ("emoji", "emoji-glyph", "emoji-strokes", "furniture-depth", "digits-audio", "stamps-audio")
WITH_DETAIL = " detail"  # what the name of a method with detail ends in
DEFAULT = f"cmcd{WITH_DETAIL}"  # what `crossdistill run` does by itself
# What is of this method's family, and so no method "before it".
FAMILY = ("cmcd", "cmc", "cmd", "l2+cmc", "robust_cmc", "cmcd dense", DEFAULT)
OBJECTIVES = (
    "cmcd", "cmc", "cmd", "l2+cmc", "robust_cmc", "l2", "cosine", "kd", "rkd", "pkt", "sp", "crd", "seed", "siglip",
    "lit", "vicreg", "barlow_twins", "coral", "mmd", "feature_statistics",
)  # fmt: skip
CONTROLS = (
    "random_student", "teacher_on_target", "teacher_on_source", "supervised", "ssl_target", "online_teacher",
)  # fmt: skip
# With encoders that also say where things are, as they do by default; others beside it, as the gain is not its
# objective's. All else has the pooled features alone, as it was published.
DETAILED = ("cmcd", "lit", "siglip", "l2")
DETAILED_CONTROLS = ("random_student", "teacher_on_target", "teacher_on_source", "ssl_target")
DETAIL: dict[str, Any] = {"teacher.detail": {}, "student.detail": {}}
QUICK_TASKS, QUICK_OBJECTIVES, QUICK_CONTROLS = ("emoji",), ("cmcd", "l2"), ("random_student",)
SEEDS, TRIALS = 5, 6
HEADLINES = ("linear_5_shot", "target_to_source_r@1")  # what it is judged by
AXIS_METRICS = (*HEADLINES, "zero_shot")  # what is shown of one setting at a time


def _content(name: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((TASKS / f"{name}.yaml").read_text(encoding="utf-8"))
    return content


def task(name: str, data: Path, out: Path, overrides: list[str]) -> RunConfig:
    """The configuration of a task, on sets below ``data``.

    Raises:
        ConfigError: the set is not there.
    """
    content = _content(name)
    for key in ("methods", "without"):
        content.pop(key, None)
    manifest = Path(content["pairs"]["manifest"].replace("DATA", str(data)))
    if not manifest.is_file():
        raise ConfigError(
            "A set of the study has not been built.", where=manifest, fix="docs/study.md has the commands that build it"
        )
    content["pairs"]["manifest"] = str(manifest)
    return make_config({**content, "out": str(out / name)}, overrides, where=f"{name}.yaml")


def methods(
    objectives: tuple[str, ...],
    controls: tuple[str, ...],
    detailed: tuple[str, ...],
    detailed_controls: tuple[str, ...],
) -> dict[str, MethodConfig]:
    """By name, the default first."""
    return {
        **{f"{name}{WITH_DETAIL}": MethodConfig(objective=objective_called(name), set=DETAIL) for name in detailed},
        **{name: MethodConfig(objective=objective_called(name)) for name in objectives},
        **{name: MethodConfig(control=name) for name in controls},
        **{f"{name}{WITH_DETAIL}": MethodConfig(control=name, set=DETAIL) for name in detailed_controls},
    }


def settings(name: str, *, quick: bool) -> CompareConfig:
    """What is compared on a task: the methods of all tasks but those it is without, and those that it has alone."""
    chosen = (
        (QUICK_OBJECTIVES, QUICK_CONTROLS, DETAILED[:1], ()) if quick
        else (OBJECTIVES, CONTROLS, DETAILED, DETAILED_CONTROLS)
    )  # fmt: skip
    content = _content(name)
    own = {} if quick else content.get("methods", {})
    common = {each: about for each, about in methods(*chosen).items() if each not in content.get("without", ())}
    return CompareConfig(
        methods={**common, **{each: MethodConfig(**about) for each, about in own.items()}},
        seeds=2 if quick else SEEDS, trials=2 if quick else TRIALS, reference=DEFAULT,
    )  # fmt: skip
