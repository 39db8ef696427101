"""Distillations over sets, teachers, objectives, numbers of pairs and seeds; each is kept, and none is done twice.

python -m benchmarks.theory.grid --data FOLDER [--part I/N]

FOLDER holds the sets as `crossdistill data build` writes them (docs/theory-study.md has the commands). Several parts
may run at once.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from benchmarks.theory import parts as pieces
from benchmarks.theory.beds import REAL, SETS, TEACHERS, WORK, Ground, ground
from crossdistill.advisor.pilot import Budget, few_shot, labels_alone, new_student, train_pilot, vectors_of
from crossdistill.advisor.tasks import Task
from crossdistill.evaluation.intervals import Ints
from crossdistill.objectives import ObjectiveConfig

OBJECTIVES = ("cmcd", "cmc", "l2")
SHOTS, DRAWS = 5, 5
FULL = Budget(steps=220, batch_size=128, label_steps=120)
ALL = 1400


@dataclass(frozen=True, order=True)
class Cell:
    """One distillation; ``objective`` is ``alone`` for the controls without one."""

    data: str
    teacher: str
    objective: str
    pairs: int
    seed: int

    @property
    def path(self) -> Path:
        """Where its vectors are kept."""
        return WORK / "cells" / f"{self.data}-{self.teacher}-{self.objective}-{self.pairs}-{self.seed}.safetensors"


def cells() -> Iterator[Cell]:
    """All of them; what the advisor is judged by comes before what is only for the theory."""
    dial = SETS[:8]
    for seed in (0, 1, 2):
        for name in (*REAL, *dial):
            yield Cell(name, "imagenet", "alone", 0, seed)
            for pairs in (ALL, 600, 200) if seed == 0 else (ALL,):
                yield Cell(name, "imagenet", "cmcd", pairs, seed)
            for objective in OBJECTIVES[1:]:
                yield Cell(name, "imagenet", objective, ALL, seed)
            if seed == 0 and (name in REAL or name in dial[::2]):
                for teacher in TEACHERS[1:]:
                    for pairs in (800, 200):
                        yield Cell(name, teacher, "cmcd", pairs, seed)


def task_of(place: Ground) -> Task:
    """The few-shot task of a set's own classes: those with enough labels among the training items."""
    labels = place.bed.labels.copy()
    counts = np.bincount(labels[place.train][labels[place.train] >= 0], minlength=len(place.bed.classes))
    labels[(labels >= 0) & (counts[labels] < SHOTS)] = -1
    return Task(labels=labels, shots=SHOTS, draws=DRAWS, stand_in=False)


def chosen(place: Ground, pairs: int, seed: int) -> Ints:
    """Positions of the pairs that a distillation gets."""
    order = np.random.default_rng((seed, 7)).permutation(place.train)
    return np.sort(order[:pairs])


def work(cell: Cell, data: Path) -> None:
    """Trains, embeds all items, and keeps what evaluation needs."""
    place = ground(data, cell.data, cell.teacher)
    started, torch_seed = time.monotonic(), 1000 + cell.seed
    student = new_student(place.bed, torch_seed)
    task = task_of(place)
    test = place.test[task.labels[place.test] >= 0]
    if cell.objective == "alone":
        found = {
            "untrained": torch.from_numpy(few_shot(vectors_of(student, place.bed), task, place.train, test, cell.seed)),
            "scratch": torch.from_numpy(labels_alone(place.bed, task, place.train, test, FULL, cell.seed, student)),
        }
        if place.bed.shown is not None:
            found["shown"] = torch.from_numpy(few_shot(place.bed.shown, task, place.train, test, cell.seed))
        found["source"] = torch.from_numpy(few_shot(place.bed.teacher, task, place.train, test, cell.seed))
    else:
        rows = chosen(place, cell.pairs, cell.seed)
        trained = train_pilot(place.bed, rows, ObjectiveConfig(name=cell.objective), FULL, cell.seed, student)
        vectors = vectors_of(trained, place.bed)
        found = {
            "few_shot": torch.from_numpy(few_shot(vectors, task, place.train, test, cell.seed)),
            "vectors": torch.from_numpy(vectors).half(),
            "pairs": torch.from_numpy(rows),
        }
    found["test"] = torch.from_numpy(test)
    found["seconds"] = torch.tensor(time.monotonic() - started)
    cell.path.parent.mkdir(parents=True, exist_ok=True)
    part = cell.path.with_suffix(f".{time.monotonic_ns()}")
    save_file({name: value.contiguous() for name, value in found.items()}, part)
    part.rename(cell.path)


def result(cell: Cell) -> dict[str, torch.Tensor]:
    """What was kept of a distillation."""
    return load_file(cell.path)


def work_through(data: Path, number: int = 0, parts: int = 1) -> None:
    """Does what is missing of the ``number``-th of so many parts."""
    pieces.work_through(cells(), lambda cell: cell.path, lambda cell: work(cell, data), number, parts)


if __name__ == "__main__":
    pieces.run_part(__doc__, work_through)
