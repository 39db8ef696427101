"""Constructed traps: what does the advisor say of pairs that cannot work?"""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.record import Measurement
from benchmarks.theory.beds import open_set
from crossdistill.advisor.advice import Advice, advise
from crossdistill.advisor.verdict import Verdict
from crossdistill.encoders import Encoder, TeacherConfig, build_teacher
from crossdistill.modalities import Modality, parse_modality
from crossdistill.pairs import Pairs

SETS = ("dial-1", "emoji", "digits-audio")
_SIDE = 64


def shuffled(pairs: Pairs, scratch: Path) -> Pairs:
    """Targets change places at random; labels stay with the sources."""
    order = np.random.default_rng(0).permutation(len(pairs))
    rows = [dataclasses.replace(pair, target=pairs[other].target, group=None, split=None) for pair, other in
            zip(pairs, order.tolist(), strict=True)]  # fmt: skip
    return _divided(pairs.with_rows(rows))


def noise(pairs: Pairs, scratch: Path) -> Pairs:
    """Targets are pictures of noise."""
    rng = np.random.default_rng(0)
    rows = []
    for number, pair in enumerate(pairs):
        path = scratch / f"{number}.png"
        Image.fromarray(rng.integers(0, 256, (_SIDE, _SIDE), dtype=np.uint8)).save(path)
        rows.append(dataclasses.replace(pair, target=path, group=None, split=None))
    return _divided(pairs.with_rows(rows))


def identical(pairs: Pairs, scratch: Path) -> Pairs:
    """Targets are copies of the sources."""
    rows = []
    for number, pair in enumerate(pairs):
        assert pair.source is not None
        path = scratch / f"{number}{pair.source.suffix}"
        shutil.copyfile(str(pair.source), path)
        rows.append(dataclasses.replace(pair, target=path))
    return pairs.with_rows(rows)


def _divided(pairs: Pairs) -> Pairs:
    return pairs.with_splits(["train" if number % 4 else "test" for number in range(len(pairs))])


Trap = tuple[str, Callable[[Pairs, Path], Pairs] | None, str, tuple[Verdict, ...]]
TRAPS: tuple[Trap, ...] = (
    ("shuffled pairs", shuffled, "", ("wrong pairing",)),
    ("a target of pure noise", noise, "picture", ("the target does not carry it",)),
    ("a target that is the source", identical, "source", ("the target is the source",)),
    ("a teacher with random weights", None, "", ("the teacher knows nothing",)),
)


def run(data: Path) -> tuple[list[Measurement], dict[str, Any]]:
    """Each trap on each set: the verdict should name it."""
    measurements, found = [], {}
    for name in SETS:
        for trap, change, kind, wanted in TRAPS:
            advice = spring(data, name, change, kind)
            said = advice.ruling.verdict
            found[f"{name}, {trap}"] = {"verdict": said, "reasons": list(advice.ruling.reasons),
                                        "advice": advice.to_json()}  # fmt: skip
            measurements.append(
                Measurement(name=f"{name}, {trap}: {said}", value=float(said in wanted), unit="named", reference=1.0,
                            target=" or ".join(wanted), holds=said in wanted)
            )  # fmt: skip
    return measurements, {"traps": found}


def spring(data: Path, name: str, change: Callable[[Pairs, Path], Pairs] | None, kind: str) -> Advice:
    """The advice on a set with one thing made wrong."""
    pairs, source, target = open_set(data, name)
    encoder = _teacher(source, random=change is None)
    if kind == "picture":
        target = parse_modality({"modality": "image", "size": _SIDE, "channels": 1})
    elif kind == "source":
        target = source
    with tempfile.TemporaryDirectory() as scratch:
        if change is not None:
            pairs = change(pairs, Path(scratch))
        return advise(pairs, encoder, target)


def _teacher(source: Modality, *, random: bool) -> Encoder:
    torch.manual_seed(0)
    config = TeacherConfig(backbone="tf_efficientnet_lite0", weights="random" if random else "efficientnet-lite0")
    return build_teacher(config, source)
