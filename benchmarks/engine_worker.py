"""One part of ``benchmarks.engine`` in a process of its own; the last line it prints is a JSON object."""

from __future__ import annotations

import copy
import itertools
import json
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import torch
import yaml
from torch import Tensor

from crossdistill.bank import BankRows
from crossdistill.bank.building import build_packed
from crossdistill.bank.description import Description, cut
from crossdistill.bank.layout import Dtype
from crossdistill.bank.packed import Packed, Place
from crossdistill.encoders import Encoder, StudentConfig, build_student
from crossdistill.modalities.image import Image
from crossdistill.objectives import CMCD
from crossdistill.pairs.items import Items
from crossdistill.training import TrainConfig, TrainLog, distil

WIDTH = 512


class MadeItems(Items):
    """Pictures that are drawn by their number whenever they are asked for, so that none is kept."""

    def __init__(self, count: int, modality: Image) -> None:
        super().__init__([], [], modality, "")
        self.count = count
        self.block = torch.randint(0, 256, (257, *modality.shape), dtype=torch.uint8)

    def __len__(self) -> int:
        return self.count

    def batch(self, indices: Sequence[int]) -> Tensor:
        """See the base class."""
        return self.block[torch.as_tensor(indices) % len(self.block)]


class Memory:
    """The peaks of this process's memory within a block, in MiB.

    Attributes:
        private: what is its own (RssAnon), looked at every few milliseconds.
        resident: with the pages of mapped files (VmHWM), which the system may drop at any time and read again.
    """

    def __init__(self) -> None:
        self.private = self.resident = 0.0
        self._over = threading.Event()
        self._watching = threading.Thread(target=self._watch)

    def __enter__(self) -> Self:
        self._watching.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._watching.join()

    def _watch(self) -> None:
        while True:
            over = self._over.wait(0.005)
            status = Path("/proc/self/status").read_text()
            private, self.resident = (
                int(status.partition(f"{name}:")[2].split()[0]) / 1024 for name in ("RssAnon", "VmHWM")
            )
            self.private = max(self.private, private)
            if over:
                return


def student(backbone: str, size: int) -> tuple[Encoder, Image]:
    """A student of random weights for pictures of three channels."""
    modality = Image(size=size, channels=3, mean=(0.5,) * 3, std=(0.25,) * 3, interpolation="bilinear")
    torch.manual_seed(0)
    return build_student(StudentConfig(backbone=backbone), modality, WIDTH), modality


def epoch_seconds(
    network: Encoder, items: Items, settings: dict[str, Any], teacher: Tensor | BankRows | None = None
) -> list[float]:
    """How long each epoch but the first takes."""
    with tempfile.TemporaryDirectory() as folder:
        log = TrainLog(Path(folder) / "train.jsonl", "distil")
        if teacher is None:
            teacher = torch.randn(len(items), WIDTH)
        config = TrainConfig(lr=1e-4, warmup=0, log_every=10**9, **settings)
        distil(copy.deepcopy(network), items, teacher, torch.arange(len(items)), CMCD(), config, log=log)
        seconds = [json.loads(line)["seconds"] for line in log.path.read_text().splitlines()]
    return [after - before for before, after in itertools.pairwise(seconds)]


def step(batch: int, rounds: int) -> dict[str, Any]:
    """Seconds of a whole step, and of the bare network's; taking turns, the median turn of each.

    The speed of a shared machine drifts by more than what is looked for: the medians of turns that alternate drift
    together, the best turns do not.
    """
    steps = 4
    network, modality = student("resnet18", 64)
    items = MadeItems(batch * steps, modality)
    bare_network = copy.deepcopy(network).to(memory_format=torch.channels_last).train()
    images = modality.normalise(modality.augment(items.batch(range(batch))))
    direction = torch.randn(batch, WIDTH)
    whole, bare = [], []
    for _ in range(rounds + 1):
        started = time.perf_counter()
        for _ in range(steps):
            bare_network.zero_grad(set_to_none=True)
            (bare_network(images) * direction).sum().backward()
        bare.append((time.perf_counter() - started) / steps)
        whole += [each / steps for each in epoch_seconds(network, items, {"epochs": 2, "batch_size": batch})]
    turns = {"whole": whole[1:], "bare": bare[1:]}  # the first warms up
    return {name: statistics.median(each) for name, each in turns.items()} | {"turns": turns}


def pairs(pairs: int) -> dict[str, float]:
    """Seconds of an epoch, and peak memory; the teacher's embeddings lie in a bank on the disk."""
    network, modality = student("test_resnet", 32)
    with tempfile.TemporaryDirectory() as folder, Memory() as memory:
        teacher = BankRows(made_bank(Path(folder), pairs, WIDTH, "float32").matrix)
        seconds = epoch_seconds(network, MadeItems(pairs, modality), {"epochs": 3, "batch_size": 250}, teacher)
    return {"epoch": min(seconds), "private_mib": memory.private, "resident_mib": memory.resident}


def made_bank(folder: Path, rows: int, width: int, dtype: Dtype) -> Packed:
    """A bank of random rows, built and opened with all checks."""
    block = torch.randn(4096, width)

    def compute(start: int, stop: int) -> Iterator[Tensor]:
        yield block[: stop - start]

    place = Place(folder, "embeddings")
    plan = Description(key="synthetic", rows=rows, width=width, dtype=dtype, about={}, shards=cut(0, rows, 4096))
    build_packed(place, plan, None, compute, "building")
    return Packed.open(place)


def bank(rows: int, width: int = 64) -> dict[str, float]:
    """Building and opening a bank with all checks, opening it again, and reading from it."""
    with tempfile.TemporaryDirectory() as folder, Memory() as memory:
        started = time.perf_counter()
        made_bank(Path(folder), rows, width, "float16")
        built = time.perf_counter()
        packed = Packed.open(Place(Path(folder), "embeddings"))
        opened = time.perf_counter()
        for _ in range(20):
            packed.matrix[torch.randint(0, rows, (256,))].float()
        read = time.perf_counter()
    return {
        "build": built - started, "open": opened - built, "read_ms": 1000 * (read - opened) / 20,
        "private_mib": memory.private, "resident_mib": memory.resident,
    }  # fmt: skip


def made_set(folder: str, pairs: int, quick: bool) -> dict[str, str]:
    """A pair set on disk, and a configuration for it."""
    place = Path(folder) / "pairs"
    rows = ["source,target"]
    for number in range(pairs):
        for side in ("source", "target"):
            Image.write_fake(place / side / f"{number}.png", number % 5, number, rich=side == "source")
        rows.append(f"source/{number}.png,target/{number}.png")
    (place / "pairs.csv").write_text("\n".join(rows) + "\n")
    config = {
        "pairs": {"manifest": str(place / "pairs.csv"), "split": {"val": 0.0, "test": 0.1}},
        "source": {"modality": "image", "size": 32},
        "target": {"modality": "image", "size": 64},
        "teacher": {"backbone": "test_resnet", "weights": "random"},
        "student": {"backbone": "test_resnet" if quick else "resnet18"},
        "train": {"epochs": 3, "batch_size": 256 if not quick else 128, "device": "cpu", "monitor_every": 10**6},
        "trackers": [], "out": str(Path(folder) / "unused"),
    }  # fmt: skip
    path = Path(folder) / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return {"config": str(path)}


def options(backbone: str, batch: int, settings: dict[str, dict[str, Any]]) -> dict[str, float]:
    """Seconds of a step with each of some settings."""
    steps = 4
    network, modality = student(backbone, 64)
    items = MadeItems(batch * steps, modality)
    return {
        name: min(epoch_seconds(network, items, {"epochs": 4, "batch_size": batch, **chosen})) / steps
        for name, chosen in settings.items()
    }


WORK = {"step": step, "pairs": pairs, "bank": bank, "set": made_set, "options": options}

if __name__ == "__main__":
    torch.manual_seed(0)
    print(json.dumps(WORK[sys.argv[1]](**json.loads(sys.argv[2]))))  # type: ignore[operator]
