"""What the competitors' scripts share: settings in, one JSON result out. It needs the standard library alone.

Each script is run by its own environment's Python as ``python SCRIPT SETTINGS.json RESULT.json``.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from itertools import pairwise
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What all competitors are told.

    Attributes:
        pictures: a folder of pictures, and nothing else.
        work: an empty folder to write to.
        epochs: over all pictures; the last, smaller batch of an epoch is left out.
        batch_size: pictures a step.
        size: side in pixels, for teacher and student.
        teacher: timm name.
        teacher_weights: its state dict at that size, without a classifier.
        student: timm name; random weights, and a linear layer into the teacher's space.
        lr: peak learning rate of AdamW, after a warm-up of a tenth of all steps, then down half a cosine.
        weight_decay: of AdamW.
        threads: of torch.
        seed: of whatever is drawn.
        started: seconds since the epoch when the process was started.
    """

    pictures: str
    work: str
    epochs: int
    batch_size: int
    size: int
    teacher: str
    teacher_weights: str
    student: str
    lr: float
    weight_decay: float
    threads: int
    seed: int
    started: float

    def files(self) -> list[Path]:
        """The pictures, in order."""
        return sorted(Path(self.pictures).iterdir())


class Recorder:
    """Notes when things happen, and writes the result file.

    Attributes:
        settings: of the command line.
        packages: whose versions are reported.
    """

    def __init__(self, packages: Sequence[str]) -> None:
        self.settings = Settings(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
        self.packages = ("torch", "torchvision", "timm", *packages)
        self._training: float | None = None
        self._ends: list[float] = []
        self._losses: list[float] = []
        self._steps = 0

    def training_begins(self) -> None:
        """To be called right before the first batch."""
        self._training = time.time()

    def epoch_ends(self, losses: Sequence[float]) -> None:
        """To be called after each epoch with the losses of its steps."""
        self._ends.append(time.time())
        self._steps += len(losses)
        self._losses.append(sum(losses) / max(1, len(losses)))

    def finish(self, **more: Any) -> None:
        """Writes the result; ``more`` replaces or adds entries."""
        now, started = time.time(), self.settings.started
        begun = self._training if self._training is not None else now
        marks = [begun, *self._ends]
        result = {
            "setup_seconds": begun - started,
            "training_seconds": (self._ends[-1] if self._ends else now) - begun,
            "epoch_seconds": [later - sooner for sooner, later in pairwise(marks)],
            "steps": self._steps,
            "losses": self._losses,
            "peak_mb": peak_mb(),
            "versions": {name: _version(name) for name in self.packages},
        }
        result.update(more)
        Path(sys.argv[2]).write_text(json.dumps(result, indent=2), encoding="utf-8")


def peak_mb() -> float:
    """The largest resident memory that this process has had, in MiB; 0 where the system does not say."""
    try:
        text = Path("/proc/self/status").read_text(encoding="utf-8")
    except OSError:
        return 0.0
    return int(text.partition("VmHWM:")[2].split()[0]) / 1024


def learning_rate(step: int, total: int, peak: float) -> float:
    """As in crossdistill: a linear warm-up over a tenth of all steps, then half a cosine down to zero."""
    warmup = round(0.1 * total)
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
