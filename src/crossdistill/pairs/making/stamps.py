"""The stamps of Tux Paint: pictures in folders, each with its name spoken in several languages.

A stamp is ``NAME.png`` or ``NAME.svg`` (or both), and ``NAME_desc_LANG.ogg`` (or ``.wav``) are its names; without a
language it is English. ``NAME_mirror.png`` and the like are other views of a stamp (Tux Paint's manual, "Extending").
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image as Pillow
from PIL import ImageOps

from crossdistill.errors import PairsError
from crossdistill.files import sha256_file

_PICTURES = (".png", ".svg")  # a stamp with both is drawn from the first: the artists' own rendering
_CLIP = re.compile(r"(.+)_desc(?:_([a-z]{2,3}(?:_[A-Z]{2})?))?\.(?:ogg|wav)")
_FINER = 2  # times finer than needed, vectors are drawn


@dataclass(frozen=True)
class Stamp:
    """A picture and its spoken names.

    Attributes:
        name: its path below the folder of all stamps, without ending: ``animals/birds/cardinal``.
        pictures: one or two files of the same picture.
        clips: (language, file), sorted.
    """

    name: str
    pictures: tuple[Path, ...]
    clips: tuple[tuple[str, Path], ...]

    @property
    def category(self) -> str:
        """The folder at the top."""
        return self.name.partition("/")[0]


def find_stamps(folder: Path) -> tuple[list[Stamp], list[Path]]:
    """The stamps below ``folder`` that are spoken in some language, and the clips that belong to none of them."""
    pictures: dict[str, list[Path]] = defaultdict(list)
    clips: dict[str, dict[str, Path]] = defaultdict(dict)
    spoken = []
    for file in sorted(folder.rglob("*")):
        if file.suffix in _PICTURES:
            pictures[file.relative_to(folder).with_suffix("").as_posix()].append(file)
        elif "_desc" in file.stem and file.suffix != ".txt":
            spoken.append(file)
    strays = []
    for file in spoken:
        matched = _CLIP.fullmatch(file.name)
        name = "" if matched is None else (file.parent.relative_to(folder) / matched[1]).as_posix()
        language = (matched and matched[2]) or "en"
        if name in pictures and language not in clips[name]:
            clips[name][language] = file
        else:
            strays.append(file)
    stamps = [
        Stamp(name, tuple(sorted(files, key=lambda file: _PICTURES.index(file.suffix))), tuple(sorted(found.items())))
        for name, files in pictures.items()
        if (found := clips.get(name))
    ]
    return stamps, strays


def draw_stamp(stamp: Stamp, side: int) -> Pillow.Image:
    """The stamp on white, ``(side, side)`` in RGB. Vectors lose their lettering: it would need this machine's fonts.

    Raises:
        PairsError: none of its files can be drawn.
    """
    from crossdistill.modalities.image import Image
    from crossdistill.modalities.sketch import draw_svg

    problems: list[PairsError] = []
    for file in stamp.pictures:
        try:
            if file.suffix == ".png":
                return Image().picture(file, side)
            drawn = draw_svg(file.read_text(encoding="utf-8"), file, _FINER * side, lettering=False)
            return ImageOps.pad(drawn, (side, side), color=(255, 255, 255))
        except PairsError as error:
            problems.append(error)
        except (OSError, ValueError) as error:
            problems.append(PairsError("A drawing cannot be read.", where=file, received=str(error)))
    raise problems[0]


def same_words(clips: Sequence[Path], names: Sequence[str]) -> list[str]:
    """For each clip the first of all names that share a clip with its name, directly or through others.

    Two pictures of one thing have copies of one clip: they are one item that was seen twice.
    """
    first: dict[str, str] = {}

    def root(name: str) -> str:
        while (above := first.setdefault(name, name)) != name:
            name = above
        return name

    of_content: dict[str, str] = {}
    for clip, name in zip(clips, names, strict=True):
        low, high = sorted((root(name), root(of_content.setdefault(sha256_file(clip), name))))
        first[high] = low
    return [root(name) for name in names]
