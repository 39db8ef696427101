"""What fails first: memory and time that grow with the pairs outside of the step, measured at a size that fits."""

from __future__ import annotations

import gc
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from crossdistill.objectives import TeacherColumns
from crossdistill.pairs.items import CACHE_BYTES
from crossdistill.pairs.table import Pair, Pairs
from crossdistill.training.batches import epoch_order

_PEAK = "int(next(l for l in open('/proc/self/status') if l.startswith('VmHWM')).split()[1]) * 1024"


def _bytes(make: Callable[[], object]) -> tuple[float, float, float]:
    """Bytes that are kept, bytes at the peak, and seconds without the tracing."""
    started = time.perf_counter()
    kept = make()
    seconds = time.perf_counter() - started
    del kept
    gc.collect()
    tracemalloc.start()
    kept = make()
    now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    del kept
    return float(now), float(peak), seconds


def _pairs(count: int) -> Pairs:
    """Rows as a reader makes them, with groups and splits; items are stored members of shards."""
    from crossdistill.pairs.readers.shards import TarStore
    from crossdistill.pairs.readers.stores import StoredItem

    store = TarStore(Path("shard.tar"))
    rows = tuple(
        Pair(
            source=StoredItem(store, (2048 * number, 1000), f"{number:09}.jpg"),
            target=StoredItem(store, (2048 * number + 1024, 1000), f"{number:09}.depth.png"),
            split="train",
            group=f"group-{number // 5}",
            where=f"shard.tar, sample {number:09}",
        )
        for number in range(count)
    )
    return Pairs(rows)


def _retrieval(count: int) -> float:
    """Bytes of each cell (query, gallery item) at the peak, in a process of its own."""
    text = (
        "import sys, numpy as np; from crossdistill.evaluation.retrieval import ranks; n = int(sys.argv[1]); "
        "x = np.random.default_rng(0).standard_normal((n, 64), dtype=np.float32); i = np.arange(n); "
        f"ranks(x[:10], x[:10], i[:10], i[:10]); before = {_PEAK}; ranks(x, x, i, i); print({_PEAK} - before)"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", text, str(count)], capture_output=True, text=True,
                          check=True)  # fmt: skip
    return float(done.stdout.split()[-1]) / count**2


def measure(*, quick: bool, hash_seconds: float, decoded_bytes: int = 3 * 224 * 224) -> list[dict[str, Any]]:
    """A record for each part that grows with the pairs: bytes or seconds a pair, on the CPU.

    Args:
        quick: at small sizes.
        hash_seconds: to read and hash an item.
        decoded_bytes: of an item in the cache of decoded items.
    """
    count = 5000 if quick else 100_000
    kept, peak, seconds = _bytes(lambda: _pairs(count))
    found: list[dict[str, Any]] = [
        {"part": "rows of the pair set in memory", "unit": "bytes", "each": kept / count, "per": "pair"},
        {"part": "rows of the pair set while they are made", "unit": "bytes", "each": peak / count, "per": "pair"},
        {"part": "making the rows", "unit": "seconds", "each": seconds / count, "per": "pair"},
    ]
    kept, peak, seconds = _bytes(lambda: epoch_order(0, 0, count))
    found.append({"part": "order of an epoch", "unit": "bytes", "each": peak / count, "per": "pair"})
    columns = TeacherColumns(torch.randn(count, 8), torch.arange(count))
    held = sum(each.nbytes for each in _tensors(columns) if each.ndim == 1)
    found += [
        {"part": "ids, their order and lengths of the bank's rows", "unit": "bytes", "each": held / count,
         "per": "pair"},
        {"part": "content hashes of the sources at the start", "unit": "seconds", "each": hash_seconds, "per": "pair"},
        {"part": "retrieval of all held-out pairs", "unit": "bytes", "each": _retrieval(1000 if quick else 6000),
         "per": "cell"},
        {"part": "cache of decoded items", "unit": "pairs", "each": CACHE_BYTES / decoded_bytes, "per": "process"},
    ]  # fmt: skip
    return found


def _tensors(holder: object) -> list[torch.Tensor]:
    """The tensors of an object, and of what it holds."""
    found = []
    for each in vars(holder).values() if hasattr(holder, "__dict__") else ():
        if isinstance(each, torch.Tensor):
            found.append(each)
        elif isinstance(each, tuple):
            found += [one for one in each if isinstance(one, torch.Tensor)]
        elif type(each).__module__.startswith("crossdistill"):
            found += _tensors(each)
    unique = {each.data_ptr(): each for each in found}
    return list(unique.values())


def sizes(found: list[dict[str, Any]], memory: float, seconds: float) -> list[dict[str, Any]]:
    """The number of pairs at which each part takes ``memory`` bytes, or ``seconds`` seconds in one process."""
    rows = []
    for each in found:
        if each["per"] == "cell":
            fails = float(np.sqrt(memory / each["each"]))
        elif each["unit"] == "pairs":
            fails = each["each"]
        else:
            fails = (memory if each["unit"] == "bytes" else seconds) / each["each"]
        rows.append({**each, "fails_at": fails})
    return rows
