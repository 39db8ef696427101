"""Batches whose order is a function of (seed, epoch), and random draws that are one of (seed, batch).

Nothing about them has to be saved to resume a run: any step of any epoch can be drawn again.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from crossdistill import ranks
from crossdistill.errors import CrossDistillError, TrainingError
from crossdistill.pairs.items import Items
from crossdistill.seeds import derive_seed
from crossdistill.training.clock import phase

_ORDER, _STEP, _BESIDE = 0, 1, 2  # what a seed is for; each use has its own stream


def epoch_order(seed: int, epoch: int, count: int) -> list[int]:
    """The order of ``count`` items in an epoch."""
    order: list[int] = np.random.default_rng((seed, _ORDER, epoch)).permutation(count).tolist()
    return order


def seed_batch(seed: int, batch: int, rank: int = 0) -> None:
    """Seeds torch for one batch, so that a resumed one draws what it would have drawn.

    With rank 0 for what all ranks draw alike (augmentation, each for the whole batch), with the rank's own number for
    what it draws for its own rows (dropout).
    """
    torch.manual_seed(derive_seed(seed, _STEP, batch, rank) if rank else derive_seed(seed, _STEP, batch))


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


@dataclass(frozen=True)
class Beside:
    """Items that some go along with each batch of, in an order of their own: unpaired ones beside the pairs.

    Their numbers follow those of the items that the batches are made of. What goes along with a batch is a function of
    the batch's number alone, so that nothing has to be saved; what is left of a pass is left out, as for the others.

    Attributes:
        count: how many there are.
        batch_size: how many go along with each batch, over all ranks together; all where there are fewer.
    """

    count: int
    batch_size: int

    @property
    def size(self) -> int:
        """How many go along with each batch."""
        return min(self.batch_size, self.count)

    @property
    def part(self) -> range:
        """Which of them are this rank's."""
        return ranks.share(self.size)

    def numbers(self, seed: int, first_batch: int) -> Iterator[list[int]]:
        """This rank's part of what goes along with each batch from ``first_batch`` on, from 0; it never ends."""
        passes, place = divmod(first_batch, self.count // self.size)
        while True:
            order = np.random.default_rng((seed, _BESIDE, passes)).permutation(self.count)
            for start in range(place * self.size, self.count - self.size + 1, self.size):
                chosen: list[int] = order[start + self.part.start : start + self.part.stop].tolist()
                yield chosen
            passes, place = passes + 1, 0


class StepSampler(Sampler[list[int]]):
    """This rank's part of the batches of all steps from ``first_step`` to the end, epoch after epoch.

    The order is one of the whole batch, whatever the number of ranks; each takes a part of each batch, which is not
    padded, so that parts may differ by an item. What is left of an epoch after its last whole step is left out (its
    items are in other batches in other epochs): batch statistics and in-batch negatives should not change from step
    to step.

    Args:
        count: items.
        batch_size: of all ranks together.
        epochs: how often all items are gone through.
        seed: of the order.
        first_step: steps that are behind us.
        accumulate: batches of a step.
        steps: where it ends, if not with the last epoch.
        beside: what goes along with each batch, at the end of its numbers.
    """

    def __init__(
        self,
        count: int,
        batch_size: int,
        epochs: int,
        seed: int,
        first_step: int = 0,
        accumulate: int = 1,
        *,
        steps: int | None = None,
        beside: Beside | None = None,
    ) -> None:
        self.count = count
        self.batch_size = min(batch_size, count)
        self.accumulate = min(accumulate, count // self.batch_size)
        self.epochs = epochs
        self.seed = seed
        self.first_step = first_step
        self.steps_per_epoch = count // (self.batch_size * self.accumulate)
        self.part = ranks.share(self.batch_size)
        self.steps = steps
        self.beside = beside

    @property
    def total_steps(self) -> int:
        """Steps in all epochs, or fewer where so many were wanted."""
        whole = self.steps_per_epoch * self.epochs
        return whole if self.steps is None else min(whole, self.steps)

    def __len__(self) -> int:
        return (self.total_steps - self.first_step) * self.accumulate

    def __iter__(self) -> Iterator[list[int]]:
        batches = islice(self._batches(), len(self))
        if self.beside is None:
            yield from batches
            return
        along = self.beside.numbers(self.seed, self.first_step * self.accumulate)
        for batch, more in zip(batches, along, strict=False):
            yield batch + [self.count + number for number in more]

    def _batches(self) -> Iterator[list[int]]:
        first_epoch, skip = divmod(self.first_step, self.steps_per_epoch)
        for epoch in range(first_epoch, self.epochs):
            order = epoch_order(self.seed, epoch, self.count)
            first = skip * self.accumulate if epoch == first_epoch else 0
            for batch in range(first, self.steps_per_epoch * self.accumulate):
                start = batch * self.batch_size
                yield order[start + self.part.start : start + self.part.stop]


def _outlive_signals(worker: int) -> None:
    """In a process that prepares batches: a request to stop is for the training, which still needs this process.

    Launchers and terminals send it to the whole group of processes, so this one leaves that group; a scheduler may send
    it to each process, so the first is ignored. The second ends it, which is how a reader that hangs is ended.
    """
    del worker
    if hasattr(os, "setpgrp"):
        os.setpgrp()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.signal(signal.SIGTERM, signal.SIG_DFL))


def load_batches(items: Items, sampler: StepSampler, workers: int) -> Iterator[Batch]:
    """This rank's part of all batches of ``sampler``, prepared by ``workers`` processes, or in between without any.

    Raises:
        PairsError: an item cannot be read; file and row are named.
        TrainingError: a process that prepares batches was killed.
    """
    loader = DataLoader(
        Batches(items), sampler=sampler, batch_size=None, num_workers=workers, worker_init_fn=_outlive_signals
    )
    batches = iter(loader)
    while True:
        try:
            with phase("data"):
                batch = next(batches, None)
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            raise TrainingError(
                "A process that prepares batches has ended.", where=f"train.workers: {workers}",
                received=str(error).splitlines()[0],
                fix="the machine may be out of memory: set fewer workers, or 0, and run the same command again",
            ) from error  # fmt: skip
        if batch is None:
            return
        if isinstance(batch, CrossDistillError):
            raise batch
        yield batch
