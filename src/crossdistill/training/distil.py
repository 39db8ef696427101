"""Stage 2: a student learns to embed target items where the frozen teacher embeds their source partners."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from crossdistill.bank import BankRows, SourceViews
from crossdistill.encoders import Encoder
from crossdistill.objectives import Objective, TeacherColumns
from crossdistill.pairs.items import Items
from crossdistill.training.clock import phase
from crossdistill.training.config import TrainConfig
from crossdistill.training.gradient_cache import embed_in_parts
from crossdistill.training.guards import CollapseGuard
from crossdistill.training.log import TrainLog
from crossdistill.training.loop import Monitor, Task, choose_device, fit
from crossdistill.training.precision import autocast


def distil(
    student: Encoder,
    items: Items,
    teacher_embeddings: Tensor | BankRows,
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
    collapse = CollapseGuard(title)

    def prepare(numbers: Tensor, decoded: Tensor) -> tuple[Tensor, ...]:
        chosen = numbers.cpu()
        teacher, placement = (teacher_embeddings[chosen], None) if views is None else views.draw(chosen)
        images = items.modality.normalise(items.modality.augment(decoded, placement))
        return images, teacher.to(device), ids[chosen].to(device)

    def paired_loss(images: Tensor, teacher: Tensor, same: Tensor) -> Tensor:
        with phase("forward"), autocast(config.precision, device):
            embedded = embed_in_parts(student, images, at_once, batch_norm=config.batch_norm)
        collapse.see(embedded, teacher)
        with phase("objective"):
            loss: Tensor = objective(embedded, teacher, same)
        return loss

    model = nn.ModuleDict({"student": student, "objective": objective})
    task = Task(title, model, student, prepare, paired_loss, views=1)
    fit(task, items, config, log=log, checkpoint=checkpoint, monitor=monitor, health=collapse.measure)
    return student.cpu().eval()


def _columns(embeddings: Tensor | BankRows, ids: Tensor, device: torch.device) -> TeacherColumns:
    """The whole pair set for the objective, on the GPU where it takes up to half of what is free there."""
    columns = TeacherColumns(embeddings, ids)
    if device.type == "cuda" and embeddings.nbytes < torch.cuda.mem_get_info(device)[0] / 2:
        return columns.to(device)
    return columns
