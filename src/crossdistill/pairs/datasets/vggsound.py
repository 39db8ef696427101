"""``vggsound``: VGGSound, ten seconds of video whose sound is one of 309 classes (Chen et al., ICASSP 2020).

``vggsound.csv`` has lines ``YouTube ID,start seconds,label,train or test``. Clips are called ``ID_000030`` after the
start, and lie in either form below root:

* ``frames/ID_000030.jpg`` and ``audio/ID_000030.wav``, taken out of the videos;
* ``videos/ID_000030.mp4`` alone (or ``video``, ``clips``): the middle frame and the sound are decoded when they are
  asked for, which needs the package av.

Many of the videos are gone from the web; clips that are not there are counted and left out. Groups are the videos.
Checked against the official repository: the columns, the names of clips (``data/test.csv``), two clips of one video,
the licence, 309 classes. The number of lines is not confirmed by the authors: copies of the list have 199,467 lines
(183,971 and 15,496), and 199,176 (183,730 and 15,446) are reported too; either is accepted.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Literal

from pydantic import Field

from crossdistill.pairs.field.base import FieldSet, SplitOptions, verify_counts
from crossdistill.pairs.field.clips import Clips, clip_folders, tell_gone
from crossdistill.pairs.field.field_files import csv_lines, locate, set_root, wrong_line
from crossdistill.pairs.table import Licence, Pair, Split

HOME = "https://www.robots.ox.ac.uk/~vgg/data/vggsound/"
COUNTS = {"train": (183_971, 183_730), "test": (15_496, 15_446), "classes": (309,)}

_SPLITS: dict[str, Split] = {"train": "train", "test": "test"}


class Options(SplitOptions):
    """Settings of the set."""

    clips: Path | None = Field(None, description="folder of the videos; default: videos, video or clips below root")
    frames: Path | None = Field(None, description="folder of frames; default: frames below root")
    audio: Path | None = Field(None, description="folder of sound files; default: audio below root")
    picture: Literal["frame", "video"] = Field(
        "frame", description="what the source is: one frame, or the video file for the modality video"
    )


def read(options: Options) -> list[Pair]:
    """One row a clip that is there; where only its picture or its sound is, it stands alone."""
    root = set_root(options.root, HOME)
    table = locate(root, ["vggsound.csv", "data/vggsound.csv"], "vggsound.csv", HOME)
    clips = Clips.below(*clip_folders(root, options.clips, options.frames, options.audio))
    rows: list[Pair] = []
    gone: list[str] = []
    lines: Counter[str] = Counter()
    classes: set[str] = set()
    first: dict[str, int] = {}
    for number, record in csv_lines(table):
        identity, label, split, name = _clip(table, number, record)
        if first.setdefault(name, number) != number:
            raise wrong_line(table, number, "each clip once", f"{name}, as in line {first[name]}")
        lines[split] += 1
        classes.add(label)
        source, target = clips.find([name], options.picture)
        if source is None and target is None:
            gone.append(name)
        else:
            rows.append(Pair(source=source, target=target, label=label, split=split, group=identity,
                             where=f"vggsound.csv, line {number}"))  # fmt: skip
    found = {"train": lines["train"], "test": lines["test"], "classes": len(classes)}
    verify_counts("vggsound", COUNTS, found, options.verify)
    tell_gone("vggsound", gone, lines.total())
    return rows


def _clip(table: Path, number: int, record: list[str]) -> tuple[str, str, Split, str]:
    """Video, label, split and name of a line."""
    expected = "YouTube ID,start seconds,label,train or test"
    if len(record) != 4:
        raise wrong_line(table, number, expected, f"{len(record)} fields")
    identity, start, label, split = (each.strip() for each in record)
    if not re.fullmatch(r"[\w-]+", identity, re.ASCII) or not re.fullmatch(r"\d{1,6}", start, re.ASCII):
        raise wrong_line(table, number, expected, ",".join(record)[:100])
    if not label or split not in _SPLITS:
        raise wrong_line(table, number, expected, ",".join(record)[:100])
    return identity, label, _SPLITS[split], f"{identity}_{int(start):06d}"


DATASET = FieldSet(
    name="vggsound",
    summary="VGGSound: a frame of a video -> its sound, 309 classes",
    home=HOME,
    licence=Licence(
        name="CC BY 4.0 (the list; videos remain with their owners)",
        url="https://creativecommons.org/licenses/by/4.0/",
        attribution="H. Chen, W. Xie, A. Vedaldi, A. Zisserman: VGGSound (ICASSP 2020).",
    ),
    options=Options,
    read=read,
    counts=COUNTS,
    extra="audio,video",
    target={"modality": "audio", "seconds": 10.0},
)
