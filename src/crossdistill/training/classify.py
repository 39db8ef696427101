"""Supervised training of an encoder with a linear classifier: full fine-tuning, and the from-scratch control."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
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

SCORE = "val_score"
_BATCH = 128
_TIE = 1e-3  # of an item: what a difference in the loss counts beside one in the accuracy


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


@dataclass
class HeldOut:
    """Labelled items that a classifier is measured on while it learns from others.

    Attributes:
        items: in the same modality.
        labels: class numbers, one for each.
        accuracies: what was found, an epoch each.
        best: the number of the epoch, from 1, whose accuracy is highest; of several, the one that is surer.
    """

    items: Items
    labels: Sequence[int]
    accuracies: list[float] = field(default_factory=list)
    best: int = 0
    _best_score: float = -math.inf

    def measure(self, model: nn.Module, device: torch.device) -> dict[str, float]:
        """Accuracy and mean loss; and the score that epochs are compared by: accuracy, of equal ones the loss."""
        right, loss = 0.0, 0.0
        wanted = torch.as_tensor(self.labels, dtype=torch.long)
        part = ranks.share(len(self.items))
        for start in range(part.start, part.stop, _BATCH):
            numbers = range(start, min(start + _BATCH, part.stop))
            with torch.no_grad():
                logits = model(self.items.modality.normalise(self.items.batch(numbers).to(device))).float().cpu()
            chosen = wanted[numbers.start : numbers.stop]
            right += float((logits.argmax(dim=1) == chosen).sum())
            loss += float(nn.functional.cross_entropy(logits, chosen, reduction="sum"))
        right, loss = (value / len(self.items) for value in ranks.add_up([right, loss]))
        score = right - _TIE * min(loss, 1 / _TIE) / len(self.items)
        self.accuracies.append(right)
        if score > self._best_score:
            self._best_score, self.best = score, len(self.accuracies)
        return {"val_accuracy": round(right, 5), "val_loss": round(loss, 5), SCORE: score}


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
    label_smoothing: float = 0.0,
    augment: bool = True,
    held_out: HeldOut | None = None,
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
        label_smoothing: share of the wanted probability that all classes have alike (arXiv 1512.00567).
        augment: change the items as their modality says.
        held_out: other items, whose accuracy decides on early stopping and on the best weights.
    """
    torch.manual_seed(config.seed)
    model = Classifier(encoder, classes)
    wanted = torch.as_tensor(labels, dtype=torch.long)

    device = choose_device(config.device)
    batch = min(config.batch_size, len(items))

    def prepare(numbers: Tensor, decoded: Tensor) -> tuple[Tensor, ...]:
        seen = items.modality.augment(decoded) if augment else decoded
        return items.modality.normalise(seen), wanted[numbers.cpu()].to(device)

    def cross_entropy(images: Tensor, chosen: Tensor) -> Tensor:
        with phase("forward"), autocast(config.precision, device):
            logits = model(images)
        with phase("objective"):
            # Ranks may have parts that differ by an item; the mean over the ranks is that over the batch.
            loss = nn.functional.cross_entropy(logits.float(), chosen, reduction="sum", label_smoothing=label_smoothing)
            return loss * ranks.world() / batch

    # The projection head takes no part; without gradients the optimiser leaves it alone.
    encoder.head.requires_grad_(False)
    task = Task(title, model, model, prepare, cross_entropy, section=section, score=SCORE)
    monitor = None if held_out is None else partial(held_out.measure, model, device)
    fit(task, items, config, log=log, checkpoint=checkpoint, monitor=monitor)
    return model.cpu().eval()
