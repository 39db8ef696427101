"""Supervised training of an encoder with a linear classifier: full fine-tuning, and the from-scratch control."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from crossdistill import ranks
from crossdistill.encoders import Encoder
from crossdistill.pairs.items import Items
from crossdistill.training.clock import phase
from crossdistill.training.config import TrainConfig
from crossdistill.training.log import TrainLog
from crossdistill.training.loop import Task, choose_device, fit
from crossdistill.training.precision import autocast


class Classifier(nn.Module):
    """An encoder's backbone and a linear layer over its features."""

    def __init__(self, encoder: Encoder, classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.linear = nn.Linear(encoder.architecture.features, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Normalised input ``(B, *shape)`` to logits ``(B, classes)``."""
        logits: Tensor = self.linear(self.encoder.features(images))
        return logits


def train_classifier(
    encoder: Encoder,
    items: Items,
    labels: Sequence[int],
    classes: int,
    config: TrainConfig,
    *,
    title: str,
    section: str = "train",
    log: TrainLog | None = None,
    checkpoint: Path | None = None,
) -> Classifier:
    """Trains all of ``encoder`` in place, with a new linear classifier, by cross-entropy.

    Args:
        encoder: distilled or of random weights.
        items: target items, ``n`` of them.
        labels: class numbers, ``n`` of them.
        classes: number of classes.
        config: settings of the training.
        title: for the progress bar.
        section: of the configuration that they stand in, for messages.
        log: where epochs are written.
        checkpoint: see :func:`~crossdistill.training.loop.fit`.
    """
    torch.manual_seed(config.seed)
    model = Classifier(encoder, classes)
    wanted = torch.as_tensor(labels, dtype=torch.long)

    device = choose_device(config.device)
    batch = min(config.batch_size, len(items))

    def prepare(numbers: Tensor, decoded: Tensor) -> tuple[Tensor, ...]:
        return items.modality.normalise(items.modality.augment(decoded)), wanted[numbers.cpu()].to(device)

    def cross_entropy(images: Tensor, chosen: Tensor) -> Tensor:
        with phase("forward"), autocast(config.precision, device):
            logits = model(images)
        with phase("objective"):
            # Ranks may have parts that differ by an item; the mean over the ranks is that over the batch.
            return nn.functional.cross_entropy(logits.float(), chosen, reduction="sum") * ranks.world() / batch

    # The projection head takes no part; without gradients the optimiser leaves it alone.
    encoder.head.requires_grad_(False)
    task = Task(title, model, model, prepare, cross_entropy, section=section)
    fit(task, items, config, log=log, checkpoint=checkpoint)
    return model.cpu().eval()
