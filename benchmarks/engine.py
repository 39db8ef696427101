"""The engine: what a step costs beside the network itself, how time and memory grow, and what processes share.

python -m benchmarks.engine [--quick] [--json] [--parts step,pairs,bank,processes,options,device]

``device`` is measured where there is a GPU, or on what ``--device`` names.

Other packages: ``benchmarks.field.compare``. Start-up: ``benchmarks.startup``. Past this machine: ``benchmarks.scale``.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.engine_device import OPTIONS
from benchmarks.record import Measurement, at_least, at_most, below, recorded, save, show_table

PARTS = ("step", "pairs", "bank", "processes", "options", "device")
STUDENTS = ("resnet18", "test_resnet", "mobilenetv3_small_100", "tf_efficientnet_lite0")
LARGE_STUDENTS = ("resnet50", "vit_small_patch16_224")
ROOT = Path(__file__).parents[1]


def worker(part: str, threads: int, **settings: Any) -> dict[str, Any]:
    """The answer of ``benchmarks.engine_worker`` in a process of its own."""
    return in_process(["benchmarks.engine_worker", part, json.dumps(settings)], threads)


def in_process(arguments: list[str], threads: int) -> dict[str, Any]:
    """The JSON object that a module with some arguments prints last."""
    command = [sys.executable, "-W", "ignore", "-m", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True)
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def step(quick: bool, threads: int) -> tuple[list[Measurement], dict[str, Any]]:
    """A whole step of distillation against forward and backward of the same student on the same tensors."""
    raw = worker("step", threads, batch=64 if quick else 256, rounds=1 if quick else 9)
    return [at_most("step, whole against bare forward and backward", raw["whole"], raw["bare"], "s", 1.05)], raw


def exponent(sizes: list[int], values: list[float]) -> float:
    """The slope of a line through the logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def pairs(quick: bool, threads: int) -> tuple[list[Measurement], dict[str, Any]]:
    """Epoch time and memory of a distillation whose items are made when they are asked for, from a bank on disk."""
    sizes = [500, 1000, 2000] if quick else [1000, 4000, 16000, 64000]
    raw = {size: worker("pairs", threads, pairs=size) for size in sizes}
    grown = exponent(sizes, [raw[size]["epoch"] for size in sizes])
    return [
        below("epoch time, exponent in the number of pairs", grown, 1.05, ""),
        *memory(raw[sizes[-1]], raw[sizes[0]], f"{sizes[-1]} pairs against {sizes[0]}"),
    ], {str(size): value for size, value in raw.items()}


def memory(large: dict[str, Any], small: dict[str, Any], what: str) -> list[Measurement]:
    """What a process has of its own, which should be flat; and with the pages of the mapped bank."""
    return [
        at_most(f"private memory, {what}", large["private_mib"], small["private_mib"], "MiB", 1.1),
        recorded(f"resident memory with mapped pages, {what}", large["resident_mib"], small["resident_mib"], "MiB"),
    ]


def bank(quick: bool, threads: int) -> tuple[list[Measurement], dict[str, Any]]:
    """Building, checking and reading a packed matrix of 64 float16 numbers a row."""
    sizes = [10**4, 10**5] if quick else [10**4, 10**5, 10**6, 10**7]
    raw = {size: worker("bank", threads, rows=size) for size in sizes}
    return [
        below("bank, exponent of the build's time in its rows", exponent(sizes[1:] if not quick else sizes, [
            raw[size]["build"] for size in (sizes[1:] if not quick else sizes)]), 1.05, ""),
        *memory(raw[sizes[-1]], raw[sizes[0]], f"a bank of {sizes[-1]} rows against {sizes[0]}"),
        below(f"bank, reading 256 random rows of {sizes[-1]}", raw[sizes[-1]]["read_ms"], math.inf, "ms"),
    ], {str(size): value for size, value in raw.items()}  # fmt: skip


def processes(quick: bool) -> tuple[list[Measurement], dict[str, Any]]:
    """Two processes of one thread against one of two, by the command line; they take turns, the best epoch counts.

    Batch 256, as in the part ``step``; a smaller one has the same exchange of gradients for less work.
    """
    raw: dict[str, list[float]] = {"one": [], "two": []}
    with tempfile.TemporaryDirectory() as folder:
        settings = worker("set", 1, folder=folder, pairs=256 if quick else 2048, quick=quick)
        for turn, (name, count, threads) in enumerate([("one", 1, 2), ("two", 2, 1)] * (1 if quick else 2)):
            launcher = ["-m", "torch.distributed.run", "--nproc-per-node", str(count)] if count > 1 else []
            command = [sys.executable, *launcher, "-m", "crossdistill", "distill", settings["config"],
                       f"out={folder}/{turn}"]  # fmt: skip
            environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
            subprocess.run(command, env=environment, check=True, capture_output=True)
            lines = [json.loads(line) for line in Path(f"{folder}/{turn}/train.jsonl").read_text().splitlines()]
            seconds = [line["seconds"] for line in lines if line["kind"] == "epoch"]
            raw[name] += np.diff(seconds).tolist()  # the first epoch warms up
    speed = at_least(
        "two processes of one thread against one of two", 1 / min(raw["two"]), 1 / min(raw["one"]), "epochs/s", 0.9
    )
    return [speed], raw


def options(quick: bool, threads: int) -> tuple[list[Measurement], dict[str, Any]]:
    """The effect of each option on the time of a step; on this machine, to be measured and not assumed."""
    chosen: dict[str, dict[str, Any]] = {
        "plain": {}, "channels_last: false": {"channels_last": False}, "precision: bf16": {"precision": "bf16"},
        "ema": {"ema": 0.99}, "clip_norm": {"clip_norm": 1.0},
    }  # fmt: skip
    if not quick:
        chosen["compile"] = {"compile": True}
    raw = {}
    for backbone in STUDENTS[:1] if quick else STUDENTS:
        part = chosen if backbone == "resnet18" else {name: chosen[name] for name in ("plain", "channels_last: false")}
        raw[backbone] = worker("options", threads, backbone=backbone, batch=64, settings=part)
    return [
        recorded(f"{backbone}, step with {name}", value, each["plain"], "s")
        for backbone, each in raw.items()
        for name, value in each.items()
        if name != "plain"
    ], raw


def device(quick: bool, threads: int, name: str) -> tuple[list[Measurement], dict[str, Any]]:
    """Larger students at 224 pixels: throughput, utilisation, the objective's share, and what each option brings."""
    small = quick or name == "cpu"
    raw = {}
    for backbone in LARGE_STUDENTS:
        settings = {
            "backbone": backbone, "size": 224, "batch": 8 if small else 256, "steps": 2 if small else 12, "name": name,
            "options": ["float32", "bf16"] if small else list(OPTIONS), "side": 1024 if small else 8192,
        }  # fmt: skip
        raw[backbone] = in_process(["benchmarks.engine_device", json.dumps(settings)], threads)
    found = []
    for backbone, each in raw.items():
        plain = each["options"]["float32"]["items_a_second"]
        for option, value in each["options"].items():
            kind = "bf16" if option.startswith("bf16") else "float32"
            where = f"{backbone} at 224, {option}"
            found += [
                recorded(f"{where}: throughput against float32", value["items_a_second"], plain, "items/s"),
                recorded(f"{where}: operations against one large product", value["operations_a_second"] / 1e12,
                         each["product_rate"][kind] / 1e12, "TFLOP/s"),
                below(f"{where}: the objective's share of a step", value["phases"]["objective"], math.inf, ""),
            ]  # fmt: skip
    return found, raw


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--parts", default=None, help="comma-separated")
    parser.add_argument("--device", default="cuda", help="of the part device (default: %(default)s)")
    arguments = parser.parse_args()
    parts = (arguments.parts or ("step,bank" if arguments.quick else ",".join(PARTS))).split(",")
    unknown = sorted(set(parts) - set(PARTS))
    if unknown:
        parser.error(f"--parts: expected some of {','.join(PARTS)}; received {','.join(unknown)}")
    measure: dict[str, Callable[[bool, int], tuple[list[Measurement], dict[str, Any]]]] = {
        "step": step, "pairs": pairs, "bank": bank, "options": options,
        "processes": lambda quick, _: processes(quick),
        "device": lambda quick, threads: device(quick, threads, arguments.device),
    }  # fmt: skip
    found: list[Measurement] = []
    raw: dict[str, Any] = {}
    for part in parts:
        if part == "device" and arguments.device.startswith("cuda") and not torch.cuda.is_available():
            print("no GPU here: the part device is left out (--device cpu shows that it works)", file=sys.stderr)
            continue
        measured, raw[part] = measure[part](arguments.quick, arguments.threads)
        for each in measured:
            each.show(arguments.json)
        found += measured
    if not arguments.json:
        show_table(found)
    if not arguments.quick:
        suffix = "" if arguments.parts is None else f"-{'-'.join(parts)}"
        save(
            f"engine{suffix}",
            {"threads": arguments.threads, "measurements": [vars(each) for each in found], "raw": raw},
        )


if __name__ == "__main__":
    main()
