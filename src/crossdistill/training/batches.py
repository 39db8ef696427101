"""Batches whose order is a function of (seed, epoch), and random draws that are one of (seed, step).

Nothing about them has to be saved to resume a run: any step of any epoch can be drawn again.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from crossdistill.errors import CrossDistillError
from crossdistill.pairs.items import Items
from crossdistill.seeds import derive_seed

_ORDER, _STEP = 0, 1  # what a seed is for; each use has its own stream


def epoch_order(seed: int, epoch: int, count: int) -> list[int]:
    """The order of ``count`` items in an epoch."""
    order: list[int] = np.random.default_rng((seed, _ORDER, epoch)).permutation(count).tolist()
    return order


def seed_step(seed: int, step: int) -> None:
    """Seeds torch for one step (augmentation, dropout), so that a resumed step draws what it would have drawn."""
    torch.manual_seed(derive_seed(seed, _STEP, step))


Batch = tuple[Tensor, Tensor]
"""Item numbers ``(B,)`` and the decoded items ``(B, *shape)``."""


class Batches(Dataset[Batch | CrossDistillError]):
    """Decoded batches by lists of numbers. An error is given, not raised: a worker would make a traceback of it."""

    def __init__(self, items: Items) -> None:
        self.items = items

    def __getitem__(self, index: list[int]) -> Batch | CrossDistillError:
        try:
            return torch.tensor(index), self.items.batch(index)
        except CrossDistillError as error:
            return error


class StepSampler(Sampler[list[int]]):
    """Index lists of all steps from ``first_step`` to the end, epoch after epoch.

    The last, smaller batch of an epoch is left out (its items are in other batches in other epochs) unless it is the
    only one: batch statistics and in-batch negatives should not change from step to step.
    """

    def __init__(self, count: int, batch_size: int, epochs: int, seed: int, first_step: int = 0) -> None:
        self.count = count
        self.batch_size = min(batch_size, count)
        self.epochs = epochs
        self.seed = seed
        self.first_step = first_step
        self.steps_per_epoch = count // self.batch_size

    @property
    def total_steps(self) -> int:
        """Steps in all epochs."""
        return self.steps_per_epoch * self.epochs

    def __len__(self) -> int:
        return self.total_steps - self.first_step

    def __iter__(self) -> Iterator[list[int]]:
        first_epoch, skip = divmod(self.first_step, self.steps_per_epoch)
        for epoch in range(first_epoch, self.epochs):
            order = epoch_order(self.seed, epoch, self.count)
            for step in range(skip if epoch == first_epoch else 0, self.steps_per_epoch):
                yield order[step * self.batch_size : (step + 1) * self.batch_size]


def load_batches(items: Items, sampler: StepSampler, workers: int) -> Iterator[Batch]:
    """The batches of all steps of ``sampler``, prepared by ``workers`` processes, or in between where there are none.

    Raises:
        PairsError: an item cannot be read; file and row are named.
    """
    for batch in DataLoader(Batches(items), sampler=sampler, batch_size=None, num_workers=workers):
        if isinstance(batch, CrossDistillError):
            raise batch
        yield batch
