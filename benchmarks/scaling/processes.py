"""A function in several gloo processes on this machine, and what each of them gives."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import distributed, multiprocessing


def _rank(rank: int, world: int, folder: str, work: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    rendezvous = f"file://{folder}/rendezvous"
    distributed.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=world)
    torch.save(work(rank, world, *arguments), Path(folder) / f"{rank}.pt")
    distributed.barrier()
    distributed.destroy_process_group()


def spawned(world: int, work: Callable[..., Any], *arguments: Any) -> list[Any]:
    """``work(rank, world, *arguments)`` of each rank, one thread each, in rank order.

    Args:
        world: processes.
        work: a function of a module; gives tensors, numbers, and lists and mappings of them.
        arguments: likewise.
    """
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        with tempfile.TemporaryDirectory() as folder:
            multiprocessing.spawn(_rank, args=(world, folder, work, arguments), nprocs=world)  # type: ignore[no-untyped-call]
            return [torch.load(Path(folder) / f"{rank}.pt", weights_only=True) for rank in range(world)]
    finally:
        os.environ.pop("OMP_NUM_THREADS") if before is None else os.environ.update(OMP_NUM_THREADS=before)
