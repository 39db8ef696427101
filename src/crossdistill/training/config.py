"""The ``train:`` and ``pretrain:`` sections of a configuration."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

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


class PretrainConfig(TrainConfig):
    """Stage 1: contrastive pretraining of a source encoder on unlabelled source items."""

    backbone: str = "resnet18"
    epochs: int = Field(100, ge=1)
    temperature: float = Field(0.2, gt=0)
    projection: int = Field(128, ge=2, description="width of the projection that is thrown away afterwards")
