"""How long until something happens: `crossdistill --help`, and `crossdistill distill` until its first training step.

    python -m benchmarks.startup [--quick] [--json]

Every run is a fresh process; the median of several counts. The distillation is of 64 small pairs with random weights,
so that little is computed.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.record import Measurement, below, save, show_all

WORK = Path("runs/benchmarks")
PAIRS = 64
# Packages to which what they import in turn is counted, unless that is in the list itself.
PACKAGES = (
    "crossdistill", "kornia", "numpy", "pandas", "plotly", "pyarrow", "pydantic", "rich", "scipy", "sklearn", "timm",
    "torch", "torchvision", "typer",
)  # fmt: skip


def help_seconds(times: int) -> list[float]:
    """Wall time of `crossdistill --help`."""
    script = Path(sys.executable).with_name("crossdistill")
    command = [str(script), "--help"] if script.exists() else [sys.executable, "-m", "crossdistill", "--help"]
    found = []
    for turn in range(times + 1):
        started = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        if turn:  # the first one brings the files into memory
            found.append(time.perf_counter() - started)
    return found


def import_seconds(*arguments: str) -> dict[str, float]:
    """Seconds of all imports of a Python process by package, longest first; measuring makes them somewhat longer."""
    command = [sys.executable, "-X", "importtime", "-W", "ignore", *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    above: list[str] = []  # the package that each depth is counted to
    found: dict[str, float] = {}
    for line in reversed(done.stderr.splitlines()):  # importers come after what they import
        if not line.startswith("import time:") or "[us]" in line:
            continue
        own, _, name = line.removeprefix("import time:").split("|")
        depth = (len(name) - len(name.lstrip()) - 1) // 2
        package = name.strip().partition(".")[0]
        del above[depth:]
        if package not in PACKAGES:
            package = above[-1] if above else "anything else"
        above.append(package)
        found[package] = found.get(package, 0.0) + int(own) / 1e6
    return dict(sorted(found.items(), key=lambda each: -each[1]))


def tiny_run(folder: Path) -> Path:
    """A configuration with its pairs: polygons, filled and as outlines."""
    from crossdistill.modalities.image import Image

    rows = ["source,target,split"]
    for index in range(PAIRS):
        for side in ("source", "target"):
            Image.write_fake(folder / side / f"{index}.png", index % 4, index, side == "source")
        rows.append(f"source/{index}.png,target/{index}.png,train")
    (folder / "pairs.csv").write_text("\n".join(rows), encoding="utf-8")
    config = {
        "pairs": str(folder / "pairs.csv"),
        "source": {"modality": "image", "size": 96},
        "target": {"modality": "image", "size": 64, "channels": 1},
        "teacher": {"backbone": "tf_efficientnet_lite0", "weights": "random"},
        "student": {"backbone": "test_resnet"},
        "train": {"epochs": 1, "batch_size": PAIRS, "device": "cpu"},
        "evaluate": {"protocols": []},
        "out": "",
    }
    path = folder / "config.json"  # JSON is YAML
    path.write_text(json.dumps(config), encoding="utf-8")
    return path


def probe(config: Path, turn: int) -> list[str]:
    """The command of one `distill` that is timed until its first step, in a run folder of its own."""
    content = json.loads(config.read_text(encoding="utf-8"))
    content["out"] = str(config.parent / f"run-{turn}")
    own = config.with_name(f"config-{turn}.json")
    own.write_text(json.dumps(content), encoding="utf-8")
    return [str(Path(__file__).with_name("startup_probe.py")), repr(time.time()), str(own)]


def to_first_step(config: Path, turn: int) -> dict[str, Any]:
    """One `distill` in a fresh process, itemised."""
    command = [sys.executable, "-W", "ignore", *probe(config, turn)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"the distillation failed:\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def measured(quick: bool) -> tuple[list[Measurement], dict[str, Any]]:
    """The measurements, and what they were made of."""
    busy, recorded = os.getloadavg()[0], float("inf")
    helps = help_seconds(7)
    measurements = [below("crossdistill --help", statistics.median(helps), 0.3, "s")]
    code = "import sys; sys.argv = ['crossdistill', '--help']; from crossdistill.cli.app import main; main()"
    help_imports = import_seconds("-c", code)
    for package, seconds in list(help_imports.items())[:5]:
        measurements.append(below(f"--help, importing {package}", seconds, recorded, "s"))

    WORK.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=WORK) as folder:
        config = tiny_run(Path(folder).resolve())
        turns = 2 if quick else 6
        runs = [to_first_step(config, turn) for turn in range(turns)][1:]  # the first warms up
        distil_imports = import_seconds(*probe(config, turns))
    if runs[0]["lost"]:
        print(f"not timed on their own, as they are elsewhere now: {', '.join(runs[0]['lost'])}", file=sys.stderr)
    total = statistics.median(run["total"] for run in runs)
    measurements.append(below("distill until its first step", total, recorded, "s"))
    for item in runs[0]["seconds"]:
        seconds = statistics.median(run["seconds"].get(item, 0.0) for run in runs)
        measurements.append(below(f"distill, {item}", seconds, recorded, "s"))
    for package, seconds in list(distil_imports.items())[:8]:
        measurements.append(below(f"distill, importing {package}, wherever it happens", seconds, recorded, "s"))
    raw = {"load_before": busy, "help": helps, "help_imports": help_imports, "runs": runs}
    return measurements, {**raw, "distil_imports": distil_imports}


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    measurements, raw = measured(arguments.quick)
    show_all(measurements, arguments.json)
    if not arguments.quick:
        save("startup", {**raw, "measurements": [vars(measurement) for measurement in measurements]})


if __name__ == "__main__":
    main()
