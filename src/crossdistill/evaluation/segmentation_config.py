"""The ``evaluate.segmentation:`` section of a configuration."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

HeadName = Literal["light", "unet", "fpn"]
MOST_CLASSES = 254  # a mask is kept in 8 bits, and one number is that of places without a class


def _listed(value: Any) -> Any:
    return value if isinstance(value, (list, tuple)) else [value]


def _every() -> list[int | Literal["all"]]:
    return ["all"]


class SegmentationConfig(BaseModel):
    """How a decoder is trained on labelled masks of target items, over the student's backbone."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    head: HeadName = Field("light", description="the decoder: our own, or that of segmentation-models-pytorch")
    frozen: Annotated[list[bool], BeforeValidator(_listed)] = Field(
        default_factory=lambda: [True, False],
        description="whether the backbone stays as it is (true) or is trained too; both as a list",
    )
    masks: Annotated[list[int | Literal["all"]], BeforeValidator(_listed)] = Field(
        default_factory=_every, description="how many labelled masks to train on, such as [10, 50, all]"
    )
    draws: int = Field(1, ge=1, description="random choices of few masks")
    epochs: int = Field(20, ge=1, description="passes over the labelled masks")
    steps: int = Field(200, ge=1, description="as many passes more as make so many steps, for few masks")
    batch_size: int = Field(16, ge=2, description="items a step")
    lr: float = Field(1e-3, gt=0, description="peak learning rate of AdamW")
    balance: float = Field(
        0.5, ge=0, le=1, description="0: pixels count alike; 1: classes do, however few pixels they have; between: both"
    )
    ignore: Annotated[list[int], BeforeValidator(_listed)] = Field(
        default_factory=lambda: [255],
        description="numbers in masks that are no class: they are neither learnt nor counted",
    )
    classes: int | list[str] | None = Field(
        None, description="how many classes, or their names, from number 0 on; default: mask_classes.json, or the masks"
    )
    pictures: int = Field(6, ge=0, le=50, description="test items that the report shows")

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        for name, values in (("frozen", self.frozen), ("masks", self.masks)):
            if not values:
                raise ValueError(f"{name} is empty")
            if len(set(values)) < len(values):
                raise ValueError(f"{name} names something twice")
        if any(count != "all" and count < 2 for count in self.masks):
            raise ValueError("masks must be 2 or more each, or 'all'")
        if any(number < 0 for number in self.ignore):
            raise ValueError("ignore must be numbers from 0 on")
        count = self.classes if isinstance(self.classes, int) else len(self.classes) if self.classes else None
        if self.classes is not None and (count is None or not 2 <= count <= MOST_CLASSES):
            raise ValueError(f"classes must be 2 to {MOST_CLASSES}")
        return self

    def metric(self, kind: str, frozen: bool, count: int | Literal["all"]) -> str:
        """The name of a result, such as ``miou_frozen_10_masks``; of all masks ``miou_frozen``."""
        number = "" if count == "all" else f"_{count}_masks"
        return f"{kind}_{'frozen' if frozen else 'tuned'}{number}"
