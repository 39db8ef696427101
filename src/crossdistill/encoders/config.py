"""The ``teacher:`` and ``student:`` sections of a configuration."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

from crossdistill.encoders.detail import AUTO, DetailConfig, StudentDetailConfig

RANDOM = "random"  # a weights name: random initialisation
NONE = "none"  # a weights name: a backbone that has none, such as identity
PRETRAINED = "pretrained"  # a weights name: timm's own weights, fetched from its hub
TEACHER = "teacher"  # a weights name: a copy of the teacher's


# Of a setting that is off, automatic or a section only what it is meant to be is complained about.
_Off = Annotated[None, Tag("null")]
_Auto = Annotated[Literal["auto"], Tag(AUTO)]


def _kind(value: Any) -> str:
    return "null" if value is None else AUTO if isinstance(value, str) else ""


class TeacherConfig(BaseModel):
    """The pretrained encoder of the source modality."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    backbone: str | None = Field(
        None, description="timm name, identity or mlp_WIDTHxLAYERS; may be left out when weights is an earlier run"
    )
    weights: str = Field(
        PRETRAINED, description="'pretrained', a packaged name such as 'efficientnet-lite0', a file, or a run folder"
    )
    center: bool = Field(
        True, description="subtract the mean of the training pairs' embeddings, so that directions tell items apart"
    )
    detail: Annotated[_Off | _Auto | Annotated[DetailConfig, Tag("")], Discriminator(_kind)] = Field(
        AUTO,
        description="also embed where things are: {level: -2, grid: 3, weight: 1.0}; null: off; "
        "auto: where the backbone has such a map",
    )
    save: bool = Field(True, description="keep a copy of the teacher in the run folder, so that the run is complete")


class StudentConfig(BaseModel):
    """The encoder to train in the target modality."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    backbone: str | None = Field(
        "resnet18", description="timm name, identity or mlp_WIDTHxLAYERS; null takes that of the weights' run"
    )
    weights: str = Field(
        RANDOM, description="'random', 'pretrained', a packaged name, a file, a run folder, or 'teacher' (a copy of it)"
    )
    head: Literal["none", "linear", "mlp"] = Field("linear", description="projection into the teacher's space")
    detail: Annotated[_Off | _Auto | Annotated[StudentDetailConfig, Tag("")], Discriminator(_kind)] = Field(
        AUTO,
        description="the head also takes a feature map on a coarse grid: {level: -2, grid: 3}; null: off; "
        "auto: where the teacher has detail, and the backbone such a map",
    )
    patch_size: int | None = Field(
        None, ge=1, description="pixels of a transformer's patches, where its name's are too coarse for small items"
    )

    @model_validator(mode="before")
    @classmethod
    def _backbone_of_teacher(cls, value: Any) -> Any:
        if isinstance(value, dict) and value.get("weights") == TEACHER and "backbone" not in value:
            return {**value, "backbone": None}  # the teacher's
        return value
