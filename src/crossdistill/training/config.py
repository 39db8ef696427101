"""The ``train:`` and ``pretrain:`` sections of a configuration."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from crossdistill.training.gradient_cache import BatchNorm


class TrainConfig(BaseModel):
    """How a network is trained; the same settings serve every objective that is compared."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    epochs: int = Field(40, ge=1)
    batch_size: int = Field(256, ge=2)
    lr: float = Field(1e-3, gt=0, description="peak learning rate of AdamW")
    weight_decay: float = Field(0.05, ge=0)
    warmup: float = Field(0.1, ge=0, lt=1, description="fraction of all steps with a rising learning rate")
    embed_at_once: int | None = Field(
        None, ge=1, description="gradient caching: items whose activations are in memory at a time; all by default"
    )
    batch_norm: BatchNorm = Field("refuse", description="what gradient caching does about batch normalisation")
    clip_norm: float | None = Field(None, gt=0, description="largest norm of the gradient")
    seed: int = Field(0, ge=0)
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1, mps")
    workers: int = Field(0, ge=0, description="processes that prepare batches; 0 prepares them in between")
    monitor_every: int = Field(1, ge=1, description="epochs between two measurements on the val split")
    log_every: int = Field(10, ge=1, description="steps between two lines of train.jsonl")


class ViewsConfig(BaseModel):
    """What the teacher sees of the source while the student sees augmented targets.

    Its embeddings are computed beforehand: of the source as it is, or of ``count`` augmented views of it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    count: int = Field(0, ge=0, le=64, description="augmented views of each source item; 0: the source as it is")
    geometry: Literal["independent", "shared"] = Field(
        "independent", description="shared: source and target are registered, and change place in the same way"
    )

    @model_validator(mode="after")
    def _has_views(self) -> Self:
        if self.geometry == "shared" and self.count == 0:
            raise ValueError("a shared geometry needs views of the source: set count to 1 or more")
        return self


class PretrainConfig(TrainConfig):
    """Stage 1: contrastive pretraining of a source encoder on unlabelled source items."""

    backbone: str = "resnet18"
    epochs: int = Field(100, ge=1)
    temperature: float = Field(0.2, gt=0)
    projection: int = Field(128, ge=2, description="width of the projection that is thrown away afterwards")
