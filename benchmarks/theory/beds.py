"""The sets and teachers of the theory's benchmark: decoded and embedded once, kept in files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from crossdistill.advisor.bed import Bed, lay_bed
from crossdistill.cli.subject import subject_of
from crossdistill.encoders import Encoder, TeacherConfig, build_teacher, has_encoder, load_encoder, save_encoder
from crossdistill.evaluation.intervals import Ints
from crossdistill.files import read_json, write_json
from crossdistill.modalities import Modality, parse_modality
from crossdistill.pairs import Pairs, open_pairs
from crossdistill.pairs.items import Items
from crossdistill.training import PretrainConfig, new_source_encoder, pretrain

WORK = Path("runs/benchmarks/theory")
KEEPS = ("0", "0.15", "0.3", "0.45", "0.6", "0.75", "0.9", "1")
REAL = ("emoji", "emoji-glyph", "furniture-depth", "digits-audio", "stamps-audio")
SETS = (*(f"dial-{keep}" for keep in KEEPS), *REAL)
TEACHERS = ("imagenet", "own", "random")
MOST_TRAIN, MOST_TEST = 1400, 400
# Sizes as in examples/sets; what a set says of itself decides the rest.
SOURCE_SIZE = {"digits-audio": 64, **{f"dial-{keep}": 64 for keep in KEEPS}}


@dataclass(frozen=True)
class Ground:
    """A set under a teacher.

    Attributes:
        bed: training items first, then test items.
        train: positions of the former.
        test: positions of the latter.
    """

    bed: Bed
    train: Ints
    test: Ints


def family(name: str) -> str:
    """What is left out together: all distances of the dial are one set."""
    return "dial" if name.startswith("dial") else name


def ground(data: Path, name: str, teacher: str) -> Ground:
    """The set ``name`` below the folder ``data``, from its files or from what was kept of it."""
    kept = WORK / "beds" / f"{name}-{teacher}.safetensors"
    if not kept.is_file():
        _keep(kept, *_lay(data, name, teacher))
    return _kept(kept)


def open_set(data: Path, name: str) -> tuple[Pairs, Modality, Modality]:
    """Pairs and resolved modalities of both sides."""
    subject = subject_of(str(data / name))
    source = parse_modality({"modality": "image", "size": SOURCE_SIZE.get(name, 96)})
    return open_pairs(subject.pairs), source, subject.target


def teacher_encoder(data: Path, name: str, teacher: str, seed: int = 0) -> Encoder:
    """A teacher; ``own`` is trained on the sources of the set's training split by stage 1, and kept."""
    pairs, source, _ = open_set(data, name)
    if teacher == "imagenet":
        return build_teacher(TeacherConfig(weights="efficientnet-lite0"), source)
    if teacher == "random":
        torch.manual_seed(seed)
        return build_teacher(TeacherConfig(backbone="tf_efficientnet_lite0", weights="random"), source)
    place = WORK / "teachers" / family(name)
    if not has_encoder(place):
        config = PretrainConfig(backbone="test_resnet", epochs=12, batch_size=128, lr=3e-3, log_every=10**9)
        encoder = new_source_encoder(config, parse_modality({"modality": "image", "size": 48}))
        rows = sample(pairs, "train", MOST_TRAIN)
        rows = sorted({pairs[row].source: row for row in reversed(rows)}.values())
        pretrain(encoder, Items.of(pairs, rows, "source", encoder.modality), config)
        encoder.origin = f"InfoNCE on {len(rows)} sources of {name}"
        save_encoder(place, encoder, {"stage": "pretrain"})
    return load_encoder(place)


def _lay(data: Path, name: str, teacher: str) -> tuple[Bed, int]:
    encoder = teacher_encoder(data, name, teacher)
    pairs, _, target = open_set(data, name)
    train, test = sample(pairs, "train", MOST_TRAIN), sample(pairs, "test", MOST_TEST)
    target = target.resolve(encoder.modality.as_defaults())
    return lay_bed(pairs, [*train, *test], encoder, target, device=torch.device("cpu")), len(train)


def sample(pairs: Pairs, split: Any, most: int) -> list[int]:
    """Pairs of a split, at random, at most so many; whole groups are not kept together within a split."""
    rows = np.array(pairs.where(split, has=("source", "target")))
    return sorted(np.random.default_rng(0).permutation(rows)[:most].tolist())


def _keep(path: Path, bed: Bed, count: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {name: torch.from_numpy(getattr(bed, name)) for name in ("rows", "teacher", "ids", "groups", "labels")}
    arrays["targets"] = bed.targets.batch(range(len(bed))).contiguous()
    if bed.shown is not None:
        arrays["shown"] = torch.from_numpy(bed.shown)
    modality = bed.targets.modality.model_dump(mode="json", by_alias=True)
    write_json(path.with_suffix(".json"), {"count": count, "classes": bed.classes, "modality": modality})
    save_file(arrays, path.with_suffix(".part"))
    path.with_suffix(".part").rename(path)


def _kept(path: Path) -> Ground:
    arrays, about = load_file(path), read_json(path.with_suffix(".json"))
    found = {name: value.numpy() for name, value in arrays.items() if name != "targets"}
    bed = Bed(
        rows=found["rows"], targets=Items.of_tensor(arrays["targets"], parse_modality(about["modality"])),
        teacher=found["teacher"], shown=found.get("shown"), ids=found["ids"], groups=found["groups"],
        labels=found["labels"], classes=tuple(about["classes"]),
    )  # fmt: skip
    return Ground(bed, np.arange(about["count"]), np.arange(about["count"], len(bed)))
