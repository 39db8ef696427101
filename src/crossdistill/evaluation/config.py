"""The ``evaluate:`` section of a configuration."""

from __future__ import annotations

from typing import Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

from crossdistill.evaluation.segmentation_config import SegmentationConfig
from crossdistill.evaluation.supervised_config import FineTuneConfig, SupervisedConfig
from crossdistill.training.online_teacher import OnlineTeacherConfig

Protocol = Literal["knn", "linear", "fine_tune", "retrieval", "zero_shot", "both", "clustering", "segmentation"]
Control = Literal[
    "random_student", "initial_student", "teacher_on_target", "teacher_on_source", "supervised",
    "ssl_target", "online_teacher",
]  # fmt: skip
TRAINED_CONTROLS: tuple[Control, ...] = ("ssl_target", "online_teacher")
"""Controls that cost as much as a distillation each: measured where they are named."""
_DEFAULT_PROTOCOLS: tuple[Protocol, ...] = ("knn", "linear", "retrieval", "zero_shot", "both", "clustering")
LABELLED: tuple[Protocol, ...] = ("knn", "linear", "fine_tune", "zero_shot", "both", "clustering")


class SslTargetConfig(BaseModel):
    """How the control ``ssl_target`` is pretrained; everything else is as in the ``train`` section."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    temperature: float = Field(0.2, gt=0, description="of InfoNCE between two views of an item")
    projection: int = Field(128, ge=2, description="width of the projection that is thrown away afterwards")


class EvaluateConfig(BaseModel):
    """Stage 3: what is measured on the test split."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    protocols: list[Protocol] = Field(
        default_factory=lambda: list(_DEFAULT_PROTOCOLS), description="what is measured; see the run folder's metrics"
    )
    shots: list[int] = Field(
        default_factory=lambda: [5], description="labels per class of the few-shot linear probes; several make a curve"
    )
    draws: int = Field(5, ge=1, description="random choices of the few labels")
    neighbours: int = Field(10, ge=1, description="k of k-NN")
    representation: Literal["embedding", "features"] = Field(
        "embedding", description="what k-NN and linear probes see: the embedding after the head, or backbone features"
    )
    controls: list[Control] = Field(
        default_factory=lambda: [name for name in get_args(Control) if name not in TRAINED_CONTROLS],
        description="what the student is compared with",
    )
    fine_tune: FineTuneConfig = Field(default_factory=FineTuneConfig)
    supervised: SupervisedConfig = Field(default_factory=lambda: SupervisedConfig(epochs=40, lr=1e-3))
    supervised_shots: bool = Field(
        True, description="also train the from-scratch control on one draw of each few-shot set"
    )
    ssl_target: SslTargetConfig = Field(default_factory=SslTargetConfig)
    online_teacher: OnlineTeacherConfig = Field(default_factory=OnlineTeacherConfig)

    segmentation: SegmentationConfig = Field(default_factory=SegmentationConfig)

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        if any(shot < 1 for shot in self.shots):
            raise ValueError("shots must be positive")
        for name, values in (("protocols", self.protocols), ("shots", self.shots), ("controls", self.controls)):
            if len(set(values)) < len(values):
                raise ValueError(f"{name} names something twice")
        return self
