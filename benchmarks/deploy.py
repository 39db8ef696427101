"""What an exported encoder costs in each form: size, time to load, latency, memory; and what 8 bits lose.

    python -m benchmarks.deploy [--run RUN] [--also RUN ...] [--quick] [--json]

Without a run folder of pictures it makes one as `crossdistill demo` does. Beside its student, a resnet18 of random
weights stands for a network of ordinary size; of that one the results in 8 bits mean nothing and are not measured. Each
form is loaded in a process of its own, on one thread; the forms take turns, so that other work on the machine falls on
all of them. Of the runs after --also, whose targets may be of any modality, agreement and loss alone are measured.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.record import save

WORK = Path("runs/benchmarks/deploy")
ITEMS = 64
PICTURES = ((96, 96), (480, 640), (1080, 1920), (3000, 4000))  # height, width
FORMS = {
    "pytorch": "crossdistill, PyTorch", "torch-export": "torch.export", "onnx": "ONNX Runtime",
    "int8": "ONNX Runtime, int8",
}  # fmt: skip
FORMATS = ("onnx", "torch-export", "safetensors")
PLACES = {"torch-export": "program/model.pt2", "onnx": "onnx/model.onnx", "int8": "onnx/model.int8.onnx"}


def made_run(quick: bool) -> Path:
    """A run folder with a student for pictures."""
    from crossdistill.pipeline import demo_config, run

    config = demo_config()
    config["out"] = str(WORK / ("run-quick" if quick else "run"))
    config["baselines"] = []
    config["evaluate"] = {"protocols": ["retrieval", "knn", "zero_shot"], "controls": []}
    if quick:
        config["train"] |= {"epochs": 2}
    return run(config).root


def exported(run: Path, folder: Path) -> dict[str, Any]:
    """Both graphs of a run's student in ``folder``: how they agree with PyTorch, and what int8 loses."""
    from crossdistill.deploy import export

    graph = export(run, folder / "onnx", "onnx", int8=True)
    program = export(run, folder / "program", "torch-export")
    tensors = export(run, folder / "tensors", "safetensors")
    return {
        "run": run.name, "modality": graph.manifest["preprocessing"]["modality"],
        "parity": {each.manifest["kind"]: each.parity.to_json() for each in (graph, program, tensors)},
        "int8": graph.manifest["int8"],
    }  # fmt: skip


def larger(run: Path, folder: Path) -> None:
    """All forms of a resnet18 that takes what the run's student takes."""
    import torch

    from crossdistill.deploy import export_encoder
    from crossdistill.deploy.quantised import quantise
    from crossdistill.encoders import StudentConfig, build_student, save_encoder
    from crossdistill.pipeline import load

    student = load(run, device="cpu").encoder("target")
    torch.manual_seed(0)
    encoder = build_student(StudentConfig(backbone="resnet18"), student.modality, student.width).eval()
    save_encoder(folder / "encoder", encoder, {})
    items = files_of(run)
    export_encoder(encoder, folder / "onnx", items)
    quantise(folder / "onnx" / "model.onnx", folder / "onnx" / "model.int8.onnx")
    export_encoder(encoder, folder / "program", items, "torch-export")


def files_of(run: Path) -> list[Any]:
    """Test items of the run."""
    from crossdistill.pipeline.folder import RunFolder
    from crossdistill.pipeline.own_pairs import own_items

    return own_items(RunFolder(run), "target")[:ITEMS]


def arrays_of(run: Path) -> np.ndarray[Any, Any]:
    """The run's test pictures as arrays of one size, ``(N, H, W, 3)``."""
    from crossdistill.pipeline import load

    modality = load(run, device="cpu").encoder("target").modality
    arrays = [modality.read(item) for item in files_of(run)]
    return np.stack([array for array in arrays if array.shape == arrays[0].shape])


def bytes_of(folder: Path, form: str) -> int:
    """On disk, of what the form needs."""
    if form == "pytorch":
        return sum(path.stat().st_size for path in (folder / "encoder").iterdir())
    return (folder / PLACES[form]).stat().st_size


def measured(folder: Path, items: Path, calls: int, turns: int) -> dict[str, Any]:
    """Each form in ``turns`` processes; the reference of the difference is PyTorch."""
    found: dict[str, list[dict[str, Any]]] = {form: [] for form in FORMS}
    for _ in range(turns):
        for form in FORMS:
            place = folder / PLACES.get(form, "encoder")
            worker = [str(Path(__file__).with_name("deploy_worker.py")), form, str(place), str(items)]
            command = [sys.executable, "-W", "ignore", *worker, str(folder / f"{form}.npy"), str(calls)]
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
            if done.returncode != 0:
                raise SystemExit(f"{form} failed:\n{done.stderr}")
            found[form].append(json.loads(done.stdout.splitlines()[-1]))
    reference = np.load(folder / "pytorch.npy")
    return {
        form: {
            **_summary(runs),
            "bytes": bytes_of(folder, form),
            "difference": float(np.abs(np.load(folder / f"{form}.npy") - reference).max()),
        }
        for form, runs in found.items()
    }


def _summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    every = {size: 1000 * np.array([each for run in runs for each in run["times"][size]]) for size in runs[0]["times"]}
    return {
        **{f"{name}_s": float(np.median([run[name] for run in runs])) for name in ("import", "load", "first")},
        "peak_mib": float(np.median([run["peak_mib"] for run in runs])),
        "milliseconds": {
            size: {"p50": float(np.percentile(times, 50)), "p95": float(np.percentile(times, 95))}
            for size, times in every.items()
        },
    }


def by_size(run: Path, graph: Path, turns: int) -> list[dict[str, Any]]:
    """Milliseconds for one picture of several sizes, resizing included; a graph does it as matrix products."""
    import torch

    from crossdistill.deploy.runners import onnx_runner
    from crossdistill.pipeline import load

    torch.set_num_threads(1)
    model, run_graph, rng = load(run, device="cpu"), onnx_runner(graph, threads=1), np.random.default_rng(0)
    found = []
    for height, width in PICTURES:
        picture = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        ways = {
            "pytorch": functools.partial(model.embed, [picture]),
            "onnx": functools.partial(run_graph, torch.from_numpy(picture[None])),
        }
        row: dict[str, Any] = {"height": height, "width": width}
        vectors = {}
        for form, way in ways.items():
            way()
            times = []
            for _ in range(turns):
                started = time.perf_counter()
                vectors[form] = way()
                times.append(time.perf_counter() - started)
            row[form] = 1000 * float(np.median(times))
        row["difference"] = float(np.abs(vectors["onnx"] - vectors["pytorch"]).max())
        found.append(row)
    return found


def show(networks: dict[str, dict[str, Any]], sizes: list[dict[str, Any]], results: list[dict[str, Any]]) -> None:
    """All tables on standard output."""
    table = Table(
        "network", "form", "MB", "import s", "load s", "batch 1: p50 (p95) ms", "batch 32", "peak MiB", "difference",
        box=box.SIMPLE_HEAD,
    )  # fmt: skip
    for network, forms in networks.items():
        for form, found in forms.items():
            one, many = (found["milliseconds"][size] for size in ("1", "32"))
            table.add_row(
                network, FORMS[form], f"{found['bytes'] / 1e6:.2f}", f"{found['import_s']:.2f}",
                f"{found['load_s'] + found['first_s']:.2f}", f"{one['p50']:.2f} ({one['p95']:.2f})",
                f"{many['p50']:.1f} ({many['p95']:.1f})", f"{found['peak_mib']:.0f}", f"{found['difference']:.1e}",
            )  # fmt: skip
    Console(width=160).print(table)
    pictures = Table("a picture of", "PyTorch ms", "ONNX Runtime ms", "difference", box=box.SIMPLE_HEAD)
    for row in sizes:
        pictures.add_row(
            f"{row['width']} x {row['height']}", f"{row['pytorch']:.1f}", f"{row['onnx']:.1f}",
            f"{row['difference']:.1e}",
        )  # fmt: skip
    Console(width=160).print(pictures)
    agreement = Table("run", "modality", "items", "shapes", *FORMATS, box=box.SIMPLE_HEAD)
    lost = Table("run", "percent", "fp32", "int8", box=box.SIMPLE_HEAD)
    for result in results:
        parity = result["parity"]
        counts = (str(parity["onnx"][name]) for name in ("items", "shapes"))
        differences = (f"{parity[form]['difference']:.1e}" for form in FORMATS)
        agreement.add_row(result["run"], result["modality"], *counts, *differences)
        whole, small = (result["int8"]["results"][form] for form in ("fp32", "int8"))
        for name in whole:
            cells = [
                f"{100 * each['value']:.1f} ({100 * each['low']:.1f} to {100 * each['high']:.1f})"
                for each in (whole[name], small[name])
            ]
            lost.add_row(result["run"], name, *cells)
    Console(width=160).print(agreement)
    Console(width=160).print(lost)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--run", type=Path, help="a run folder whose target is pictures")
    parser.add_argument("--also", type=Path, nargs="*", default=[], help="other runs, for agreement and loss")
    parser.add_argument("--quick", action="store_true", help="fewer calls; nothing is recorded")
    parser.add_argument("--json", action="store_true", help="JSON instead of tables")
    arguments = parser.parse_args()
    calls, turns = (10, 1) if arguments.quick else (100, 3)
    busy = os.getloadavg()[0]
    run = arguments.run or made_run(arguments.quick)
    WORK.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=WORK) as name:
        folder = Path(name).resolve()
        items = folder / "items.npy"
        pictures = arrays_of(run)
        np.save(items, pictures, allow_pickle=False)
        shutil.copytree(run / "student", folder / "student" / "encoder")
        results = [exported(run, folder / "student")]
        results += [exported(also, folder / f"also-{number}") for number, also in enumerate(arguments.also)]
        larger(run, folder / "resnet18")
        description = json.loads((folder / "student" / "encoder" / "encoder.json").read_text(encoding="utf-8"))
        sizes = by_size(run, folder / "student" / PLACES["onnx"], 2 if arguments.quick else 20)
        networks = {
            f"student ({description['architecture']['backbone']})": measured(folder / "student", items, calls, turns),
            "resnet18": measured(folder / "resnet18", items, calls, turns),
        }
    content = {
        "items": {"count": len(pictures), "shape": list(pictures.shape[1:]), "decoded": description["preprocessing"]},
        "calls": calls, "turns": turns, "load_before": busy, "networks": networks, "sizes": sizes,
        "results": results,
    }  # fmt: skip
    if arguments.json:
        print(json.dumps(content))
    else:
        show(networks, sizes, results)
    if not arguments.quick:
        print(f"raw results: {save('deploy', content)}", file=sys.stderr)


if __name__ == "__main__":
    main()
