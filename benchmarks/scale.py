"""What distillation costs beyond this machine: unit costs, a simulator and its check, what replaces the whole bank.

    python -m benchmarks.scale                 # some minutes on one thread; writes results/DATE-scale-DEVICE.json
    python -m benchmarks.scale --quick         # small sizes, within a minute
    python -m benchmarks.scale --show FILE     # the tables of docs/scale.md from a results file
    python -m benchmarks.scale --device cuda   # unit costs of a GPU; its epochs are not checked
    python -m benchmarks.scale --price 2.5 --utilisation 0.4

The figures of GPUs are published peaks times assumed utilisations (benchmarks/scaling/accelerators.py), not measured.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from benchmarks.record import Measurement, below, save, show_table
from benchmarks.scaling import check, failures, plan, substitutes, tables, units
from benchmarks.scaling.accelerators import ACCELERATORS, PRICE, UTILISATION, assumed
from benchmarks.scaling.embeddings import made_embeddings, real_embeddings
from crossdistill.files import read_json

WORK = Path("runs/benchmarks")


def predictions(arguments: argparse.Namespace) -> dict[str, Any]:
    """Costs and limits on assumed GPUs: arithmetic alone."""
    settings = {"utilisation": arguments.utilisation, "price": arguments.price}
    return {
        "assumptions": {name: asdict(assumed(name, 8, **settings)) for name in ACCELERATORS},
        "workload": asdict(plan.RESNET50),
        "costs": [record for name in ACCELERATORS for record in plan.costs(name, **settings)],
        "limits": {name: plan.limits(assumed(name, 8, **settings)) for name in ACCELERATORS},
    }


def estimators(quick: bool) -> list[dict[str, Any]]:
    """What replaces the whole bank, against it."""
    if quick:
        real = made_embeddings(200, 2, 64, seed=0)
        return substitutes.compare(real, 4096, rows=32, subsets=(256, 1024), neighbours=(64,), draws=3,
                                   temperatures=(0.1,))  # fmt: skip
    real = real_embeddings()
    small = {"rows": 128, "subsets": (1024,), "neighbours": (), "draws": 6, "temperatures": (0.1,)}
    large = substitutes.compare(real, 131_072, rows=128, subsets=(1024, 4096, 16_384, 65_536),
                                neighbours=(64, 256, 1024, 4096), draws=6)  # fmt: skip
    both = [substitutes.compare(real, real.shape[0] * real.shape[1], made=made, **small) for made in (False, True)]
    return [*large, *both[0], *both[1]]


def figures(found: dict[str, Any]) -> list[Measurement]:
    """What is wanted of the results."""
    shown = [
        Measurement(name=f"epoch: {each['point']}", value=each["predicted"], unit="s", reference=each["measured"],
                    target="within 25% of the measured", holds=abs(each["predicted"] / each["measured"] - 1) <= 0.25)
        for each in found.get("check", [])
    ]  # fmt: skip
    for each in found["sharded"]:
        name = f"bank sharded over {each['ranks']} processes"
        shown.append(below(f"{name}: loss", each["loss_difference"], 1e-6, ""))
        shown.append(below(f"{name}: gradient, relative", each["gradient_difference"], 1e-6, ""))
    return shown


def main() -> None:
    """Measures, predicts and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--price", type=float, default=PRICE, help="USD an hour of one GPU: an assumption")
    parser.add_argument("--utilisation", type=float, default=UTILISATION, help="of the peak of bf16: an assumption")
    parser.add_argument("--show", type=Path)
    arguments = parser.parse_args()
    if arguments.show is not None:
        print(tables.everything(read_json(arguments.show)))
        return
    torch.set_num_threads(1)
    WORK.mkdir(parents=True, exist_ok=True)
    quick, began = arguments.quick, time.perf_counter()
    found: dict[str, Any] = {"device": arguments.device}

    def done(part: str) -> None:
        print(f"{part}: done after {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)

    costs = units.measure(arguments.device, quick=quick, work=WORK)
    done("unit costs")
    if arguments.device == "cpu":
        found["check"], costs = check.check(costs, quick=quick)
        done("check of the simulator")
    found["units"] = costs
    found["sharded"] = substitutes.sharded((2,) if quick else (2, 3), 1024 if quick else 65_536, 64 if quick else 256)
    found["estimators"] = estimators(quick)
    done("estimators")
    grown = failures.measure(quick=quick, hash_seconds=costs["hash_seconds"])
    found["failures"] = failures.sizes(grown, memory=64 * 2**30, seconds=3600.0)
    found["predictions"] = predictions(arguments)
    shown = figures(found)
    for each in shown if arguments.json else ():
        each.show(as_json=True)
    if not arguments.json:
        show_table(shown)
    if not quick:
        content = {**found, "seconds": time.perf_counter() - began}
        save(f"scale-{arguments.device.replace(':', '-')}", {**content, "measurements": [vars(each) for each in shown]})


if __name__ == "__main__":
    main()
