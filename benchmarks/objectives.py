"""Time and memory of the tiled objectives against whole matrices and against other packages' losses.

    python -m benchmarks.objectives            # about ten minutes on 2 cores
    python -m benchmarks.objectives --quick    # smaller sizes, within a minute
    python -m benchmarks.objectives --device cuda

Each measurement is forward and backward, in a process of its own; memory is the peak beyond the inputs. Peers come with
`pip install 'crossdistill[peers]'`; a peer that is not installed is named and left out.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.record import Measurement, at_most, below, save, show_table

WIDTH = 512
WORK = Path("runs/benchmarks")
PEERS = {
    "open_clip ClipLoss": ("open_clip", "cmc"),
    "lightly NTXentLoss": ("lightly", "info_nce"),
    "pytorch-metric-learning NTXentLoss": ("pytorch_metric_learning", "info_nce"),
    "open_clip SigLipLoss": ("open_clip", "siglip"),
}


class Bench:
    """Runs cases and keeps what they gave.

    Attributes:
        device: where to run.
        raw: every case with its measurement.
        shown: the figures derived from them.
    """

    def __init__(self, device: str, as_json: bool) -> None:
        self.device = device
        self.as_json = as_json
        self.raw: list[dict[str, Any]] = []
        self.shown: list[Measurement] = []

    def run(self, kind: str, **case: Any) -> dict[str, float]:
        """One case in a process of its own."""
        case = {"kind": kind, "device": self.device, "width": WIDTH, "repeats": 2, **case}
        command = [sys.executable, "-W", "ignore", "-m", "benchmarks.loss_cases", json.dumps(case)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(f"{case} failed:\n{done.stderr}")
        measured: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
        self.raw.append({"case": {key: value for key, value in case.items() if key != "bank"}, "measured": measured})
        return measured

    def show(self, measurement: Measurement) -> None:
        """Prints and keeps a figure."""
        if self.as_json:
            measurement.show(as_json=True)
        else:
            print(f"measured: {measurement.name}", file=sys.stderr, flush=True)
        self.shown.append(measurement)

    def compare(self, own: str, other: str, batch: int, repeats: int, memory: float) -> dict[str, float]:
        """Time in turns (unless one turn is enough), memory in processes of their own.

        ``memory`` is the share of the other's that is wanted.
        """
        ours, theirs = (self.run("in_batch", loss=loss, batch=batch, repeats=1) for loss in (own, other))
        seconds = {own: ours["seconds"], other: theirs["seconds"]}
        if repeats > 1:
            seconds = self.run("in_turns", losses=[own, other], batch=batch, repeats=repeats)
        name = f"{own}, batch {batch}, against {other}"
        self.show(at_most(f"{name}: time", seconds[own], seconds[other], "s", 1.0))
        self.show(at_most(f"{name}: extra memory", ours["extra_mb"], theirs["extra_mb"], "MiB", memory))
        return seconds

    def against_naive(self, batch: int, repeats: int) -> None:
        """Symmetric CMC + CMD against whole matrices."""
        seconds = self.compare("cmc + cmd", "whole matrices", batch, repeats, 0.1)
        if self.device.startswith("cuda"):
            product = self.run("product_rate", batch=batch)
            # Products of B x B x d that it needs: logits and gradient of both directions of CMC; of CMD the student's
            # and the teacher's logits, and the gradient to both sides.
            share = 8 * 2 * batch**2 * WIDTH / seconds["cmc + cmd"] / product["flops"]
            name = f"cmc + cmd, batch {batch}: share of the matrix rate"
            self.show(below(name, share, float("inf"), ""))
            self.compare("cmc + cmd", "whole matrices, compiled", batch, repeats, 0.1)

    def against_peers(self, batch: int, smaller: int) -> None:
        """The contrastive losses of other packages, on the same tensors."""
        self.compare("cmc", "cmc in whole matrices", batch, 3, 1.0)
        for peer, (package, own) in PEERS.items():
            if importlib.util.find_spec(package) is None:
                print(f"{peer} is left out: pip install 'crossdistill[peers]'", file=sys.stderr)
                continue
            # pytorch-metric-learning's memory grows with the cube of the batch.
            rows = smaller if package == "pytorch_metric_learning" else batch
            self.compare(own, peer, rows, 3, 1.0)

    def large_batch(self, batch: int, limit_mb: float) -> None:
        """A batch whose matrices would not fit."""
        ours = self.run("in_batch", loss="cmc + cmd", batch=batch, repeats=1)
        name = f"cmc + cmd, batch {batch}"
        self.show(below(f"{name}: whole process at its peak", ours["peak_mb"], limit_mb, "MiB"))
        self.show(below(f"{name}: time", ours["seconds"], float("inf"), "s"))

    def bank(self, batch: int, columns: int, folder: Path, *, quick: bool) -> None:
        """Whole-bank CMC against the matrix products that it needs; and how it grows with the bank."""
        path = folder / "bank.npy"
        if not path.exists():
            matrix = np.lib.format.open_memmap(path, "w+", np.float16, (columns, WIDTH))
            generator = np.random.default_rng(0)
            for start in range(0, columns, 16_384):
                matrix[start : start + 16_384] = generator.standard_normal((16_384, WIDTH), dtype=np.float32)
            matrix.flush()
            del matrix
        name = f"whole-bank cmc, batch {batch}, {columns} float16 columns on disk"
        both = self.run("bank_and_products", bank=str(path), batch=batch, columns=columns, repeats=3 if quick else 7)
        self.show(at_most(f"{name}: time, against the bare products", both["seconds"], both["products"], "s", 1.3))
        sizes = [columns] if quick else [columns // 8, columns // 4, columns // 2, columns]
        grown = [self.run("whole_bank", bank=str(path), batch=batch, columns=size) for size in sizes]
        self.show(below(f"{name}: extra memory, mapped file included", grown[-1]["extra_mb"], 300, "MiB"))
        if quick:
            return
        self.exponent("whole-bank cmc: time against bank size", sizes, grown, "seconds", 1.1)
        self.exponent("whole-bank cmc: extra memory against bank size", sizes, grown, "extra_mb", 1.1)

    def growth(self, batch: int) -> None:
        """Time and memory of CMC + CMD over three octaves of batch size."""
        sizes = [batch // 8, batch // 4, batch // 2, batch]
        grown = [self.run("in_batch", loss="cmc + cmd", batch=size) for size in sizes]
        self.exponent("cmc + cmd: time against batch size", sizes, grown, "seconds", 2.1)
        self.exponent("cmc + cmd: extra memory against batch size", sizes, grown, "extra_mb", 1.1)

    def exponent(self, name: str, sizes: list[int], grown: list[dict[str, float]], what: str, largest: float) -> None:
        """The slope of a line through the logarithms."""
        values = [max(each[what], 1.0 if what == "extra_mb" else 1e-6) for each in grown]
        slope = float(np.polyfit(np.log(sizes), np.log(values), 1)[0])
        self.show(below(f"{name}, {sizes[0]} to {sizes[-1]}, fitted exponent", slope, largest, ""))


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    bench = Bench(arguments.device, arguments.json)
    quick = arguments.quick
    WORK.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=WORK) as folder:
        bench.against_naive(8192, 1 if quick else 3)
        bench.bank(256, 65_536 if quick else 262_144, Path(folder), quick=quick)
    if not quick:
        bench.growth(8192)
        bench.against_peers(8192, 256)
        bench.large_batch(32_768, 1536)
    if not arguments.json:
        show_table(bench.shown)
    if not quick:
        content = {"width": WIDTH, "device": arguments.device, "cases": bench.raw}
        save(f"objectives-{arguments.device}", {**content, "measurements": [vars(each) for each in bench.shown]})


if __name__ == "__main__":
    main()
