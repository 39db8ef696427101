"""How drawings of a run look, so that what is drawn on the page looks like them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from crossdistill.errors import PairsError
from crossdistill.serve.gallery import Gallery

_LOOKED_AT = 64
_INK = 64  # levels of 8 bits by which ink differs from paper
_DIGITAL = np.pi / 4  # a line's length over the steps of the pixels along it, over all directions


class Style(BaseModel):
    """Of drawings.

    Attributes:
        paper: its colour, as pages write it.
        ink: that of the line.
        fill: longer side of what is drawn, as a share of the picture's.
        stroke: width of a line, likewise.
    """

    paper: str = "#ffffff"
    ink: str = "#000000"
    fill: float = 0.8
    stroke: float = 0.03


def style_of(gallery: Gallery, rows: NDArray[np.int64]) -> Style:
    """The usual style of some pictures of a gallery, by medians; a plain one where they are no drawings."""
    found = []
    for row in rows[:_LOOKED_AT]:
        item = gallery.entries[int(row)].item
        try:
            values = None if item is None else gallery.modality.decode(item).float().mean(dim=0).numpy()
        except PairsError:
            continue
        if values is not None and (one := _style(values)) is not None:
            found.append(one)
    if not found:
        return Style()
    paper, fill, stroke = (float(np.median([each[part] for each in found])) for part in range(3))
    dark = paper < 128
    return Style(
        paper="#000000" if dark else "#ffffff", ink="#ffffff" if dark else "#000000",
        fill=round(float(np.clip(fill, 0.3, 0.96)), 3), stroke=round(float(np.clip(stroke, 0.012, 0.08)), 4),
    )  # fmt: skip


def _style(values: NDArray[np.float32]) -> tuple[float, float, float] | None:
    """Brightness of the paper, fill and stroke of one picture ``(H, W)``; None for one without ink."""
    border = np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]])
    paper = float(np.median(border))
    ink = np.abs(values - paper) > _INK
    if not ink.any() or ink.mean() > 0.6:
        return None
    high, wide = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    side = len(values)
    fill = max(high[-1] - high[0], wide[-1] - wide[0]) + 1
    framed = np.pad(ink, 1)
    edges = (framed[1:] != framed[:-1]).sum() + (framed[:, 1:] != framed[:, :-1]).sum()
    # A line of width w and length l covers w l, and has two edges of length l.
    return paper, fill / side, 2 * float(ink.sum()) / (float(edges) * _DIGITAL) / side
