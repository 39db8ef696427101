"""Stage 2: a student learns to embed target items where the frozen teacher embeds their source partners."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from crossdistill.encoders import Encoder
from crossdistill.pairs.items import Items
from crossdistill.training.config import TrainConfig
from crossdistill.training.log import TrainLog
from crossdistill.training.loop import Monitor, fit


def distil(
    student: Encoder,
    items: Items,
    teacher_embeddings: Tensor,
    ids: Tensor,
    objective: nn.Module,
    config: TrainConfig,
    *,
    title: str = "distilling",
    log: TrainLog | None = None,
    checkpoint: Path | None = None,
    monitor: Monitor | None = None,
) -> Encoder:
    """Trains ``student`` in place and returns it in eval mode on the CPU.

    Args:
        student: maps target items into the teacher's space.
        items: the target sides of the training pairs, ``n`` of them.
        teacher_embeddings: of their source sides, from the bank, ``(n, d)``.
        ids: identity of the source items, ``(n,)``; equal ids are no negatives of each other.
        objective: takes student ``(B, d)``, teacher ``(B, d)`` and ids ``(B,)``.
        config: the ``train:`` section.
        title: for the progress bar.
        log: where epochs are written.
        checkpoint: see :func:`~crossdistill.training.loop.fit`.
        monitor: measures the student on held-out pairs after an epoch.
    """

    def paired_loss(numbers: Tensor, images: Tensor) -> Tensor:
        chosen = numbers.cpu()
        teacher = teacher_embeddings[chosen].to(images.device)
        loss: Tensor = objective(student(images), teacher, ids[chosen].to(images.device))
        return loss

    fit(student, paired_loss, items, config, title=title, log=log, checkpoint=checkpoint, monitor=monitor)
    return student.cpu().eval()
