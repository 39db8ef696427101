"""Many processes as one run: who is who, who goes first, and how what each of them has becomes one.

``torchrun`` starts the processes (ranks) and tells each its number in environment variables; torch.distributed carries
what they say to each other. Outside of it there is one rank, and everything here does nothing.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import distributed
from torch.distributed import DistStoreError
from torch.distributed.distributed_c10d import PrefixStore, Store, _get_default_store
from torch.distributed.rendezvous import rendezvous

from crossdistill.errors import ConfigError, TrainingError

Result = TypeVar("Result")

_LONG = timedelta(days=30)  # waiting for another rank's work: torchrun ends us when that rank dies
_solo = 0  # how many blocks of :func:`alone` are open
_counts: dict[str, int] = {}  # how often each meeting was held; all ranks hold them in the same order


def launched() -> bool:
    """Whether ``torchrun``, or what speaks as it does, has started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and "RANK" in os.environ


def start() -> None:
    """Joins the other ranks, where there are others and they are not joined yet.

    A rank waits for the others inside a step for ``CROSSDISTILL_RANK_TIMEOUT`` seconds, half an hour by default, before
    it gives them up.
    """
    if not launched() or distributed.is_initialized():
        return
    limit = _patience()
    notes, number, count = next(rendezvous("env://", timeout=limit))
    notes = PrefixStore(f"attempt/{meet(notes, number, count, limit)}", notes)
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    distributed.init_process_group(backend, store=notes, rank=number, world_size=count, timeout=limit)


def _patience() -> timedelta:
    """How long a rank waits for the others inside a step."""
    text = os.environ.get("CROSSDISTILL_RANK_TIMEOUT", "1800")
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e9:
        raise ConfigError("The time limit is no number of seconds.", where="environment, CROSSDISTILL_RANK_TIMEOUT",
                          expected="more than 0, such as 1800", received=text)  # fmt: skip
    return timedelta(seconds=seconds)


def meet(notes: Store, number: int, count: int, limit: timedelta) -> str:
    """A name for this attempt that all ranks know and no earlier attempt had.

    torchrun's store outlives the processes, so that notes of an earlier attempt, addresses among them, may lie there;
    and its own count of restarts differs from machine to machine. So every rank leaves a word that nobody used before,
    and the first answers it with the name until all have confirmed it.

    Raises:
        TrainingError: not all ranks come within the limit.
    """
    own = uuid.uuid4().hex
    if number:
        notes.set(f"meet/{number}", own)
        try:
            notes.wait([f"meet/{own}"], limit)
        except DistStoreError as error:
            raise TrainingError(
                "The first process has not come.", where=f"process {number} of {count}",
                received=f"no answer within {limit.total_seconds():g} s",
                fix="see what it says; all have to be started with the same command",
            ) from error  # fmt: skip
        name = notes.get(f"meet/{own}").decode()
        notes.set(f"met/{name}/{number}", "1")
        return name
    deadline, missing = time.monotonic() + limit.total_seconds(), set(range(1, count))
    while missing:
        for each in sorted(missing):
            if notes.check([f"meet/{each}"]):
                notes.set(f"meet/{notes.get(f'meet/{each}').decode()}", own)
            if notes.check([f"met/{own}/{each}"]):
                missing.discard(each)
        if missing and time.monotonic() > deadline:
            raise TrainingError(
                "Some processes have not come.", where=f"process 0 of {count}",
                expected=f"all within {limit.total_seconds():g} s", received=f"none of {sorted(missing)}",
                fix="see what they say; all have to be started with the same command",
            )  # fmt: skip
        time.sleep(0.02)
    return own


def own_gpu() -> str:
    """The GPU of this rank.

    Raises:
        ConfigError: there are fewer GPUs on this machine than ranks.
    """
    local, present = local_rank(), torch.cuda.device_count()
    if local >= present:
        raise ConfigError(
            "There are more processes on this machine than GPUs.", where="train.device",
            expected=f"--nproc-per-node {present} or fewer", received=f"local rank {local}",
            fix="start fewer processes, or set train.device=cpu",
        )  # fmt: skip
    torch.cuda.set_device(local)
    return f"cuda:{local}"


def leave() -> None:
    """Ends the talk with the other ranks."""
    if distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()
    _counts.clear()


def world() -> int:
    """Number of ranks; 1 outside ``torch.distributed``, and in a block of :func:`alone`."""
    if _solo:
        return 1
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def rank() -> int:
    """This rank's number, from 0."""
    return distributed.get_rank() if world() > 1 else 0


def local_rank() -> int:
    """This rank's number on its machine, from 0."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def is_first() -> bool:
    """Whether this rank is the one that writes files and talks to the user."""
    return rank() == 0


@contextmanager
def alone() -> Iterator[None]:
    """Within the block this rank works as if there were no others: nothing in it waits for them."""
    global _solo
    _solo += 1
    try:
        yield
    finally:
        _solo -= 1


def share(count: int) -> range:
    """This rank's part of ``count`` things in a row: parts are as even as can be, none is padded."""
    each, more = divmod(count, world())
    first = rank() * each + min(rank(), more)
    return range(first, first + each + (rank() < more))


def wait() -> None:
    """Goes on when all ranks are here. There is no time limit: some work is done by one rank alone."""
    if world() > 1:
        store, key = _meeting("wait")
        if store.add(key, 1) == world():
            store.set(f"{key}/done", "1")
        store.wait([f"{key}/done"], _LONG)


@contextmanager
def first_goes_first(of: str = "all") -> Iterator[None]:
    """The first rank (``of`` all, or of each machine) goes through the block before the others do.

    For what the first leaves on a disk and the others then find there.
    """
    if world() == 1:
        yield
        return
    store, key = _meeting(f"first/{of}")
    leads = is_first() if of == "all" else local_rank() == 0
    place = f"{key}/{os.environ.get('GROUP_RANK', '0')}" if of == "machine" else key
    if not leads:
        store.wait([place], _LONG)
    yield
    if leads:
        store.set(place, "1")


def first_does(work: Callable[[], Result]) -> Result | None:
    """``work()`` on the first rank alone, its result there and None elsewhere; all go on when it is done."""
    result = None
    with first_goes_first():
        if is_first():
            with alone():
                result = work()
    return result


def add_up(values: list[float]) -> list[float]:
    """The sums of the ranks' values, in float64; one message for all of them."""
    if world() == 1:
        return values
    added = torch.tensor(values, dtype=torch.float64)
    distributed.all_reduce(added)
    return [float(value) for value in added]


def largest(value: int) -> int:
    """The largest of the ranks' values."""
    if world() == 1:
        return value
    found = torch.tensor([value])
    distributed.all_reduce(found, distributed.ReduceOp.MAX)
    return int(found)


def as_the_first(value: int) -> int:
    """The first rank's value, on all ranks: what should be one decision and could be several."""
    if world() == 1:
        return value
    found = torch.tensor([value])
    distributed.broadcast(found, 0)
    return int(found)


def gather_rows(rows: NDArray[Any]) -> NDArray[Any]:
    """The rows ``(n, ...)`` of all ranks in rank order, on every rank; a rank may have none."""
    if world() == 1:
        return rows
    counts = [torch.zeros(1, dtype=torch.long) for _ in range(world())]
    distributed.all_gather(counts, torch.tensor([len(rows)]))
    most = max(int(count) for count in counts)
    padded = torch.zeros((most, *rows.shape[1:]), dtype=torch.from_numpy(rows[:0]).dtype)
    padded[: len(rows)] = torch.from_numpy(np.ascontiguousarray(rows))
    parts = [torch.empty_like(padded) for _ in range(world())]
    distributed.all_gather(parts, padded)
    return torch.cat([part[: int(count)] for part, count in zip(parts, counts, strict=True)]).numpy()


def store() -> Store | None:
    """Where ranks leave notes for each other; None with one rank."""
    if world() == 1:
        return None
    return _get_default_store()


def first_to_tell() -> bool:
    """Whether this rank is the first with something to say about a failure: one message is enough."""
    notes = store()
    return notes is None or notes.add("crossdistill/told", 1) == 1


def missing_ranks(patience: float = 3.0) -> list[int]:
    """After a broken connection: the ranks that do not say within ``patience`` seconds that they are still there."""
    notes = store()
    if notes is None:
        return []
    notes.set(f"crossdistill/alive/{rank()}", "1")
    time.sleep(patience)
    return [each for each in range(world()) if not notes.check([f"crossdistill/alive/{each}"])]


def _meeting(kind: str) -> tuple[Store, str]:
    """The notes, and a name that no other meeting has."""
    notes = store()
    assert notes is not None
    _counts[kind] = _counts.get(kind, 0) + 1
    return notes, f"crossdistill/{kind}/{_counts[kind]}"
