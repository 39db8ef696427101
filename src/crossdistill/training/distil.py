"""Stage 2: a student learns to embed target items where the frozen teacher embeds their source partners."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from crossdistill import ranks
from crossdistill.bank import BankRows, SourceViews
from crossdistill.draws import share_of_batch
from crossdistill.encoders import Encoder
from crossdistill.objectives import Objective, TeacherColumns
from crossdistill.pairs.items import Items
from crossdistill.training.clock import phase
from crossdistill.training.config import TrainConfig
from crossdistill.training.dense import Cells, DenseTerm, embedded_and_map
from crossdistill.training.gradient_cache import embed_in_parts
from crossdistill.training.guards import CollapseGuard
from crossdistill.training.log import TrainLog
from crossdistill.training.loop import Monitor, Task, choose_device, fit
from crossdistill.training.precision import autocast
from crossdistill.training.semi import SemiConfig, Unpaired


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
    semi: SemiConfig | None = None,
    support: tuple[Tensor | BankRows, Tensor] | None = None,
    dense: DenseTerm | None = None,
) -> Encoder:
    """Trains ``student`` in place and returns it in eval mode on the CPU.

    Args:
        student: maps target items into the teacher's space.
        items: the target sides of the training pairs, ``n`` of them; with ``semi``, unpaired target items after them.
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
        semi: with a term for the unpaired items; see :class:`~crossdistill.training.semi.Unpaired`.
        support: for that term, the teacher's embeddings of source items, paired or not, each once, ``(m, d)``, and
            their identities ``(m,)``; those of the pairs by default.
        dense: brings feature maps together, too; not with a term for unpaired items, nor with gradient caching.
    """
    device = choose_device(config.device)
    objective.to(device).prepare(_columns(teacher_embeddings, ids, device))
    collapse = CollapseGuard(title)
    own = ranks.share(min(config.batch_size, len(ids)))  # this rank's rows of a batch of pairs
    unpaired = None
    if semi is not None and semi.term is not None:
        columns = _columns(*(support or (teacher_embeddings, ids)), device)
        unpaired = Unpaired(semi, len(items) - len(ids), items, columns, config)
    beside = unpaired.beside if unpaired is not None else None
    at_once = config.embed_at_once or config.batch_size + (2 * beside.size if beside is not None else 0)

    def prepare(numbers: Tensor, decoded: Tensor) -> tuple[Tensor, ...]:
        chosen = numbers.cpu()[: len(own)]
        with share_of_batch(own.start, len(own), min(config.batch_size, len(ids))):
            teacher, placement = (teacher_embeddings[chosen], None) if views is None else views.draw(chosen)
            if dense is not None and placement is None:
                placement = dense.placed(student, len(chosen))
            images = items.modality.normalise(items.modality.augment(decoded[: len(own)], placement))
            cells = () if dense is None else dense.draw(chosen, ids[chosen], placement).on(device)
        if unpaired is not None:
            images = torch.cat([images, *unpaired.views(decoded[len(own) :])])
        return images, teacher.to(device), ids[chosen].to(device), *cells

    def paired_loss(images: Tensor, teacher: Tensor, same: Tensor, *cells: Tensor) -> Tensor:
        with phase("forward"), autocast(config.precision, device):
            if dense is None:
                embedded = embed_in_parts(student, images, at_once, batch_norm=config.batch_norm)
            else:
                embedded, maps = embedded_and_map(student, images, dense.level)
        pairs, others = embedded[: len(teacher)], embedded[len(teacher) :]
        collapse.see(pairs, teacher)
        with phase("objective"):
            loss: Tensor = objective(pairs, teacher, same)
            if unpaired is not None:
                loss = loss + unpaired.loss(others)
            if dense is not None:
                loss = loss + dense.loss(maps, Cells(*cells))
        return loss

    def health() -> dict[str, float]:
        return collapse.measure() | (unpaired.measure() if unpaired is not None else {})

    parts: dict[str, nn.Module] = {"student": student, "objective": objective}
    model = nn.ModuleDict(parts if dense is None else {**parts, "dense": dense})
    task = Task(title, model, student, prepare, paired_loss, views=1, beside=beside)
    fit(task, items, config, log=log, checkpoint=checkpoint, monitor=monitor, health=health)
    return student.cpu().eval()


def _columns(embeddings: Tensor | BankRows, ids: Tensor, device: torch.device) -> TeacherColumns:
    """The whole pair set for the objective, on the GPU where it takes up to half of what is free there."""
    columns = TeacherColumns(embeddings, ids)
    if device.type == "cuda" and embeddings.nbytes < torch.cuda.mem_get_info(device)[0] / 2:
        return columns.to(device)
    return columns
