"""Every modality that can be found goes through the whole pipeline, from files to a report with its own pictures."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

import crossdistill
from crossdistill.modalities import known_modalities, modality_class, parse_modality
from crossdistill.modalities.image import Image
from crossdistill.pipeline import run

SUFFIX = {"multispectral": ".npy", "audio": ".wav", "video": ".mp4", "timeseries": ".csv", "embedding": ".npy"}
SMALL = {"audio": {"seconds": 0.5}, "video": {"size": 32, "frames": 3}, "timeseries": {}, "embedding": {}}
BACKBONE = {"embedding": "mlp_64x1"}


@pytest.mark.parametrize("name", known_modalities())
def test_from_files_to_a_report(tmp_path: Path, name: str) -> None:
    kind = modality_class(name)
    rows = []
    for label in range(3):
        for variant in range(12):
            target = f"target/{label}-{variant}{SUFFIX.get(name, '.png')}"
            Image.write_fake(tmp_path / f"source/{label}-{variant}.png", label, variant, rich=True)
            kind.write_fake(tmp_path / target, label, variant, rich=False)
            rows.append([f"source/{label}-{variant}.png", target, str(label)])
    with (tmp_path / "pairs.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([["source", "target", "label"], *rows])
    section = {"modality": name, **kind.fake_settings(), **SMALL.get(name, {"size": 32})}
    folder = run(
        {
            "pairs": str(tmp_path / "pairs.csv"),
            "source": {"modality": "image", "size": 32},
            "target": section,
            "teacher": {"backbone": "test_resnet", "weights": "random"},
            "student": {"backbone": BACKBONE.get(name, "test_resnet")},
            "train": {"epochs": 1, "batch_size": 8},
            "evaluate": {
                "protocols": ["retrieval", "linear", "zero_shot"],
                "shots": [2],
                "controls": ["random_student"],
            },
            "out": str(tmp_path / "run"),
        }
    )
    assert folder.report.is_file()
    pictures = sorted(folder.pictures.glob("target-*.png"))
    assert pictures
    with Pillow.open(pictures[0]) as opened:
        assert len(np.unique(np.asarray(opened.convert("L")))) > 2
    model = crossdistill.load(folder.root)
    assert model.embed([tmp_path / rows[0][1]], modality="target").shape == (1, model.width)
    resolved = model.encoder("target").modality
    assert resolved.modality == name
    assert parse_modality(resolved.model_dump(mode="json", by_alias=True)) == resolved
