"""Stages 1 and 2 on a run folder. Each is skipped when its result is there, and resumed when half of it is."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from crossdistill import ranks
from crossdistill.bank import BankRows, build_bank
from crossdistill.encoders import (
    DetailConfig,
    Encoder,
    Teacher,
    TeacherConfig,
    build_student,
    calibrate,
    detail_width,
    has_encoder,
    load_encoder,
    resolve_modality,
    save_encoder,
    with_random_weights,
)
from crossdistill.evaluation import embed_items
from crossdistill.evaluation import ranks as partner_ranks
from crossdistill.evaluation.retrieval import RECALL_AT
from crossdistill.objectives import ObjectiveConfig
from crossdistill.pairs import Pairs
from crossdistill.pairs.items import Items
from crossdistill.pairs.unpair import share_of_rows
from crossdistill.pipeline.config import RunConfig
from crossdistill.pipeline.dense import dense_term, open_maps
from crossdistill.pipeline.environment import timed
from crossdistill.pipeline.folder import RunFolder
from crossdistill.pipeline.theory_terms import TheoryWatch, theory_temperature
from crossdistill.pipeline.views import open_views
from crossdistill.pipeline.work import Run, TeacherSpace, bank_name, fresh_teacher, unpaired_targets
from crossdistill.training import TrainLog, distil, new_source_encoder, pretrain
from crossdistill.training.state import SCORE

_SAMPLE = 1024  # training items behind the normalisation of a student of random weights


def first_rows(pairs: Pairs, rows: Sequence[int]) -> list[int]:
    """Of several rows with one source file the first alone: a source that is in two pairs counts once."""
    return sorted({pairs[row].source: row for row in reversed(rows)}.values())


def run_pretraining(run: Run) -> None:
    """Stage 1, where the configuration names it: an encoder of the unlabelled source items of the training split."""
    config = run.config.pretrain
    if config is None or has_encoder(run.folder.pretrained):
        return
    with timed(run.folder, "pretrain"), run.trackers() as trackers:
        encoder = new_source_encoder(config, run.config.source)
        rows = first_rows(run.pairs, run.pairs.require("train", ("source",), "pretraining"))
        items = run.items(share_of_rows(run.pairs, rows, config.share, config.seed), "source", encoder.modality)
        log, checkpoint = TrainLog(run.folder.log, "pretrain", trackers), run.folder.checkpoint("pretrain")
        pretrain(encoder, items, config, log=log, checkpoint=checkpoint)
        encoder.origin = f"pretrained with InfoNCE on {len(items)} items of {run.pairs.name}"
        provenance = {"stage": "pretrain", "settings": config.model_dump(mode="json")}
        ranks.first_does(lambda: save_encoder(run.folder.pretrained, encoder, provenance))


def open_teacher_space(run: Run) -> TeacherSpace:
    """Embeds all source items once, and centres the common space on the mean of the training items."""
    plain = fresh_teacher(run)
    teacher = Teacher(plain, run.device)
    rows = run.pairs.where(has=("source",))
    items = run.items(first_rows(run.pairs, rows), "source", teacher.modality)
    settings = run.config.bank
    bank = build_bank(
        run.bank_folder, teacher, items, dtype=settings.dtype, shard_rows=settings.shard_rows,
        extend=settings.folder is not None, name=bank_name(run.config, plain),
    )  # fmt: skip
    files = [file for row in rows if (file := run.pairs[row].source) is not None]
    ids = torch.full((len(run.pairs),), -1, dtype=torch.long)
    # Numbered as they first appear here, and not by the bank's rows: which bank it is changes nothing.
    number: dict[int, int] = {}
    ids[list(rows)] = torch.tensor([number.setdefault(row, len(number)) for row in bank.rows(files).tolist()])
    embeddings = bank.lazy(files)
    embeddings = _calibrated(run.config.teacher, plain, embeddings,
                             [index for index, row in enumerate(rows) if run.pairs[row].split == "train"])  # fmt: skip
    missing = not has_encoder(run.folder.teacher)
    ranks.wait()  # before the first rank changes what the others look at
    if run.config.teacher.save and missing:
        ranks.first_does(lambda: save_encoder(run.folder.teacher, plain, {"stage": "teacher"}))
    return TeacherSpace(teacher, rows, embeddings, ids)


def _calibrated(config: TeacherConfig, teacher: Encoder, embeddings: BankRows, train: Sequence[int]) -> BankRows:
    """The embeddings in the common space, into which the teacher is brought in place.

    Args:
        config: whether the space is centred, and what detail weighs in it.
        teacher: whose embeddings they are.
        embeddings: as the bank holds them, ``(n, d)``.
        train: the rows that belong to the training split; the mean and the lengths are theirs.
    """
    mean = torch.zeros(teacher.width)
    if config.center:
        mean = embeddings.mean(train)
        embeddings = embeddings.centred(mean)
    scale = 1.0
    if detail_width(teacher):
        pooled = teacher.width - detail_width(teacher)
        lengths = [embeddings.lengths(train, part) for part in (slice(0, pooled), slice(pooled, None))]
        if min(lengths) > 0:
            weight = (config.detail if isinstance(config.detail, DetailConfig) else DetailConfig()).weight
            scale = weight * lengths[0] / lengths[1]
    factor = calibrate(teacher, mean, scale)
    return embeddings if factor is None else embeddings.scaled(factor)


def run_distillation(run: Run, space: TeacherSpace) -> None:
    """Stage 2: the student, and one more for each baseline, with the same budget, data, order and augmentation."""
    pending = [(objective, place) for objective, place in students_of(run.config, run.folder) if not has_encoder(place)]
    if not pending:
        return
    rows = run.pairs.require("train", ("source", "target"), "distillation")
    held_out = run.pairs.where("val", has=("source", "target"))
    initial, items = fresh_student(run, rows, space.teacher.encoder)
    semi, support = run.config.semi, None
    if semi is not None and semi.term is not None:
        # The student was made for the pairs alone: it begins as without the term.
        items = run.items([*rows, *unpaired_targets(run.pairs)], "target", initial.modality)
        every = first_rows(run.pairs, run.pairs.where("train", has=("source",)))
        support = space.of(tuple(every)), space.ids[every]
    monitored = run.items(held_out, "target", initial.modality)
    by_group = run.config.negatives == "group"
    same = torch.tensor(run.pairs.group_ids)[list(rows)] if by_group else space.ids[list(rows)]
    views = open_views(run, space.teacher, space.ids, rows, initial.modality)
    maps = open_maps(run, space.teacher, space.ids, rows)
    for objective, place in pending:
        stage = f"distil/{objective.label}"
        with timed(run.folder, stage), run.trackers() as trackers:
            student = copy.deepcopy(initial)
            monitor = _held_out_monitor(student, monitored, space, held_out, run) if held_out else None
            distil(
                student,
                items,
                space.of(rows),
                same,
                objective.build(),
                run.config.train,
                title=f"distilling with {objective.label}",
                log=TrainLog(run.folder.log, stage, trackers),
                checkpoint=run.folder.checkpoint(stage),
                monitor=monitor,
                views=views,
                semi=semi,
                support=support,
                dense=dense_term(run, student, maps, objective),
            )
            provenance = {
                "stage": stage,
                "objective": objective.model_dump(mode="json"),
                **({} if run.config.dense is None else {"dense": run.config.dense.model_dump(mode="json")}),
                "teacher": space.teacher.fingerprint(),
                "pairs": {"name": run.pairs.name, "trained_on": len(rows)},
                "settings": run.config.train.model_dump(mode="json"),
            }
            _save(place, student, provenance)


def _save(place: Path, student: Encoder, provenance: dict[str, Any]) -> None:
    ranks.first_does(lambda: save_encoder(place, student, provenance))


def students_of(config: RunConfig, folder: RunFolder) -> list[tuple[ObjectiveConfig, Path]]:
    """The objectives of a run, the main one first, and where their students are kept."""
    return [(config.objective, folder.student), *((other, folder.baseline(other.label)) for other in config.baselines)]


def load_student(run: Run, place: Path) -> Encoder:
    """A distilled student of this run, in eval mode."""
    if run.given_student is None:
        return load_encoder(place)
    return load_encoder(place, copy.deepcopy(run.given_student.backbone), copy.deepcopy(run.given_student.head))


def fresh_student(
    run: Run, rows: Sequence[int], teacher: Encoder, *, random_weights: bool = False
) -> tuple[Encoder, Items]:
    """The student as it is before any training, the same for every objective.

    Args:
        run: whose student.
        rows: training rows.
        teacher: in whose space it will be; centred.
        random_weights: start from random weights whatever the configuration says (a control).

    Returns:
        The student, and the target items of the training ``rows``, decoded and normalised as it wants them.
    """
    if run.given_student is not None:
        student = copy.deepcopy(run.given_student)
        return student, run.items(rows, "target", student.modality)
    config = run.config.student
    modality = resolve_modality(config, run.config.target, teacher)
    if random_weights:
        config = with_random_weights(config, teacher)
    items = run.items(rows, "target", modality)
    torch.manual_seed(run.config.train.seed)
    sample = items.batch(range(min(_SAMPLE, len(items))))
    student = build_student(config, run.config.target, teacher.width, sample, teacher=teacher)
    return student, Items.like(items, student.modality)


def _held_out_monitor(
    student: Encoder, items: Items, space: TeacherSpace, rows: tuple[int, ...], run: Run
) -> Callable[[], dict[str, float]]:
    """Retrieval from target to source on held-out pairs, a score that needs no label, and the terms of the theory."""
    sources = space.of(rows)[:].numpy()
    ids = space.ids[list(rows)].numpy()
    watch = TheoryWatch(run.pairs, rows, sources, ids, theory_temperature(run.config.objective))

    def monitor() -> dict[str, float]:
        embeddings, _ = embed_items(student, items, run.device)
        found = partner_ranks(embeddings, sources, ids, ids)
        recalls = {f"val_r@{k}": round(float((found <= k).mean()), 5) for k in RECALL_AT}
        score = round(float((1 / found).mean()), 6)  # the mean reciprocal rank, which is smoother
        return {**recalls, SCORE: score, **watch(embeddings)}

    return monitor
