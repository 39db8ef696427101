"""What is run: generated pairs, a configuration of all stages, and folders to run it in."""

from __future__ import annotations

import csv
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from crossdistill.modalities.image import Image

from .launch import Launcher

CLASSES, VARIANTS = 4, 36

SETTINGS: dict[str, Any] = {
    "source": {"modality": "image", "size": 32},
    "target": {"modality": "image", "size": 32, "channels": 1},
    "pretrain": {
        "backbone": "test_resnet", "epochs": 3, "batch_size": 16, "checkpoint_every": 2, "log_every": 1,
        "device": "cpu", "keep_checkpoints": 3,
    },
    "teacher": {"weights": "pretrain"},
    "student": {"backbone": "test_resnet"},
    "baselines": ["l2"],
    "views": {"count": 4},
    "bank": {"shard_rows": 64},
    "train": {
        "epochs": 3, "batch_size": 16, "checkpoint_every": 2, "log_every": 1, "device": "cpu", "ema": 0.9,
        "keep_checkpoints": 3, "read_timeout": 3,
    },
    "evaluate": {
        "protocols": ["knn", "retrieval", "zero_shot"], "shots": [],
        "controls": ["random_student", "teacher_on_source", "online_teacher"],
    },
}  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """What came of one fault.

    Attributes:
        kind: of fault.
        moment: when, or where, it struck.
        expected: what had to happen.
        outcome: what did.
        holds: whether that is what had to happen, with nothing lost.
        seconds: of all its processes together.
        strikes: how often it struck; 0 where it was skipped.
    """

    kind: str
    moment: str
    expected: str
    outcome: str
    holds: bool
    seconds: float
    strikes: int = 1


@dataclass
class Scene:
    """The pairs, the configuration, and where its runs are.

    Attributes:
        folder: of everything.
        launcher: starts victims.
        reference: the run that nothing happened to.
    """

    folder: Path
    launcher: Launcher
    reference: Path
    _count: int = field(default=0, repr=False)

    @property
    def config(self) -> Path:
        """The configuration."""
        return self.folder / "faults.yaml"

    def fresh(self, base: Path | None = None) -> Path:
        """A new folder for a run, ``run`` in a folder of its own: a report has the folder's name."""
        self._count += 1
        place = (base or self.folder) / f"case-{self._count:03d}" / "run"
        place.parent.mkdir(parents=True)
        return place

    def arguments(self, out: Path, *more: str) -> list[str]:
        """Of the command line."""
        return ["run", str(self.config), f"out={out}", *more]

    def done(self, out: Path) -> None:
        """Removes a run that is not looked at any more."""
        shutil.rmtree(out.parent, ignore_errors=True)


def prepare(folder: Path) -> None:
    """Writes pairs and configuration."""
    rows = []
    for label in range(CLASSES):
        for variant in range(VARIANTS):
            name = f"{label}-{variant}.png"
            Image.write_fake(folder / "pairs" / "source" / name, label, variant, rich=True)
            Image.write_fake(folder / "pairs" / "target" / name, label, variant, rich=False)
            rows.append([f"source/{name}", f"target/{name}", f"corners {label + 3}"])
    with (folder / "pairs" / "pairs.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([["source", "target", "label"], *rows])
    settings = {"pairs": str(folder / "pairs" / "pairs.csv"), **SETTINGS, "out": str(folder / "run")}
    (folder / "faults.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
