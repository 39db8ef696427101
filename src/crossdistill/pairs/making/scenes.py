"""Pictures of one flat shape: in colour on a background, and as a line drawing."""

from __future__ import annotations

import colorsys
import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

_FINER = 4  # times finer than needed, edges are drawn
_ARC = 48  # points of a full circle
_LINE = 0.04  # width of a line, as a share of the side
_INK, _PAPER = 40.0, 255.0
_STROKES, _COVER, _NOISE = 8, 0.5, 64.0  # of the strongest nuisance: strokes, share of the side, grey levels

Points = list[tuple[float, float]]


def _arc(start: float, end: float, radius: float = 1.0, centre: float = 0.0) -> Points:
    """Points from ``start`` to ``end``, in turns."""
    count = max(2, round(_ARC * abs(end - start)) + 1)
    angles = [2 * math.pi * (start + (end - start) * place / (count - 1)) for place in range(count)]
    return [(centre + radius * math.cos(angle), radius * math.sin(angle)) for angle in angles]


def _corners(*radii: float) -> Points:
    """Corners at equal angles, with their distances from the centre."""
    turns = [2 * math.pi * place / len(radii) for place in range(len(radii))]
    return [(radius * math.cos(turn), radius * math.sin(turn)) for radius, turn in zip(radii, turns, strict=True)]


def _heart() -> Points:
    turns = [2 * math.pi * place / _ARC for place in range(_ARC)]
    heights = [13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t) for t in turns]
    return [(0.95 * math.sin(turn) ** 3, -height / 17) for turn, height in zip(turns, heights, strict=True)]


# Outlines within the unit circle; a second one is a hole. None of them is another one turned.
SHAPES: dict[str, tuple[Points, ...]] = {
    "disc": (_arc(0, 1),),
    "triangle": (_corners(1, 1, 1),),
    "square": (_corners(1, 1, 1, 1),),
    "star": (_corners(*(1, 0.4) * 5),),
    "cross": (
        [(0.95, 0.3), (0.3, 0.3), (0.3, 0.95), (-0.3, 0.95), (-0.3, 0.3), (-0.95, 0.3),
         (-0.95, -0.3), (-0.3, -0.3), (-0.3, -0.95), (0.3, -0.95), (0.3, -0.3), (0.95, -0.3)],
    ),
    "heart": (_heart(),),
    "ring": (_arc(0, 1), _arc(0, 1, 0.5)),
    "arrow": ([(1, 0), (0.1, 0.8), (0.1, 0.3), (-0.9, 0.3), (-0.9, -0.3), (0.1, -0.3), (0.1, -0.8)],),
    "crescent": ([*_arc(0.14, 0.86), *_arc(0.778, 0.222, 0.78, 0.5)],),
    "ell": ([(-0.6, -0.75), (-0.1, -0.75), (-0.1, 0.25), (0.6, 0.25), (0.6, 0.75), (-0.6, 0.75)],),
    "half": ([(x, y - 0.4) for x, y in _arc(0, 0.5)],),
    "bar": ([(-0.95, -0.25), (0.95, -0.25), (0.95, 0.25), (-0.95, 0.25)],),
}  # fmt: skip


class Scene(NamedTuple):
    """What stands where.

    Attributes:
        shape: a name of ``SHAPES``.
        x, y: its centre, as a share of the side, from the upper left.
        radius: as a share of the side.
        turn: clockwise, in turns.
    """

    shape: str
    x: float
    y: float
    radius: float
    turn: float


def _outlines(scene: Scene, side: int) -> list[Points]:
    cosine, sine = math.cos(2 * math.pi * scene.turn), math.sin(2 * math.pi * scene.turn)
    return [
        [
            (side * (scene.x + scene.radius * (x * cosine - y * sine)),
             side * (scene.y + scene.radius * (x * sine + y * cosine)))
            for x, y in outline
        ]
        for outline in SHAPES[scene.shape]
    ]  # fmt: skip


def _grey(picture: Image.Image, side: int) -> NDArray[np.float64]:
    return np.asarray(picture.resize((side, side), Image.Resampling.BOX), dtype=np.float64)


def draw_colour(scene: Scene, side: int, rng: np.random.Generator) -> Image.Image:
    """The shape filled with a colour and a texture on a background, all three by chance; RGB, ``(side, side)``."""
    fine = Image.new("L", (_FINER * side, _FINER * side), 0)
    pen = ImageDraw.Draw(fine)
    for number, outline in enumerate(_outlines(scene, _FINER * side)):
        pen.polygon(outline, fill=0 if number else 255)
    mask = _grey(fine, side)[:, :, None] / 255
    down, right = np.mgrid[0:side, 0:side] / side
    hue = rng.random()
    shape = np.array(colorsys.hsv_to_rgb(hue, rng.uniform(0.6, 1.0), rng.uniform(0.6, 0.95)))
    # The background's hue keeps away from the shape's.
    ends = [
        np.array(colorsys.hsv_to_rgb((hue + rng.uniform(0.25, 0.75)) % 1, rng.uniform(0.1, 0.5), value))
        for value in (rng.uniform(0.35, 0.6), rng.uniform(0.7, 1.0))
    ]
    direction = 2 * np.pi * rng.random()
    slope = ((right - 0.5) * np.cos(direction) + (down - 0.5) * np.sin(direction) + 0.7) / 1.4
    background = ends[0] + (ends[1] - ends[0]) * slope[:, :, None]
    filled = shape * (1 - 0.2 * _texture(right, down, rng))[:, :, None]
    values = background * (1 - mask) + filled * mask + rng.normal(0, 0.015, (side, side, 3))
    return Image.fromarray((np.clip(values, 0, 1) * 255).round().astype(np.uint8))


def _texture(right: NDArray[np.float64], down: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Plain, stripes, checks or dots: how dark each pixel is, 0 to 1."""
    kind, pitch, tilt = rng.integers(4), rng.uniform(8, 14), np.pi * rng.random()
    one = np.sin(2 * np.pi * (pitch * (right * np.cos(tilt) + down * np.sin(tilt)) + rng.random()))
    other = np.sin(2 * np.pi * (pitch * (down * np.cos(tilt) - right * np.sin(tilt)) + rng.random()))
    patterns = (np.zeros_like(one), one > 0, (one > 0) ^ (other > 0), (one > 0.1) & (other > 0.1))
    return np.asarray(patterns[kind], dtype=np.float64)


def draw_lines(scene: Scene, side: int, nuisance: float, rng: np.random.Generator) -> Image.Image:
    """The shape's outline in grey on white, ``(side, side)``.

    ``nuisance`` (0 to 1) is the strength of what has nothing to do with the scene: strokes beside it, a sheet of paper
    that covers a part of it, and noise. What is drawn by chance depends on the generator alone, and how much of it on
    ``nuisance``.
    """
    fine = _FINER * side
    picture = Image.new("L", (fine, fine), round(_PAPER))
    pen, width = ImageDraw.Draw(picture), max(1, round(_LINE * fine))
    for outline in _outlines(scene, fine):
        pen.line([*outline, *outline[:2]], fill=round(_INK), width=width, joint="curve")
    strokes, sheet = rng.random((_STROKES, 4)) * fine, rng.random(2)
    noise = rng.normal(size=(side, side))
    for x, y, towards, down in strokes[: round(nuisance * _STROKES)]:
        pen.line([(x, y), ((x + towards) / 2, (y + down) / 2)], fill=round(_INK), width=width)
    cover = nuisance * _COVER * fine
    left, top = sheet * (fine - cover)
    if cover >= 1:
        pen.rectangle([left, top, left + cover, top + cover], fill=round(_PAPER))
    values = _grey(picture, side) + nuisance * _NOISE * noise
    return Image.fromarray(np.clip(values, 0, 255).round().astype(np.uint8))
