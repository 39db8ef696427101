"""Segmentation on a run: students, baselines and controls under one decoder, and what the report shows of it."""

from __future__ import annotations

import colorsys
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from crossdistill.encoders import Encoder, load_encoder
from crossdistill.evaluation import Outcome
from crossdistill.evaluation.config import TRAINED_CONTROLS
from crossdistill.files import write_bytes
from crossdistill.modalities import Modality
from crossdistill.pipeline.work import Run
from crossdistill.segmentation import MaskSet, Segmented, segment

_SIDE = 128  # pixels of a picture
_IGNORED_COLOUR = (255, 255, 255)
# Told apart by most eyes, also beside each other; more classes take hues in between.
_COLOURS = (
    "#4e79a7", "#f28e2b", "#59a14f", "#e15759", "#76b7b2", "#edc948", "#b07aa1", "#9c755f", "#1b4965", "#ff9da7",
    "#8cd17d", "#a0522d", "#d37295", "#499894", "#f1ce63", "#5d3a9b", "#bab0ac", "#c8102e", "#86bcb6", "#2e4600",
)  # fmt: skip


@dataclass(frozen=True)
class Segmentation:
    """What segmentation measured on a run.

    Attributes:
        masks: the labels.
        modality: of the students, by which items and masks are brought to size.
        found: by subject.
    """

    masks: MaskSet
    modality: Modality
    found: dict[str, Segmented]


def segment_run(
    run: Run,
    students: Mapping[str, Encoder],
    untrained: Callable[[bool], Encoder],
    outcomes: list[Outcome],
) -> Segmentation | None:
    """Adds segmentation's results to the subjects in ``outcomes``, and the control ``supervised`` where it is missing.

    Args:
        run: whose ``evaluate`` section counts.
        students: distilled, by name.
        untrained: the student before distillation; True: of random weights.
        outcomes: of all subjects so far.
    """
    if "segmentation" not in run.evaluate.protocols or run.mask_classes is None:
        return None
    config, common = run.evaluate.segmentation, run.config.train
    if "supervised" in run.evaluate.controls and False in config.frozen and not _named(outcomes, "supervised"):
        start = "from scratch" if run.given_student is None else "from the module as it was given"
        described = f"supervised {start}: the student's network, labels alone"
        outcomes.append(Outcome(name="supervised", role="control", description=described))
    found: dict[str, Segmented] = {}
    masks: MaskSet | None = None
    target: Modality | None = None
    for outcome in outcomes:
        chosen = _subject(run, outcome.name, students, untrained)
        if chosen is None:
            outcome.skipped["segmentation"] = "it is no network of the student's kind that reads target items"
            continue
        encoder, frozen, reason = chosen
        if reason:
            outcome.skipped["segmentation"] = reason
        if masks is None:
            target = encoder.modality
            masks = MaskSet.of(run.pairs, encoder.modality, run.mask_classes, config, common)
        found[outcome.name] = segment(
            encoder, masks, lambda rows, modality: run.items(rows, "target", modality), config, common,
            frozen=frozen, title=f"segmentation, {outcome.name}",
        )  # fmt: skip
        outcome.metrics.update(found[outcome.name].metrics)
    return None if masks is None or target is None else Segmentation(masks, target, found)


def _named(outcomes: list[Outcome], name: str) -> bool:
    return any(outcome.name == name for outcome in outcomes)


def _subject(
    run: Run, name: str, students: Mapping[str, Encoder], untrained: Callable[[bool], Encoder]
) -> tuple[Encoder, tuple[bool, ...], str] | None:
    """What is put under the decoder, whether it may be frozen or tuned, and why it is not both."""
    if name in students:
        return students[name], (True, False), ""
    if name in TRAINED_CONTROLS:
        return load_encoder(run.folder.control(name)), (True, False), ""
    if name == "initial_student":
        return untrained(False), (True, False), ""
    if name == "random_student":
        return untrained(True), (True,), "with all weights trained it is the control supervised"
    if name == "supervised":
        return untrained(True), (False,), "with its backbone frozen it is the control random_student"
    return None


def describe_segmentation(run: Run, measured: Segmentation | None) -> dict[str, Any] | None:
    """As it stands in ``metrics.json``; writes the pictures into the run folder."""
    if measured is None:
        return None
    masks, config = measured.masks, run.evaluate.segmentation
    colours = palette(len(masks.classes))
    pixels = np.bincount(masks.test_masks.numpy().reshape(-1), minlength=256)[: len(masks.classes)]
    shares = pixels / max(1, pixels.sum())
    return {
        "head": config.head,
        "masks": {"train": len(masks.train), "test": len(masks.test)},
        "classes": [
            {"number": number, "name": name, "colour": "#" + bytes(colour).hex(), "share": round(float(share), 5)}
            for number, name, colour, share in zip(
                masks.classes.numbers, masks.classes.names, colours.tolist(), shares, strict=True
            )
        ],
        "ignored": list(masks.classes.ignore),
        "by_class": {
            name: {
                metric: [None if estimate is None else estimate.to_json() for estimate in estimates]
                for metric, estimates in each.by_class.items()
            }
            for name, each in measured.found.items()
        },
        "pictures": _pictures(run, measured, colours),
    }  # fmt: skip


def palette(classes: int) -> NDArray[np.uint8]:
    """A colour for each class, ``(C, 3)``."""
    fixed = [tuple(int(text[place : place + 2], 16) for place in (1, 3, 5)) for text in _COLOURS]
    more = [
        tuple(
            round(255 * value) for value in colorsys.hsv_to_rgb(number * 0.61803 % 1, 0.45 + 0.4 * (number % 2), 0.85)
        )
        for number in range(classes - len(fixed))
    ]
    return np.array([*fixed, *more][:classes], dtype=np.uint8)


def _pictures(run: Run, measured: Segmentation, colours: NDArray[np.uint8]) -> dict[str, Any]:
    masks = measured.masks
    rows = [masks.test[position] for position in masks.shown]
    table = np.full((256, 3), _IGNORED_COLOUR, dtype=np.uint8)
    table[: len(colours)] = colours
    items = run.items(rows, "target", measured.modality) if rows else None
    shown = [
        (name, metric, pictures) for name, each in measured.found.items() for metric, pictures in each.pictures.items()
    ]
    shown.sort(key=lambda each: "_tuned" in each[1])  # side by side what may be compared
    entries = []
    for place, (row, position) in enumerate(zip(rows, masks.shown, strict=True)):
        assert items is not None
        entries.append({
            "row": row,
            "target": _written(run, f"mask-{row}-target.png", items.modality.draw(items[place], _SIDE)),
            "truth": _written(run, f"mask-{row}-truth.png", _coloured(masks.test_masks[position].numpy(), table)),
            "predicted": [
                _written(run, f"mask-{row}-{number}.png", _coloured(pictures[place], table))
                for number, (_, _, pictures) in enumerate(shown)
            ],
        })  # fmt: skip
    return {"columns": [{"subject": name, "metric": metric} for name, metric, _ in shown], "items": entries}


def _coloured(mask: NDArray[np.uint8], table: NDArray[np.uint8]) -> Pillow.Image:
    return Pillow.fromarray(table[mask]).resize((_SIDE, _SIDE), Pillow.Resampling.NEAREST)


def _written(run: Run, name: str, picture: Pillow.Image) -> str:
    stream = io.BytesIO()
    picture.save(stream, format="PNG", optimize=True)
    write_bytes(run.folder.pictures / name, stream.getvalue())
    return name
