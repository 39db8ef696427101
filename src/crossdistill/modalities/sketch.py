"""The sketch modality: line drawings as pictures, as SVG, or as the strokes of QuickDraw."""

from __future__ import annotations

import io
import json
import re
from typing import Any, Literal

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw
from pydantic import Field

from crossdistill.errors import MissingDependencyError, PairsError
from crossdistill.item import Item
from crossdistill.modalities.image import Image

_DRAWN = 512  # side in pixels at which vectors are drawn before they are brought to size
_DPI = 96  # that of CSS; gives sizes in points and millimetres a meaning
_FINER = 2  # and how many times finer than that strokes are, for smooth edges
_MOST_POINTS = 200_000
_LARGEST_FILE = 20_000_000  # bytes
_VECTORS = (".svg", ".json", ".ndjson")

_LINK = re.compile(r"""href\s*=\s*["']([^"']*)["']|url\(\s*["']?([^"')]*)""")


class Sketch(Image):
    """Drawings: any picture file, ``.svg``, or ``.json`` and ``.ndjson`` with the strokes of one drawing.

    Strokes are those of QuickDraw, ``{"drawing": [[[x, ...], [y, ...]], ...]}``, with or without times, in any unit.
    They are centred and drawn in black on white. Of a file of many drawings a manifest names lines: ``cats.ndjson#17``.
    """

    modality: Literal["sketch"] = "sketch"  # type: ignore[assignment]  # a kind of image, by another name
    channels: Literal[1, 3] = Field(1, description="grey, or colour")
    stroke: float = Field(0.02, gt=0, le=0.2, description="width of strokes, as a share of the side")
    margin: float = Field(0.05, ge=0, lt=0.5, description="around strokes, as a share of the side")

    def facts(self, item: Item) -> dict[str, str | float]:
        kind = item.suffix.lower()  # drawings have no pixels that could be counted
        return {"format": kind.removeprefix(".").upper()} if kind in _VECTORS else super().facts(item)

    def _open(self, item: Item) -> Pillow.Image:
        kind = item.suffix.lower()
        if kind not in _VECTORS:
            return super()._open(item)
        expected = "one drawing, as SVG or as QuickDraw strokes"
        try:
            with item.open("rb") as stream:
                content = stream.read(_LARGEST_FILE + 1)
            if len(content) > _LARGEST_FILE:
                raise ValueError(f"more than the {_LARGEST_FILE:,} bytes that are the most")
            text = content.decode("utf-8")
            return draw_svg(text, item) if kind == ".svg" else self._strokes(text)
        except FileNotFoundError as error:
            raise PairsError("A file is missing.", where=item, expected=expected) from error
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            raise PairsError(
                "A drawing cannot be read.", where=item, expected=expected, received=str(error) or type(error).__name__,
                fix="replace the file, or remove its row from the pairs",
            ) from error  # fmt: skip

    def _strokes(self, text: str) -> Pillow.Image:
        lines = [line for line in text.splitlines() if line.strip()]
        if len(lines) > 1 and lines[0].rstrip().endswith("}"):
            raise ValueError(f"{len(lines)} drawings in one file; name one as FILE.ndjson#LINE in a manifest")
        content: Any = json.loads(text)
        strokes = [np.asarray(stroke[:2], dtype=np.float64) for stroke in content["drawing"]]
        strokes = [stroke for stroke in strokes if stroke.size]
        if not strokes or any(stroke.ndim != 2 or not np.isfinite(stroke).all() for stroke in strokes):
            raise ValueError("no strokes, or strokes whose x and y are not as many numbers")
        if sum(stroke.shape[1] for stroke in strokes) > _MOST_POINTS:
            raise ValueError(f"more than {_MOST_POINTS:,} points")
        every = np.concatenate(strokes, axis=1)
        low, high = every.min(axis=1), every.max(axis=1)
        side = _DRAWN * _FINER
        zoom = side * (1 - 2 * self.margin) / max(float((high - low).max()), 1e-9)
        shift = (side - zoom * (high + low)) / 2
        picture = Pillow.new("L", (side, side), 255)
        pen, width = ImageDraw.Draw(picture), max(1, round(self.stroke * side))
        for stroke in strokes:
            points = [(float(x), float(y)) for x, y in (stroke * zoom + shift[:, None]).T]
            if len(points) > 1:
                pen.line(points, fill=0, width=width, joint="curve")
            for x, y in (points[0], points[-1]):  # round ends, and a dot for a stroke of one point
                pen.ellipse([x - width / 2, y - width / 2, x + width / 2, y + width / 2], fill=0)
        return picture.resize((_DRAWN, _DRAWN), Pillow.Resampling.BOX)


def draw_svg(text: str, item: Item, width: int = _DRAWN, *, lettering: bool = True) -> Pillow.Image:
    """An SVG drawing on white, as high as its proportions ask for.

    Args:
        text: content of the file.
        item: where it comes from, for messages.
        width: in pixels.
        lettering: whether text is drawn, by whatever fonts this machine has.

    Raises:
        ValueError: it cannot be drawn, or refers to something outside of the file.
        MissingDependencyError: resvg-py is not installed.
    """
    try:
        import resvg_py
    except ImportError as error:
        raise MissingDependencyError(
            "SVG drawings need the package resvg-py.", where=item, fix="pip install 'crossdistill[sketch]'"
        ) from error
    # resvg draws pictures that an SVG refers to, from anywhere on this machine: only what is inside the file is used.
    links = [found[0] or found[1] for found in _LINK.findall(text)]
    outside = [link for link in links if link and not link.strip().startswith(("#", "data:"))]
    if outside or "<!ENTITY" in text:
        raise ValueError(f"it refers to something outside of the file: {[*outside, 'an entity'][0][:60]}")
    drawn = resvg_py.svg_to_bytes(
        svg_string=text, width=width, background="white", dpi=_DPI, skip_system_fonts=not lettering
    )
    with Pillow.open(io.BytesIO(bytes(drawn))) as opened:
        return opened.convert("RGB")


MODALITY = Sketch
