"""How encoders are trained on labels: the ``evaluate.fine_tune`` and ``evaluate.supervised`` sections."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class SupervisedConfig(BaseModel):
    """A training on labels; what is not said here is as in the ``train`` section."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    epochs: int = Field(20, ge=1, description="passes over the labelled training items")
    few_shot_steps: int = Field(
        100, ge=1, description="of a training on few labels, or as many as one on all labels has, where that is less; "
        "more passes over the few are made for it",
    )  # fmt: skip
    batch_size: int = Field(64, ge=2, description="items a step")
    lr: float = Field(5e-4, gt=0, description="peak learning rate of AdamW")
    warmup: float = Field(0.1, ge=0, lt=1, description="fraction of all steps with a rising learning rate")
    label_smoothing: float = Field(0.1, ge=0, lt=1, description="share of the target that all classes have alike")
    augment: bool = Field(True, description="change the items as target.augment says")
    early_stop: int | None = Field(
        10, ge=1, description="with all labels: end after so many epochs without a better accuracy on the val split; "
        "where there are labels in one, the weights of the best epoch are taken in any case",
    )  # fmt: skip


class FineTuneConfig(SupervisedConfig):
    """Fine-tuning of the student, with all labels and with few."""

    layer_decay: float = Field(
        0.8, gt=0, le=1, description="the backbone's layers learn slower towards the input, by this factor a layer"
    )
    shots: list[int] = Field(default_factory=list, description="labels per class to fine-tune on besides all of them")
    draws: int = Field(1, ge=1, description="random choices of these few labels, each a training")

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        if any(shot < 1 for shot in self.shots):
            raise ValueError("shots must be positive")
        if len(set(self.shots)) < len(self.shots):
            raise ValueError("shots names something twice")
        return self
