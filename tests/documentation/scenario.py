"""A folder with all that the documentation talks about, in tiny form: pairs, drawings, configurations, finished runs.

Pictures are the built-in emoji (a colour layer and a line layer), so that results are results; depth maps, sounds and
vectors are made. Built once, copied for every page.
"""

from __future__ import annotations

import csv
import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from filelock import FileLock
from PIL import Image as Pillow
from tests.documentation.parsing import configuration_called
from tests.documentation.reading import ROOT

CLASSES, EACH = 5, 16
RUNS = ("runs/mine", "runs/demo", "runs/a", "runs/photos")
# What a command may make anew although it is here already; the first that does begins from nothing.
PREPARED = (*RUNS, "data/emoji", "data/furniture", "photos.index")


def template(base: Path) -> Path:
    """The finished folder below ``base``; processes that come meanwhile wait for the first."""
    with FileLock(base / "scenario.lock"):
        folder, done = base / "scenario", base / "scenario.done"
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            _build(folder)
            done.touch()
    return folder


def _build(folder: Path) -> None:
    rows = _pictures(folder)
    _manifest(folder / "pairs.csv", rows)
    (folder / "meta.csv").write_text("path,place\n" + "".join(f"{row[0]},shelf {n}\n" for n, row in enumerate(rows)))
    for name, side in (("sketch.png", 1), ("drawing.png", 1), ("photo.png", 0), ("a.jpg", 0), ("b.jpg", 0)):
        with Pillow.open(folder / rows[3][side]) as picture:
            picture.convert("RGB").save(folder / name)
    for name, side in (("drawings", 1), ("more-photos", 0)):
        (folder / name).mkdir()
        for row in rows[:6]:
            shutil.copy(folder / row[side], folder / name)
    shutil.copytree(ROOT / "examples", folder / "examples")
    _set(folder / "data/emoji", folder, rows, {"modality": "image", "size": 64, "channels": 1})
    _others(folder)
    _shards(folder)
    for name, content in configurations().items():
        (folder / name).write_text(yaml.safe_dump(content, sort_keys=False))
    _runs(folder)


def configurations() -> dict[str, dict[str, Any]]:
    """The configurations that pages speak of without showing them."""
    mine = configuration_called("mine.yaml")
    assert mine is not None, "no page shows mine.yaml"
    evaluate = {
        "protocols": ["linear", "retrieval", "zero_shot"],
        "shots": [2],
        "draws": 2,
        "controls": ["random_student"],
    }
    here = {**mine, "evaluate": evaluate, "student": {"backbone": "test_resnet"}}
    here["source"] = {"modality": "image", "size": 64}
    photos = {**here, "pretrain": {"backbone": "test_resnet", "epochs": 1, "batch_size": 32}, "out": "runs/photos"}
    return {
        "mine.yaml": here,
        "emoji.yaml": {**here, "pairs": "data/emoji/manifest.csv", "out": "runs/emoji"},
        "photos.yaml": {**photos, "teacher": {"weights": "pretrain"}},
        "config.yaml": {**here, "out": "runs/own"},
    }


def _pictures(folder: Path) -> list[list[str]]:
    """Some classes of the built-in set, as photos/0001.jpg and sketches/0001.png; (source, target, label, group)."""
    from crossdistill.pairs import open_pairs

    by_label: dict[str, list[Any]] = {}
    for pair in open_pairs("emoji"):
        if pair.label is not None and pair.source is not None and pair.target is not None:
            by_label.setdefault(pair.label, []).append(pair)
    chosen = [
        pair
        for label in sorted(by_label, key=lambda name: -len(by_label[name]))[:CLASSES]
        for pair in by_label[label][:EACH]
    ]
    rows = []
    for number, pair in enumerate(chosen, 1):
        row = [f"photos/{number:04}.jpg", f"sketches/{number:04}.png", pair.label, pair.group]
        for name, item in zip(row[:2], (pair.source, pair.target), strict=True):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            with item.open("rb") as stream, Pillow.open(stream) as picture:
                whole = picture.convert("RGBA")
                Pillow.alpha_composite(Pillow.new("RGBA", whole.size, "white"), whole).convert("RGB").save(
                    folder / name
                )
        rows.append(row)
    return rows


def _manifest(path: Path, rows: list[list[str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([["source", "target", "label", "group"], *rows])


def _set(place: Path, folder: Path, rows: list[list[str]], target: dict[str, Any]) -> None:
    """A folder as `crossdistill data build` leaves it."""
    _manifest(place / "manifest.csv", rows)
    for row in rows:
        for name in row[:2]:
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(folder / name, place / name)
    about = {"name": place.name, "source": {"modality": "image", "size": 64}, "target": target}
    (place / "dataset.json").write_text(json.dumps(about))


def _others(folder: Path) -> None:
    """Depth maps beside pictures (rgb/, depth/), sounds, vectors: made by the modalities themselves."""
    from crossdistill.modalities.audio import Audio
    from crossdistill.modalities.depth import Depth
    from crossdistill.modalities.image import Image

    made: dict[str, list[list[str]]] = {"depth": [], "audio": []}
    rng = np.random.default_rng(0)
    drawings, vectors = [], []
    for label in range(CLASSES):
        for variant in range(12):
            name = f"{label * 12 + variant + 1:04}"
            Image.write_fake(folder / f"rgb/{name}.png", label, variant, rich=True)
            Depth.write_fake(folder / f"depth/{name}.png", label, variant, rich=False)
            Audio.write_fake(folder / f"sounds/{name}.wav", label, variant, rich=False)
            made["depth"].append([f"rgb/{name}.png", f"depth/{name}.png", f"class {label}", name])
            made["audio"].append([f"rgb/{name}.png", f"sounds/{name}.wav", f"class {label}", name])
            vectors.append((rng.standard_normal(768) * 0.5 + np.eye(CLASSES, 768)[label] * 20).astype(np.float32))
            (folder / "vectors").mkdir(exist_ok=True)
            np.save(folder / f"vectors/{name}.npy", vectors[-1])
            with Pillow.open(folder / f"sketches/{name}.png") as picture:
                drawings.append(np.asarray(picture.convert("L").resize((64, 64))))
    np.savez(folder / "pairs.npz", vectors=np.stack(vectors), drawings=np.stack(drawings))
    for name, rows in made.items():
        _manifest(folder / f"pairs-{name}.csv", rows)
    _set(folder / "data/furniture", folder, made["depth"], {"modality": "depth", "near": 0.5, "far": 8})
    _rooms(folder, made["depth"])


def _rooms(folder: Path, rows: list[list[str]]) -> None:
    """Pictures and depth maps with masks: what is nearer than the ground, and the ground."""
    place = folder / "data/rooms"
    for row in rows:
        for name in row[:2]:
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(folder / name, place / name)
        with Pillow.open(folder / row[1]) as picture:
            values = np.asarray(picture).astype(np.float64)
        mask = np.where(values == 0, 255, values < np.median(values[values > 0]) - 1).astype(np.uint8)
        (place / "mask").mkdir(exist_ok=True)
        Pillow.fromarray(mask).save(place / "mask" / Path(row[1]).name)
    with (place / "manifest.csv").open("w", newline="", encoding="utf-8") as stream:
        masks = [[*row, f"mask/{Path(row[1]).name}"] for row in rows]
        csv.writer(stream).writerows([["source", "target", "label", "group", "mask"], *masks])
    (place / "mask_classes.json").write_text(json.dumps({"0": "ground", "1": "thing", "255": "unlabelled"}))


def _shards(folder: Path) -> None:
    """data/000.tar to data/127.tar, one pair in each: picture, depth map, class, and a scene in JSON."""
    from crossdistill.modalities.depth import Depth
    from crossdistill.modalities.image import Image

    for number in range(128):
        label, variant = number % CLASSES, number // CLASSES
        parts = folder / "data" / ".parts"
        Image.write_fake(parts / "pair.jpg", label, variant, rich=True)
        Depth.write_fake(parts / "pair.depth.png", label, variant, rich=False)
        (parts / "pair.cls").write_text(f"steps {label + 3}")
        (parts / "pair.json").write_text(json.dumps({"scene": number}))
        with tarfile.open(folder / "data" / f"{number:03}.tar", "w") as shard:
            for part in sorted(parts.iterdir()):
                shard.add(part, f"{number:06}.{part.name.partition('.')[2]}")
        shutil.rmtree(parts)


def _runs(folder: Path) -> None:
    """Finished runs: short, and with the results that the pages read."""
    import os

    import torch

    import crossdistill
    from crossdistill.pipeline import run_stage_one

    before = Path.cwd()
    os.chdir(folder)
    try:
        crossdistill.run("mine.yaml", ["train.epochs=1", "train.batch_size=32"])
        run_stage_one("photos.yaml")  # a teacher, and no student that would stand in for it
        for name in ("runs/demo", "runs/a"):
            shutil.copytree("runs/mine", name)
    finally:
        os.chdir(before)
        torch.use_deterministic_algorithms(False)
