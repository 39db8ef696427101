"""``dial``: generated scenes whose distance between the modalities is a setting, with the truth beside them.

A scene is one shape. Five factors are drawn uniformly and independently: ``shape`` (the class; one of C), ``column``
and ``row`` (5 each), ``size`` (3) and ``turn`` (8). The source shows them in colour, beside hue, texture and background
that the target never shows. The target is a line drawing; each of its factors is the source's with probability
``keep``, and else drawn anew, uniformly and independently of everything. ``nuisance`` adds what only the target has:
strokes, a cover, noise.

For a factor of K values let ``p = keep + (1 - keep) / K``. The target's value is the source's with probability p, and
each of the others with probability (1 - p) / (K - 1), so that the two share

    I = log2 K + p log2 p + (1 - p) log2((1 - p) / (K - 1))  bits,

from log2 K at keep 1 to 0 at keep 0. Factors being independent, the information of all of them is the sum. No rule that
sees the target's factors tells the class more often than with probability p at K = C, the Bayes accuracy, which the
target's own shape reaches. Pictures hold that or less: nuisance takes from it, and some turns of a symmetric shape look
alike. Both figures stand in ``truth.json``, the factors of every item in ``truth.csv``. Without nuisance, equal factors
make equal target files.

Draws depend on the seed and the item's number alone: sets that differ in ``keep`` or ``nuisance`` have the same
sources, and an item's factor that is kept at one ``keep`` is kept at every larger one.
"""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from crossdistill.files import write_bytes, write_json, write_text
from crossdistill.pairs.making.build import BuiltinSet, Site
from crossdistill.pairs.making.scenes import SHAPES, Scene, draw_colour, draw_lines
from crossdistill.pairs.table import Licence, Pair

_STEPS, _SIZES, _TURNS = 5, (0.13, 0.18, 0.24), 8
_FIRST, _LAST = 0.27, 0.73  # where the outer columns and rows are, as a share of the side


class DialOptions(BaseModel):
    """Settings of the set."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    keep: float = Field(0.8, ge=0, le=1, description="probability that a factor of the target is the source's")
    nuisance: float = Field(0.2, ge=0, le=1, description="strength of what only the target shows")
    pairs: int = Field(2000, ge=2, le=1_000_000)
    classes: int = Field(10, ge=2, le=len(SHAPES), description="different shapes")
    side: int = Field(64, ge=16, le=1024, description="of the pictures, in pixels")
    seed: int = Field(0, ge=0)

    @property
    def factors(self) -> dict[str, int]:
        """The factors and how many values each has."""
        return {"shape": self.classes, "column": _STEPS, "row": _STEPS, "size": len(_SIZES), "turn": _TURNS}


class Factors(NamedTuple):
    """Of one item; numbers of values in the order of ``DialOptions.factors``.

    Attributes:
        source, target: what the two sides show.
        kept: which of the target's are the source's by decision (others may be so by chance).
    """

    source: NDArray[np.int64]
    target: NDArray[np.int64]
    kept: NDArray[np.bool_]


def draw_factors(number: int, options: DialOptions) -> Factors:
    """The factors of item ``number``. Classes take turns, so that they are equally frequent."""
    rng = np.random.default_rng([options.seed, number, 0])
    counts = np.array(list(options.factors.values()))
    source, anew = rng.integers(counts), rng.integers(counts)
    source[0] = number % options.classes
    kept = rng.random(len(counts)) < options.keep
    return Factors(source, np.where(kept, source, anew), kept)


def agreement(keep: float, count: int) -> float:
    """Probability that a factor of ``count`` values is the same on both sides: p above."""
    return keep + (1 - keep) / count


def information(keep: float, count: int) -> float:
    """Bits that the two sides of a factor of ``count`` values share: I above."""
    same = agreement(keep, count)
    other = (1 - same) / (count - 1)
    return math.log2(count) + sum(p * math.log2(q) for p, q in ((same, same), (1 - same, other)) if p > 0)


def _scene(values: NDArray[np.int64]) -> Scene:
    shape, column, row, size, turn = (int(value) for value in values)
    x, y = (_FIRST + (_LAST - _FIRST) * place / (_STEPS - 1) for place in (column, row))
    return Scene(list(SHAPES)[shape], x, y, _SIZES[size], turn / _TURNS)


def _png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def _write(folder: Path, options: DialOptions, number: int) -> list[Pair]:
    factors = draw_factors(number, options)
    scene, drawn = _scene(factors.source), _scene(factors.target)
    source, target = (folder / side / f"{number:06}.png" for side in ("source", "target"))
    colours, lines = (np.random.default_rng([options.seed, number, part]) for part in (1, 2))
    write_bytes(source, _png(draw_colour(scene, options.side, colours)))
    write_bytes(target, _png(draw_lines(drawn, options.side, options.nuisance, lines)))
    return [Pair(source=source, target=target, label=scene.shape, where=f"item {number}")]


def truth(options: DialOptions) -> dict[str, object]:
    """The content of ``truth.json``: what is known of the set as a whole."""
    factors = {
        name: {"values": count, "agreement": agreement(options.keep, count), "bits": information(options.keep, count)}
        for name, count in options.factors.items()
    }
    return {
        "options": options.model_dump(mode="json"),
        "class": "shape",
        "class_names": list(SHAPES)[: options.classes],
        "bayes_accuracy": agreement(options.keep, options.classes),
        "class_bits": information(options.keep, options.classes),
        "bits": math.fsum(information(options.keep, count) for count in options.factors.values()),
        "bits_at_keep_1": math.fsum(math.log2(count) for count in options.factors.values()),
        "factors": factors,
    }


def build(site: Site[DialOptions]) -> list[Pair]:
    """Draws ``source/*.png`` and ``target/*.png``; writes ``truth.json`` and ``truth.csv``."""
    options, names = site.options, tuple(site.options.factors)
    rows = site.each("drawing scenes", _write, range(options.pairs))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["item", *(f"{part}_{name}" for part in Factors._fields for name in names)])
    for number in range(options.pairs):
        factors = draw_factors(number, options)
        writer.writerow([f"{number:06}", *factors.source, *factors.target, *factors.kept.astype(int)])
    write_text(site.folder / "truth.csv", text.getvalue())
    write_json(site.folder / "truth.json", truth(options))
    return rows


DATASET = BuiltinSet(
    name="dial",
    summary="generated scenes -> line drawings that keep a chosen share of them, with the ground truth",
    licence=Licence(name="CC0-1.0", attribution="Generated by crossdistill.",
                    url="https://creativecommons.org/publicdomain/zero/1.0/"),
    version="1",
    build=build,
    options=DialOptions,
    source={"modality": "image", "size": 64},
    target={"modality": "image", "size": 64, "channels": 1},
)  # fmt: skip
