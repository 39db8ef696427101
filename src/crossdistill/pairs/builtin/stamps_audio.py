"""``stamps-audio``: the stamps of Tux Paint as source, their names spoken in up to fourteen languages as target.

Both come from Debian's package ``tuxpaint-stamps-default``. Which sounds mean which thing cannot be guessed for a word
that was never heard, so a test is of languages: every picture is there in training, named in others. What can be
carried over is what related languages share, so the languages that are held out by default have a relative in training:
Bulgarian and Belarusian have Russian, Spanish has Catalan.

Rows of two splits may not share a file, so each language has its own copy of the pictures (hard links where the file
system has them). Equal bytes are one item to the bank and to retrieval.
"""

from __future__ import annotations

import io
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from crossdistill.console import warn
from crossdistill.errors import PairsError
from crossdistill.files import write_bytes
from crossdistill.pairs.making.build import BuiltinSet, Site, imports
from crossdistill.pairs.making.package import Package
from crossdistill.pairs.making.stamps import Stamp, draw_stamp, find_stamps, same_words
from crossdistill.pairs.table import Licence, Pair, Split

SIDE = 96  # pixels
MIN_CLASS = 16  # stamps

_SHOWN = 8  # files named in a message


class StampsAudioOptions(BaseModel):
    """Settings of the set."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    test_languages: tuple[str, ...] = Field(("bg", "es"), min_length=1, description="held out for the results")
    val_languages: tuple[str, ...] = Field(("be",), min_length=1, description="held out for monitoring")
    train_languages: tuple[str, ...] | None = Field(None, min_length=1, description="of training; default: all others")

    @model_validator(mode="after")
    def _apart(self) -> Self:
        chosen = {
            "test_languages": self.test_languages, "val_languages": self.val_languages,
            "train_languages": self.train_languages or (),
        }  # fmt: skip
        for (first, languages), (second, others) in combinations(chosen.items(), 2):
            if both := sorted({*languages} & {*others}):
                raise ValueError(f"{', '.join(both)} cannot be in {first} and in {second}")
        return self

    @property
    def named(self) -> set[str]:
        """Languages that are chosen by name."""
        return {*self.test_languages, *self.val_languages, *(self.train_languages or ())}

    def split(self, language: str) -> Split:
        """Where the rows of a language go."""
        return "test" if language in self.test_languages else "val" if language in self.val_languages else "train"


def _write(folder: Path, options: StampsAudioOptions, stamp: Stamp) -> list[Pair]:
    """The rows of one stamp; none if its picture cannot be drawn, and none for a clip that cannot be read."""
    from crossdistill.modalities.audio import read_sound

    try:
        picture = io.BytesIO()
        draw_stamp(stamp, SIDE).save(picture, "PNG")
    except PairsError:
        return []
    rows: list[Pair] = []
    for language, clip in stamp.clips:
        source = folder / "source" / language / f"{stamp.name}.png"
        target = folder / "target" / language / f"{stamp.name}{clip.suffix}"
        try:
            if len(read_sound(clip)[0]) == 0:
                continue
        except PairsError:
            continue
        _copy(picture.getvalue(), source, rows[0].source if rows else None)
        write_bytes(target, clip.read_bytes())
        split = options.split(language)
        rows.append(Pair(source=source, target=target, split=split, where=f"{stamp.name} in {language}"))
    return rows


def _copy(content: bytes, path: Path, twin: object) -> None:
    """Writes ``content`` to ``path``, as another name of the file ``twin`` that holds it where that is possible."""
    if isinstance(twin, Path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            os.link(twin, path)
            return
        except OSError:  # a file system without links; whatever else it is, writing will say
            pass
    write_bytes(path, content)


def build(site: Site[StampsAudioOptions]) -> list[Pair]:
    """Writes ``source/LANGUAGE/**.png`` and ``target/LANGUAGE/**``."""
    with imports("stamps-audio", "sets"):
        import resvg_py  # noqa: F401  (draws the stamps that are vectors)
        import soundfile  # noqa: F401  (checks the clips)
    assert site.origin is not None
    stamps, strays = find_stamps(site.origin)
    _check_languages(site.options, {language for stamp in stamps for language, _ in stamp.clips}, site.origin)
    if site.options.train_languages is not None:
        stamps = [spoken for stamp in stamps if (spoken := _spoken(stamp, site.options.named)).clips]
    rows = site.each("copying stamps", _write, stamps)
    written = {row.where for row in rows}
    broken = [
        clip for stamp in stamps for language, clip in stamp.clips if f"{stamp.name} in {language}" not in written
    ]
    for left_out, reason in (
        (strays, "belong to no picture"), (broken, "cannot be read, or have no picture that can"),
    ):  # fmt: skip
        if left_out:
            shown = ", ".join(file.relative_to(site.origin).as_posix() for file in left_out[:_SHOWN])
            more = ", ..." if len(left_out) > _SHOWN else ""
            warn(f"{len(left_out)} clips are left out that {reason}: {shown}{more}")
    return _described(rows)


def _spoken(stamp: Stamp, languages: set[str]) -> Stamp:
    """The stamp with its clips in some languages alone."""
    return replace(stamp, clips=tuple(clip for clip in stamp.clips if clip[0] in languages))


def _check_languages(options: StampsAudioOptions, languages: set[str], origin: Path) -> None:
    if unknown := sorted(options.named - languages):
        raise PairsError("No stamp is spoken in a language that was chosen.", where=origin,
                         expected=f"among {', '.join(sorted(languages)) or 'none'}", received=", ".join(unknown),
                         fix="choose other test_languages, val_languages or train_languages")  # fmt: skip
    if not languages - {*options.test_languages, *options.val_languages}:
        raise PairsError("No language is left for training.", where=origin, received=", ".join(sorted(languages)))


def _described(rows: Sequence[Pair]) -> list[Pair]:
    """The rows with classes and groups. A group is one thing in one split: pictures of one name, in its languages."""
    names = [row.where.rpartition(" in ")[0] for row in rows]
    categories = [name.partition("/")[0] for name in names]
    sizes = Counter(name.partition("/")[0] for name in set(names))
    things = same_words([Path(str(row.target)) for row in rows], names)
    return [
        replace(row, label=category if sizes[category] >= MIN_CLASS else None, group=f"{row.split}/{thing}")
        for row, category, thing in zip(rows, categories, things, strict=True)
    ]


DATASET = BuiltinSet(
    name="stamps-audio",
    summary="Tux Paint's stamps -> their names spoken in up to 14 languages, split by language",
    licence=Licence(
        name="GPL-2",
        attribution="Tux Paint stamps, Copyright 2002-2022 by Bill Kendrick and contributors.",
        url="https://www.gnu.org/licenses/old-licenses/gpl-2.0.html",
    ),
    version="1",
    build=build,
    options=StampsAudioOptions,
    package=Package(
        name="tuxpaint-stamps-default",
        fetch="apt-get download tuxpaint-stamps-default",
        holds="usr/share/tuxpaint/stamps",
    ),
    distributions=("resvg-py",),
    extra="sets",
    source={"modality": "image", "size": 96},
    target={"modality": "audio", "seconds": 2.5, "longer": "start"},
)
