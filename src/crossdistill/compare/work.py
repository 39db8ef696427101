"""Works through cells with several processes at once; each keeps what it has read for the cells that follow."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import redirect_stderr
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from crossdistill.compare.cell import is_done, work_on
from crossdistill.compare.plan import Cell
from crossdistill.errors import StoppedError, TrainingError

if TYPE_CHECKING:
    from crossdistill.pipeline.work import Decoded

_LOG = "log.txt"
_device = "cpu"
_decoded: dict[str, Decoded] = {}


def devices_here(wanted: str, jobs: int | None) -> list[str]:
    """Where each process computes: each GPU in turn, or processors, one each.

    Args:
        wanted: the configuration's device.
        jobs: how many processes; by default one a GPU, or up to four on processors.
    """
    if wanted in ("auto", "cuda") and torch.cuda.is_available():
        count = torch.cuda.device_count()
        return [f"cuda:{number % count}" for number in range(jobs or count)]
    if wanted == "auto":
        wanted = "cpu"
    usual = min(4, os.cpu_count() or 1) if wanted == "cpu" else 1
    return [wanted] * (jobs or usual)


def work_through(cells: Sequence[Cell], folder: Path, devices: Sequence[str], *, keep: bool) -> Iterator[Cell]:
    """Does the cells that are not done, and gives each one as it ends.

    A processor's worker has one thread, so that results do not depend on how many work.

    Args:
        cells: to work on; the same one is done once.
        folder: of all cells.
        devices: of the processes.
        keep: keep the students' weights.

    Raises:
        CrossDistillError: what a cell met that its user can mend; cells that are done stay done.
    """
    waiting = [cell for cell in {cell.key: cell for cell in cells}.values() if not is_done(folder, cell)]
    if not waiting:
        return
    context = multiprocessing.get_context("spawn")
    queue: SimpleQueue[str] = context.SimpleQueue()
    for device in devices:
        queue.put(device)
    with ProcessPoolExecutor(len(devices), context, _begin, (queue,)) as pool:
        going: dict[Future[None], Cell] = {}
        try:
            while waiting or going:
                while waiting and len(going) < len(devices):
                    cell = waiting.pop(0)
                    going[pool.submit(_work, cell, folder, keep)] = cell
                for done in wait(going, return_when=FIRST_COMPLETED).done:
                    done.result()
                    yield going.pop(done)
        except BrokenProcessPool as error:
            raise TrainingError(
                "A process of the comparison has ended without a word.", where=folder,
                expected="memory for as many processes (--jobs)", received=f"{len(devices)} processes",
                fix="give the same command again, with fewer --jobs: what is done stays done",
            ) from error  # fmt: skip
        except BaseException:
            for process in list(pool._processes.values()):  # they keep checkpoints, and are not waited for
                process.terminate()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _begin(queue: SimpleQueue[str]) -> None:
    global _device
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the parent then ends them in order
    _device = queue.get()
    if _device == "cpu":
        torch.set_num_threads(1)


def _work(cell: Cell, folder: Path, keep: bool) -> None:
    place = folder / cell.key
    place.parent.mkdir(parents=True, exist_ok=True)
    log = place.with_suffix(".log")
    with log.open("a", encoding="utf-8") as stream, redirect_stderr(stream):
        try:
            work_on(cell, folder, _decoded.setdefault(cell.measured_on, {}), device=_device, keep=keep)
        except StoppedError:
            # Past the pool, which would take an exception for the cell's answer, and go on waiting for work.
            stream.flush()
            os._exit(130)
    log.replace(place / _LOG)
