"""The same distillation by crossdistill, by a plain loop with a live teacher, and by its peers: time and memory.

    python -m benchmarks.field.compare             # about half an hour on 2 cores, and 12 GB for environments
    python -m benchmarks.field.compare --quick     # against the plain loop alone, 2 epochs, within a minute
    python -m benchmarks.field.compare --teacher vit_small_patch14_dinov2 --label field-small

Source and target are both the picture, so that peers can do it. Competitors run one after another, each in a process of
its own, peers in environments of their own; with several rounds they take turns, and the best of each counts. The
teacher has random weights, the same for all: speed does not depend on them. It is a DINOv2 ViT, as lightly-train takes
nothing else but DINOv3. What was equal and what was not: terms.py.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.field.environments import OURS, PEERS, PLAIN, QUIET, Competitor, UnavailableError, environment_of
from benchmarks.field.harness import Settings
from benchmarks.field.terms import terms
from benchmarks.record import Measurement, at_least, recorded, save, show_all

WORK = Path("runs/benchmarks/field")
WANTED = 3.0  # times faster than a live teacher


def pictures(given: Path | None, folder: Path, count: int | None) -> Path:
    """A folder with the given pictures, or with the coloured emoji; with the first ``count`` of them where given."""
    if given is None:
        from crossdistill.pairs.builtin import open_builtin

        open_builtin("emoji", WORK / "emoji")
        given = WORK / "emoji" / "source"
    chosen = sorted(path for path in given.iterdir() if path.suffix.lower() in (".png", ".jpg", ".jpeg", ".webp"))
    folder.mkdir(parents=True)
    for path in chosen[:count]:
        shutil.copy(path, folder / path.name)
    return folder


def teacher_weights(name: str, size: int, path: Path) -> Path:
    """Random weights of a timm backbone, drawn once for all competitors."""
    import timm
    import torch

    torch.manual_seed(0)
    options = {"img_size": size} if name.startswith("vit") else {}
    torch.save(timm.create_model(name, num_classes=0, **options).state_dict(), path)
    return path


def tree_mb(process: int) -> float:
    """Resident memory of a process and all below it, in MiB."""
    try:
        status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
        below = Path(f"/proc/{process}/task/{process}/children").read_text(encoding="utf-8").split()
    except OSError:
        return 0.0
    own = int(status.partition("VmRSS:")[2].split()[0]) / 1024 if "VmRSS:" in status else 0.0
    return own + sum(tree_mb(int(child)) for child in below)


def run(competitor: Competitor, python: Path, settings: Settings) -> dict[str, Any]:
    """One run in a process of its own: its result, the wall time from outside, and the peak of the process tree.

    Raises:
        UnavailableError: the script fails; the message is its last line.
    """
    folder = Path(settings.work)
    folder.mkdir(parents=True)
    paths = [folder / "settings.json", folder / "result.json"]
    busy = os.getloadavg()[0]
    started = time.time()
    paths[0].write_text(json.dumps(asdict(replace(settings, started=started))), encoding="utf-8")
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(settings.threads))
    cache = {"LIGHTLY_TRAIN_CACHE_DIR": str(folder / "cache"), "MPLCONFIGDIR": str(folder / "cache")}
    command = [str(python), "-W", "ignore", str(competitor.path), *map(str, paths)]
    used = os.times()
    with (folder / "output.txt").open("w") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, env={**os.environ, **QUIET, **threads, **cache}
        )
        peak = [0.0]
        done = threading.Event()

        def watch() -> None:
            while not done.wait(0.2):
                peak[0] = max(peak[0], tree_mb(process.pid))

        watching = threading.Thread(target=watch)
        watching.start()
        code = process.wait()
        wall = time.time() - started
        done.set()
        watching.join()
    if code != 0:
        lines = [line for line in (folder / "output.txt").read_text(errors="replace").splitlines() if line.strip()]
        raise UnavailableError(lines[-1] if lines else f"exit code {code}")
    result: dict[str, Any] = json.loads(paths[1].read_text(encoding="utf-8"))
    now = os.times()
    result["peak_mb"] = max(result["peak_mb"], peak[0])
    result["wall_seconds"] = wall
    result["cpu_seconds"] = now.children_user + now.children_system - used.children_user - used.children_system
    result["load_before"] = busy
    return result


def compare(ours: dict[str, Any], theirs: dict[str, Any], name: str, *, quick: bool) -> list[Measurement]:
    """Wall time, which has a target over ten epochs; what an epoch takes and memory, which are recorded."""
    if theirs["steps"] != ours["steps"]:
        print(f"{name} made {theirs['steps']} steps, and crossdistill {ours['steps']}", file=sys.stderr)
    epoch = [sum(each["epoch_seconds"]) / max(1, len(each["epoch_seconds"])) for each in (theirs, ours)]
    memory = [theirs["peak_mb"], ours["peak_mb"]]
    against = f"{name} against crossdistill"
    wall = theirs["wall_seconds"], ours["wall_seconds"], "s"
    return [
        recorded(f"wall time, {against}", *wall) if quick else at_least(f"wall time, {against}", *wall, WANTED),
        recorded(f"an epoch, {against}", *epoch, "s"),
        recorded(f"peak memory, {against}", *memory, "MiB"),
    ]


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--pictures", type=Path, help="a folder; default: the built-in set of emoji")
    parser.add_argument("--count", type=int, help="only the first pictures")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--size", type=int, default=70, help="pixels; a multiple of 14 for the default teacher")
    parser.add_argument("--teacher", default="vit_base_patch14_dinov2", help="timm name")
    parser.add_argument("--student", default="test_resnet", help="timm name")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--environments", type=Path, default=WORK / "environments")
    parser.add_argument("--torch", default=version("torch").partition("+")[0], help="version for all")
    parser.add_argument("--torchvision", default=version("torchvision").partition("+")[0])
    parser.add_argument("--without", nargs="*", default=[], help="peers to leave out")
    parser.add_argument("--label", default="field", help="in the name of the result file")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.epochs, arguments.count = 2, arguments.count or 256
        arguments.teacher = "vit_small_patch14_dinov2"
    return arguments


def measured(arguments: argparse.Namespace) -> tuple[list[Measurement], dict[str, Any]]:
    """The measurements, and what they were made of."""
    place = WORK / "work"
    shutil.rmtree(place, ignore_errors=True)
    folder = pictures(arguments.pictures, place / "pictures", arguments.count)
    settings = Settings(
        pictures=str(folder.resolve()), work="", epochs=arguments.epochs, batch_size=arguments.batch_size,
        size=arguments.size, teacher=arguments.teacher,
        teacher_weights=str(teacher_weights(arguments.teacher, arguments.size, place / "teacher.pt").resolve()),
        student=arguments.student, lr=1e-3, weight_decay=0.05, threads=arguments.threads, seed=0, started=0.0,
    )  # fmt: skip
    competing = [OURS, PLAIN, *(() if arguments.quick else PEERS)]
    competing = [each for each in competing if each.name not in arguments.without]
    missing: dict[str, str] = {}
    runs: dict[str, list[dict[str, Any]]] = {}
    pythons: dict[str, Path] = {}
    for competitor in competing:
        try:
            pythons[competitor.name] = environment_of(
                competitor, arguments.environments.resolve(), arguments.torch, arguments.torchvision
            )
        except UnavailableError as error:
            missing[competitor.name] = f"cannot be installed or imported here: {error}"
    for turn in range(arguments.rounds):
        for competitor in competing:
            if competitor.name in missing:
                continue
            work = str((place / f"{Path(competitor.script).stem}-{turn}").resolve())
            print(f"running: {competitor.name}", file=sys.stderr, flush=True)
            try:
                result = run(competitor, pythons[competitor.name], replace(settings, work=work))
                runs.setdefault(competitor.name, []).append(result)
            except UnavailableError as error:
                missing[competitor.name] = f"does not run here: {error}"
    for name, reason in missing.items():
        print(f"{name} {reason}", file=sys.stderr)
    if OURS.name not in runs:
        raise SystemExit(f"without crossdistill there is nothing to compare; what it said is in {place}")
    best = {name: min(each, key=lambda result: result["wall_seconds"]) for name, each in runs.items()}
    measurements = [
        measurement
        for competitor in competing
        if competitor.live_teacher and competitor.name in best
        for measurement in compare(best[OURS.name], best[competitor.name], competitor.name, quick=arguments.quick)
    ]
    kept = ("epochs", "batch_size", "size", "teacher", "student", "lr", "weight_decay", "threads", "seed")
    told = {name: getattr(settings, name) for name in kept}
    told = {**told, "pictures": len(list(folder.iterdir())), "teacher_weights": "random, the same for all"}
    if not missing:  # else the output of what failed is kept
        shutil.rmtree(place)
    return measurements, {"settings": told, "terms": terms(), "missing": missing, "runs": runs}


def main() -> None:
    """Measures and prints."""
    arguments = parsed()
    measurements, raw = measured(arguments)
    show_all(measurements, arguments.json)
    if not arguments.quick:
        save(arguments.label, {**raw, "measurements": [vars(measurement) for measurement in measurements]})


if __name__ == "__main__":
    main()
