"""Predicted against measured seconds of an epoch, at points that no unit cost was fitted to."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass, replace
from typing import Any

import torch

from benchmarks.scaling.model import predict
from benchmarks.scaling.processes import spawned
from benchmarks.scaling.storage import MemoryItem
from benchmarks.scaling.terms import Workload
from benchmarks.scaling.units import machine_of, network_of, student_of
from crossdistill.objectives import CMC
from crossdistill.pairs.items import Items
from crossdistill.training import TrainConfig, distil


@dataclass(frozen=True, kw_only=True)
class Point:
    """A real run.

    Attributes:
        student: of timm.
        pairs: N.
        batch: B, over all processes.
        width: d.
        bank: compare with all pairs instead of the batch.
        world: gloo processes.
    """

    student: str
    pairs: int
    batch: int
    width: int
    bank: bool
    world: int = 1

    def workload(self, units: dict[str, Any]) -> Workload:
        """What the simulator is told of it; items are decoded in memory."""
        network = units["networks"][self.student]
        return Workload(
            pairs=self.pairs, batch=self.batch, width=self.width, student_operations=network["operations"],
            student_parameters=network["parameters"], norms=network["norms"], value_bytes=4,
            columns=self.pairs if self.bank else 0,
        )  # fmt: skip

    @property
    def name(self) -> str:
        """In words."""
        against = "bank" if self.bank else "batch"
        processes = f"{self.world} process" + ("es" if self.world > 1 else "")
        return f"{self.student}, {self.pairs} pairs, batch {self.batch}, width {self.width}, {against}, {processes}"


POINTS = (
    Point(student="test_resnet", pairs=1000, batch=100, width=256, bank=False),
    Point(student="test_resnet", pairs=1000, batch=100, width=256, bank=True),
    Point(student="test_resnet", pairs=4000, batch=200, width=768, bank=False),
    Point(student="test_resnet", pairs=4000, batch=200, width=768, bank=True),
    Point(student="test_resnet", pairs=8000, batch=32, width=768, bank=True),
    Point(student="resnet18", pairs=1000, batch=100, width=256, bank=True),
    Point(student="test_resnet", pairs=1000, batch=100, width=256, bank=False, world=2),
    Point(student="test_resnet", pairs=2000, batch=200, width=768, bank=True, world=2),
)
QUICK = Point(student="test_resnet", pairs=512, batch=128, width=256, bank=True)


def _epoch(rank: int, world: int, point: Point, epochs: int) -> float:
    """Seconds of the fastest epoch after the first, of one rank."""
    student = student_of(point.student, point.width)
    unique = [MemoryItem(number) for number in range(64)]
    files = [unique[number % len(unique)] for number in range(point.pairs)]
    items = Items(files, ["" for _ in files], student.modality, "items")  # type: ignore[arg-type]
    embeddings = torch.randn(point.pairs, point.width, generator=torch.Generator().manual_seed(0))
    ends: list[float] = []

    def end() -> dict[str, float]:
        ends.append(time.perf_counter())
        return {}

    config = TrainConfig(epochs=epochs, batch_size=point.batch, device="cpu", workers=0, monitor_every=1)
    objective = CMC(against="bank" if point.bank else "batch")
    distil(student, items, embeddings, torch.arange(point.pairs), objective, config, monitor=end)
    return min(after - before for before, after in itertools.pairwise(ends))


def measured_epoch(point: Point, epochs: int) -> float:
    """Seconds of an epoch of a real run."""
    if point.world == 1:
        return _epoch(0, 1, point, epochs)
    return float(max(spawned(point.world, _epoch, point, epochs)))


def _refreshed(units: dict[str, Any], point: Point, device: str = "cpu") -> dict[str, Any]:
    """The same with the network measured once more where that is faster: other work can only slow a turn down."""
    again, known = network_of(point.student, 5, device), units["networks"][point.student]
    if again.seconds >= known["seconds"]:
        return units
    faster = {**known, "seconds": again.seconds, "rate": again.rate}
    return {**units, "networks": {**units["networks"], point.student: faster}}


def check(units: dict[str, Any], *, quick: bool) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Each point with what was predicted and measured, in seconds; and the unit costs that were used.

    Runs and the network's unit cost take turns, and of each the best turn counts, as the machine's speed changes over
    time.
    """
    points = (QUICK,) if quick else POINTS
    measured = []
    for point in points:
        measured.append(measured_epoch(point, 3))
        units = _refreshed(units, point)
    found = []
    for point, seconds in zip(points, measured, strict=True):
        machine = replace(machine_of(units, point.student), decode_seconds=0.0)  # decoded beforehand
        # Nothing is written.
        predicted = predict(point.workload(units), replace(machine, disk_rate=float("inf")), point.world)
        found.append({"point": point.name, "predicted": predicted.seconds, "measured": seconds})
    return found, units
