"""A run at work, and everything about it that can be checked before anything is computed."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from crossdistill import ranks
from crossdistill.bank import BankRows
from crossdistill.bank.bank import NAME
from crossdistill.console import warn
from crossdistill.encoders import (
    Encoder,
    Teacher,
    build_student,
    build_teacher,
    has_encoder,
    levels_of,
    load_encoder,
    uncalibrated,
    with_detail,
)
from crossdistill.errors import ConfigError, CrossDistillError, EncoderError, PairsError
from crossdistill.evaluation import EvaluateConfig, applicable
from crossdistill.files import read_json, write_json
from crossdistill.modalities import Modality
from crossdistill.pairs import Pairs, Side
from crossdistill.pairs.items import Items
from crossdistill.pairs.reading import Unreadable, skip_unreadable, unreadable
from crossdistill.pipeline.config import PRETRAINED_HERE, RunConfig
from crossdistill.pipeline.dense_check import check_dense
from crossdistill.pipeline.folder import RunFolder, claim
from crossdistill.pipeline.run_pairs import run_pairs
from crossdistill.segmentation import Classes, check_masks
from crossdistill.training import TrainConfig, new_source_encoder
from crossdistill.training.gradient_cache import check_parts
from crossdistill.training.loop import choose_device
from crossdistill.training.trackers import Tracker, check_trackers, open_trackers

_FEWEST = 4  # training pairs


Decoded = dict[tuple[Side, str], tuple[dict[int, int], Items]]


@dataclass
class Run:
    """A run at work: configuration, pairs and what several stages need.

    Attributes:
        config: resolved.
        folder: claimed.
        pairs: with splits.
        evaluate: the ``evaluate`` section without what these pairs cannot bear.
        left_out: protocols left out, with the reason.
        given_teacher: an encoder from Python instead of the configuration's.
        given_student: likewise.
        skipped: rows left out as an item of theirs cannot be read.
        decoded: items that were read already, by side and decoding; runs on the same pairs may share it.
        mask_classes: what the numbers in masks mean, where segmentation is measured.
    """

    config: RunConfig
    folder: RunFolder
    pairs: Pairs
    evaluate: EvaluateConfig
    left_out: dict[str, str]
    given_teacher: Encoder | None = None
    given_student: Encoder | None = None
    skipped: int = 0
    decoded: Decoded = field(default_factory=dict, repr=False)
    mask_classes: Classes | None = None

    def items(self, rows: Sequence[int], side: Side, modality: Modality) -> Items:
        """The items of ``rows`` on one side. All items of a side are decoded once, however often they are asked for."""
        semi = self.config.semi
        rows_are = "" if semi is None else f" of {semi.pairs} by {semi.seed}"  # other shares have other rows
        key = (side, modality.decoding + rows_are)
        if key not in self.decoded:
            everything = self.pairs.where(has=(side,))
            place = {row: index for index, row in enumerate(everything)}
            self.decoded[key] = (
                place,
                Items.of(
                    self.pairs, everything, side, modality, self.config.train.workers, self.config.train.read_timeout
                ),
            )
        place, items = self.decoded[key]
        return Items.like(items.subset([place[row] for row in rows]), modality)

    @contextmanager
    def trackers(self) -> Iterator[list[Tracker]]:
        """Where the curves of a training go beside ``train.jsonl``."""
        opened = open_trackers(self.config.trackers, self.folder.root, self.config.to_dict())
        try:
            yield opened
        finally:
            for tracker in opened:
                try:
                    tracker.close()
                except CrossDistillError:
                    raise
                except Exception as error:  # a service that does not answer; the numbers are in train.jsonl
                    warn(f"{type(tracker).__name__} does not take the end of the curves: {error}")

    @property
    def bank_folder(self) -> Path:
        """Where the teacher's embeddings are: in the run folder, or where several runs share them."""
        return self.config.bank.folder or self.folder.bank

    @property
    def device(self) -> torch.device:
        """Where to compute."""
        return choose_device(self.config.train.device)


def bank_name(config: RunConfig, teacher: Encoder) -> str:
    """What the embeddings of a run's teacher are called; in a shared folder those with detail have its name."""
    about = teacher.architecture
    if config.bank.folder is None or about.detail_level is None:
        return NAME
    return f"{NAME}-detail-{about.detail_level}-{about.detail_grid}-{about.detail_channels or 'all'}"


def begin(config: RunConfig, teacher: Encoder | None = None, student: Encoder | None = None) -> Run:
    """Opens the pairs, checks everything that can be checked beforehand, and claims the run folder.

    Raises:
        CrossDistillError: anything that would make the run fail later.
    """
    if teacher is not None:
        named = config.teacher.model_copy(update={"backbone": teacher.architecture.backbone, "weights": "given"})
        config = config.model_copy(update={"teacher": named, "source": teacher.modality})
    if student is not None:
        named_student = config.student.model_copy(
            update={"backbone": student.architecture.backbone, "weights": "given"}
        )
        config = config.model_copy(update={"student": named_student, "target": student.modality})
    ranks.start()
    choose_device(config.train.device)
    check_trackers(config.trackers)
    folder = RunFolder(config.out)
    with ranks.first_goes_first("machine"):  # a built-in set is written when it is first opened
        pairs, skipped = _readable(config, folder)
    _check_size(pairs)
    evaluate, left_out = applicable(pairs, config.evaluate)
    for protocol, reason in left_out.items():
        warn(f"{protocol} is left out: {reason}")
    run = Run(config, folder, pairs, evaluate, left_out, teacher, student)
    run.skipped = len({each["row"] for each in skipped["items"]}) if skipped is not None else 0
    _check_views(run)
    _check_held_out(run)
    _check_semi(run)
    _check_encoders(run)
    if "segmentation" in evaluate.protocols:
        train = config.train
        run.mask_classes = check_masks(
            pairs, config.target, evaluate.segmentation, workers=train.workers, patience=train.read_timeout
        )

    def begin_folder() -> None:
        claim(config, pairs)
        if skipped is not None:
            write_json(folder.skipped, skipped)

    ranks.first_does(begin_folder)
    return run


def _readable(config: RunConfig, folder: RunFolder) -> tuple[Pairs, dict[str, Any] | None]:
    """The pairs, without unreadable items where the configuration says so, and a record of what was left out.

    Every item is decoded once for it; a resumed run takes the record instead, as long as the rows are the same.
    """
    pairs = run_pairs(config)
    if config.pairs.corrupt == "error":
        return pairs, None
    rows = hashlib.sha256("\n".join(f"{pair.source},{pair.target}" for pair in pairs).encode()).hexdigest()
    record = read_json(folder.skipped) if folder.skipped.is_file() else {}
    if record.get("rows") == rows:
        found = [Unreadable(**each) for each in record["items"]]
    else:
        sides: dict[Side, Modality] = {"source": config.source, "target": config.target}
        found = unreadable(pairs, sides, config.train.workers)
        record = {"rows": rows, "items": [asdict(each) for each in found]}
    return skip_unreadable(pairs, found, config.pairs.corrupt_limit), record


def _check_size(pairs: Pairs) -> None:
    rows = pairs.require("train", ("source", "target"), "distillation")
    if len(rows) < _FEWEST:
        raise PairsError(
            "There are too few training pairs.",
            where=pairs.name,
            expected=f"at least {_FEWEST}: a pair is told from others, and batch statistics need several items",
            received=len(rows),
            fix="add pairs, or change the split column, pairs.split or semi.pairs",
        )


def _check_views(run: Run) -> None:
    for side, modality in (("source", run.config.source), ("target", run.config.target)):
        if run.config.views.geometry == "shared" and modality.geometry is None:
            raise ConfigError(
                "A shared geometry needs both sides on a grid.", where="views.geometry", expected="independent",
                received=f"shared, where the {side} is {modality.modality}",
            )  # fmt: skip


def _check_held_out(run: Run) -> None:
    """Early stopping goes by held-out pairs; without any it would be a setting that does nothing."""
    held_out = bool(run.pairs.where("val", has=("source", "target")))
    sections: list[tuple[str, TrainConfig, bool]] = [("train", run.config.train, held_out)]
    if run.config.pretrain is not None:
        sections.append(("pretrain", run.config.pretrain, False))
    for name, section, possible in sections:
        chosen = [key for key, on in (("early_stop", section.early_stop is not None), ("keep", section.keep == "best"))
                  if on]  # fmt: skip
        if chosen and not possible:
            raise ConfigError(
                "There is nothing to measure on, by which to stop early or to keep the best weights.",
                where=f"{name}.{chosen[0]}", expected="pairs with a val split" if name == "train" else "left out",
                fix="give the pairs a val split (pairs.split), or leave it out" if name == "train" else
                "leave it out: stage 1 has no pairs to be measured on",
            )  # fmt: skip


def _check_semi(run: Run) -> None:
    """A term for unpaired items needs some."""
    semi = run.config.semi
    if semi is not None and semi.term is not None and not unpaired_targets(run.pairs):
        raise ConfigError(
            "There are no unpaired target items in the training split.", where="semi.term", received=semi.term,
            expected="rows with a target and no source",
            fix="add some (pairs.unpaired_target: FOLDER), take pairs apart (semi.pairs: 0.1), or leave semi.term out",
        )  # fmt: skip


def unpaired_targets(pairs: Pairs) -> tuple[int, ...]:
    """Rows of the training split that have a target and no source."""
    return tuple(row for row in pairs.where("train", has=("target",)) if pairs[row].source is None)


def _check_encoders(run: Run) -> None:
    """Builds both encoders once, so that an unknown name or a size that does not fit ends the run at once."""
    if has_encoder(run.folder.student):
        _check_maps(run, load_encoder(run.folder.student) if run.given_student is None else run.given_student)
        return
    pretrain, train = run.config.pretrain, run.config.train
    if pretrain is not None:
        source = new_source_encoder(pretrain, run.config.source)
        _check_parts(source, 2 * pretrain.batch_size, pretrain, "pretrain.embed_at_once")
    else:
        source = fresh_teacher(run)
    student = run.given_student or build_student(run.config.student, run.config.target, source.width, teacher=source)
    semi, count = run.config.semi, train.batch_size
    if semi is not None and semi.term is not None:
        count += 2 * semi.beside(len(unpaired_targets(run.pairs)), train).size
    _check_parts(student, count, train, "train.embed_at_once")
    _check_maps(run, student)
    check_dense(run.config, student, source)


def _check_maps(run: Run, student: Encoder) -> None:
    """A decoder needs a student with feature maps."""
    if "segmentation" not in run.evaluate.protocols:
        return
    try:
        levels_of(student)
    except EncoderError as error:
        error.details["fix"] = "leave segmentation out of evaluate.protocols, or take another student.backbone"
        raise


def _check_parts(encoder: Encoder, count: int, config: TrainConfig, where: str) -> None:
    if config.embed_at_once is not None:
        check_parts(encoder, count, config.embed_at_once, config.batch_norm, where=where, beforehand=True)


def fresh_teacher(run: Run) -> Encoder:
    """The teacher without any centring: the copy in the run folder where there is one, else as configured."""
    config = run.config.teacher
    torch.manual_seed(run.config.train.seed)  # for random weights, which all ranks have to draw alike
    if run.given_teacher is not None:
        teacher = copy.deepcopy(run.given_teacher)
    elif has_encoder(run.folder.teacher):
        teacher = load_encoder(run.folder.teacher)
    elif config.weights == PRETRAINED_HERE:
        here = config.model_copy(update={"weights": str(run.folder.pretrained), "backbone": None})
        teacher = build_teacher(here, run.config.source)
    else:
        teacher = build_teacher(config, run.config.source)
    return with_detail(uncalibrated(teacher), config.detail)


@dataclass(frozen=True)
class TeacherSpace:
    """The frozen teacher and its embeddings of all source items.

    Attributes:
        teacher: its embeddings are centred, where the configuration says so.
        rows: row numbers of the pairs that have a source item.
        embeddings: of these rows, ``(n, d)``, in the common space.
        ids: for every row of the pairs the identity of its source item, -1 without one, ``(N,)``.
    """

    teacher: Teacher
    rows: tuple[int, ...]
    embeddings: BankRows
    ids: torch.Tensor

    def of(self, rows: tuple[int, ...]) -> BankRows:
        """Embeddings of some rows that have a source item; they are read when they are asked for."""
        place = {row: index for index, row in enumerate(self.rows)}
        return self.embeddings.subset([place[row] for row in rows])
