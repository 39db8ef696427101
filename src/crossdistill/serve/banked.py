"""The teacher's embeddings of a run's own source items, from its bank: what was computed once is not computed again."""

from __future__ import annotations

import copy

import torch

from crossdistill.bank import open_bank
from crossdistill.encoders import Teacher, scaling, uncalibrated
from crossdistill.errors import RunFolderError
from crossdistill.evaluation.probes import Vectors, unit
from crossdistill.pipeline import CrossModalModel, RunConfig
from crossdistill.pipeline.work import bank_name
from crossdistill.serve.gallery import Gallery


def banked(model: CrossModalModel, config: RunConfig, gallery: Gallery) -> Vectors | None:
    """The vectors ``(N, d)`` of a gallery's source items, unit length.

    None where the run has no bank any more, or one of another teacher, or one that lacks items.
    """
    teacher = copy.deepcopy(model.encoder("source")).cpu()
    centre, factor = teacher.offset.clone(), scaling(teacher)
    uncalibrated(teacher)  # as a bank holds its embeddings
    items = [entry.item for entry in (gallery.entries[row] for row in range(len(gallery))) if entry.item is not None]
    try:
        folder = config.bank.folder or model.folder.bank
        bank = open_bank(folder, name=bank_name(config, teacher))
        if bank.packed.description.key != Teacher(teacher, torch.device("cpu")).fingerprint():
            return None
        found = bank.of(items)
    except (RunFolderError, OSError):
        return None
    return unit(((found if factor is None else found * factor) - centre).numpy())
