"""The plan: what 10^6, 10^8 and 10^9 pairs cost on 1, 8 and 256 GPUs, and from where on which columns pay."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from benchmarks.scaling.accelerators import assumed
from benchmarks.scaling.model import break_even, predict
from benchmarks.scaling.terms import Machine, Place, Workload

SIZES = (10**6, 10**8, 10**9)
WORLDS = (1, 8, 256)

RESNET50 = Workload(
    pairs=10**6,
    batch=4096,
    width=512,
    student_operations=6
    * 4.1e9,  # 4.1e9 multiply-adds forward (He et al., arXiv 1512.03385: 3.8e9; timm's stride: 4.1e9)
    student_parameters=25.6e6,
    norms=53,
    teacher_operations=2 * 17.6e9,  # ViT-B/16 at 224 pixels (arXiv 2010.11929)
    stored_bytes=50e3,
    source_bytes=100e3,
)
"""A ResNet-50 at 224 pixels, taught by a ViT-B/16."""


@dataclass(frozen=True, kw_only=True)
class Columns:
    """One way to compare a batch with teacher columns.

    Attributes:
        name: for tables.
        most: columns; None: all pairs; 0: the batch.
        place: of the bank.
    """

    name: str
    most: int | None
    place: Place = "device"


WAYS = (
    Columns(name="batch", most=0),
    Columns(name="subset of 65,536", most=65_536),
    Columns(name="whole, on each GPU", most=None),
    Columns(name="whole, sharded", most=None, place="sharded"),
    Columns(name="whole, in host memory", most=None, place="host"),
)


def costs(gpu: str, work: Workload = RESNET50, **settings: Any) -> list[dict[str, Any]]:
    """A record for each size, number of GPUs and way; ``settings`` as of :func:`assumed`.

    ``fits`` says whether a rank's part of the bank is within the memory that it may take.
    """
    found = []
    for pairs in SIZES:
        for world in WORLDS:
            machine = assumed(gpu, world, **settings)
            for way in WAYS:
                if way.place == "sharded" and world == 1:
                    continue
                columns = pairs if way.most is None else min(way.most, pairs)
                sized = replace(work, pairs=pairs, columns=columns, place=way.place)
                epoch = predict(sized, machine, world)
                held = epoch.bank_bytes_rank if way.most is None and way.place != "host" else 0.0
                found.append(
                    {
                        "gpu": gpu, "pairs": pairs, "gpus": world, "columns": way.name,
                        "fits": held <= machine.memory, **{k: v for k, v in asdict(epoch).items() if k != "step"},
                        "terms": asdict(epoch.step), "device_seconds": pairs // work.batch * epoch.step.device,
                    }
                )  # fmt: skip
    return found


def limits(machine: Machine, work: Workload = RESNET50, share: float = 0.1) -> dict[str, float]:
    """From how many pairs on the exact whole bank stops paying, and stops fitting, on one such rank.

    Args:
        machine: of a rank.
        work: N is not looked at.
        share: of an epoch that the bank may take.

    Returns:
        ``equal``: columns that cost as much as the student; ``share``: as ``share`` of an epoch, student and bank
        together; ``memory``: pairs whose bank fills the memory of one rank.
    """
    equal = break_even(work, machine)
    return {
        "equal": equal,
        "share": equal * share / (1 - share),
        "memory": machine.memory / (work.width * work.value_bytes * (1 + work.views)),
    }


def search_operations(pairs: float, width: int) -> float:
    """Operations of an exact search for the neighbours of all pairs among all pairs, once: 2 N^2 d."""
    return 2 * pairs**2 * width


def gathered_bytes(rows: int, neighbours: int, width: int, value_bytes: int) -> float:
    """Bytes that are read at random for the neighbours of a batch's rows: B k d values."""
    return float(rows) * neighbours * width * value_bytes
