"""A student on a device, by option: throughput, utilisation, the objective's share. In a process of its own.

``benchmarks.engine --parts device`` starts it; the last line it prints is a JSON object. It runs on any device of
torch, and what it says is meant for GPUs: on a CPU it shows that it works.
"""

from __future__ import annotations

import copy
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.engine_worker import WIDTH, MadeItems, epoch_seconds, student
from benchmarks.scaling.accelerators import ACCELERATORS
from crossdistill.encoders import Encoder
from crossdistill.modalities.image import Image
from crossdistill.objectives import CMCD
from crossdistill.pairs.items import Items
from crossdistill.training import TrainConfig, TrainLog, distil

OPTIONS: dict[str, dict[str, Any]] = {
    "float32": {},
    "float32, channels_last: false": {"channels_last": False},
    "bf16": {"precision": "bf16"},
    "bf16, channels_last: false": {"precision": "bf16", "channels_last": False},
    "bf16, compile": {"precision": "bf16", "compile": True},
}
_EPOCHS = 3  # the first warms up


def operations(network: Encoder, modality: Image) -> float:
    """Floating-point operations of one item, forward and backward, as torch counts them (products alone)."""
    network = copy.deepcopy(network).train()
    batch = torch.zeros(2, *modality.shape)
    with FlopCounterMode(display=False) as counter:
        network(batch).sum().backward()
    return float(counter.get_total_flops()) / len(batch)


def product_rate(device: torch.device, dtype: torch.dtype, side: int, repeats: int = 10) -> float:
    """Operations a second of one large matrix product: what this device reaches at best, in torch's own settings."""
    left, right = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    found = []
    for _ in range(3):
        _wait(device)
        started = time.perf_counter()
        for _ in range(repeats):
            left @ right
        _wait(device)
        found.append((time.perf_counter() - started) / repeats)
    return 2 * side**3 / min(found[1:])


def published(device: torch.device) -> float | None:
    """The vendor's dense peak in bf16, of the GPUs that the scale benchmark knows."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((each.bf16 for key, each in ACCELERATORS.items() if key in name), None)


def objective_share(network: Encoder, items: Items, settings: dict[str, Any]) -> dict[str, float]:
    """The share of each phase in the steps of one epoch, by the engine's own profiler."""
    with tempfile.TemporaryDirectory() as folder:
        log = TrainLog(Path(folder) / "train.jsonl", "distil")
        config = TrainConfig(lr=1e-4, warmup=0, log_every=10**9, epochs=2, profile=True, **settings)
        numbers = torch.arange(len(items))
        distil(copy.deepcopy(network), items, torch.randn(len(items), WIDTH), numbers, CMCD(), config, log=log)
        summary = json.loads((Path(folder) / "profile" / "distil.json").read_text(encoding="utf-8"))
    return {name: phase["share"] for name, phase in summary["phases"].items()}


def device(
    backbone: str, size: int, batch: int, steps: int, name: str, options: list[str], side: int
) -> dict[str, Any]:
    """One student with each of some options.

    Args:
        backbone: of the student, a timm name.
        size: side of the pictures.
        batch: items a step.
        steps: of an epoch.
        name: of the device.
        options: of :data:`OPTIONS`.
        side: of the matrices whose product says what the device can do.
    """
    place = torch.device(name)
    network, modality = student(backbone, size)
    items = MadeItems(batch * steps, modality)
    found: dict[str, Any] = {
        "backbone": backbone,
        "size": size,
        "batch": batch,
        "operations_an_item": operations(network, modality),
        "product_rate": {
            "float32": product_rate(place, torch.float32, side),
            "bf16": product_rate(place, torch.bfloat16, side),
        },
        "published_bf16": published(place),
        "options": {},
    }
    for option in options:
        settings = {"batch_size": batch, "device": name, **OPTIONS[option]}
        if place.type == "cuda":
            torch.cuda.reset_peak_memory_stats(place)
        seconds = min(epoch_seconds(network, items, {"epochs": _EPOCHS, **settings})) / steps
        peak = torch.cuda.max_memory_allocated(place) / 2**20 if place.type == "cuda" else None
        rate = found["operations_an_item"] * batch / seconds
        kind = "bf16" if option.startswith("bf16") else "float32"
        found["options"][option] = {
            "step": seconds,
            "items_a_second": batch / seconds,
            "operations_a_second": rate,
            "share_of_products": rate / found["product_rate"][kind],
            "share_of_published": rate / found["published_bf16"] if found["published_bf16"] else None,
            "device_memory_mib": peak,
            "phases": objective_share(network, items, settings),
        }
    return found


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    torch.manual_seed(0)
    print(json.dumps(device(**json.loads(sys.argv[1]))))
