"""The ``train:`` and ``pretrain:`` sections of a configuration."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from crossdistill.training.gradient_cache import BatchNorm

Precision = Literal["float32", "bf16", "fp16"]

SAFE = (
    "device", "workers", "read_timeout", "log_every", "checkpoint_every", "keep_checkpoints", "profile",
)  # fmt: skip
"""Settings that may change between the pieces of one training: what is learnt does not depend on them.

``device`` is one of them so that a job can move; other hardware rounds differently all the same.
"""


class Resolution(BaseModel):
    """A part of a training at another size of the items."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    until: float = Field(gt=0, lt=1, description="share of all steps")
    size: int = Field(ge=8, description="side of the items until then, in pixels")


class TrainConfig(BaseModel):
    """How a network is trained; the same settings serve every objective that is compared."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    epochs: int = Field(40, ge=1, description="passes over the training pairs")
    batch_size: int = Field(256, ge=2, description="items that one loss compares, over all processes together")
    accumulate: int = Field(1, ge=1, description="batches whose gradients are added up before each step")
    lr: float = Field(1e-3, gt=0, description="peak learning rate of AdamW")
    weight_decay: float = Field(0.05, ge=0, description="of AdamW")
    layer_decay: float | None = Field(
        None, gt=0, le=1, description="the backbone's layers learn slower towards the input, by this factor a layer"
    )
    schedule: Literal["cosine", "linear", "constant"] = Field("cosine", description="after the warm-up")
    warmup: float = Field(0.1, ge=0, lt=1, description="fraction of all steps with a rising learning rate")
    embed_at_once: int | None = Field(
        None, ge=1, description="gradient caching: items whose activations are in memory at a time; all by default"
    )
    batch_norm: BatchNorm = Field("refuse", description="what gradient caching does about batch normalisation")
    clip_norm: float | None = Field(None, gt=0, description="largest norm of the gradient")
    ema: float | None = Field(
        None, gt=0, lt=1, description="decay a step of the running average of the weights that becomes the result"
    )
    freeze: tuple[str, ...] = Field((), description="parameters that stay as they are, such as ['backbone.*']")
    freeze_epochs: int | None = Field(None, ge=1, description="thaw them after so many epochs; never by default")
    resolution: tuple[Resolution, ...] = Field((), description="smaller items in the beginning, which is faster")
    precision: Precision = Field("float32", description="of the network's arithmetic; weights stay float32")
    channels_last: bool = Field(True, description="memory layout of pictures in which convolutions are faster")
    compile: bool = Field(False, description="torch.compile the backbone")
    parallel: Literal["ddp", "fsdp"] = Field("ddp", description="under torchrun: copy the network, or spread it")
    early_stop: int | None = Field(
        None, ge=1, description="end after so many measurements without a better held-out retrieval (val_mrr)"
    )
    keep: Literal["last", "best"] = Field("last", description="best: the weights of the best held-out retrieval")
    nonfinite_limit: int = Field(10, ge=1, description="steps in a row without a finite gradient that end the run")
    seed: int = Field(0, ge=0, description="of everything that is drawn: weights, order, augmentation")
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1, mps")
    workers: int = Field(0, ge=0, description="processes that prepare batches; 0 prepares them in between")
    read_timeout: float = Field(300, gt=0, description="seconds after which reading one item is given up")
    monitor_every: int = Field(1, ge=1, description="epochs between two measurements on the val split")
    log_every: int = Field(10, ge=1, description="steps between two lines of train.jsonl")
    checkpoint_every: int | None = Field(None, ge=1, description="steps between two checkpoints; each epoch has one")
    keep_checkpoints: int = Field(2, ge=1, description="the newest ones, in case that the last is damaged")
    profile: bool = Field(False, description="measure where the time of each step goes")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        shares = [each.until for each in self.resolution]
        if shares != sorted(set(shares)):
            raise ValueError("the resolutions' shares of the steps must rise")
        if self.freeze_epochs is not None and not self.freeze:
            raise ValueError("freeze_epochs says when to thaw, but freeze names nothing")
        return self

    def size_at(self, step: int, total: int) -> int | None:
        """The side of the items in a step of ``total``; None: as they are decoded."""
        return next((each.size for each in self.resolution if step < each.until * total), None)


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

    backbone: str = Field("resnet18", description="timm name")
    share: float = Field(1.0, gt=0, le=1, description="of the training sources that it sees, by whole groups")
    epochs: int = Field(100, ge=1, description="passes over the training sources")
    temperature: float = Field(0.2, gt=0, description="of InfoNCE between two views of an item")
    projection: int = Field(128, ge=2, description="width of the projection that is thrown away afterwards")
