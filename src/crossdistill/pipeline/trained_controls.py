"""Controls that cost a training of their own: trained once, kept in the run folder, and resumed when stopped."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel
from torch import nn

from crossdistill import ranks
from crossdistill.encoders import (
    Encoder,
    describe_encoder,
    forget_encoder,
    has_encoder,
    load_encoder,
    save_encoder,
)
from crossdistill.evaluation import RowVectors, Subject, embed_items
from crossdistill.pipeline.environment import timed
from crossdistill.pipeline.stages import fresh_student
from crossdistill.pipeline.work import Run, TeacherSpace
from crossdistill.training import PretrainConfig, TrainConfig, TrainLog, pretrain
from crossdistill.training.batches import StepSampler
from crossdistill.training.config import SAFE
from crossdistill.training.online_teacher import distil_online

SSL, ONLINE = "ssl_target", "online_teacher"
_SOURCE = "source"  # the folder of an online teacher's source encoder, within that of its student


def trained_controls(run: Run, space: TeacherSpace, embed_target: Callable[[Encoder], RowVectors]) -> list[Subject]:
    """Those of ``evaluate.controls`` that are trained; what cannot be had here is noted in ``run.left_out``.

    Args:
        run: with its pairs.
        space: of its teacher.
        embed_target: vectors of all target items.
    """
    found = []
    for name, make in ((SSL, _ssl_target), (ONLINE, _online_teacher)):
        if name in run.evaluate.controls:
            if run.given_student is not None:
                run.left_out[name] = "the student is a module of your own, whose weights we cannot draw"
            elif (subject := make(run, space, embed_target)) is not None:
                found.append(subject)
    return found


def _settings(run: Run, **changed: Any) -> dict[str, Any]:
    """The ``train`` section without what is chosen for the student alone, or needs held-out pairs."""
    return {
        **run.config.train.model_dump(), "early_stop": None, "keep": "last", "freeze": (), "freeze_epochs": None,
        "layer_decay": None, "parallel": "ddp", **changed,
    }  # fmt: skip


def _distillation(run: Run) -> StepSampler:
    """The batches of the distillation, unless it stops early."""
    config, pairs = run.config.train, run.pairs.where("train", has=("source", "target"))
    return StepSampler(len(pairs), config.batch_size, config.epochs, config.seed, accumulate=config.accumulate)


def _trained(run: Run, name: str, settings: BaseModel, train: Callable[[TrainLog, Path], dict[str, Encoder]]) -> Path:
    """Where the encoders are that ``train`` makes of these settings, now or at an earlier time.

    Args:
        run: whose folder has them, in ``controls/NAME``.
        name: of the control.
        settings: its section of the configuration; with others they are trained anew.
        train: makes them, by the names of their folders; the one that is written last has an empty name.
    """
    place = run.folder.control(name)
    common = {key: value for key, value in run.config.train.model_dump(mode="json").items() if key not in SAFE}
    key = {"settings": settings.model_dump(mode="json"), "train": common}
    known = describe_encoder(place)["provenance"] if has_encoder(place) else {}
    ranks.wait()  # before the first rank changes what the others look at
    if any(known.get(part) != value for part, value in key.items()):
        stage = f"control/{name}"
        with timed(run.folder, stage), run.trackers() as trackers:
            state = run.folder.checkpoint(f"{stage}-{hashlib.sha256(json.dumps(key).encode()).hexdigest()[:8]}")
            encoders = train(TrainLog(run.folder.log, stage, trackers), state)

            def save() -> None:
                forget_encoder(place)  # so that what is killed here leaves no parts of two trainings
                for part in sorted(encoders, reverse=True):
                    save_encoder(place / part, encoders[part], {"stage": stage, **key})

            ranks.first_does(save)
    return place


def _untrained(run: Run, space: TeacherSpace, *, random_weights: bool) -> tuple[Encoder, tuple[int, ...]]:
    """The student before any training, and the rows of the training pairs."""
    rows = run.pairs.where("train", has=("source", "target"))
    return fresh_student(run, rows, space.teacher.encoder, random_weights=random_weights)[0], rows


def _ssl_target(run: Run, space: TeacherSpace, embed_target: Callable[[Encoder], RowVectors]) -> Subject | None:
    """The student's network, pretrained on the training split's target items alone, paired or not.

    Its head into the teacher's space is left out: it would mean nothing here, and features before the projection are
    best for probes (SimCLR, arXiv 2002.05709, section 4.2).
    """
    if not {"knn", "linear", "clustering"} & set(run.evaluate.protocols):
        run.left_out[SSL] = "its vectors are not compared with the teacher's, and nothing else is measured"
        return None
    settings = run.evaluate.ssl_target
    paired = _distillation(run)
    steps = paired.total_steps

    def train(log: TrainLog, checkpoint: Path) -> dict[str, Encoder]:
        student, _ = _untrained(run, space, random_weights=True)
        features = student.architecture.features
        bare = replace(student.architecture, head="none", width=features)
        encoder = Encoder(student.backbone, nn.Identity(), student.modality, bare, student.origin)
        items = run.items(run.pairs.where("train", has=("target",)), "target", encoder.modality)
        each = StepSampler(len(items), paired.batch_size, 1, 0, accumulate=paired.accumulate).steps_per_epoch
        passes = -(-steps // each)  # the last one is cut off
        shape = {"batch_size": paired.batch_size, "accumulate": paired.accumulate, "epochs": passes}
        config = PretrainConfig(**_settings(run, **shape), **settings.model_dump())
        pretrain(
            encoder, items, config, log=log, checkpoint=checkpoint, title="self-supervised on the target alone",
            section="train", steps=steps,
        )  # fmt: skip
        encoder.origin = f"pretrained with InfoNCE on {len(items)} target items of {run.pairs.name}"
        return {"": encoder}

    encoder = load_encoder(_trained(run, SSL, settings, train))
    return Subject(
        name=SSL, role="control", description=f"self-supervised on the target alone ({steps} steps)", side="target",
        shared=False, vectors=embed_target(encoder),
    )  # fmt: skip


def _online_teacher(run: Run, space: TeacherSpace, embed_target: Callable[[Encoder], RowVectors]) -> Subject:
    """The student of a source encoder that is trained along, and whose average it follows."""
    settings = run.evaluate.online_teacher

    def train(log: TrainLog, checkpoint: Path) -> dict[str, Encoder]:
        student, rows = _untrained(run, space, random_weights=False)
        items = run.items(rows, "target", student.modality)
        sources = run.items(rows, "source", space.teacher.modality)
        same = torch.tensor(run.pairs.group_ids) if run.config.negatives == "group" else space.ids
        config = TrainConfig(**_settings(run, freeze=run.config.train.freeze))
        source = distil_online(
            student, space.teacher.encoder, items, sources, same[list(rows)], settings, config, log=log,
            checkpoint=checkpoint,
        )  # fmt: skip
        source.origin = f"an online teacher that began as: {source.origin}"
        return {"": student, _SOURCE: source}

    place = _trained(run, ONLINE, settings, train)
    source = load_encoder(place / _SOURCE)
    items = run.items(space.rows, "source", source.modality)
    sources = RowVectors(np.array(space.rows, dtype=np.int64), *embed_items(source, items, run.device))
    return Subject(
        name=ONLINE, role="control", description="student of a teacher that is trained along (momentum)", side="target",
        shared=True, vectors=embed_target(load_encoder(place)), sources=sources,
    )  # fmt: skip
