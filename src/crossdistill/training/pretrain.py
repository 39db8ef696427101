"""Stage 1: a source encoder from unlabelled source items alone, for those who have no pretrained one."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from crossdistill.encoders import Encoder, build_source_backbone
from crossdistill.encoders.head import build_head
from crossdistill.modalities import Modality
from crossdistill.objectives import InfoNCE
from crossdistill.pairs.items import Items
from crossdistill.training.clock import phase
from crossdistill.training.config import PretrainConfig
from crossdistill.training.gradient_cache import embed_in_parts
from crossdistill.training.log import TrainLog
from crossdistill.training.loop import Task, choose_device, fit
from crossdistill.training.precision import autocast


def new_source_encoder(config: PretrainConfig, modality: Modality) -> Encoder:
    """The encoder that stage 1 starts from: random weights, drawn by the seed."""
    torch.manual_seed(config.seed)
    return build_source_backbone(config.backbone, modality)


def pretrain(
    encoder: Encoder,
    items: Items,
    config: PretrainConfig,
    *,
    log: TrainLog | None = None,
    checkpoint: Path | None = None,
    title: str = "pretraining",
    section: str = "pretrain",
    steps: int | None = None,
) -> Encoder:
    """Trains ``encoder`` in place with InfoNCE over two augmented views of each item, and returns it in eval mode.

    Args:
        encoder: from :func:`new_source_encoder`, or any other.
        items: unlabelled items, decoded with the encoder's modality.
        config: the ``pretrain:`` section.
        log: where epochs are written.
        checkpoint: see :func:`~crossdistill.training.loop.fit`.
        title: for the progress bar.
        section: of the configuration that the settings stand in, for messages.
        steps: where to end, if not with the last epoch.

    Source: SimCLR, arXiv 2002.05709. The projection is trained along and thrown away.
    """
    modality = items.modality.contrastive()
    torch.manual_seed(config.seed + 1)
    projection = build_head("mlp", encoder.width, config.projection)
    objective = InfoNCE(config.temperature)
    model = nn.ModuleDict({"encoder": encoder, "projection": projection})

    device = choose_device(config.device)

    def two_views(numbers: Tensor, decoded: Tensor) -> tuple[Tensor, ...]:
        return (torch.cat([modality.normalise(modality.augment(decoded)) for _ in range(2)]),)

    def agreement(images: Tensor) -> Tensor:
        at_once = config.embed_at_once or len(images)
        with phase("forward"), autocast(config.precision, device):
            embedded = projection(embed_in_parts(encoder, images, at_once, batch_norm=config.batch_norm))
        with phase("objective"):
            first, second = embedded.chunk(2)
            loss: Tensor = objective(first, second)
        return loss

    task = Task(title, model, encoder, two_views, agreement, section=section, views=2, steps=steps)
    fit(task, items, config, log=log, checkpoint=checkpoint)
    return encoder.cpu().eval()
