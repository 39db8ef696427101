"""Few-shot tasks on a bed: its own classes, or clusters of what the teacher sees where there are no labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

from crossdistill.advisor.bed import UNLABELLED, Bed
from crossdistill.evaluation.intervals import Ints
from crossdistill.evaluation.probes import unit

_MOST_CLUSTERS, _PER_CLUSTER = 10, 16
FEWEST_ITEMS, FEWEST_GROUPS = 20, 10  # held-out items and their groups that a task needs to tell anything


@dataclass(frozen=True)
class Task:
    """A few-shot task.

    Attributes:
        labels: class numbers ``(n,)``; -1 takes no part.
        shots: labels of each class.
        draws: random choices of these labels.
        stand_in: whether the classes are clusters of the teacher's embeddings.
    """

    labels: Ints
    shots: int
    draws: int
    stand_in: bool

    @property
    def classes(self) -> int:
        """How many there are."""
        return len(np.unique(self.labels[self.labels >= 0]))

    def of(self, rows: Ints) -> Ints:
        """Those of the positions ``rows`` that take part."""
        chosen: Ints = rows[self.labels[rows] >= 0]
        return chosen


def labelled_task(bed: Bed, train: Ints, test: Ints, shots: int, draws: int) -> Task | None:
    """The bed's own classes that have ``shots`` labels among ``train`` and an item in ``test``.

    None where there are not two of them, or too few held-out items: then stand-ins tell more.
    """
    labels = bed.labels.copy()
    counts = {split: np.bincount(labels[rows][labels[rows] >= 0], minlength=len(bed.classes)) for split, rows in
              (("train", train), ("test", test))}  # fmt: skip
    for number in range(len(bed.classes)):
        if counts["train"][number] < shots or counts["test"][number] < 1:
            labels[labels == number] = UNLABELLED
    task = Task(labels, shots, draws, stand_in=False)
    return task if task.classes >= 2 and _enough(task, test, bed.groups) else None


def stand_in_task(bed: Bed, train: Ints, test: Ints, shots: int, draws: int, seed: int) -> Task | None:
    """Clusters of the teacher's embeddings as classes: what the teacher tells apart, can the target tell it too?"""
    count = min(_MOST_CLUSTERS, len(train) // _PER_CLUSTER)
    if count < 2:
        return None
    vectors = unit(bed.teacher)
    with threadpool_limits(limits=1):  # sums in one order, whatever the machine
        found = KMeans(count, n_init=4, random_state=seed).fit(vectors[train]).predict(vectors)
    labels = found.astype(np.int64)
    for number in range(count):
        if (labels[train] == number).sum() < shots or not (labels[test] == number).any():
            labels[labels == number] = UNLABELLED
    task = Task(labels, shots, draws, stand_in=True)
    return task if task.classes >= 2 and _enough(task, test, bed.groups) else None


def _enough(task: Task, test: Ints, groups: Ints) -> bool:
    chosen = task.of(test)
    return len(chosen) >= FEWEST_ITEMS and len(np.unique(groups[chosen])) >= FEWEST_GROUPS
