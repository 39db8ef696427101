"""A teacher that is not frozen: its source encoder is trained along, and the student follows a moving average."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Self

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from crossdistill.encoders import Encoder
from crossdistill.objectives import CMC
from crossdistill.pairs.items import Items
from crossdistill.training.clock import phase
from crossdistill.training.config import TrainConfig
from crossdistill.training.gradient_cache import embed_in_parts
from crossdistill.training.guards import CollapseGuard
from crossdistill.training.log import TrainLog
from crossdistill.training.loop import Task, choose_device, fit
from crossdistill.training.precision import autocast


class OnlineTeacherConfig(BaseModel):
    """How the source encoder of the control ``online_teacher`` moves."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    momentum: float = Field(0.996, ge=0, le=1, description="of its average, a step; 1: the teacher stays as it is")
    lr_scale: float = Field(0.1, gt=0, le=1, description="its learning rate, as a part of the student's")
    temperature: float = Field(0.1, gt=0, description="of both contrastive losses")


class OnlineSource(nn.Module):
    """The source encoder that is trained, and its average ``average = m average + (1 - m) source`` after each step.

    Both stay in eval mode: running statistics are the teacher's, so that training begins with the very teacher.

    Args:
        teacher: what both begin as; copied.
        momentum: m.
    """

    def __init__(self, teacher: Encoder, momentum: float) -> None:
        super().__init__()
        self.source = copy.deepcopy(teacher).requires_grad_(True)
        self.average = copy.deepcopy(teacher).requires_grad_(False)
        self._update = get_ema_multi_avg_fn(momentum)  # type: ignore[no-untyped-call]  # untyped in torch

    def train(self, mode: bool = True) -> Self:
        """Changes nothing about the two encoders."""
        super().train(mode)
        self.source.eval()
        self.average.eval()
        return self

    @torch.no_grad()
    def update(self) -> None:
        """After a step of the optimiser."""
        self._update(list(self.average.parameters()), list(self.source.parameters()), 1)


def distil_online(
    student: Encoder,
    teacher: Encoder,
    items: Items,
    sources: Items,
    ids: Tensor,
    settings: OnlineTeacherConfig,
    config: TrainConfig,
    *,
    title: str = "distilling from an online teacher",
    log: TrainLog | None = None,
    checkpoint: Path | None = None,
) -> Encoder:
    """Trains ``student`` in place, with a teacher that moves; the answer is that teacher's average.

    With s of the student, t of the source encoder and e of its average, the loss of a batch is

        CMC(s, sg(e)) + CMC(t, sg(s))

    where CMC is symmetric and sg stops the gradient: each tower is trained by its own term, and what the student
    follows is the average alone. No bank is made: the sources of each batch are decoded and embedded in its step.

    Source: momentum encoders as in MoCo, arXiv 1911.05722, equation 2, and BYOL, arXiv 2006.07733, whose momentum of
    0.996 is the default; a source encoder that is trained along as in CMC, arXiv 1906.05849.

    Args:
        student: in the teacher's space.
        teacher: what the source encoder begins as; it is not changed.
        items: target sides of the training pairs, ``n`` of them.
        sources: their source sides, in the same order, decoded with the teacher's modality.
        ids: identity of the source items, ``(n,)``; equal ids are no negatives of each other.
        settings: of the source encoder.
        config: the ``train:`` section; without early stopping, as nothing is measured on the way.
        title: for the progress bar.
        log: where epochs are written.
        checkpoint: see :func:`~crossdistill.training.loop.fit`.
    """
    device = choose_device(config.device)
    online = OnlineSource(teacher, settings.momentum)
    objective = CMC(settings.temperature)
    at_once = config.embed_at_once or config.batch_size
    collapse = CollapseGuard(title)

    def prepare(numbers: Tensor, decoded: Tensor) -> tuple[Tensor, ...]:
        chosen = numbers.cpu()
        partners = sources.modality.normalise(sources.batch(chosen.tolist()).to(device))
        return items.modality.normalise(items.modality.augment(decoded)), partners, ids[chosen].to(device)

    def loss(images: Tensor, partners: Tensor, same: Tensor) -> Tensor:
        with phase("forward"), autocast(config.precision, device):
            embedded = embed_in_parts(student, images, at_once, batch_norm=config.batch_norm)
            moving = embed_in_parts(online.source, partners, at_once)
            with torch.no_grad():
                followed = embed_in_parts(online.average, partners, at_once)
        collapse.see(embedded, followed)
        with phase("objective"):
            total: Tensor = objective(embedded, followed, same) + objective(moving, embedded.detach(), same)
        return total

    task = Task(
        title, nn.ModuleDict({"student": student, "online": online}), student, prepare, loss, views=1,
        scales={"online.source.": settings.lr_scale}, after_step=online.update,
    )  # fmt: skip
    fit(task, items, config, log=log, checkpoint=checkpoint, health=collapse.measure)
    student.cpu().eval()
    return online.average.cpu().eval()
