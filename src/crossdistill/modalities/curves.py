"""Curves over time in a small picture: one row a channel, on one axis of values."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageDraw

_FINER = 4  # times, for smooth lines
_COLOURS = ("#0b6e8a", "#c8741a", "#7a4fa3", "#3c8d40", "#b3364a", "#84662d", "#3b6fc4", "#5c6670")
_GRID = "#d5dbe1"
_CAPTION = 0.14  # of the side


def draw_curves(series: NDArray[np.floating], side: int, unit: str) -> Pillow.Image:
    """Channels ``(C, time)`` below each other, and under them the values at the bottom and the top of every row."""
    low, high = float(series.min()), float(series.max())
    span = max(high - low, 1e-12)
    caption = max(9, round(_CAPTION * side))
    width, height = side * _FINER, (side - caption) * _FINER
    canvas = Pillow.new("RGB", (width, height), "white")
    pen, row = ImageDraw.Draw(canvas), height / len(series)
    for number, channel in enumerate(series):
        if number:
            pen.line([(0, number * row), (width, number * row)], fill=_GRID, width=_FINER // 2)
        inset = min(_FINER, row / 8)
        down = (number + 1) * row - inset - (_extremes(channel, width) - low) / span * (row - 2 * inset)
        across = np.linspace(0, width - 1, len(down)) if len(down) > 1 else np.array([0.0])
        points = [(float(x), float(y)) for x, y in zip(across, down, strict=True)]
        pen.line(
            points * (1 if len(points) > 1 else 2), fill=_COLOURS[number % len(_COLOURS)], width=_FINER, joint="curve"
        )
    drawn = Pillow.new("RGB", (side, side), "white")
    drawn.paste(canvas.resize((side, side - caption), Pillow.Resampling.LANCZOS), (0, 0))
    text = ImageDraw.Draw(drawn)
    text.line([(0, side - caption), (side, side - caption)], fill=_GRID)
    label = f"{low:.3g} to {high:.3g} {unit}".strip()
    size = caption - 2.0
    while size > 6 and text.textlength(label, font_size=size) > side - 2:
        size -= 0.5
    text.text((side / 2, side - 1), label, fill="black", font_size=size, anchor="md")
    return drawn


def _extremes(channel: NDArray[np.floating], width: int) -> NDArray[np.floating]:
    """A long channel as its smallest and largest values by turns, so that no peak is lost."""
    if len(channel) <= 2 * width:
        return channel
    parts = np.array_split(channel, width // 2)
    return np.array([value for part in parts for value in (part.min(), part.max())])
