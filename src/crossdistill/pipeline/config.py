"""The whole configuration of a run: YAML in, one checked and resolved object out."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SerializeAsAny, ValidationInfo, model_validator

from crossdistill.bank import BankConfig
from crossdistill.encoders import StudentConfig, TeacherConfig
from crossdistill.errors import ConfigError
from crossdistill.evaluation import EvaluateConfig
from crossdistill.modalities import Modality, parse_modality
from crossdistill.objectives import ObjectiveConfig
from crossdistill.pairs import PairsConfig
from crossdistill.training import PretrainConfig, SemiConfig, TrainConfig, ViewsConfig
from crossdistill.training.trackers import TrackerName
from crossdistill.validation import validated

PRETRAINED_HERE = "pretrain"  # a weights name: the encoder that stage 1 of this run makes


def _modality(value: Any, info: ValidationInfo) -> Modality:
    return parse_modality(value, str(info.field_name))


AnyModality = Annotated[SerializeAsAny[Modality], BeforeValidator(_modality)]


def _objective(value: Any, info: ValidationInfo) -> ObjectiveConfig:
    try:
        return ObjectiveConfig.model_validate(value)
    except ConfigError as error:
        # Told about an objective; here it stands in a section of the configuration.
        raise error.at(f"{info.field_name}: {error.details.get('where', 'name')}") from error


AnyObjective = Annotated[ObjectiveConfig, BeforeValidator(_objective)]


class DenseConfig(BaseModel):
    """Dense distillation: feature maps are brought together place by place, beside the one vector an item.

    For pairs whose sides are registered: they show the same scene from the same place.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    weight: float = Field(0.5, gt=0, allow_inf_nan=False, description="of the dense part beside the objective")
    cells: int = Field(16, ge=1, description="places of each item in a step, at most")
    level: int = Field(-1, description="which of the encoders' feature maps, -1: the last, -2: the one before")
    objective: AnyObjective | None = Field(
        None, description="of the places, with negatives from the batch; default: each student's own"
    )


class RunConfig(BaseModel):
    """What ``crossdistill run`` reads. Paths are relative to the folder the command runs in."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    pairs: PairsConfig
    source: AnyModality = Field(
        default_factory=lambda: parse_modality({"modality": "image"}), description="what the teacher is given"
    )
    target: AnyModality = Field(
        default_factory=lambda: parse_modality({"modality": "image"}), description="what the student is given"
    )
    pretrain: PretrainConfig | None = Field(None, description="stage 1; leave out with a pretrained teacher")
    teacher: TeacherConfig = Field(default_factory=TeacherConfig)
    student: StudentConfig = Field(default_factory=StudentConfig)
    objective: AnyObjective = Field(default_factory=ObjectiveConfig)
    baselines: list[AnyObjective] = Field(default_factory=list, description="objectives to compare, same budget")
    negatives: Literal["item", "group"] = Field(
        "item", description="pairs that are no negatives of each other: those of one source item, or of one group"
    )
    dense: DenseConfig | None = Field(None, description="bring feature maps together too; off by default")
    bank: BankConfig = Field(default_factory=BankConfig)
    views: ViewsConfig = Field(default_factory=ViewsConfig)
    semi: SemiConfig | None = Field(None, description="few pairs beside many unpaired items; off by default")
    train: TrainConfig = Field(default_factory=TrainConfig)
    trackers: tuple[TrackerName, ...] = Field(
        ("tensorboard",), description="where curves go: tensorboard, wandb, mlflow, trackio"
    )
    evaluate: EvaluateConfig = Field(default_factory=EvaluateConfig)
    out: Path = Field(description="the run folder")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        labels = [self.objective.label, *(baseline.label for baseline in self.baselines)]
        if len(set(labels)) < len(labels):
            twice = sorted({label for label in labels if labels.count(label) > 1})
            raise ValueError(f"objective and baselines name {twice} twice: give one of them a label of its own")
        if self.negatives == "group" and any("crd" in each.names for each in (self.objective, *self.baselines)):
            raise ValueError("crd keeps one memory row per item, and negatives: group would keep one per group")
        uses_stage_one = self.teacher.weights == PRETRAINED_HERE
        if uses_stage_one and self.pretrain is None:
            raise ValueError("teacher.weights is 'pretrain', but there is no pretrain section")
        if self.pretrain is not None and not uses_stage_one:
            raise ValueError(
                "there is a pretrain section, but teacher.weights does not use it: set teacher: {weights: pretrain}"
            )
        return self

    def to_dict(self) -> dict[str, Any]:
        """As plain values, everything resolved, as written to ``config.yaml``."""
        return self.model_dump(mode="json", by_alias=True)


def load_config(path: Path, overrides: list[str] | None = None) -> RunConfig:
    """Reads a YAML file and applies overrides such as ``train.epochs=5``.

    Raises:
        ConfigError: the file is missing or no YAML, or something in it is wrong.
    """
    content = read_yaml(path)
    if isinstance(content, dict) and "compare" in content:
        raise ConfigError(
            "This is the configuration of a comparison, and not of one run.", where=path, received="a section compare",
            fix="crossdistill compare, or take the section out",
        )  # fmt: skip
    return make_config(content, overrides, where=str(path))


def read_yaml(path: Path) -> Any:
    """The content of a YAML file.

    Raises:
        ConfigError: it is missing, or no YAML.
    """
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError) as error:
        raise ConfigError("The configuration is missing.", where=path, expected="a YAML file") from error
    except OSError as error:
        raise ConfigError("The configuration cannot be read.", where=path, received=error.strerror) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(
            "The configuration is not valid YAML.", where=path, received=" ".join(str(error).split())
        ) from error


def make_config(content: Any, overrides: list[str] | None = None, where: str = "configuration") -> RunConfig:
    """A configuration from a mapping; see :func:`load_config`."""
    if not isinstance(content, dict):
        raise ConfigError(
            "The configuration is no mapping.", where=where, expected="keys such as pairs, teacher, student, out",
            received=type(content).__name__,
        )  # fmt: skip
    for override in overrides or []:
        content = _override(content, override)
    config = validated(RunConfig, content)
    return config.model_copy(update={"pairs": config.pairs.resolved(Path.cwd())})


def _override(content: dict[str, Any], text: str) -> dict[str, Any]:
    key, sign, value = text.partition("=")
    if not sign or not key:
        raise ConfigError("An override is no key=value.", received=text, expected="for instance train.epochs=5")
    try:
        parsed = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigError("An override's value is not valid YAML.", received=text) from error
    result = dict(content)
    place = result
    *parents, last = key.split(".")
    for part in parents:
        inner = place.get(part)
        if inner is not None and not isinstance(inner, dict):
            raise ConfigError(
                "An override goes into something that is no section.", received=text, expected=f"a mapping at {part}"
            )
        place[part] = dict(inner or {})
        place = place[part]
    place[last] = parsed
    return result


def demo_config() -> dict[str, Any]:
    """The configuration behind ``crossdistill demo``, as a mapping."""
    text = resources.files("crossdistill.pipeline").joinpath("demo.yaml").read_text(encoding="utf-8")
    content: dict[str, Any] = yaml.safe_load(text)
    return content
