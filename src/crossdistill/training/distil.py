"""Stage 2: a student learns to embed target items where the frozen teacher embeds their source partners."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from crossdistill.bank import SourceViews
from crossdistill.encoders import Encoder
from crossdistill.objectives import Objective, TeacherColumns
from crossdistill.pairs.items import Items
from crossdistill.training.config import TrainConfig
from crossdistill.training.gradient_cache import embed_in_parts
from crossdistill.training.log import TrainLog
from crossdistill.training.loop import Monitor, choose_device, fit


def distil(
    student: Encoder,
    items: Items,
    teacher_embeddings: Tensor,
    ids: Tensor,
    objective: Objective,
    config: TrainConfig,
    *,
    title: str = "distilling",
    log: TrainLog | None = None,
    checkpoint: Path | None = None,
    monitor: Monitor | None = None,
    views: SourceViews | None = None,
) -> Encoder:
    """Trains ``student`` in place and returns it in eval mode on the CPU.

    Args:
        student: maps target items into the teacher's space.
        items: the target sides of the training pairs, ``n`` of them.
        teacher_embeddings: of their source sides, from the bank, ``(n, d)``.
        ids: identity of the source items, ``(n,)``; equal ids are no negatives of each other.
        objective: takes student ``(B, d)``, teacher ``(B, d)`` and ids ``(B,)``. It is told of all teacher embeddings
            beforehand; what it learns (a temperature) is trained along.
        config: the ``train:`` section.
        title: for the progress bar.
        log: where epochs are written.
        checkpoint: see :func:`~crossdistill.training.loop.fit`.
        monitor: measures the student on held-out pairs after an epoch.
        views: of the source items; each step then draws one of them for each pair, instead of the source as it is.
    """

    device = choose_device(config.device)
    objective.to(device).prepare(_columns(teacher_embeddings, ids, device))
    at_once = config.embed_at_once or config.batch_size

    def paired_loss(numbers: Tensor, decoded: Tensor) -> Tensor:
        chosen = numbers.cpu()
        teacher, placement = (teacher_embeddings[chosen], None) if views is None else views.draw(chosen)
        teacher = teacher.to(decoded.device)
        images = items.modality.normalise(items.modality.augment(decoded, placement))
        embedded = embed_in_parts(student, images, at_once, batch_norm=config.batch_norm)
        loss: Tensor = objective(embedded, teacher, ids[chosen].to(images.device))
        return loss

    trained = nn.ModuleDict({"student": student, "objective": objective})
    fit(trained, paired_loss, items, config, title=title, log=log, checkpoint=checkpoint, monitor=monitor)
    return student.cpu().eval()


def _columns(embeddings: Tensor, ids: Tensor, device: torch.device) -> TeacherColumns:
    """The whole pair set for the objective, on the GPU where it takes up to half of what is free there."""
    columns = TeacherColumns(embeddings, ids)
    if device.type == "cuda" and embeddings.nbytes < torch.cuda.mem_get_info(device)[0] / 2:
        return columns.to(device)
    return columns
