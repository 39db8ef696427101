"""Unit costs of the machine at hand, for the simulator: each measured on its own, never on what it is checked with."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.optimize import nnls
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.scaling.model import FLOAT
from benchmarks.scaling.processes import spawned
from benchmarks.scaling.storage import MemoryItem, disk, mapped_rows, photograph
from benchmarks.scaling.terms import Machine
from crossdistill.encoders import Encoder, StudentConfig, Teacher, TeacherConfig, build_student, build_teacher
from crossdistill.modalities.image import Image
from crossdistill.objectives import CMC, TeacherColumns
from crossdistill.pairs.items import content_hash
from crossdistill.training.shared_norm import SharedBatchNorm

SIZE, BATCH, WIDTH = 64, 64, 512
STUDENTS = ("test_resnet", "resnet18")
TEACHER = "tf_efficientnet_lite0"
TAU = 0.1


@dataclass(frozen=True, kw_only=True)
class Network:
    """A network's unit costs.

    Attributes:
        name: of timm.
        parameters: their number, head included.
        operations: of an item, by torch's FlopCounterMode; forward and backward for a student.
        seconds: of an item.
        norms: layers of batch normalisation.
    """

    name: str
    parameters: int
    operations: float
    seconds: float
    norms: int = 0

    @property
    def rate(self) -> float:
        """Operations a second."""
        return self.operations / self.seconds


def best(action: Callable[[], object], repeats: int, device: str = "cpu") -> float:
    """Seconds of the fastest of several calls, after one that is not counted."""
    action()
    found = float("inf")
    for _ in range(repeats):
        _wait(device)
        started = time.perf_counter()
        action()
        _wait(device)
        found = min(found, time.perf_counter() - started)
    return found


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def student_of(name: str, width: int) -> Encoder:
    """A student of one channel, with a linear head into the teacher's space."""
    torch.manual_seed(0)
    modality = Image(size=SIZE, channels=1)
    return build_student(StudentConfig(backbone=name), modality, width).to(memory_format=torch.channels_last).train()


def network_of(name: str, repeats: int, device: str) -> Network:
    """Forward and backward of a batch of :data:`BATCH` pictures of :data:`SIZE` pixels."""
    student = student_of(name, WIDTH).to(device)
    step = student_step(student, device)
    with FlopCounterMode(display=False) as counter:
        step()
    parameters = sum(parameter.numel() for parameter in student.parameters())
    seconds = best(step, repeats, device) / BATCH
    norms = sum(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in student.modules())
    operations = counter.get_total_flops() / BATCH
    return Network(name=name, parameters=parameters, operations=operations, seconds=seconds, norms=norms)


def student_step(student: Encoder, device: str) -> Callable[[], None]:
    """Forward and backward of a batch of :data:`BATCH` pictures."""
    images = torch.randn(BATCH, 1, SIZE, SIZE, device=device)

    def step() -> None:
        student.zero_grad()
        student(images).sum().backward()

    return step


def _beside(rank: int, world: int, name: str, repeats: int) -> float:
    """Seconds of an item of one of several ranks at work, with shared batch normalisation."""
    step = student_step(student_of(name, WIDTH), "cpu")
    with SharedBatchNorm():
        return best(step, repeats) / BATCH


def teacher_of(repeats: int, device: str) -> Network:
    """Forward of a batch in evaluation, at 96 pixels."""
    teacher = Teacher(build_teacher(TeacherConfig(backbone=TEACHER, weights="random"), Image(size=96)), device)
    items = torch.randint(0, 255, (BATCH, 3, 96, 96), dtype=torch.uint8)
    with FlopCounterMode(display=False) as counter:
        teacher.embed(items)
    parameters = sum(parameter.numel() for parameter in teacher.encoder.parameters())
    seconds = best(lambda: teacher.embed(items), repeats, device) / BATCH
    return Network(name=TEACHER, parameters=parameters, operations=counter.get_total_flops() / BATCH, seconds=seconds)


def bank_step(rows: int, columns: int, width: int, device: str) -> Callable[[], None]:
    """Whole-bank CMC, one way, forward and backward."""
    bank = torch.randn(columns, width, device=device)
    objective = CMC(TAU, symmetric=False, against="bank").to(device)
    objective.prepare(TeacherColumns(bank))
    ids = torch.arange(rows, device=device)
    student = torch.randn(rows, width, device=device).requires_grad_()

    def step() -> None:
        student.grad = None
        objective(student, bank[:rows], ids).backward()

    return step


def batch_step(rows: int, width: int, device: str) -> Callable[[], None]:
    """CMC both ways within a batch, forward and backward."""
    objective = CMC(TAU).to(device)
    student, teacher = (torch.randn(rows, width, device=device) for _ in range(2))
    student.requires_grad_()

    def step() -> None:
        student.grad = None
        objective(student, teacher, torch.arange(rows, device=device)).backward()

    return step


def objective_units(repeats: int, device: str) -> dict[str, Any]:
    """Least squares, relative and non-negative, of ``4 B M d / p + B M c + M d v`` over a grid of sizes."""
    columns = 16_384 if device == "cpu" else 262_144
    rows, seconds = [], []
    for batch in (32, 128, 256):
        for width in (128, 512, 1280):
            seconds.append(best(bank_step(batch, columns, width, device), repeats, device))
            rows.append((4 * batch * columns * width, batch * columns, columns * width))
    scales = 1e-12, 1e-9, 1e-9  # so that the unknowns are near one
    system = np.array(rows) * scales / np.array(seconds)[:, None]
    found, _ = nnls(system, np.ones(len(rows)))
    worst = float(np.abs(system @ found - 1).max())
    product, cell, value = (float(each * scale) for each, scale in zip(found, scales, strict=True))
    return {"product_rate": 1 / product, "cell_seconds": cell, "value_seconds": value, "largest_misfit": worst}


def _reduce_times(rank: int, world: int, sizes: list[int], repeats: int) -> dict[str, Any]:
    """One rank: seconds of all-reduces and of gathering embeddings."""
    from torch import distributed

    found: dict[str, Any] = {}
    for size in sizes:
        values = torch.ones(size // FLOAT)
        found[str(size)] = best(lambda values=values: distributed.all_reduce(values), repeats)  # type: ignore[misc]
    rows = torch.ones(BATCH, WIDTH)
    parts = [torch.empty_like(rows) for _ in range(world)]
    found["gather"] = best(lambda: distributed.all_gather(parts, rows), repeats)
    return found


def measure(device: str, *, quick: bool, work: Path) -> dict[str, Any]:
    """All unit costs; ``machine`` and ``networks`` are what the simulator takes."""
    repeats = 2 if quick else 7
    networks = {name: network_of(name, repeats, device) for name in STUDENTS[: 1 if quick else None]}
    teacher = teacher_of(repeats, device)
    objective = objective_units(1 if quick else 5, device)
    modality = student_of("test_resnet", WIDTH).modality
    decoded = torch.randint(0, 255, (BATCH, 1, SIZE, SIZE), dtype=torch.uint8).to(device)
    augment = best(lambda: modality.normalise(modality.augment(decoded)), 3 * repeats, device) / BATCH
    source = torch.ones((64 if quick else 256) << 18)
    target = torch.empty_like(source)
    copied = 2 * source.nbytes / best(lambda: target.copy_(source), repeats)
    parameters = [nn.Parameter(torch.ones(1 << 20, device=device)) for _ in range(4)]
    optimiser = torch.optim.AdamW(parameters, fused=device.startswith("cuda"))
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    update = best(optimiser.step, repeats, device) / sum(parameter.numel() for parameter in parameters)
    small, large = 1 << 16, (4 if quick else 44) << 20
    reduced = spawned(2, _reduce_times, [small, large], 5 * repeats)[0]
    beside = float(np.mean(spawned(2, _beside, "test_resnet", 2 * repeats)))
    alone = networks["test_resnet"]
    # A ring of two sends as many bytes as it reduces, in two messages.
    bandwidth = (large - small) / max(reduced[str(large)] - reduced[str(small)], 1e-9)
    latency = max(0.0, reduced[str(small)] - small / bandwidth) / 2
    with tempfile.TemporaryDirectory(dir=work) as folder:
        place = Path(folder)
        written, read = disk(place, (32 if quick else 512) << 20)
        warm, cold = mapped_rows(place, 8192 if quick else 131_072, WIDTH, 2048)
        photo, drawing = photograph(place), MemoryItem(0)
        decode = best(lambda: Image(size=224, mean=(0, 0, 0), std=(1, 1, 1), interpolation="bicubic").decode(photo),
                      10 * repeats)  # fmt: skip
        decode_drawing = best(lambda: modality.decode(drawing), 10 * repeats)
        hashing = best(lambda: content_hash(photo), 10 * repeats)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    machine = Machine(
        name=f"1 x {device}, one thread" if device == "cpu" else device, measured=True,
        network_rate=networks["test_resnet"].rate, teacher_rate=teacher.rate,
        product_rate=objective["product_rate"], cell_seconds=objective["cell_seconds"],
        value_seconds=objective["value_seconds"], bandwidth=bandwidth, latency=latency, storage_rate=read,
        disk_rate=written, decode_seconds=decode_drawing, workers=0, augment_seconds=augment,
        optimiser_seconds=update, step_seconds=0.0, overlap=0.0,
        sharing=max(1.0, (beside - 4 * latency * alone.norms / BATCH) / alone.seconds), memory=float(memory), price=0.0,
    )  # fmt: skip
    return {
        "machine": asdict(machine),
        "networks": {name: {**asdict(network), "rate": network.rate} for name, network in networks.items()},
        "teacher": {**asdict(teacher), "rate": teacher.rate},
        "objective": objective,
        "copy_bytes_per_second": copied,
        "mapped_row_seconds": {"cached": warm, "from_disk": cold},
        "decode_photograph_seconds": decode,
        "hash_seconds": hashing,
        "gloo": reduced,
    }


def machine_of(units: dict[str, Any], student: str) -> Machine:
    """The machine that was measured, with the rate that it has on a student."""
    return Machine(**{**units["machine"], "network_rate": units["networks"][student]["rate"]})
