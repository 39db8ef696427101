"""What all cells share: the pairs' content, the teacher, its bank."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch

from crossdistill.console import say, track
from crossdistill.encoders import build_teacher, has_encoder, save_encoder
from crossdistill.encoders.config import RANDOM
from crossdistill.errors import PairsError
from crossdistill.pairs import Pairs
from crossdistill.pairs.items import content_hash
from crossdistill.pipeline.commands import run_stage_one
from crossdistill.pipeline.config import RunConfig
from crossdistill.pipeline.stages import open_teacher_space
from crossdistill.pipeline.work import begin


def with_shared_parts(config: RunConfig, out: Path) -> RunConfig:
    """The configuration whose teacher is pretrained or drawn already, its bank in ``out``: cells share both."""
    if config.pretrain is not None:
        say("stage 1, once for all cells")
        folder = run_stage_one(config.model_copy(update={"out": out / "stage-one"}))
        teacher = config.teacher.model_copy(update={"weights": str(folder.pretrained.resolve()), "backbone": None})
        config = config.model_copy(update={"pretrain": None, "teacher": teacher})
    elif config.teacher.weights == RANDOM:  # drawn by the seed, which differs between cells
        place = out / "teacher"
        if not has_encoder(place):
            torch.manual_seed(config.train.seed)
            save_encoder(place, build_teacher(config.teacher, config.source), {"stage": "teacher"})
        teacher = config.teacher.model_copy(update={"weights": str(place.resolve()), "backbone": None})
        config = config.model_copy(update={"teacher": teacher})
    bank = config.bank.model_copy(update={"folder": (config.bank.folder or out / "bank").resolve()})
    return config.model_copy(update={"bank": bank, "baselines": []})


def prepare(config: RunConfig, out: Path) -> tuple[Pairs, str]:
    """Builds the bank, and checks whatever can be checked before the cells.

    Returns:
        The pairs, and a hash of their content and the teacher.

    Raises:
        CrossDistillError: anything that would make the cells fail.
    """
    name = hashlib.sha256(json.dumps(config.to_dict(), sort_keys=True, default=str).encode()).hexdigest()[:16]
    work = begin(config.model_copy(update={"out": out / "prepared" / name}))
    space = open_teacher_space(work)
    digest = hashlib.sha256(space.teacher.fingerprint().encode())
    digest.update(content_of(work.pairs).encode())
    return work.pairs, digest.hexdigest()


def content_of(pairs: Pairs) -> str:
    """A hash of all rows: what their items hold, labels, splits and groups, wherever the files are."""
    known: dict[str, str] = {}
    items = {str(item): item for pair in pairs for item in (pair.source, pair.target, pair.mask) if item is not None}
    with track("reading the pairs", len(items)) as task:
        for name, item in items.items():
            try:
                known[name] = content_hash(item)
            except OSError as error:
                raise PairsError("This item cannot be read.", where=name, received=error.strerror) from error
            task.advance()
    rows = [
        [None if item is None else known[str(item)] for item in (pair.source, pair.target, pair.mask)]
        + [pair.label, pair.split, str(number)]
        for pair, number in zip(pairs, pairs.group_ids, strict=True)
    ]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()
