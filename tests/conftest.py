"""Shared fixtures: a small generated pair set, and a configuration that runs all stages on it in seconds."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from crossdistill.modalities.image import Image

CLASSES, VARIANTS = 4, 16


@pytest.fixture(autouse=True)
def _quiet_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Every test has its own cache folder and leaves torch's global switches as they were."""
    monkeypatch.setenv("CROSSDISTILL_CACHE", str(tmp_path / "cache"))
    yield
    torch.use_deterministic_algorithms(False)


def write_pairs(folder: Path, *, labelled: bool = True, variants: int = VARIANTS) -> Path:
    """Writes generated pairs (filled polygon -> outline) and their manifest; returns the manifest."""
    rows = []
    for label in range(CLASSES):
        for variant in range(variants):
            name = f"{label}-{variant}.png"
            Image.write_fake(folder / "source" / name, label, variant, rich=True)
            Image.write_fake(folder / "target" / name, label, variant, rich=False)
            rows.append([f"source/{name}", f"target/{name}", f"corners {label + 3}" if labelled else ""])
    with (folder / "pairs.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["source", "target", "label"])
        writer.writerows(rows)
    return folder / "pairs.csv"


@pytest.fixture(scope="session")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of generated, labelled pairs without a split."""
    return write_pairs(tmp_path_factory.mktemp("pairs"))


@pytest.fixture
def tiny(manifest: Path, tmp_path: Path) -> dict[str, Any]:
    """A configuration with all three stages."""
    return {
        "pairs": str(manifest),
        "source": {"modality": "image", "size": 32},
        "target": {"modality": "image", "size": 32, "channels": 1},
        "pretrain": {"backbone": "test_resnet", "epochs": 1, "batch_size": 16},
        "teacher": {"weights": "pretrain"},
        "student": {"backbone": "test_resnet"},
        "baselines": ["l2"],
        "train": {"epochs": 2, "batch_size": 16, "log_every": 1},
        "evaluate": {
            "protocols": ["knn", "linear", "retrieval", "zero_shot", "fine_tune"],
            "shots": [2],
            "draws": 2,
            "fine_tune": {"epochs": 1},
            "supervised": {"epochs": 1},
        },
        "out": str(tmp_path / "run"),
    }
