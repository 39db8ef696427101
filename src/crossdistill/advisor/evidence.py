"""All that is measured on a few hundred pairs before anything is concluded from it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field

from crossdistill.advisor.bed import Bed
from crossdistill.advisor.checks import Fit, flat, in_span, pairing, partner_rank, structure, teacher_knows
from crossdistill.advisor.pilot import (
    Budget,
    few_shot,
    labels_alone,
    new_student,
    student_for,
    train_pilot,
    vectors_of,
)
from crossdistill.advisor.tasks import Task, labelled_task, stand_in_task
from crossdistill.audit.agreement import principal
from crossdistill.console import say
from crossdistill.distance import Measured, paired_distances, shared_distances
from crossdistill.distance.ridge import Decomposed, Ridge, choose_penalty
from crossdistill.encoders import Encoder
from crossdistill.evaluation.intervals import Estimate, Floats, Ints, difference, proportion
from crossdistill.evaluation.probes import Vectors
from crossdistill.objectives import ObjectiveConfig
from crossdistill.pairs.items import Items
from crossdistill.theory import measure_theory

CANDIDATES: dict[str, dict[str, Any]] = {
    "cmcd, temperature 0.1": {"name": "cmcd", "temperature": 0.1},
    "cmcd, temperature 0.05": {"name": "cmcd", "temperature": 0.05},
    "cmcd, temperature 0.2": {"name": "cmcd", "temperature": 0.2},
    "l2": {"name": "l2"},
}
"""Objectives that are tried."""
DEFAULT = next(iter(CANDIDATES))
"""The first of them, which serves the learning curve."""
_TEST_SHARE = 1 / 3
_FOLDS = 5  # that the penalty of a linear student is chosen by
_FEWEST_GROUPS = 10  # below which distances have no interval
FEWEST_TRAINED = 16  # pairs of a pilot
_FEWEST_THEORY = 4  # held-out sources and groups
_LOOK = 64  # principal components of the small targets that distances are measured in


class AdviseSettings(BaseModel):
    """How much is spent on the advice."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    pairs: int = Field(400, ge=30, le=2000, description="that are looked at, drawn at random")
    shots: int = Field(5, ge=1, description="labels per class of the few-shot task")
    draws: int = Field(5, ge=1, description="random choices of these labels")
    repeats: int = Field(2, ge=1, le=10, description="pilots of each size")
    steps: int = Field(110, ge=1, description="of each pilot")
    student: str | None = Field(None, description="the pilots' network; test_resnet, or mlp for vectors")
    seed: int = Field(0, ge=0)


@dataclass(frozen=True)
class Pilot:
    """One short distillation.

    Attributes:
        objective: its key in ``CANDIDATES``.
        pairs: that it was given.
        seed: of it.
        accuracy: few-shot, on held-out items.
    """

    objective: str
    pairs: int
    seed: int
    accuracy: float


@dataclass(kw_only=True)
class TaskEvidence:
    """What few labels give with and without distillation, on held-out pairs.

    Attributes:
        stand_in: whether the classes are clusters of the teacher's embeddings.
        classes: number of classes.
        shots: labels of each.
        items: held-out items.
        untrained: accuracy of a probe on the student's network before any training.
        scratch: of the student's network trained on the few labels alone.
        shown: of a probe on the teacher's embeddings of pictures of the targets; None where it takes none.
        source: of a probe on the teacher's embeddings of the sources: what there is to be carried over.
        distilled: of the pilots with the default objective and all training pairs.
        gain: of these over the better of ``untrained`` and ``scratch``, on the same items.
        pilots: all of them.
        linear: the same of linear students: ridge regressions from what the targets look like to the teacher's
            embeddings, which need no training and so show what a longer one can find.
    """

    stand_in: bool
    classes: int
    shots: int
    items: int
    untrained: Estimate
    scratch: Estimate
    shown: Estimate | None
    source: Estimate
    distilled: Estimate
    gain: Estimate
    pilots: list[Pilot]
    linear: list[Pilot]

    @property
    def alone(self) -> Estimate:
        """What the target's labels give alone: the better of the two ways."""
        return max(self.untrained, self.scratch, key=lambda each: each.value)

    def to_json(self) -> dict[str, Any]:
        """JSON-able."""
        estimates = ("untrained", "scratch", "shown", "source", "distilled", "gain")
        found = {name: None if (each := getattr(self, name)) is None else each.to_json() for name in estimates}
        plain = {name: getattr(self, name) for name in ("stand_in", "classes", "shots", "items")}
        for name in ("pilots", "linear"):
            plain[name] = [{**asdict(each), "accuracy": round(each.accuracy, 5)} for each in getattr(self, name)]
        return {**plain, **found}


@dataclass(kw_only=True)
class Evidence:
    """What was measured.

    Attributes:
        pairs: looked at.
        trained: of them, that pilots were trained on at most.
        held_out: of them, that pilots were measured on.
        identical: share of pairs whose two sides are the same.
        pairing: whether the sides fit each other; None for too few pairs.
        structure: whether a target's halves fit each other; None for too few.
        knows: the teacher's lead over random weights; None where it cannot be told.
        partner: how often a held-out target is nearer to its source than to another's, after a pilot; None where no
            pilot was tried.
        tasks: with labels where there are enough, and with stand-ins.
        objectives: for each objective that was tried its lead over the default, few-shot and in ``partner``.
        distances: between the modalities, before any training.
        theory: of the last pilot, on held-out pairs; empty for too few.
        student: the pilots' network.
    """

    pairs: int
    trained: int = 0
    held_out: int = 0
    identical: float
    pairing: Fit | None = None
    structure: Fit | None = None
    knows: Estimate | None = None
    partner: Estimate | None = None
    tasks: list[TaskEvidence] = field(default_factory=list)
    objectives: dict[str, dict[str, Estimate]] = field(default_factory=dict)
    distances: dict[str, Measured] = field(default_factory=dict)
    theory: dict[str, Any] = field(default_factory=dict)
    student: str = ""

    @property
    def task(self) -> TaskEvidence | None:
        """The one that counts: with labels where there are enough."""
        return self.tasks[0] if self.tasks else None

    def to_json(self) -> dict[str, Any]:
        """JSON-able."""
        return {
            **{name: getattr(self, name) for name in ("pairs", "trained", "held_out", "identical")},
            "pairing": None if self.pairing is None else asdict(self.pairing),
            "structure": None if self.structure is None else asdict(self.structure),
            "teacher_knows": None if self.knows is None else self.knows.to_json(),
            "partner": None if self.partner is None else self.partner.to_json(),
            "student": self.student,
            "tasks": [each.to_json() for each in self.tasks],
            "objectives": {
                name: {key: each.to_json() for key, each in found.items()} for name, found in self.objectives.items()
            },
            "distances": {name: each.to_json() for name, each in self.distances.items()},
            "theory": self.theory,
        }


def divide(groups: Ints, seed: int) -> tuple[Ints, Ints]:
    """Positions of training and held-out pairs: about a third of the pairs, in groups of their own."""
    names, sizes = np.unique(groups, return_counts=True)
    wanted, taken, chosen = int(_TEST_SHARE * len(groups)) + 1, 0, []
    for place in np.random.default_rng((seed, 3)).permutation(len(names)).tolist():
        if taken + sizes[place] <= wanted:  # a group that is larger than what is missing is trained on
            taken += int(sizes[place])
            chosen.append(names[place])
    held = np.isin(groups, chosen)
    return np.flatnonzero(~held), np.flatnonzero(held)


def gather_evidence(
    bed: Bed, encoder: Encoder, sources: Items, source_groups: Ints, settings: AdviseSettings, device: str = "cpu"
) -> Evidence:
    """Measures everything.

    Args:
        bed: the pairs.
        encoder: the teacher.
        sources: some sources, decoded for it ``(N,)``, to see whether it knows anything.
        source_groups: their groups ``(N,)``.
        settings: how much to spend.
        device: where to compute.
    """
    train, test = divide(bed.groups, settings.seed)
    mean = bed.teacher[train].mean(axis=0)  # held-out pairs have no say in where the centre is
    bed = replace(bed, teacher=bed.teacher - mean)
    say("looking at the pairs")
    budget = Budget(steps=settings.steps)
    backbone = settings.student or student_for(bed)
    students = [new_student(bed, settings.seed + repeat, backbone) for repeat in range(settings.repeats)]
    untrained = [vectors_of(student, bed, device) for student in students]
    tasks = [
        task
        for task in (
            labelled_task(bed, train, test, settings.shots, settings.draws),
            stand_in_task(bed, train, test, settings.shots, settings.draws, settings.seed),
        )
        if task is not None
    ]
    trained: dict[tuple[str, int, int], Vectors] = {}
    for name, size, repeat in _plan(len(train), settings):
        rows = _subset(train, size, settings.seed + repeat)
        objective = ObjectiveConfig(**CANDIDATES[name])
        pilot = train_pilot(bed, rows, objective, budget, settings.seed + repeat, students[repeat], device)
        trained[name, size, repeat] = vectors_of(pilot, bed, device)
    linear = linear_students(bed, train, settings)
    last = trained[DEFAULT, len(train), 0]
    knows = teacher_knows(encoder, sources, source_groups, torch.device(device), settings.seed)
    found = Evidence(
        pairs=len(bed), trained=len(train), held_out=len(test), identical=bed.identical, pairing=pairing(bed),
        structure=structure(bed), knows=knows, partner=_partner(bed, last, test), student=backbone,
    )  # fmt: skip
    for task in tasks:
        alone = [labels_alone(bed, task, train, task.of(test), budget, settings.seed + repeat, students[repeat], device)
                 for repeat in range(settings.repeats)]  # fmt: skip
        found.tasks.append(_task_evidence(bed, task, train, test, trained, linear, untrained, alone, settings))
    found.objectives = _compared(bed, tasks[0] if tasks else None, train, test, trained, settings)
    say("measuring distances")
    found.distances = _distances(bed, settings.seed)
    if len(np.unique(bed.ids[test])) >= _FEWEST_THEORY and len(np.unique(bed.groups[test])) >= _FEWEST_THEORY:
        found.theory = measure_theory(
            bed.teacher[test], last[test], temperature=CANDIDATES[DEFAULT]["temperature"], ids=bed.ids[test],
            groups=bed.groups[test], labels=_labels(tasks, test), seed=settings.seed,
        ).to_json()  # fmt: skip
    return found


def sizes_of(count: int) -> list[int]:
    """Numbers of pairs that pilots get: a quarter, a half and all."""
    return sorted({min(count, max(FEWEST_TRAINED, part)) for part in (count // 4, count // 2, count)})


def _plan(count: int, settings: AdviseSettings) -> Iterator[tuple[str, int, int]]:
    names = list(CANDIDATES)
    for repeat in range(settings.repeats):
        yield from ((names[0], size, repeat) for size in sizes_of(count))
    yield from ((name, count, 0) for name in names[1:])


def _subset(train: Ints, size: int, seed: int) -> Ints:
    chosen: Ints = np.sort(np.random.default_rng((seed, size, 5)).permutation(train)[:size])
    return chosen


def _partner(bed: Bed, vectors: Vectors, test: Ints) -> Estimate:
    return partner_rank(vectors[test], bed.teacher[test], bed.ids[test], bed.groups[test])


def _labels(tasks: list[Task], rows: Ints) -> Ints | None:
    """Of the first task, where all of ``rows`` take part in it."""
    labels = tasks[0].labels[rows] if tasks else np.full(1, -1)
    return labels if (labels >= 0).all() else None


def _task_evidence(
    bed: Bed,
    task: Task,
    train: Ints,
    test: Ints,
    trained: dict[tuple[str, int, int], Vectors],
    linear: dict[tuple[int, int], Vectors],
    untrained: list[Vectors],
    alone: list[Floats],
    settings: AdviseSettings,
) -> TaskEvidence:
    chosen = task.of(test)
    groups = bed.groups[chosen]

    def accuracy(vectors: list[Vectors]) -> Estimate:
        right = [few_shot(each, task, train, chosen, settings.seed) for each in vectors]
        return proportion(np.stack(right), groups)

    pilots, full = [], []
    for (name, size, repeat), vectors in trained.items():
        right = few_shot(vectors, task, train, chosen, settings.seed)
        pilots.append(Pilot(name, size, repeat, float(right.mean())))
        if name == DEFAULT and size == len(train):
            full.append(right)
    without, scratch = accuracy(untrained), proportion(np.stack(alone), groups)
    distilled = proportion(np.stack(full), groups)
    return TaskEvidence(
        stand_in=task.stand_in,
        classes=task.classes,
        shots=task.shots,
        items=len(chosen),
        untrained=without,
        scratch=scratch,
        shown=None if bed.shown is None else accuracy([bed.shown]),
        source=accuracy([bed.teacher]),
        distilled=distilled,
        gain=difference(distilled, max(without, scratch, key=lambda each: each.value)),
        pilots=pilots,
        linear=[
            Pilot("linear", size, repeat, float(few_shot(vectors, task, train, chosen, settings.seed).mean()))
            for (size, repeat), vectors in linear.items()
        ],
    )


def _compared(
    bed: Bed,
    task: Task | None,
    train: Ints,
    test: Ints,
    trained: dict[tuple[str, int, int], Vectors],
    settings: AdviseSettings,
) -> dict[str, dict[str, Estimate]]:
    """Every objective against the default, on the same items and from the same seed."""
    chosen = test if task is None else task.of(test)

    def outcomes(name: str) -> dict[str, Estimate]:
        vectors = trained[name, len(train), 0]
        found = {"partner": _partner(bed, vectors, test)}
        if task is not None:
            found["few_shot"] = proportion(few_shot(vectors, task, train, chosen, settings.seed), bed.groups[chosen])
        return found

    first, *others = CANDIDATES
    base = outcomes(first)
    return {name: {key: difference(each, base[key]) for key, each in outcomes(name).items()} for name in others}


def linear_students(bed: Bed, train: Ints, settings: AdviseSettings) -> dict[tuple[int, int], Vectors]:
    """Predictions of the teacher's embeddings of all sources ``(n, d)``, by number of training pairs and repeat."""
    blocks = [in_span(flat(bed.targets)), *([] if bed.shown is None else [in_span(bed.shown)])]
    features = np.concatenate([block / np.sqrt((block**2).sum() / len(block)) for block in blocks], axis=1)
    found = {}
    for repeat in range(settings.repeats):
        for size in sizes_of(len(train)):
            rows = _subset(train, size, settings.seed + repeat)
            fold = np.unique(bed.groups[rows], return_inverse=True)[1] % _FOLDS
            decomposed = Decomposed(features[rows])
            outcomes = bed.teacher[rows].astype(np.float64)
            penalty, _ = choose_penalty(decomposed, outcomes, fold)
            predicted = Ridge(decomposed, outcomes, penalty).predict(features)
            found[size, repeat] = predicted.astype(np.float32)
    return found


def _distances(bed: Bed, seed: int) -> dict[str, Measured]:
    """What can be said without any training: on the teacher's view of the targets, or on what they look like."""
    if len(np.unique(bed.groups)) < _FEWEST_GROUPS:
        return {}
    if bed.shown is not None:
        found = paired_distances(bed.teacher, bed.shown, bed.groups, seed=seed)
        transport = find_spec("ot") is not None  # an extra; the others say as much
        return {**found, **shared_distances(bed.teacher, bed.shown, bed.groups, seed=seed, transport=transport)}
    look = principal([in_span(flat(bed.targets))], min(_LOOK, len(bed) // 4))
    return paired_distances(bed.teacher, look.astype(np.float32), bed.groups, seed=seed)
