"""Pilots: short distillations of a small student on some of the pairs, and what the target's labels alone give."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import numpy as np
import torch

from crossdistill.advisor.bed import Bed
from crossdistill.advisor.tasks import Task
from crossdistill.encoders import Encoder, StudentConfig, build_student
from crossdistill.errors import EncoderError
from crossdistill.evaluation import embed_items
from crossdistill.evaluation.intervals import Floats, Ints
from crossdistill.evaluation.probes import LinearProbe, Vectors, few_shot_rows
from crossdistill.objectives import ObjectiveConfig
from crossdistill.training import TrainConfig, distil, train_classifier

_PICTURES, _VECTORS = "test_resnet", "mlp"  # timm's smallest residual network; two layers
_SAMPLE = 1024  # training items that the student's normalisation is taken from


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How long a student is trained.

    Attributes:
        steps: of distillation, about.
        batch_size: of distillation.
        lr: peak learning rate.
        label_steps: of training on labels alone, about.
    """

    steps: int = 150
    batch_size: int = 64
    lr: float = 3e-3
    label_steps: int = 60

    def config(self, count: int, steps: int, seed: int, device: str) -> TrainConfig:
        """The ``train:`` section for ``count`` items."""
        batch = min(self.batch_size, count)
        epochs = max(1, math.ceil(steps / max(1, count // batch)))
        return TrainConfig(
            epochs=epochs, batch_size=batch, lr=self.lr, seed=seed, device=device, monitor_every=10**9, log_every=10**9
        )


def student_for(bed: Bed) -> str:
    """The network of pilots where none is named."""
    return _VECTORS if bed.targets.batch([0]).ndim == 2 else _PICTURES


def new_student(bed: Bed, seed: int, backbone: str | None = None) -> Encoder:
    """A student of random weights, drawn by the seed.

    Raises:
        EncoderError: there is no such network, or it cannot take items of the bed's size.
    """
    torch.manual_seed(seed)
    modality = bed.targets.modality
    sample = bed.targets.batch(range(min(_SAMPLE, len(bed))))
    name = backbone or student_for(bed)
    student = build_student(StudentConfig(backbone=name), modality, bed.teacher.shape[1], sample)
    try:
        with torch.no_grad():
            student.eval()(modality.normalise(sample[:2]))
    except Exception as error:  # a network may raise anything; whatever it is, the size did not fit
        raise EncoderError(
            "The pilots' network cannot take items of this size.", where=f"--student {name}",
            received=f"{tuple(sample.shape[1:])}: {str(error).splitlines()[0] if str(error) else error!r}",
            expected="a network for any size, such as test_resnet or resnet18 (transformers are built for one)",
        ) from error  # fmt: skip
    return student


def train_pilot(
    bed: Bed, train: Ints, objective: ObjectiveConfig, budget: Budget, seed: int, student: Encoder, device: str = "cpu"
) -> Encoder:
    """Distils a copy of ``student`` on the pairs at positions ``train`` of the bed."""
    config = budget.config(len(train), budget.steps, seed, device)
    items = bed.targets.subset(train.tolist())
    teacher, ids = torch.from_numpy(bed.teacher[train]), torch.from_numpy(bed.ids[train])
    title = f"pilot with {objective.label}, {len(train)} pairs"
    return distil(copy.deepcopy(student), items, teacher, ids, objective.build(), config, title=title)


def vectors_of(encoder: Encoder, bed: Bed, device: str = "cpu") -> Vectors:
    """Embeddings of all targets of the bed ``(n, d)``."""
    return embed_items(encoder, bed.targets, torch.device(device))[0]


def few_shot(vectors: Vectors, task: Task, pool: Ints, test: Ints, seed: int) -> Floats:
    """Share of draws in which a linear probe on a few labels is right about each test item ``(T,)``.

    Args:
        vectors: of all items of the bed ``(n, d)``.
        task: labels, shots and draws.
        pool: positions that the few labels are drawn from.
        test: positions of labelled test items ``(T,)``.
        seed: of the draws; the same draws for every method.
    """
    pool = pool[task.labels[pool] >= 0]
    right = np.zeros(len(test))
    for draw in range(task.draws):
        chosen = pool[few_shot_rows(task.labels[pool], task.shots, draw, seed)]
        predicted = LinearProbe(vectors[chosen], task.labels[chosen]).predict(vectors[test])
        right += predicted == task.labels[test]
    return right / task.draws


def labels_alone(
    bed: Bed, task: Task, pool: Ints, test: Ints, budget: Budget, seed: int, student: Encoder, device: str = "cpu"
) -> Floats:
    """As :func:`few_shot` of the whole network trained from scratch on one draw of the few labels, and nothing else."""
    pool = pool[task.labels[pool] >= 0]
    chosen = pool[few_shot_rows(task.labels[pool], task.shots, 0, seed)]
    numbers = {label: place for place, label in enumerate(np.unique(task.labels[chosen]).tolist())}
    config = budget.config(len(chosen), budget.label_steps, seed, device)
    labels = [numbers[label] for label in task.labels[chosen].tolist()]
    classifier = train_classifier(
        copy.deepcopy(student), bed.targets.subset(chosen.tolist()), labels, len(numbers), config,
        title=f"labels alone, {len(chosen)} of them",
    )  # fmt: skip
    items, predicted = bed.targets.subset(test.tolist()), []
    for start in range(0, len(items), 128):
        batch = items.batch(range(start, min(start + 128, len(items))))
        with torch.no_grad():
            predicted.append(classifier(items.modality.normalise(batch)).argmax(dim=1).numpy())
    known = np.array(list(numbers))
    found: Floats = (known[np.concatenate(predicted)] == task.labels[test]).astype(np.float64)
    return found
